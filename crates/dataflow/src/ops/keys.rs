//! Keys given to records, and taken off again.

use super::combine_by_key::group_by_key;
use super::map::map_as;
use crate::graph::Node;
use crate::partitioner::Partitioner;
use crate::push::{Data, ExchangeData};
use std::hash::Hash;

/// Each record under the key that `key` gives for it.
pub fn key_by<T: Data, K: Data>(
    parent: &Node<T>,
    key: impl Fn(&T) -> K + Send + Sync + 'static,
) -> Node<(K, T)> {
    map_as(parent, "key_by", move |record| (key(&record), record))
}

/// The records of each key that `key` gives, in the order of (source partition, position).
pub fn group_by<T, K>(
    parent: &Node<T>,
    partitioner: impl Into<Partitioner<K>>,
    key: impl Fn(&T) -> K + Send + Sync + 'static,
) -> Node<(K, Vec<T>)>
where
    T: ExchangeData,
    K: ExchangeData + Hash + Eq,
{
    let keyed = map_as(parent, "group_by", move |record| (key(&record), record));
    group_by_key(&keyed, partitioner)
}

/// The key of each pair.
pub fn keys<K: Data, V: Data>(parent: &Node<(K, V)>) -> Node<K> {
    map_as(parent, "keys", |(key, _)| key)
}

/// The value of each pair.
pub fn values<K: Data, V: Data>(parent: &Node<(K, V)>) -> Node<V> {
    map_as(parent, "values", |(_, value)| value)
}
