//! Functions of a record and of a value that is the same for all records of a batch.

use crate::blame::Blame;
use crate::graph::Node;
use crate::push::{Data, Next, Push};
use std::sync::Arc;
use tidegate_core::{Batch, BatchId, PartitionId};

/// Applies `f` to what `value` gives for the batch and to each record.
pub fn map_with<T, U, S, V, F>(parent: &Node<T>, value: V, f: F) -> Node<U>
where
    T: Data,
    U: Data,
    S: Send + Sync + 'static,
    V: Fn(&Batch) -> Arc<S> + Send + Sync + 'static,
    F: Fn(&S, T) -> U + Send + Sync + 'static,
{
    let node = parent.narrow("map_with");
    let (functions, below) = (Arc::new((value, f)), node.clone());
    parent.feed(node.used(), move |segment| {
        let blame = below.blame(segment.cx());
        Box::new(MapWith { functions: functions.clone(), value: None, blame, next: segment.stages(&below) })
    });
    node
}

/// The records for which `keep` holds, which is given what `value` gives for the batch, and the record.
pub fn filter_with<T, S, V, F>(parent: &Node<T>, value: V, keep: F) -> Node<T>
where
    T: Data,
    S: Send + Sync + 'static,
    V: Fn(&Batch) -> Arc<S> + Send + Sync + 'static,
    F: Fn(&S, &T) -> bool + Send + Sync + 'static,
{
    let node = parent.narrow("filter_with");
    let (functions, below) = (Arc::new((value, keep)), node.clone());
    parent.feed(node.used(), move |segment| {
        let blame = below.blame(segment.cx());
        Box::new(FilterWith {
            functions: functions.clone(),
            value: None,
            blame,
            next: segment.stages(&below),
        })
    });
    node
}

/// The value of the batch at work.
type Held<S> = Option<(BatchId, Arc<S>)>;

/// Has `held` hold the value of `batch`.
fn hold<S>(held: &mut Held<S>, batch: &Batch, blame: &Blame, value: impl Fn(&Batch) -> Arc<S>) {
    if held.as_ref().is_none_or(|(of, _)| *of != batch.id()) {
        *held = Some((batch.id(), blame.call(batch.id(), |_| value(batch))));
    }
}

fn held<S>(held: &Held<S>) -> &S {
    &held.as_ref().expect("a partition is opened before its records").1
}

struct MapWith<V, F, S, U> {
    functions: Arc<(V, F)>,
    value: Held<S>,
    blame: Blame,
    next: Next<U>,
}

impl<T, U, S, V, F> Push<T> for MapWith<V, F, S, U>
where
    T: Data,
    V: Fn(&Batch) -> Arc<S>,
    F: Fn(&S, T) -> U,
{
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        hold(&mut self.value, batch, &self.blame, &self.functions.0);
        self.next.open(batch, partition);
    }

    fn push(&mut self, record: T) {
        let value = held(&self.value);
        let mapped = self.blame.call(record, |record| (self.functions.1)(value, record));
        self.next.push(mapped);
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, batch: &Batch) {
        self.value = None;
        self.next.flush(batch);
    }
}

struct FilterWith<V, F, S, T> {
    functions: Arc<(V, F)>,
    value: Held<S>,
    blame: Blame,
    next: Next<T>,
}

impl<T: Data, S, V, F: Fn(&S, &T) -> bool> FilterWith<V, F, S, T> {
    fn keeps(&self, record: &T) -> bool {
        let value = held(&self.value);
        self.blame.call(record, |record| (self.functions.1)(value, record))
    }
}

impl<T, S, V, F> Push<T> for FilterWith<V, F, S, T>
where
    T: Data,
    V: Fn(&Batch) -> Arc<S>,
    F: Fn(&S, &T) -> bool,
{
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        hold(&mut self.value, batch, &self.blame, &self.functions.0);
        self.next.open(batch, partition);
    }

    fn push(&mut self, record: T) {
        if self.keeps(&record) {
            self.next.push(record);
        }
    }

    /// A record that is not kept is never copied.
    fn push_ref(&mut self, record: &T) {
        if self.keeps(record) {
            self.next.push_ref(record);
        }
    }

    fn flush(&mut self, batch: &Batch) {
        self.value = None;
        self.next.flush(batch);
    }
}
