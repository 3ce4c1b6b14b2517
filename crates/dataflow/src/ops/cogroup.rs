//! Two streams of pairs brought together by key: cogroup, and the joins, which differ in what they make of a key's values.

#![expect(clippy::type_complexity, reason = "a name would hide what a record of a join is")]

use super::combine_by_key::ByKey;
use super::keyed::Groups;
use super::repartition::refuse_none;
use super::scatter::{Arrived, Tagged};
use crate::graph::Node;
use crate::lower::{Edge, Lowering, Owner, Receive, Segment, Signal};
use crate::partitioner::Partitioner;
use crate::push::{Data, ExchangeData, Next};
use std::cell::RefCell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// For each key of either stream its values in both, each in the order of (source partition, position).
pub fn cogroup<K, V, W>(
    left: &Node<(K, V)>,
    right: &Node<(K, W)>,
    partitioner: impl Into<Partitioner<K>>,
) -> Node<(K, (Vec<V>, Vec<W>))>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    W: ExchangeData,
{
    cogrouped(left, right, "cogroup", partitioner.into(), |key, values, others, out| {
        out((key, (values, others)))
    })
}

/// For each key of both streams every pair of its values.
pub fn join<K, V, W>(
    left: &Node<(K, V)>,
    right: &Node<(K, W)>,
    partitioner: impl Into<Partitioner<K>>,
) -> Node<(K, (V, W))>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    W: ExchangeData,
{
    cogrouped(left, right, "join", partitioner.into(), pairs)
}

/// As [`join`], with `None` for the values of a key that the right stream does not have.
pub fn left_outer_join<K, V, W>(
    left: &Node<(K, V)>,
    right: &Node<(K, W)>,
    partitioner: impl Into<Partitioner<K>>,
) -> Node<(K, (V, Option<W>))>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    W: ExchangeData,
{
    cogrouped(left, right, "left_outer_join", partitioner.into(), |key, values, others, out| {
        pairs(key, values, or_none(others), out);
    })
}

/// As [`join`], with `None` for the values of a key that the left stream does not have.
pub fn right_outer_join<K, V, W>(
    left: &Node<(K, V)>,
    right: &Node<(K, W)>,
    partitioner: impl Into<Partitioner<K>>,
) -> Node<(K, (Option<V>, W))>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    W: ExchangeData,
{
    cogrouped(left, right, "right_outer_join", partitioner.into(), |key, values, others, out| {
        pairs(key, or_none(values), others, out);
    })
}

/// As [`join`], with `None` for the values of a key that one of the streams does not have.
pub fn full_outer_join<K, V, W>(
    left: &Node<(K, V)>,
    right: &Node<(K, W)>,
    partitioner: impl Into<Partitioner<K>>,
) -> Node<(K, (Option<V>, Option<W>))>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    W: ExchangeData,
{
    cogrouped(left, right, "full_outer_join", partitioner.into(), |key, values, others, out| {
        pairs(key, or_none(values), or_none(others), out);
    })
}

fn or_none<V>(values: Vec<V>) -> Vec<Option<V>> {
    if values.is_empty() { vec![None] } else { values.into_iter().map(Some).collect() }
}

/// Every pair of `values` and `others`: all of the first value, then those of the next. Copies no more than it must.
fn pairs<K: Clone, V: Clone, W: Clone>(
    key: K,
    values: Vec<V>,
    mut others: Vec<W>,
    out: &mut dyn FnMut((K, (V, W))),
) {
    let Some(last) = others.pop() else { return };
    let mut values = values.into_iter().peekable();
    while let Some(value) = values.next() {
        if values.peek().is_none() {
            for other in others {
                out((key.clone(), (value.clone(), other)));
            }
            out((key, (value, last)));
            return;
        }
        for other in &others {
            out((key.clone(), (value.clone(), other.clone())));
        }
        out((key.clone(), (value, last.clone())));
    }
}

/// What `emit` makes of each key and its values in both streams. Each partition is in the order of the keys' hashes.
pub(super) fn cogrouped<K, V, W, U, E>(
    left: &Node<(K, V)>,
    right: &Node<(K, W)>,
    kind: &str,
    partitioner: Partitioner<K>,
    emit: E,
) -> Node<U>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    W: ExchangeData,
    U: Data,
    E: Fn(K, Vec<V>, Vec<W>, &mut dyn FnMut(U)) + Copy + Send + Sync + 'static,
{
    let partitions = partitioner.num_partitions();
    let parents = [left.parent(), right.parent()];
    let node: Node<U> = Node::below(left.graph(), kind, &parents, Arc::new(move |_| partitions));
    refuse_none(&node, partitions);
    let side = Side { node: node.clone(), partitioner, emit };
    let feed_left = side.clone();
    left.feed(node.used(), move |segment| feed_left.sender(segment, |queue| &mut queue.left));
    right.feed(node.used(), move |segment| side.sender(segment, |queue| &mut queue.right));
    node
}

