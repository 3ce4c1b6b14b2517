//! The records of several streams as one.

use crate::graph::Node;
use crate::lower::{CHUNK_ROWS_MAX, Edge, Segment};
use crate::push::{Data, Push};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// Rows on their way from one parent, with the place of the parent and the partition in it.
type Arrivals<T> = VecDeque<(usize, PartitionId, Vec<T>)>;

/// All records of all `parents`. The partitions of the first parent come first, then those of the second, and so on.
///
/// # Panics
/// When `parents` is empty.
pub fn union<T: Data>(parents: &[Node<T>]) -> Node<T> {
    let first = parents.first().expect("a union has parents");
    let counts: Arc<Vec<_>> = Arc::new(parents.iter().map(|parent| parent.partitions().clone()).collect());
    let total = {
        let counts = counts.clone();
        Arc::new(move |plan: &_| counts.iter().map(|count| count(plan)).sum())
    };
    let above: Vec<_> = parents.iter().map(Node::parent).collect();
    let node: Node<T> = Node::below(first.graph(), "union", &above, total);
    for (place, parent) in parents.iter().enumerate() {
        let (below, counts, parts) = (node.clone(), counts.clone(), parents.len());
        parent.feed(node.used(), move |segment: &mut Segment<'_>| {
            let queue = segment.cx().queue::<Arrivals<T>>(below.id());
            let (far, counts) = (below.clone(), counts.clone());
            let arrivals = queue.clone();
            let signal = segment.edge(move |lowering, part| {
                lowering.join(far.id(), far.name(), part, parts, |segment| {
                    let mut next = segment.stages(&far);
                    move |batch: &Batch, through| {
                        for (place, partition, rows) in arrivals.borrow_mut().drain(..) {
                            let before: u32 = counts[..place].iter().map(|count| count(batch.plan())).sum();
                            next.open(batch, PartitionId(before + partition.0));
                            rows.into_iter().for_each(|row| next.push(row));
                        }
                        if through {
                            next.flush(batch);
                        }
                    }
                });
            });
            Box::new(Join { place, at: PartitionId(0), rows: Vec::new(), queue, signal })
        });
    }
    node
}

/// The end of one parent's pipeline.
struct Join<T> {
    place: usize,
    at: PartitionId,
    rows: Vec<T>,
    queue: Rc<RefCell<Arrivals<T>>>,
    signal: Edge<()>,
}

impl<T> Join<T> {
    fn hand_over(&mut self) {
        self.queue.borrow_mut().push_back((self.place, self.at, std::mem::take(&mut self.rows)));
        self.signal.send(self.at, Vec::new());
    }
}

impl<T: Clone> Push<T> for Join<T> {
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        if !self.rows.is_empty() {
            self.hand_over();
        }
        self.at = partition;
        // An empty chunk: the partition exists, though it may have no rows.
        self.hand_over();
    }

    fn push(&mut self, record: T) {
        self.rows.push(record);
        if self.rows.len() == CHUNK_ROWS_MAX {
            self.hand_over();
        }
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        if !self.rows.is_empty() {
            self.hand_over();
        }
    }
}
