//! A function over each whole partition.

use crate::blame::Blame;
use crate::graph::Node;
use crate::push::{Data, Next, Push};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// What `f` gives for each partition of each dataset, empty partitions included. A partition is kept in memory until the
/// batch is read.
pub fn map_partitions<T: Data, U: Data, I, F>(parent: &Node<T>, f: F) -> Node<U>
where
    I: IntoIterator<Item = U>,
    F: Fn(&Batch, PartitionId, std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
{
    let node = parent.narrow("map_partitions");
    let (f, below) = (Arc::new(f), node.clone());
    parent.feed(node.used(), move |segment| {
        let (blame, next) = (below.blame(segment.cx()), segment.stages(&below));
        Box::new(MapPartitions { f: f.clone(), blame, next, at: PartitionId(0), kept: BTreeMap::new() })
    });
    node
}

struct MapPartitions<F, T, U> {
    f: Arc<F>,
    blame: Blame,
    next: Next<U>,
    at: PartitionId,
    kept: BTreeMap<PartitionId, Vec<T>>,
}

impl<T: Data, U, I, F> Push<T> for MapPartitions<F, T, U>
where
    I: IntoIterator<Item = U>,
    F: Fn(&Batch, PartitionId, std::vec::IntoIter<T>) -> I,
{
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.at = partition;
        self.kept.entry(partition).or_default();
    }

    fn push(&mut self, record: T) {
        self.kept.entry(self.at).or_default().push(record);
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, batch: &Batch) {
        for (partition, records) in std::mem::take(&mut self.kept) {
            self.next.open(batch, partition);
            let MapPartitions { f, blame, next, .. } = self;
            blame.call_with_all(records, |records| {
                f(batch, partition, records.into_iter()).into_iter().for_each(|out| next.push(out));
            });
        }
        self.next.flush(batch);
    }
}
