//! Keeps the records for which a predicate holds.

use crate::blame::Blame;
use crate::graph::Node;
use crate::push::{Data, Next, Push};
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// The records for which `keep` holds.
pub fn filter<T: Data, F>(parent: &Node<T>, keep: F) -> Node<T>
where
    F: Fn(&T) -> bool + Send + Sync + 'static,
{
    filter_as(parent, "filter", keep)
}

/// The same by another name.
pub(super) fn filter_as<T: Data, F>(parent: &Node<T>, kind: &str, keep: F) -> Node<T>
where
    F: Fn(&T) -> bool + Send + Sync + 'static,
{
    let node = parent.narrow(kind);
    let (keep, below) = (Arc::new(keep), node.clone());
    parent.feed(node.used(), move |segment| {
        Box::new(Filter {
            keep: keep.clone(),
            blame: below.blame(segment.cx()),
            next: segment.stages(&below),
        })
    });
    node
}

struct Filter<F, T> {
    keep: Arc<F>,
    blame: Blame,
    next: Next<T>,
}

impl<T: Data, F: Fn(&T) -> bool> Push<T> for Filter<F, T> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        self.next.open(batch, partition);
    }

    fn push(&mut self, record: T) {
        if self.blame.call(&record, &*self.keep) {
            self.next.push(record);
        }
    }

    /// A record that is not kept is never copied.
    fn push_ref(&mut self, record: &T) {
        if self.blame.call(record, &*self.keep) {
            self.next.push_ref(record);
        }
    }

    fn flush(&mut self, batch: &Batch) {
        self.next.flush(batch);
    }
}
