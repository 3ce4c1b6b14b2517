//! A state for each key, made anew in every batch from the state before and the values of the batch.

use super::combine_by_key::ByKey;
use super::repartition::refuse_none;
use super::scatter::{Arrived, Tagged};
use crate::blame::Blame;
use crate::context::WorkerContext;
use crate::graph::Node;
use crate::lower::{Owner, Receive, Segment};
use crate::partitioner::{Partitioner, Placing, hash_of};
use crate::push::{ExchangeData, Next};
use crate::state::{KeyedPartitions, MigratableState, StateDefinition};
use hashbrown::HashMap;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId, Result};
use tidegate_state::{Kept, KeyedState, Row};

/// One key with its values in the batch and its state before, as a function over a whole partition is given it.
pub type KeyUpdate<K, V, S> = (K, Vec<V>, Option<S>);

/// Makes the state of one key: of the batch, the key, its values in the batch, its state before.
pub type UpdateKey<K, V, S> = dyn Fn(&Batch, &K, Vec<V>, Option<S>) -> Option<S> + Send + Sync;

/// Makes the states of a whole partition.
pub type UpdatePartition<K, V, S> = dyn Fn(&Batch, Vec<KeyUpdate<K, V, S>>) -> Vec<(K, S)> + Send + Sync;

/// How states are made.
pub enum Updating<K, V, S> {
    /// Key by key: the batch, the key, its values in the batch (none: it has a state and no values), its state before. `None`
    /// removes the key.
    ByKey(Arc<UpdateKey<K, V, S>>),
    /// A whole partition at once: what is not given back is removed.
    ByPartition(Arc<UpdatePartition<K, V, S>>),
}

impl<K, V, S> Clone for Updating<K, V, S> {
    fn clone(&self) -> Self {
        match self {
            Updating::ByKey(f) => Updating::ByKey(f.clone()),
            Updating::ByPartition(f) => Updating::ByPartition(f.clone()),
        }
    }
}

/// The states that a job begins with when no checkpoint has any.
pub type InitialState<K, S> = Arc<Vec<(K, S)>>;

/// The state of every key, in each batch. Every key that has a state is given to the function in every batch, also without
/// values.
pub fn update_state_by_key<K, V, S>(
    parent: &Node<(K, V)>,
    partitioner: Partitioner<K>,
    updating: Updating<K, V, S>,
    initial: InitialState<K, S>,
) -> (Node<(K, S)>, MigratableState<K, S>)
where
    K: ExchangeData + Hash + Eq + Sync,
    V: ExchangeData,
    S: ExchangeData + PartialEq + Sync,
{
    const KIND: &str = "update_state_by_key";
    let (graph, partitions) = (parent.graph(), partitioner.num_partitions());
    let node: Node<(K, S)> = Node::below(graph, KIND, &[parent.parent()], Arc::new(move |_: &_| partitions));
    refuse_none(&node, partitions);
    let of_key = partitioner.clone();
    let place = move |_, row: &Row<K, S>| of_key.partition(&row.key);
    let definition =
        StateDefinition::only(graph.states(), KIND, node.used(), partitions, partitioner.placement(), place);
    node.has_state(definition.handle());
    let (below, opened) = (node.clone(), definition.clone());
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let (far, definition, updating) = (below.clone(), opened.clone(), updating.clone());
        let blame = below.blame(segment.cx());
        let (initial, placing) = (initial.clone(), Placing::new(partitioner.clone(), blame.clone()));
        let out = segment.edge(move |lowering, chunks| {
            let cx = lowering.cx().clone();
            let owned = Owner::Spread.owned(partitions, cx.worker, cx.workers);
            let (states, found) = match KeyedPartitions::open(&definition, &cx, &owned) {
                Ok(opened) => opened,
                Err(error) => return cx.fail(error.context(far.name())),
            };
            let initial = (!found).then(|| initial_of(&initial, &owned, &placing));
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let (next, blame) = (segment.stages(&far), far.blame(&cx));
                Box::new(Update {
                    states,
                    initial,
                    updating,
                    arrived: Arrived::default(),
                    node: far.clone(),
                    blame,
                    cx,
                    next,
                })
            });
        });
        Box::new(ByKey::new(&partitioner, blame, out))
    });
    (node, MigratableState::of(definition))
}

/// The initial states of partitions of this worker.
pub(super) fn initial_of<K, S>(
    initial: &InitialState<K, S>,
    owned: &[PartitionId],
    placing: &Placing<K>,
) -> Vec<(PartitionId, K, S)>
where
    K: ExchangeData + Hash,
    S: Clone,
{
    let placed = initial.iter().map(|(key, state)| (placing.of(key), key.clone(), state.clone()));
    placed.filter(|(partition, _, _)| owned.contains(partition)).collect()
}

