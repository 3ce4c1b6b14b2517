//! Pairs that are the same for all batches, and streams joined with them where they are: nothing is shuffled.

use super::filter::filter_as;
use super::flat_map::flat_map_as;
use crate::graph::Node;
use crate::push::Data;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

/// A table of values by key that does not change while a job runs, kept once a process. Copies are the same table.
///
/// A key may have several values; they are given in the order in which the table was made of them. Where a job runs in several
/// processes each makes its own, and they must be the same.
pub struct StaticPairs<K, W> {
    values: Arc<HashMap<K, Vec<W>>>,
}

impl<K: Hash + Eq, W> StaticPairs<K, W> {
    /// A table of `pairs`.
    pub fn new(pairs: impl IntoIterator<Item = (K, W)>) -> Self {
        let mut values: HashMap<K, Vec<W>> = HashMap::new();
        for (key, value) in pairs {
            values.entry(key).or_default().push(value);
        }
        StaticPairs { values: Arc::new(values) }
    }

    /// The values of `key`: none where the table does not have it.
    pub fn get(&self, key: &K) -> &[W] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<K, W> Clone for StaticPairs<K, W> {
    fn clone(&self) -> Self {
        StaticPairs { values: self.values.clone() }
    }
}

/// Shows the number of keys only: the values may be many.
impl<K, W> fmt::Debug for StaticPairs<K, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table of {} keys", self.values.len())
    }
}

/// Each pair with each value that `table` has for its key.
pub fn join_static<K, V, W>(parent: &Node<(K, V)>, table: &StaticPairs<K, W>) -> Node<(K, (V, W))>
where
    K: Data + Sync + Hash + Eq,
    V: Data,
    W: Data + Sync,
{
    let table = table.clone();
    flat_map_as(parent, "join_static", move |(key, value), out| {
        let Some((last, others)) = table.get(&key).split_last() else { return };
        for other in others {
            out((key.clone(), (value.clone(), other.clone())));
        }
        out((key, (value, last.clone())));
    })
}

/// As [`join_static`], with `None` where `table` does not have the key.
pub fn left_outer_join_static<K, V, W>(
    parent: &Node<(K, V)>,
    table: &StaticPairs<K, W>,
) -> Node<(K, (V, Option<W>))>
where
    K: Data + Sync + Hash + Eq,
    V: Data,
    W: Data + Sync,
{
    let table = table.clone();
    flat_map_as(parent, "left_outer_join_static", move |(key, value), out| {
        let Some((last, others)) = table.get(&key).split_last() else { return out((key, (value, None))) };
        for other in others {
            out((key.clone(), (value.clone(), Some(other.clone()))));
        }
        out((key, (value, Some(last.clone()))));
    })
}

/// The pairs whose key `table` does not have.
pub fn subtract_static<K, V, W>(parent: &Node<(K, V)>, table: &StaticPairs<K, W>) -> Node<(K, V)>
where
    K: Data + Sync + Hash + Eq,
    V: Data,
    W: Data + Sync,
{
    let table = table.clone();
    filter_as(parent, "subtract_static", move |(key, _)| table.get(key).is_empty())
}
