//! Rows on their way from the partitions of one dataset to those of another, in an order that does not depend on workers.
//!
//! A partition is on one worker, and what one worker sends to another arrives in the order in which it was sent. So rows that
//! carry the partition they come from can be put back in the order of (source partition, position).

use crate::lower::{CHUNK_ROWS_MAX, Edge};
use std::collections::BTreeMap;
use tidegate_core::PartitionId;

/// Rows of one source partition.
pub(super) type Tagged<T> = (u32, Vec<T>);

/// The sending side. Holds less than a chunk for each pair of a source partition and a partition.
pub(super) struct Scatter<T> {
    partitions: u32,
    source: u32,
    /// Rows of the source partition that is open, by partition; then those of the others.
    open: Vec<Vec<T>>,
    others: BTreeMap<u32, Vec<Vec<T>>>,
    out: Edge<Tagged<T>>,
}

impl<T: Clone + 'static> Scatter<T> {
    pub(super) fn new(partitions: u32, out: Edge<Tagged<T>>) -> Self {
        Scatter { partitions, source: 0, open: Vec::new(), others: BTreeMap::new(), out }
    }

    /// The rows that follow come from `source`.
    pub(super) fn open(&mut self, source: PartitionId) {
        if source.0 == self.source && !self.open.is_empty() {
            return;
        }
        let next = self.others.remove(&source.0);
        let next = next.unwrap_or_else(|| (0..self.partitions).map(|_| Vec::new()).collect());
        let before = std::mem::replace(&mut self.open, next);
        if !before.is_empty() {
            self.others.insert(self.source, before);
        }
        self.source = source.0;
    }

    /// Sends `row` to `partition`.
    pub(super) fn row(&mut self, partition: PartitionId, row: T) {
        let chunk = &mut self.open[partition.0 as usize];
        chunk.push(row);
        if chunk.len() == CHUNK_ROWS_MAX {
            let rows = std::mem::take(chunk);
            self.out.send(partition, vec![(self.source, rows)]);
        }
    }

    /// Sends what was held back.
    pub(super) fn flush(&mut self) {
        let Scatter { others, open, source, out, .. } = self;
        for (source, chunks) in std::mem::take(others).into_iter().chain([(*source, std::mem::take(open))]) {
            for (partition, rows) in chunks.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
                out.send(PartitionId(partition as u32), vec![(source, rows)]);
            }
        }
    }
}

/// The receiving side: all rows of a batch for the partitions of this worker.
pub(super) struct Arrived<T> {
    chunks: BTreeMap<PartitionId, BTreeMap<u32, Vec<Vec<T>>>>,
}

impl<T> Default for Arrived<T> {
    fn default() -> Self {
        Arrived { chunks: BTreeMap::new() }
    }
}

impl<T> Arrived<T> {
    pub(super) fn add(&mut self, partition: PartitionId, tagged: Vec<Tagged<T>>) {
        let sources = self.chunks.entry(partition).or_default();
        for (source, rows) in tagged {
            sources.entry(source).or_default().push(rows);
        }
    }

    /// The rows of `partition` in the order of (source partition, position). It has none afterwards.
    pub(super) fn take(&mut self, partition: PartitionId) -> impl Iterator<Item = T> + use<T> {
        self.chunks.remove(&partition).unwrap_or_default().into_values().flatten().flatten()
    }
}
