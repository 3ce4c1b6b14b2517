//! Operators that keep a state for each key: `update_state_by_key` and `map_with_state`.
//!
//! State survives crashes, because it is part of every checkpoint; and changes of the program, because a checkpoint is data: an
//! operator finds its state again by its name, given with `uid` or made from its kind and place. A job with such operators
//! needs a checkpoint directory, as in Spark.

use crate::{BatchTime, DStream, Data, ExchangeData, Partitioner};
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::Error;
use tidegate_dataflow::ops::{self, KeyUpdate, MappedState, State, Updating};
use tidegate_dataflow::{MigratableState, raise};

impl<K, V> DStream<(K, V)> {
    /// The state of every key, made anew in each batch: `f` is given a key's values in the batch and its state before, and gives
    /// its state after; `None` removes the key.
    ///
    /// As in Spark, `f` is called in every batch for every key that has a state, also with no values: the cost follows the
    /// number of keys. [`map_with_state`](DStream::map_with_state) looks only at keys that have records. The dataset has every
    /// key with its state. A state that is equal to the one before is not written by the next checkpoint.
    ///
    /// Values are in the order of [`group_by_key`](DStream::group_by_key).
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let totals = |pairs: DStream<(char, i64)>| {
    ///     let total = |new: Vec<i64>, total: Option<i64>| Some(total.unwrap_or(0) + new.iter().sum::<i64>());
    ///     pairs.update_state_by_key(total).map(|state| state)
    /// };
    /// assert_eq!(
    ///     run_sorted(totals, [vec![('a', 1), ('a', 2)], vec![('b', 5)], vec![]]),
    ///     [vec![('a', 3)], vec![('a', 3), ('b', 5)], vec![('a', 3), ('b', 5)]]
    /// );
    /// ```
    ///
    /// Source: Spark's Streaming Programming Guide, "UpdateStateByKey Operation".
    pub fn update_state_by_key<S>(
        &self,
        f: impl Fn(Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
    ) -> StateDStream<K, S>
    where
        K: ExchangeData + Hash + Eq + Sync,
        V: ExchangeData,
        S: ExchangeData + PartialEq + Sync,
    {
        self.update_state_by_key_with_partitions(f, self.context().default_partitions())
    }

    /// As [`update_state_by_key`](DStream::update_state_by_key), with a number of partitions or a partitioner.
    pub fn update_state_by_key_with_partitions<S>(
        &self,
        f: impl Fn(Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
    ) -> StateDStream<K, S>
    where
        K: ExchangeData + Hash + Eq + Sync,
        V: ExchangeData,
        S: ExchangeData + PartialEq + Sync,
    {
        self.update_state_by_key_with_initial_state(f, partitions, Vec::new())
    }

    /// As [`update_state_by_key`](DStream::update_state_by_key), beginning with `initial` when no checkpoint has the state.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let totals = |pairs: DStream<(char, i64)>| {
    ///     let total = |new: Vec<i64>, total: Option<i64>| Some(total.unwrap_or(0) + new.iter().sum::<i64>());
    ///     pairs.update_state_by_key_with_initial_state(total, 2, vec![('a', 10)]).map(|state| state)
    /// };
    /// assert_eq!(run_sorted(totals, [vec![('a', 1)], vec![('b', 5)]]), [vec![('a', 11)], vec![('a', 11), ('b', 5)]]);
    /// ```
    pub fn update_state_by_key_with_initial_state<S>(
        &self,
        f: impl Fn(Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
        initial: Vec<(K, S)>,
    ) -> StateDStream<K, S>
    where
        K: ExchangeData + Hash + Eq + Sync,
        V: ExchangeData,
        S: ExchangeData + PartialEq + Sync,
    {
        self.update_state_by_key_with_time(move |_, _, values, state| f(values, state), partitions, initial)
    }

    /// As [`update_state_by_key_with_initial_state`](DStream::update_state_by_key_with_initial_state), for a function that is also
    /// given the batch's time and the key.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let last_seen = |pairs: DStream<(char, i64)>| {
    ///     let seen = |time: tidegate::BatchTime, _: &char, values: Vec<i64>, seen: Option<u64>| {
    ///         if values.is_empty() { seen } else { Some(time.0) }
    ///     };
    ///     pairs.update_state_by_key_with_time(seen, 2, vec![]).map(|(key, ms)| (key, ms / 1000 % 10))
    /// };
    /// assert_eq!(run_sorted(last_seen, [vec![('a', 1)], vec![('b', 5)]]), [vec![('a', 1)], vec![('a', 1), ('b', 2)]]);
    /// ```
    pub fn update_state_by_key_with_time<S>(
        &self,
        f: impl Fn(BatchTime, &K, Vec<V>, Option<S>) -> Option<S> + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
        initial: Vec<(K, S)>,
    ) -> StateDStream<K, S>
    where
        K: ExchangeData + Hash + Eq + Sync,
        V: ExchangeData,
        S: ExchangeData + PartialEq + Sync,
    {
        let f = move |batch: &crate::Batch, key: &K, values, state| f(batch.time(), key, values, state);
        self.updated(Updating::ByKey(Arc::new(f)), partitions.into(), initial)
    }

    /// As [`update_state_by_key_with_initial_state`](DStream::update_state_by_key_with_initial_state), for a function over a whole
    /// partition: it is given every key with its values and its state before, and gives the keys that have a state after.
    ///
    /// A partition's keys are in memory while it runs. Giving a key that belongs to another partition, or one twice, is an error.
    /// (Spark takes a partitioner as "remembered" when it is told that keys stay; here they must.)
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let totals = |pairs: DStream<(char, i64)>| {
    ///     pairs.update_state_by_key_with_iterator(
    ///         |keys| keys.map(|(key, new, total): (char, Vec<i64>, Option<i64>)| (key, total.unwrap_or(0) + new.len() as i64)),
    ///         2,
    ///         vec![],
    ///     ).map(|state| state)
    /// };
    /// assert_eq!(run_sorted(totals, [vec![('a', 7)], vec![('a', 7), ('b', 7)]]), [vec![('a', 1)], vec![('a', 2), ('b', 1)]]);
    /// ```
    pub fn update_state_by_key_with_iterator<S, I>(
        &self,
        f: impl Fn(std::vec::IntoIter<KeyUpdate<K, V, S>>) -> I + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
        initial: Vec<(K, S)>,
    ) -> StateDStream<K, S>
    where
        K: ExchangeData + Hash + Eq + Sync,
        V: ExchangeData,
        S: ExchangeData + PartialEq + Sync,
        I: IntoIterator<Item = (K, S)>,
    {
        let f = move |_: &crate::Batch, keys: Vec<KeyUpdate<K, V, S>>| {
            let expected: std::collections::HashSet<K> = keys.iter().map(|(key, _, _)| key.clone()).collect();
            let kept: Vec<(K, S)> = f(keys.into_iter()).into_iter().collect();
            let mut given = std::collections::HashSet::new();
            if let Some((key, _)) = kept.iter().find(|(key, _)| !expected.contains(key) || !given.insert(key))
            {
                raise(Error::user_code(format!(
                    "gave a state for the key {key:?} that it was not given, or gave it twice; give each key at most once"
                )));
            }
            kept
        };
        self.updated(Updating::ByPartition(Arc::new(f)), partitions.into(), initial)
    }

    fn updated<S>(
        &self,
        updating: Updating<K, V, S>,
        partitioner: Partitioner<K>,
        initial: Vec<(K, S)>,
    ) -> StateDStream<K, S>
    where
        K: ExchangeData + Hash + Eq + Sync,
        V: ExchangeData,
        S: ExchangeData + PartialEq + Sync,
    {
        let (node, definition) =
            ops::update_state_by_key(self.node(), partitioner, updating, Arc::new(initial));
        StateDStream { stream: self.below(node), definition }
    }

    /// Gives each record to a function together with the state of its key, which the function may look at, update or remove.
    ///
    /// The cost follows the records, not the keys. Records of a key are given in the order of [`group_by_key`](DStream::group_by_key)'s
    /// values. The stream has what the function gave; [`MapWithStateDStream::state_snapshots`] has the states.
    ///
    /// ```
    /// # use tidegate::{DStream, State, StateSpec, testkit::run_sorted};
    /// let totals = |pairs: DStream<(char, i64)>| {
    ///     let spec = StateSpec::function(|key: &char, value: Option<i64>, state: &mut State<i64>| {
    ///         let total = state.get().copied().unwrap_or(0) + value.unwrap_or(0);
    ///         state.update(total);
    ///         (*key, total)
    ///     });
    ///     pairs.map_with_state(spec).map(|total| total)
    /// };
    /// assert_eq!(
    ///     run_sorted(totals, [vec![('a', 1), ('a', 2)], vec![('b', 5)], vec![]]),
    ///     [vec![('a', 1), ('a', 3)], vec![('b', 5)], vec![]]
    /// );
    /// ```
    ///
    /// Source: Spark's `PairDStreamFunctions.mapWithState` and `StateSpec`.
    pub fn map_with_state<S, M>(&self, spec: StateSpec<K, V, S, M>) -> MapWithStateDStream<K, S, M>
    where
        K: ExchangeData + Hash + Eq + Sync,
        V: ExchangeData,
        S: ExchangeData + Sync,
        M: Data,
    {
        let StateSpec { mapping, partitioner, initial, timeout, migrations } = spec;
        let state = MappedState {
            mapping,
            partitioner: partitioner.unwrap_or_else(|| self.context().default_partitions().into()),
            initial: Arc::new(initial),
            timeout_ms: timeout.map(|timeout| timeout.as_millis() as u64),
        };
        let ops::Mapped { mapped, snapshots, definition } = ops::map_with_state(self.node(), state);
        migrations.into_iter().for_each(|migrate| migrate(&definition));
        MapWithStateDStream { stream: self.below(mapped), snapshots: self.below(snapshots) }
    }
}

/// The states that [`update_state_by_key`](DStream::update_state_by_key) keeps: everything a [`DStream`] can do.
pub struct StateDStream<K, S> {
    stream: DStream<(K, S)>,
    definition: MigratableState<K, S>,
}

impl<K: ExchangeData + Hash + Eq, S: ExchangeData> StateDStream<K, S> {
    /// Names the operator; see [`DStream::uid`].
    #[must_use]
    pub fn uid(self, uid: &str) -> Self {
        StateDStream { stream: self.stream.uid(uid), definition: self.definition }
    }

    /// Goes on from a checkpoint whose states are of type `Old`: `to` makes each of them one of now. As often as there were types.
    #[must_use]
    pub fn migrate_from<Old: ExchangeData>(self, to: impl Fn(Old) -> S + Send + Sync + 'static) -> Self {
        self.definition.migrate_from(to);
        self
    }
}

impl<K, S> Deref for StateDStream<K, S> {
    type Target = DStream<(K, S)>;

    fn deref(&self) -> &DStream<(K, S)> {
        &self.stream
    }
}

/// What [`map_with_state`](DStream::map_with_state) gives: everything a [`DStream`] can do, and the states.
pub struct MapWithStateDStream<K, S, M> {
    stream: DStream<M>,
    snapshots: DStream<(K, S)>,
}

impl<K: ExchangeData, S: ExchangeData, M: Data> MapWithStateDStream<K, S, M> {
    /// The state of every key after each batch. Costs a pass over all of them; nothing if it is not used.
    ///
    /// ```
    /// # use tidegate::{DStream, State, StateSpec, testkit::run_sorted};
    /// let states = |pairs: DStream<(char, i64)>| {
    ///     let keep = |_: &char, value: Option<i64>, state: &mut State<i64>| state.update(value.unwrap_or(0));
    ///     pairs.map_with_state(StateSpec::function(keep)).state_snapshots()
    /// };
    /// assert_eq!(run_sorted(states, [vec![('a', 1)], vec![('b', 2)]]), [vec![('a', 1)], vec![('a', 1), ('b', 2)]]);
    /// ```
    pub fn state_snapshots(&self) -> DStream<(K, S)> {
        self.snapshots.clone()
    }

    /// Names the operator; see [`DStream::uid`].
    #[must_use]
    pub fn uid(self, uid: &str) -> Self {
        MapWithStateDStream { stream: self.stream.uid(uid), snapshots: self.snapshots }
    }
}

impl<K, S, M> Deref for MapWithStateDStream<K, S, M> {
    type Target = DStream<M>;

    fn deref(&self) -> &DStream<M> {
        &self.stream
    }
}

type Mapping<K, V, S, M> = ops::Mapping<K, V, S, M>;
type Migrate<K, S> = Box<dyn FnOnce(&MigratableState<K, S>)>;

/// How [`map_with_state`](DStream::map_with_state) works: the function, and what else can be said of the state.
pub struct StateSpec<K, V, S, M> {
    mapping: Mapping<K, V, S, M>,
    partitioner: Option<Partitioner<K>>,
    initial: Vec<(K, S)>,
    timeout: Option<Duration>,
    migrations: Vec<Migrate<K, S>>,
}

impl<K, V, S, M> StateSpec<K, V, S, M>
where
    K: ExchangeData + Hash + Eq,
    S: ExchangeData,
{
    /// A function of the key, its value (`None`: the state is timing out) and its state.
    pub fn function(f: impl Fn(&K, Option<V>, &mut State<'_, S>) -> M + Send + Sync + 'static) -> Self {
        StateSpec::function_with_time(move |_, key, value, state| Some(f(key, value, state)))
    }

    /// A function that is also given the batch's time, and may give nothing.
    ///
    /// ```
    /// # use tidegate::{BatchTime, DStream, State, StateSpec, testkit::run};
    /// // Only the first of each.
    /// let firsts = |words: DStream<&'static str>| {
    ///     let first = |_: BatchTime, word: &&'static str, _: Option<()>, seen: &mut State<bool>| {
    ///         let new = !seen.exists();
    ///         seen.update(true);
    ///         new.then_some(word.len())
    ///     };
    /// #   let words = words.map(|word| word.to_owned());
    /// #   let first = |_: BatchTime, word: &String, _: Option<()>, seen: &mut State<bool>| {
    /// #       let new = !seen.exists();
    /// #       seen.update(true);
    /// #       new.then_some(word.len())
    /// #   };
    ///     words.map(|word| (word, ())).map_with_state(StateSpec::function_with_time(first)).map(|length| length)
    /// };
    /// assert_eq!(run(firsts, [vec!["ebb", "ebb"], vec!["flow", "ebb"]]), [vec![3], vec![4]]);
    /// ```
    pub fn function_with_time(
        f: impl Fn(BatchTime, &K, Option<V>, &mut State<'_, S>) -> Option<M> + Send + Sync + 'static,
    ) -> Self {
        let mapping: Mapping<K, V, S, M> =
            Arc::new(move |batch, key, value, state| f(batch.time(), key, value, state));
        StateSpec { mapping, partitioner: None, initial: Vec::new(), timeout: None, migrations: Vec::new() }
    }

    /// The states to begin with when no checkpoint has the state. They count as updated in the first batch.
    #[must_use]
    pub fn initial_state(mut self, initial: impl IntoIterator<Item = (K, S)>) -> Self {
        self.initial = initial.into_iter().collect();
        self
    }

    /// Number of partitions; `tidegate.default.parallelism` if it is not said.
    #[must_use]
    pub fn num_partitions(self, partitions: u32) -> Self {
        self.partitioner(partitions)
    }

    /// Which partition a key is in.
    #[must_use]
    pub fn partitioner(mut self, partitioner: impl Into<Partitioner<K>>) -> Self {
        self.partitioner = Some(partitioner.into());
        self
    }

    /// A key that had no record for longer than `idle` loses its state: the function is called a last time, without a value and
    /// with a state that [is timing out](State::is_timing_out).
    ///
    /// That is looked at in every batch, after its records. (Spark looks only when it checkpoints, every tenth batch or so,
    /// which is an accident of how it stores state.)
    ///
    /// ```
    /// # use tidegate::{DStream, State, StateSpec, testkit::{BATCH, run}};
    /// let gone = |pairs: DStream<(char, i64)>| {
    ///     let tell = |key: &char, value: Option<i64>, state: &mut State<i64>| match value {
    ///         Some(value) => { state.update(value); None }
    ///         None => Some((*key, *state.get().unwrap())),
    ///     };
    ///     pairs.map_with_state(StateSpec::function(tell).timeout(BATCH)).flat_map(|gone| gone)
    /// };
    /// assert_eq!(run(gone, [vec![('a', 1)], vec![], vec![], vec![]]), [vec![], vec![], vec![('a', 1)], vec![]]);
    /// ```
    #[must_use]
    pub fn timeout(mut self, idle: Duration) -> Self {
        self.timeout = Some(idle);
        self
    }

    /// Goes on from a checkpoint whose states are of type `Old`: `to` makes each of them one of now. As often as there were types.
    #[must_use]
    pub fn migrate_from<Old: ExchangeData>(mut self, to: impl Fn(Old) -> S + Send + Sync + 'static) -> Self {
        self.migrations.push(Box::new(move |definition| definition.migrate_from(to)));
        self
    }
}

impl<T: Data> DStream<T> {
    /// Names the operator whose stream this is: by this name its state is found again after a restart, wherever the operator
    /// stands in the graph. Without one it is its kind and its place among those of its kind: `map_with_state-2`.
    ///
    /// ASCII letters, digits, `.`, `_` and `-`. A name on an operator without state, or one that is taken, is told by
    /// [`start`](crate::StreamingContext::start).
    #[must_use]
    pub fn uid(&self, uid: &str) -> DStream<T> {
        self.node().name_state(uid);
        self.clone()
    }

    /// Asks for a checkpoint at least every `interval`, a multiple of the stream's slide. All state of a job is in one
    /// checkpoint: the shortest interval asked for counts. Without one it is 10 seconds, or the batch interval if that is longer.
    #[must_use]
    pub fn checkpoint(&self, interval: Duration) -> DStream<T> {
        self.context().ask_for_checkpoints(&format!("{:?}", self.node()), interval, self.slide_duration());
        self.clone()
    }
}
