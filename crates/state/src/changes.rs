//! What changed in a state since it was last asked: a view that stays as it is, sorted for a file.

use crate::disk::DiskChanges;
use crate::order::sorted_by_bytes;
use crate::row::{Row, StateKey, StateValue};
use std::vec;
use tidegate_core::Result;

/// What changed in a [`KeyedState`](crate::KeyedState), as of the moment it was taken.
pub struct Changes<K, V> {
    taken: Taken<K, V>,
}

enum Taken<K, V> {
    Memory(Vec<Row<K, V>>),
    Disk(DiskChanges<K, V>),
}

impl<K: StateKey, V: StateValue> Changes<K, V> {
    pub(crate) fn in_memory(rows: Vec<Row<K, V>>) -> Self {
        Changes { taken: Taken::Memory(rows) }
    }

    pub(crate) fn on_disk(changes: DiskChanges<K, V>) -> Self {
        Changes { taken: Taken::Disk(changes) }
    }

    /// Number of keys that changed.
    pub fn len(&self) -> u64 {
        match &self.taken {
            Taken::Memory(rows) => rows.len() as u64,
            Taken::Disk(changes) => changes.len(),
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, one a key, in the order of the bytes of their keys. Sorting and reading happen here, on the thread that asks;
    /// the rows themselves stay on it.
    pub fn into_rows(self) -> Rows<K, V> {
        let source = match self.taken {
            Taken::Memory(rows) => Source::of_memory(rows),
            Taken::Disk(changes) => Source::Disk(Box::new(changes.into_rows())),
        };
        Rows { source }
    }
}

/// The rows of [`Changes`]. After an error there are no more.
pub struct Rows<K, V> {
    source: Source<K, V>,
}

enum Source<K, V> {
    Memory(vec::IntoIter<Row<K, V>>),
    Disk(Box<dyn Iterator<Item = Result<Row<K, V>>>>),
    Failed(Option<tidegate_core::Error>),
}

impl<K: StateKey, V: StateValue> Source<K, V> {
    fn of_memory(rows: Vec<Row<K, V>>) -> Self {
        let all: Vec<usize> = (0..rows.len()).collect();
        let order = match sorted_by_bytes(&all, |at| &rows[at].key) {
            Ok(order) => order,
            Err(error) => return Source::Failed(Some(error)),
        };
        let mut rows: Vec<Option<Row<K, V>>> = rows.into_iter().map(Some).collect();
        let sorted: Vec<Row<K, V>> = order.into_iter().filter_map(|at| rows[at].take()).collect();
        Source::Memory(sorted.into_iter())
    }
}

impl<K: StateKey, V: StateValue> Iterator for Rows<K, V> {
    type Item = Result<Row<K, V>>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Memory(rows) => rows.next().map(Ok),
            Source::Disk(rows) => rows.next(),
            Source::Failed(error) => error.take().map(Err),
        }
    }
}
