//! Neighbouring partitions as one.

use super::repartition::refuse_none;
use super::scatter::{Arrived, Tagged};
use crate::graph::{Node, PartitionCount};
use crate::lower::{CHUNK_ROWS_MAX, Edge, Owner, Receive, Segment};
use crate::push::{ExchangeData, Next, Push};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// All records in at most `partitions` partitions, each made of neighbours, one behind the other: the order of all records is
/// the same as before. A dataset that has no more partitions keeps them.
pub fn coalesce<T: ExchangeData>(parent: &Node<T>, partitions: u32) -> Node<T> {
    let before = parent.partitions().clone();
    let counted = before.clone();
    let count: PartitionCount = Arc::new(move |plan| counted(plan).min(partitions));
    let node: Node<T> = Node::below(parent.graph(), "coalesce", &[parent.parent()], count);
    refuse_none(&node, partitions);
    let below = node.clone();
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let far = below.clone();
        let out = segment.edge(move |lowering, chunks| {
            let (worker, workers) = (lowering.cx().worker, lowering.cx().workers);
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let next = segment.stages(&far);
                Box::new(Merge { node: far.clone(), worker, workers, arrived: Arrived::default(), next })
            });
        });
        let places = Places { before: before.clone(), partitions };
        Box::new(Neighbours { places, counts: (0, 0), at: PartitionId(0), rows: BTreeMap::new(), out })
    });
    node
}

/// Where partitions go.
struct Places {
    before: PartitionCount,
    partitions: u32,
}

/// The place among `after` partitions of one that was `partition` among `before`.
fn place(partition: u32, before: u32, after: u32) -> u32 {
    // The last `place` whose first neighbour, `place * before / after` rounded down, is no later.
    let (partition, before, after) = (u64::from(partition), u64::from(before), u64::from(after));
    (((partition + 1) * after - 1) / before.max(1)) as u32
}

struct Neighbours<T> {
    places: Places,
    counts: (u32, u32),
    at: PartitionId,
    rows: BTreeMap<PartitionId, Vec<T>>,
    out: Edge<Tagged<T>>,
}

impl<T: ExchangeData> Neighbours<T> {
    fn send(&mut self, from: PartitionId, rows: Vec<T>) {
        let (before, after) = self.counts;
        self.out.send(PartitionId(place(from.0, before, after)), vec![(from.0, rows)]);
    }
}

impl<T: ExchangeData> Push<T> for Neighbours<T> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        let before = (self.places.before)(batch.plan());
        self.counts = (before, before.min(self.places.partitions));
        self.at = partition;
    }

    fn push(&mut self, record: T) {
        let rows = self.rows.entry(self.at).or_default();
        rows.push(record);
        if rows.len() == CHUNK_ROWS_MAX {
            let rows = std::mem::take(rows);
            self.send(self.at, rows);
        }
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        for (partition, rows) in std::mem::take(&mut self.rows) {
            self.send(partition, rows);
        }
    }
}

struct Merge<T> {
    node: Node<T>,
    worker: usize,
    workers: usize,
    arrived: Arrived<T>,
    next: Next<T>,
}

impl<T: ExchangeData> Receive<Tagged<T>> for Merge<T> {
    fn chunk(&mut self, _: &Batch, partition: PartitionId, tagged: Vec<Tagged<T>>) {
        self.arrived.add(partition, tagged);
    }

    fn flush(&mut self, batch: &Batch) {
        // None where there is no dataset.
        let partitions = (self.node.partitions())(batch.plan());
        for partition in Owner::Spread.owned(partitions, self.worker, self.workers) {
            self.next.open(batch, partition);
            self.arrived.take(partition).for_each(|row| self.next.push(row));
        }
        self.next.flush(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_go_where_spark_puts_them() {
        for before in 1..20u32 {
            for after in 1..=before {
                for partition in 0..before {
                    let place = place(partition, before, after);
                    let first = |place: u32| place * before / after;
                    assert!(place < after, "{partition} of {before} in {after}");
                    assert!(
                        (first(place)..first(place + 1)).contains(&partition),
                        "{partition} of {before} in {after}: {place}"
                    );
                }
            }
        }
    }
}
