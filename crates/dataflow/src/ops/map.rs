//! One record in, one out.

use crate::blame::Blame;
use crate::graph::Node;
use crate::push::{Data, Next, Push};
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// Applies `f` to each record.
pub fn map<T: Data, U: Data, F>(parent: &Node<T>, f: F) -> Node<U>
where
    F: Fn(T) -> U + Send + Sync + 'static,
{
    map_as(parent, "map", f)
}

/// The same by another name.
pub(super) fn map_as<T: Data, U: Data, F>(parent: &Node<T>, kind: &str, f: F) -> Node<U>
where
    F: Fn(T) -> U + Send + Sync + 'static,
{
    let node = parent.narrow(kind);
    let (f, below) = (Arc::new(f), node.clone());
    parent.feed(node.used(), move |segment| {
        Box::new(Map { f: f.clone(), blame: below.blame(segment.cx()), next: segment.stages(&below) })
    });
    node
}

struct Map<F, U> {
    f: Arc<F>,
    blame: Blame,
    next: Next<U>,
}

impl<T: Data, U, F: Fn(T) -> U> Push<T> for Map<F, U> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        self.next.open(batch, partition);
    }

    #[inline]
    fn push(&mut self, record: T) {
        let mapped = self.blame.call(record, &*self.f);
        self.next.push(mapped);
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, batch: &Batch) {
        self.next.flush(batch);
    }
}
