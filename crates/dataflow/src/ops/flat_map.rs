//! One record in, any number out.

use crate::blame::Blame;
use crate::graph::Node;
use crate::push::{Data, Next, Push};
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// What `f` gives for each record, one after the other.
pub fn flat_map<T: Data, U: Data, I, F>(parent: &Node<T>, f: F) -> Node<U>
where
    I: IntoIterator<Item = U>,
    F: Fn(T) -> I + Send + Sync + 'static,
{
    flat_map_with(parent, move |record, out| f(record).into_iter().for_each(out))
}

/// What `f` emits for each record. Unlike an iterator, what is emitted can be made from a borrow of the record.
pub fn flat_map_with<T: Data, U: Data, F>(parent: &Node<T>, f: F) -> Node<U>
where
    F: Fn(T, &mut dyn FnMut(U)) + Send + Sync + 'static,
{
    flat_map_as(parent, "flat_map", f)
}

/// The same by another name.
pub(super) fn flat_map_as<T: Data, U: Data, F>(parent: &Node<T>, kind: &str, f: F) -> Node<U>
where
    F: Fn(T, &mut dyn FnMut(U)) + Send + Sync + 'static,
{
    let node = parent.narrow(kind);
    let (f, below) = (Arc::new(f), node.clone());
    parent.feed(node.used(), move |segment| {
        Box::new(FlatMap { f: f.clone(), blame: below.blame(segment.cx()), next: segment.stages(&below) })
    });
    node
}

struct FlatMap<F, U> {
    f: Arc<F>,
    blame: Blame,
    next: Next<U>,
}

impl<T: Data, U, F: Fn(T, &mut dyn FnMut(U))> Push<T> for FlatMap<F, U> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        self.next.open(batch, partition);
    }

    fn push(&mut self, record: T) {
        let FlatMap { f, blame, next } = self;
        blame.call(record, |record| f(record, &mut |out| next.push(out)));
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, batch: &Batch) {
        self.next.flush(batch);
    }
}
