//! The same records in another number of partitions.

use super::scatter::{Arrived, Scatter, Tagged};
use crate::graph::Node;
use crate::lower::{Owner, Receive, Segment};
use crate::partitioner::hash_of;
use crate::push::{ExchangeData, Next, Push};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_core::{Batch, Error, PartitionId};

/// All records in `partitions` partitions of nearly one size: those of each partition are dealt out one by one, beginning at
/// a partition that differs from source to source, so that many small ones do not all fill the first.
pub fn repartition<T: ExchangeData>(parent: &Node<T>, partitions: u32) -> Node<T> {
    let node = shuffled(parent, "repartition", partitions);
    let below = node.clone();
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let far = below.clone();
        let out = segment.edge(move |lowering, chunks| {
            let owned = Owner::Spread.owned(partitions, lowering.cx().worker, lowering.cx().workers);
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let next = segment.stages(&far);
                Box::new(Deal { node: far.clone(), owned, arrived: Arrived::default(), next })
            });
        });
        Box::new(Dealing {
            partitions,
            at: 0,
            places: BTreeMap::new(),
            scatter: Scatter::new(partitions, out),
        })
    });
    node
}

/// A node of `partitions` partitions on the far side of a shuffle of `parent`.
pub(super) fn shuffled<T: 'static, U: 'static>(parent: &Node<T>, kind: &str, partitions: u32) -> Node<U> {
    let node = Node::below(parent.graph(), kind, &[parent.parent()], Arc::new(move |_: &_| partitions));
    refuse_none(&node, partitions);
    node
}

/// A shuffle needs a partition.
pub(super) fn refuse_none<T: 'static>(node: &Node<T>, partitions: u32) {
    if partitions == 0 {
        node.graph()
            .flaw(Error::reconfigure(format!("{} into 0 partitions; give it at least 1", node.name())));
    }
}

struct Dealing<T> {
    partitions: u32,
    at: u32,
    places: BTreeMap<u32, u32>,
    scatter: Scatter<T>,
}

impl<T: ExchangeData> Push<T> for Dealing<T> {
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.at = partition.0;
        self.scatter.open(partition);
    }

    fn push(&mut self, record: T) {
        let first = || (hash_of(&self.at) >> 32) as u32 % self.partitions;
        let place = self.places.entry(self.at).or_insert_with(first);
        self.scatter.row(PartitionId(*place), record);
        *place = (*place + 1) % self.partitions;
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        self.places.clear();
        self.scatter.flush();
    }
}

struct Deal<T> {
    node: Node<T>,
    owned: Vec<PartitionId>,
    arrived: Arrived<T>,
    next: Next<T>,
}

impl<T: ExchangeData> Receive<Tagged<T>> for Deal<T> {
    fn chunk(&mut self, _: &Batch, partition: PartitionId, tagged: Vec<Tagged<T>>) {
        self.arrived.add(partition, tagged);
    }

    fn flush(&mut self, batch: &Batch) {
        if self.node.cadence().is_present(batch.plan()) {
            for partition in &self.owned {
                self.next.open(batch, *partition);
                self.arrived.take(*partition).for_each(|row| self.next.push(row));
            }
        }
        self.next.flush(batch);
    }
}
