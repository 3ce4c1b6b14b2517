//! Each record with its number in the dataset.

use crate::graph::Node;
use crate::lower::{Edge, Owner, Receive, Segment};
use crate::push::{Data, Next, Push};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use tidegate_core::{Batch, PartitionId};

/// Each record with its number, counted from 0 in the order of partitions and positions. Partitions and order stay.
///
/// How many records come before a partition is known once all are there: until then a batch's records are kept in memory
/// on the workers where they are. Only their numbers are sent.
pub fn zip_with_index<T: Data>(parent: &Node<T>) -> Node<(T, u64)> {
    let node: Node<(T, u64)> = parent.narrow("zip_with_index");
    let below = node.clone();
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let (far, workers) = (below.clone(), segment.cx().workers as u32);
        let kept = segment.cx().queue::<Kept<T>>(below.id());
        let queue = kept.clone();
        let out = segment.edge(move |lowering, chunks| {
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let next = segment.stages(&far);
                Box::new(Number { counts: BTreeMap::new(), kept: queue, next })
            });
        });
        Box::new(Keep { at: PartitionId(0), kept, workers, out })
    });
    node
}

/// Records of a batch on one worker, until they can be numbered.
type Kept<T> = BTreeMap<PartitionId, Vec<T>>;

/// A partition, and how many records it has.
type Count = (u32, u64);

struct Keep<T> {
    at: PartitionId,
    kept: Rc<RefCell<Kept<T>>>,
    workers: u32,
    out: Edge<Count>,
}

impl<T: Data> Push<T> for Keep<T> {
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.at = partition;
        self.kept.borrow_mut().entry(partition).or_default();
    }

    fn push(&mut self, record: T) {
        self.kept.borrow_mut().entry(self.at).or_default().push(record);
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    /// Tells every worker what this one has.
    fn flush(&mut self, _: &Batch) {
        let kept = self.kept.borrow();
        let counts: Vec<Count> =
            kept.iter().map(|(partition, rows)| (partition.0, rows.len() as u64)).collect();
        if !counts.is_empty() {
            for worker in 0..self.workers {
                self.out.send(PartitionId(worker), counts.clone());
            }
        }
    }
}

struct Number<T> {
    counts: BTreeMap<u32, u64>,
    kept: Rc<RefCell<Kept<T>>>,
    next: Next<(T, u64)>,
}

impl<T: Data> Receive<Count> for Number<T> {
    fn chunk(&mut self, _: &Batch, _: PartitionId, counts: Vec<Count>) {
        self.counts.extend(counts);
    }

    fn flush(&mut self, batch: &Batch) {
        let mut kept = std::mem::take(&mut *self.kept.borrow_mut());
        let mut number = 0;
        for (partition, count) in std::mem::take(&mut self.counts) {
            let partition = PartitionId(partition);
            if let Some(rows) = kept.remove(&partition) {
                self.next.open(batch, partition);
                rows.into_iter().zip(number..).for_each(|row| self.next.push(row));
            }
            number += count;
        }
        assert!(kept.is_empty(), "every worker is told how many records each partition has");
        self.next.flush(batch);
    }
}