struct Update<K, V, S> {
    states: KeyedPartitions<K, S>,
    /// What the first batch begins with.
    initial: Option<Vec<(PartitionId, K, S)>>,
    updating: Updating<K, V, S>,
    arrived: Arrived<(K, V)>,
    node: Node<(K, S)>,
    blame: Blame,
    cx: Rc<WorkerContext>,
    next: Next<(K, S)>,
}

impl<K, V, S> Update<K, V, S>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    S: ExchangeData + PartialEq,
{
    fn batch(&mut self, batch: &Batch) -> Result<()> {
        if !self.node.cadence().is_present(batch.plan()) {
            return Ok(());
        }
        for (partition, key, state) in self.initial.take().unwrap_or_default() {
            self.states.of(partition).put(key, state, batch.time().0)?;
        }
        for partition in self.states.owned() {
            let mut values: HashMap<K, Vec<V>> = HashMap::new();
            for (key, value) in self.arrived.take(partition) {
                values.entry(key).or_default().push(value);
            }
            self.next.open(batch, partition);
            let mut states = self.states.of(partition);
            match &self.updating {
                Updating::ByKey(f) => by_key(batch, &mut states, values, &**f, &self.blame, &mut self.next)?,
                Updating::ByPartition(f) => {
                    by_partition(batch, &mut states, values, &**f, &self.blame, &mut self.next)?
                }
            }
        }
        Ok(())
    }
}

/// Keys that have a state first, then the new ones.
fn by_key<K, V, S>(
    batch: &Batch,
    states: &mut KeyedState<K, S>,
    mut values: HashMap<K, Vec<V>>,
    f: &UpdateKey<K, V, S>,
    blame: &Blame,
    next: &mut Next<(K, S)>,
) -> Result<()>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    S: ExchangeData + PartialEq,
{
    let made = |key: &K, values: Vec<V>, state: Option<S>| {
        blame.call((key, values, state), |(key, values, state)| f(batch, key, values, state))
    };
    let time_ms = batch.time().0;
    states.update_all(time_ms, &mut |key, before| {
        let after = made(key, values.remove(key).unwrap_or_default(), Some(before.clone()));
        let Some(after) = after else { return Ok(Kept::Removed) };
        next.push((key.clone(), after.clone()));
        Ok(if after == before { Kept::Same(after) } else { Kept::Changed(after) })
    })?;
    for (key, values) in in_order(values) {
        if let Some(state) = made(&key, values, None) {
            next.push((key.clone(), state.clone()));
            states.put(key, state, time_ms)?;
        }
    }
    Ok(())
}

fn by_partition<K, V, S>(
    batch: &Batch,
    states: &mut KeyedState<K, S>,
    mut values: HashMap<K, Vec<V>>,
    f: &UpdatePartition<K, V, S>,
    blame: &Blame,
    next: &mut Next<(K, S)>,
) -> Result<()>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    S: ExchangeData + PartialEq,
{
    let mut all: Vec<KeyUpdate<K, V, S>> = Vec::new();
    states.for_each(&mut |key, state| {
        all.push((key.clone(), values.remove(key).unwrap_or_default(), Some(state.clone())));
        Ok(())
    })?;
    all.extend(in_order(values).map(|(key, values)| (key, values, None)));
    let kept = blame.call_with_all(all, |all| f(batch, all));
    let mut after: HashMap<K, S> = HashMap::with_capacity(kept.len());
    for (key, state) in kept {
        next.push((key.clone(), state.clone()));
        after.insert(key, state);
    }
    let time_ms = batch.time().0;
    states.update_all(time_ms, &mut |key, before| {
        Ok(match after.remove(key) {
            None => Kept::Removed,
            Some(same) if same == before => Kept::Same(same),
            Some(changed) => Kept::Changed(changed),
        })
    })?;
    in_order(after).try_for_each(|(key, state)| states.put(key, state, time_ms))
}

/// By the key's hash: the same in every run.
fn in_order<K: Hash + Eq, V>(rows: HashMap<K, V>) -> impl Iterator<Item = (K, V)> {
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_cached_key(|(key, _)| hash_of(key));
    rows.into_iter()
}

impl<K, V, S> Receive<Tagged<(K, V)>> for Update<K, V, S>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    S: ExchangeData + PartialEq,
{
    fn chunk(&mut self, _: &Batch, partition: PartitionId, rows: Vec<Tagged<(K, V)>>) {
        self.arrived.add(partition, rows);
    }

    fn flush(&mut self, batch: &Batch) {
        match self.batch(batch) {
            Ok(()) => self.next.flush(batch),
            Err(error) => self.cx.fail(error.context(self.node.name())),
        }
    }
}
