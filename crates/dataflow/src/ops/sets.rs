//! Datasets as sets: without the records that are there twice, or that another dataset has or lacks.

use super::cogroup::cogrouped;
use super::combine_by_key::combined_by_key;
use super::map::map_as;
use crate::graph::Node;
use crate::partitioner::Partitioner;
use crate::push::ExchangeData;
use std::hash::Hash;
use std::sync::Arc;

/// Each record of a dataset once: of equal ones the first, in the order of partitions and positions.
pub fn distinct<T>(parent: &Node<T>, partitioner: impl Into<Partitioner<T>>) -> Node<T>
where
    T: ExchangeData + Hash + Eq,
{
    const KIND: &str = "distinct";
    let pairs = map_as(parent, KIND, |record| (record, ()));
    let once = combined_by_key(&pairs, KIND, &partitioner.into(), Arc::new(|_, ()| ()), |(), ()| ());
    map_as(&once, KIND, |(record, ())| record)
}

/// Each record that is in both datasets, once, as `left` has it.
pub fn intersection<T>(left: &Node<T>, right: &Node<T>, partitioner: impl Into<Partitioner<T>>) -> Node<T>
where
    T: ExchangeData + Hash + Eq,
{
    const KIND: &str = "intersection";
    let pairs = |side| map_as(side, KIND, |record| (record, ()));
    cogrouped(&pairs(left), &pairs(right), KIND, partitioner.into(), |record, mine, theirs, out| {
        if !mine.is_empty() && !theirs.is_empty() {
            out(record);
        }
    })
}

/// The records of `left` that `right` has not, as often as `left` has them.
pub fn subtract<T>(left: &Node<T>, right: &Node<T>, partitioner: impl Into<Partitioner<T>>) -> Node<T>
where
    T: ExchangeData + Hash + Eq,
{
    const KIND: &str = "subtract";
    let pairs = |side| map_as(side, KIND, |record| (record, ()));
    cogrouped(&pairs(left), &pairs(right), KIND, partitioner.into(), |record: T, mine, theirs, out| {
        if theirs.is_empty() && !mine.is_empty() {
            (1..mine.len()).for_each(|_| out(record.clone()));
            out(record);
        }
    })
}

/// The pairs of `left` whose key `right` has not.
pub fn subtract_by_key<K, V, W>(
    left: &Node<(K, V)>,
    right: &Node<(K, W)>,
    partitioner: impl Into<Partitioner<K>>,
) -> Node<(K, V)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    W: ExchangeData,
{
    const KIND: &str = "subtract_by_key";
    // The values of the right side are not needed, so they are not sent.
    let keys = map_as(right, KIND, |(key, _)| (key, ()));
    cogrouped(left, &keys, KIND, partitioner.into(), |key: K, mut values: Vec<V>, theirs, out| {
        if !theirs.is_empty() {
            return;
        }
        let Some(last) = values.pop() else { return };
        values.into_iter().for_each(|value| out((key.clone(), value)));
        out((key, last));
    })
}
