//! The first records of a dataset.

use super::gather::{Parts, SendRows, gathered};
use crate::blame::Blame;
use crate::graph::Node;
use crate::push::{ExchangeData, Push};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// The first `n` records of each dataset, in the order of partitions and positions, as a dataset of one partition.
///
/// Up to `n` records of each partition come to the first worker.
pub fn take<T: ExchangeData>(parent: &Node<T>, n: usize) -> Node<T> {
    taken(parent, "take", n)
}

/// The first record of each dataset; nothing of one that is empty.
pub fn first<T: ExchangeData>(parent: &Node<T>) -> Node<T> {
    taken(parent, "first", 1)
}

fn taken<T: ExchangeData>(parent: &Node<T>, kind: &str, n: usize) -> Node<T> {
    let arrange = move |_: &Blame, _: &Batch, parts: Parts<T>| {
        vec![parts.into_iter().flat_map(|(_, rows)| rows).take(n).collect()]
    };
    gathered(parent, kind, Arc::new(|_| 1), arrange, move |_, out| {
        Box::new(Take { n, at: PartitionId(0), taken: BTreeMap::new(), rows: SendRows::new(out) })
    })
}

/// Sends the first records of each partition. A record that is not taken is not copied.
struct Take<T> {
    n: usize,
    at: PartitionId,
    taken: BTreeMap<PartitionId, usize>,
    rows: SendRows<T>,
}

impl<T> Take<T> {
    fn takes(&mut self) -> bool {
        let taken = self.taken.entry(self.at).or_default();
        let takes = *taken < self.n;
        *taken += usize::from(takes);
        takes
    }
}

impl<T: ExchangeData> Push<T> for Take<T> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        self.at = partition;
        self.rows.open(batch, partition);
    }

    fn push(&mut self, record: T) {
        if self.takes() {
            self.rows.push(record);
        }
    }

    fn push_ref(&mut self, record: &T) {
        if self.takes() {
            self.rows.push_ref(record);
        }
    }

    fn flush(&mut self, batch: &Batch) {
        self.taken.clear();
        self.rows.flush(batch);
    }
}
