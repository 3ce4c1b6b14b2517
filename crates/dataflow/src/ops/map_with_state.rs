//! A state for each key, looked at and changed record by record; keys without records cost nothing.

use super::combine_by_key::ByKey;
use super::repartition::refuse_none;
use super::scatter::{Arrived, Tagged};
use super::update_state::{InitialState, initial_of};
use crate::blame::Blame;
use crate::context::WorkerContext;
use crate::graph::Node;
use crate::lower::{Owner, Receive, Segment};
use crate::partitioner::{Partitioner, Placing};
use crate::push::{Data, ExchangeData, Next};
use crate::state::{KeyedPartitions, MigratableState, StateDefinition};
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId, Result};
use tidegate_state::{Row, Slot};

/// The state of one key, as a mapping function is given it.
///
/// Source of the semantics: Spark's `State`. What Spark throws for is a panic here: it fails the batch and stops the job.
pub struct State<'a, S> {
    place: &'a mut dyn Place<S>,
    removed: bool,
    timing_out: bool,
}

/// Where a state lies.
trait Place<S> {
    fn value(&self) -> Option<&S>;
    fn give(&mut self, state: S);
    fn clear(&mut self);
}

impl<S> Place<S> for Slot<'_, S> {
    fn value(&self) -> Option<&S> {
        self.get()
    }

    fn give(&mut self, state: S) {
        self.set(state);
    }

    fn clear(&mut self) {
        self.remove();
    }
}

impl<S> State<'_, S> {
    /// Whether the key has a state. Not any more once it was removed.
    pub fn exists(&self) -> bool {
        self.place.value().is_some()
    }

    /// The state; `None` when there is none.
    pub fn get(&self) -> Option<&S> {
        self.place.value()
    }

    /// Gives the key a state, or another one.
    ///
    /// # Panics
    /// When the state was removed in this call, or is about to be because it is timing out.
    pub fn update(&mut self, state: S) {
        assert!(!self.removed, "State::update() after remove(): the state was removed in this call");
        assert!(
            !self.timing_out,
            "State::update() of a state that is timing out: it is removed after this call"
        );
        self.place.give(state);
    }

    /// Removes the state.
    ///
    /// # Panics
    /// When it was removed in this call, or is about to be because it is timing out.
    pub fn remove(&mut self) {
        assert!(!self.removed, "State::remove() twice in one call");
        assert!(
            !self.timing_out,
            "State::remove() of a state that is timing out: it is removed after this call anyway"
        );
        self.place.clear();
        self.removed = true;
    }

    /// Whether the key had no record for longer than the timeout: the function is called a last time, without a value.
    pub fn is_timing_out(&self) -> bool {
        self.timing_out
    }
}

impl<S: fmt::Debug> fmt::Debug for State<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("value", &self.get()).field("timing_out", &self.timing_out).finish()
    }
}

/// Maps a record with the state of its key: the batch, the key, its value (`None`: the state is timing out), the state.
pub type Mapping<K, V, S, M> =
    Arc<dyn Fn(&Batch, &K, Option<V>, &mut State<'_, S>) -> Option<M> + Send + Sync>;

/// What a state is and how it is used.
pub struct MappedState<K, V, S, M> {
    /// The function.
    pub mapping: Mapping<K, V, S, M>,
    /// Which partition a key is in.
    pub partitioner: Partitioner<K>,
    /// States when no checkpoint has any.
    pub initial: InitialState<K, S>,
    /// A key without a record for longer than this loses its state.
    pub timeout_ms: Option<u64>,
}

impl<K, V, S, M> Clone for MappedState<K, V, S, M> {
    fn clone(&self) -> Self {
        MappedState {
            mapping: self.mapping.clone(),
            partitioner: self.partitioner.clone(),
            initial: self.initial.clone(),
            timeout_ms: self.timeout_ms,
        }
    }
}

/// What the function makes of each record, and the states themselves.
pub struct Mapped<K, S, M> {
    /// What the function gave.
    pub mapped: Node<M>,
    /// The state of every key after each batch.
    pub snapshots: Node<(K, S)>,
    /// Says how values of an older type become states.
    pub definition: MigratableState<K, S>,
}

/// Gives each record to a function together with the state of its key.
pub fn map_with_state<K, V, S, M>(parent: &Node<(K, V)>, spec: MappedState<K, V, S, M>) -> Mapped<K, S, M>
where
    K: ExchangeData + Hash + Eq + Sync,
    V: ExchangeData,
    S: ExchangeData + Sync,
    M: Data,
{
    const KIND: &str = "map_with_state";
    let (graph, partitions) = (parent.graph(), spec.partitioner.num_partitions());
    let count = Arc::new(move |_: &_| partitions);
    let mapped: Node<M> = Node::below(graph, KIND, &[parent.parent()], count.clone());
    let snapshots: Node<(K, S)> = Node::below(graph, "state_snapshots", &[mapped.parent()], count);
    refuse_none(&mapped, partitions);
    let of_key = spec.partitioner.clone();
    let place = move |_, row: &Row<K, S>| of_key.partition(&row.key);
    let placement = spec.partitioner.placement();
    // What uses the snapshots uses the operator.
    let definition = StateDefinition::only(graph.states(), KIND, mapped.used(), partitions, placement, place);
    mapped.has_state(definition.handle());
    snapshots.has_state(definition.handle());
    let (below, states_below, opened) = (mapped.clone(), snapshots.clone(), definition.clone());
    parent.feed(mapped.used(), move |segment: &mut Segment<'_>| {
        let (far, far_states, definition, spec) =
            (below.clone(), states_below.clone(), opened.clone(), spec.clone());
        let blame = below.blame(segment.cx());
        let (partitioner, placing) =
            (spec.partitioner.clone(), Placing::new(spec.partitioner.clone(), blame.clone()));
        let out = segment.edge(move |lowering, chunks| {
            let cx = lowering.cx().clone();
            let owned = Owner::Spread.owned(partitions, cx.worker, cx.workers);
            let (states, found) = match KeyedPartitions::open(&definition, &cx, &owned) {
                Ok(opened) => opened,
                Err(error) => return cx.fail(error.context(far.name())),
            };
            let initial = (!found).then(|| initial_of(&spec.initial, &owned, &placing));
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let next = segment.stages_if_any(&far);
                let snapshots = segment.stages_if_any(&far_states);
                let (node, blame, arrived) = (far.clone(), far.blame(&cx), Arrived::default());
                Box::new(MapWithState { states, initial, spec, arrived, node, blame, cx, next, snapshots })
            });
        });
        Box::new(ByKey::new(&partitioner, blame, out))
    });
    Mapped { mapped, snapshots, definition: MigratableState::of(definition) }
}

