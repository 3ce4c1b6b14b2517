//! How many records a batch has.

use crate::graph::Node;
use crate::lower::{Edge, Owner, Receive, Segment};
use crate::push::{Data, Next, Push};
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

const ONE: PartitionId = PartitionId(0);

/// The number of records of each dataset, as its only record: 0 for one that is empty.
pub fn count<T: Data>(parent: &Node<T>) -> Node<u64> {
    let node: Node<u64> = Node::below(parent.graph(), "count", &[parent.parent()], Arc::new(|_| 1));
    let below = node.clone();
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let below = below.clone();
        let out = segment.edge(move |lowering, chunks| {
            let here = lowering.cx().worker == 0;
            lowering.exchange(below.name(), chunks, Owner::First, |segment| {
                Box::new(Sum { node: below.clone(), total: 0, here, next: segment.stages(&below) })
            });
        });
        Box::new(Count { records: 0, out })
    });
    node
}

/// Counts on the sending side; looks at no record.
struct Count {
    records: u64,
    out: Edge<u64>,
}

impl<T> Push<T> for Count {
    fn open(&mut self, _: &Batch, _: PartitionId) {}

    fn push(&mut self, _: T) {
        self.records += 1;
    }

    fn push_ref(&mut self, _: &T) {
        self.records += 1;
    }

    fn flush(&mut self, _: &Batch) {
        if self.records > 0 {
            self.out.send(ONE, vec![std::mem::take(&mut self.records)]);
        }
    }
}

/// Adds up the counts of all workers, on the first.
struct Sum {
    node: Node<u64>,
    total: u64,
    here: bool,
    next: Next<u64>,
}

impl Receive<u64> for Sum {
    fn chunk(&mut self, _: &Batch, _: PartitionId, rows: Vec<u64>) {
        self.total += rows.into_iter().sum::<u64>();
    }

    fn flush(&mut self, batch: &Batch) {
        if self.here && self.node.cadence().is_present(batch.plan()) {
            self.next.open(batch, ONE);
            self.next.push(std::mem::take(&mut self.total));
        }
        self.next.flush(batch);
    }
}
