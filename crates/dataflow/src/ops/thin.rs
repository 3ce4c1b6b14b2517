//! A stream with a dataset in some batches only.

use crate::graph::{Cadence, Node};
use crate::push::{Data, Next, Push};
use std::sync::Arc;
use tidegate_core::{Batch, BatchPlan, PartitionId};

/// The datasets of `parent` in the batches at multiples of `slide_ms` after the time before the first; none in the others.
pub fn thin<T: Data>(parent: &Node<T>, slide_ms: u64) -> Node<T> {
    let (before, every) = (parent.cadence().clone(), Cadence::every(slide_ms));
    let present = Arc::new(move |plan: &BatchPlan| before.is_present(plan) && every.is_present(plan));
    let cadence = Cadence::new(slide_ms, present);
    let partitions = parent.partitions().clone();
    let node = Node::with_cadence(parent.graph(), "thin", &[parent.parent()], cadence, partitions);
    let below = node.clone();
    parent.feed(node.used(), move |segment| {
        Box::new(Thin { cadence: below.cadence().clone(), present: false, next: segment.stages(&below) })
    });
    node
}

struct Thin<T> {
    cadence: Cadence,
    present: bool,
    next: Next<T>,
}

impl<T> Push<T> for Thin<T> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        self.present = self.cadence.is_present(batch.plan());
        if self.present {
            self.next.open(batch, partition);
        }
    }

    fn push(&mut self, record: T) {
        if self.present {
            self.next.push(record);
        }
    }

    fn push_ref(&mut self, record: &T) {
        if self.present {
            self.next.push_ref(record);
        }
    }

    fn flush(&mut self, batch: &Batch) {
        self.next.flush(batch);
    }
}