struct MapWithState<K, V, S, M> {
    states: KeyedPartitions<K, S>,
    initial: Option<Vec<(PartitionId, K, S)>>,
    spec: MappedState<K, V, S, M>,
    arrived: Arrived<(K, V)>,
    node: Node<M>,
    blame: Blame,
    cx: Rc<WorkerContext>,
    next: Option<Next<M>>,
    snapshots: Option<Next<(K, S)>>,
}

impl<K, V, S, M> MapWithState<K, V, S, M>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    S: ExchangeData,
    M: Data,
{
    fn batch(&mut self, batch: &Batch) -> Result<()> {
        if !self.node.cadence().is_present(batch.plan()) {
            return Ok(());
        }
        for (partition, key, state) in self.initial.take().unwrap_or_default() {
            self.states.of(partition).put(key, state, batch.time().0)?;
        }
        for partition in self.states.owned() {
            if let Some(next) = &mut self.next {
                next.open(batch, partition);
            }
            self.records(batch, partition)?;
            self.timeouts(batch, partition)?;
            if let Some(snapshots) = &mut self.snapshots {
                snapshots.open(batch, partition);
                self.states.of(partition).for_each(&mut |key, state| {
                    snapshots.push((key.clone(), state.clone()));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn records(&mut self, batch: &Batch, partition: PartitionId) -> Result<()> {
        let (mapping, blame, next) = (&self.spec.mapping, &self.blame, &mut self.next);
        let times_out = self.spec.timeout_ms.is_some();
        let mut states = self.states.of(partition);
        for (key, value) in self.arrived.take(partition) {
            let mapped = states.update(key.clone(), batch.time().0, |slot| {
                let mut state = State { place: slot, removed: false, timing_out: false };
                let mapped =
                    blame.call((&key, value), |(key, value)| mapping(batch, key, Some(value), &mut state));
                // A record keeps a state from timing out, whatever the function does with it.
                if times_out {
                    slot.touch();
                }
                mapped
            })?;
            if let (Some(next), Some(mapped)) = (next.as_mut(), mapped) {
                next.push(mapped);
            }
        }
        Ok(())
    }

    /// States whose key had no record for longer than the timeout.
    fn timeouts(&mut self, batch: &Batch, partition: PartitionId) -> Result<()> {
        let Some(timeout_ms) = self.spec.timeout_ms else { return Ok(()) };
        let threshold = batch.time().0.saturating_sub(timeout_ms);
        let (mapping, blame) = (&self.spec.mapping, &self.blame);
        let mut states = self.states.of(partition);
        for key in states.older_than(threshold)? {
            let mapped = states.update(key.clone(), batch.time().0, |slot| {
                let mut state = State { place: slot, removed: false, timing_out: true };
                let mapped = blame.call(&key, |key| mapping(batch, key, None, &mut state));
                slot.remove();
                mapped
            })?;
            if let (Some(next), Some(mapped)) = (self.next.as_mut(), mapped) {
                next.push(mapped);
            }
        }
        Ok(())
    }
}

impl<K, V, S, M> Receive<Tagged<(K, V)>> for MapWithState<K, V, S, M>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    S: ExchangeData,
    M: Data,
{
    fn chunk(&mut self, _: &Batch, partition: PartitionId, rows: Vec<Tagged<(K, V)>>) {
        self.arrived.add(partition, rows);
    }

    fn flush(&mut self, batch: &Batch) {
        if let Err(error) = self.batch(batch) {
            return self.cx.fail(error.context(self.node.name()));
        }
        if let Some(next) = &mut self.next {
            next.flush(batch);
        }
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.flush(batch);
        }
    }
}