/// What has arrived of both streams on one worker.
struct Both<K, V, W> {
    left: Arrived<(K, V)>,
    right: Arrived<(K, W)>,
}

impl<K, V, W> Default for Both<K, V, W> {
    fn default() -> Self {
        Both { left: Arrived::default(), right: Arrived::default() }
    }
}

/// One side of the operator while it is built.
struct Side<K, U, E> {
    node: Node<U>,
    partitioner: Partitioner<K>,
    emit: E,
}

impl<K, U, E: Copy> Clone for Side<K, U, E> {
    fn clone(&self) -> Self {
        Side { node: self.node.clone(), partitioner: self.partitioner.clone(), emit: self.emit }
    }
}

impl<K: ExchangeData + Hash + Eq, U: Data, E> Side<K, U, E> {
    /// The last stage above: sends rows over an exchange into the part of the queue that `part` gives.
    fn sender<V, W, X>(
        &self,
        segment: &mut Segment<'_>,
        part: fn(&mut Both<K, V, W>) -> &mut Arrived<(K, X)>,
    ) -> Next<(K, X)>
    where
        V: ExchangeData,
        W: ExchangeData,
        X: ExchangeData,
        E: Fn(K, Vec<V>, Vec<W>, &mut dyn FnMut(U)) + Copy + Send + Sync + 'static,
    {
        let far = self.clone();
        let out = segment.edge(move |lowering, chunks| {
            let queue = lowering.cx().queue::<Both<K, V, W>>(far.node.id());
            let node = far.node.clone();
            lowering.exchange(node.name(), chunks, Owner::Spread, |segment| {
                let arrivals = queue.clone();
                let signal = segment.edge(move |lowering, signal| far.joined(lowering, signal, queue));
                Box::new(Arrive { queue: arrivals, part, signal })
            });
        });
        Box::new(ByKey::new(&self.partitioner, self.node.blame(segment.cx()), out))
    }

    /// Below both exchanges: once all has arrived, brings it together.
    fn joined<'s, V, W>(
        self,
        lowering: &mut Lowering<'s>,
        signal: Signal<'s>,
        queue: Rc<RefCell<Both<K, V, W>>>,
    ) where
        V: ExchangeData,
        W: ExchangeData,
        E: Fn(K, Vec<V>, Vec<W>, &mut dyn FnMut(U)) + Copy + Send + Sync + 'static,
    {
        let Side { node, partitioner, emit } = self;
        let (worker, workers) = (lowering.cx().worker, lowering.cx().workers);
        let owned = Owner::Spread.owned(partitioner.num_partitions(), worker, workers);
        lowering.join(node.id(), node.name(), signal, 2, |segment| {
            let (mut next, node) = (segment.stages(&node), node.clone());
            move |batch: &Batch, through| {
                if !through {
                    return;
                }
                if node.cadence().is_present(batch.plan()) {
                    for partition in &owned {
                        next.open(batch, *partition);
                        let groups = queue.borrow_mut().take_groups(*partition);
                        for (key, (values, others)) in groups {
                            emit(key, values, others, &mut |row| next.push(row));
                        }
                    }
                }
                next.flush(batch);
            }
        });
    }
}

impl<K: ExchangeData + Hash + Eq, V: ExchangeData, W: ExchangeData> Both<K, V, W> {
    /// The values of each key of `partition`.
    fn take_groups(
        &mut self,
        partition: PartitionId,
    ) -> impl Iterator<Item = (K, (Vec<V>, Vec<W>))> + use<K, V, W> {
        let mut groups = Groups::new();
        let empty = || (Vec::new(), Vec::new());
        for (key, value) in self.left.take(partition) {
            groups.group(key, empty).1.0.push(value);
        }
        for (key, value) in self.right.take(partition) {
            groups.group(key, empty).1.1.push(value);
        }
        groups.take_sorted()
    }
}

/// The far side of the exchange of one stream.
struct Arrive<K, V, W, X> {
    queue: Rc<RefCell<Both<K, V, W>>>,
    part: fn(&mut Both<K, V, W>) -> &mut Arrived<(K, X)>,
    signal: Edge<()>,
}

impl<K: ExchangeData, V: ExchangeData, W: ExchangeData, X: ExchangeData> Receive<Tagged<(K, X)>>
    for Arrive<K, V, W, X>
{
    fn chunk(&mut self, _: &Batch, partition: PartitionId, tagged: Vec<Tagged<(K, X)>>) {
        (self.part)(&mut self.queue.borrow_mut()).add(partition, tagged);
    }

    fn flush(&mut self, _: &Batch) {
        // Both sides are here once both have said so.
        self.signal.send(PartitionId(0), Vec::new());
    }
}
