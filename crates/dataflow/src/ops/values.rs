//! Functions of the values of pairs: keys, and so partitions, stay as they are.

use super::flat_map::flat_map_as;
use super::map::map_as;
use crate::graph::Node;
use crate::push::Data;

/// Applies `f` to each value.
pub fn map_values<K: Data, V: Data, W: Data>(
    parent: &Node<(K, V)>,
    f: impl Fn(V) -> W + Send + Sync + 'static,
) -> Node<(K, W)> {
    map_as(parent, "map_values", move |(key, value)| (key, f(value)))
}

/// Each value that `f` gives for a value, under its key.
pub fn flat_map_values<K: Data, V: Data, W: Data, I>(
    parent: &Node<(K, V)>,
    f: impl Fn(V) -> I + Send + Sync + 'static,
) -> Node<(K, W)>
where
    I: IntoIterator<Item = W>,
{
    flat_map_as(parent, "flat_map_values", move |(key, value), out| {
        let mut values = f(value).into_iter();
        let Some(mut value) = values.next() else { return };
        for next in values {
            out((key.clone(), std::mem::replace(&mut value, next)));
        }
        out((key, value));
    })
}
