//! The records of a dataset in the order of a key.

use super::gather::{Parts, SendRows, gathered};
use super::repartition::refuse_none;
use crate::blame::Blame;
use crate::graph::{Node, PartitionCount};
use crate::push::ExchangeData;
use std::cmp::Ordering;
use std::sync::Arc;
use tidegate_core::Batch;

/// The records of each dataset in the order of what `key` gives for them, those of equal keys in the order in which they were.
/// In `partitions` of nearly one size (`None`: as many as `parent` has); records of equal keys are in the same.
///
/// A dataset must fit in the memory of the first worker, with its keys; the result stays there.
pub fn sort_by<T, K, F>(parent: &Node<T>, key: F, ascending: bool, partitions: Option<u32>) -> Node<T>
where
    T: ExchangeData,
    K: Ord,
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    let keyed = move |blame: &Blame, row: T| (blame.call(&row, &key), row);
    sorted(parent, "sort_by", ascending, partitions, keyed, |a, b| a.0.cmp(&b.0), |(_, row)| row)
}

/// As [`sort_by`], by the key of each pair.
pub fn sort_by_key<K, V>(parent: &Node<(K, V)>, ascending: bool, partitions: Option<u32>) -> Node<(K, V)>
where
    K: ExchangeData + Ord,
    V: ExchangeData,
{
    sorted(parent, "sort_by_key", ascending, partitions, |_, row| row, |a, b| a.0.cmp(&b.0), |row| row)
}

/// Rows are sorted as what `into` makes of them, and handed on as what `back` makes of that.
fn sorted<T, X, I, C, B>(
    parent: &Node<T>,
    kind: &str,
    ascending: bool,
    partitions: Option<u32>,
    into: I,
    compare: C,
    back: B,
) -> Node<T>
where
    T: ExchangeData,
    I: Fn(&Blame, T) -> X + Send + Sync + 'static,
    C: Fn(&X, &X) -> Ordering + Send + Sync + 'static,
    B: Fn(X) -> T + Send + Sync + 'static,
{
    let count: PartitionCount = match partitions {
        Some(partitions) => Arc::new(move |_| partitions),
        None => parent.partitions().clone(),
    };
    let parts_of = count.clone();
    let arrange = move |blame: &Blame, batch: &Batch, parts: Parts<T>| {
        let rows = parts.into_iter().flat_map(|(_, rows)| rows);
        let mut rows: Vec<X> = rows.map(|row| into(blame, row)).collect();
        // Both sorts are stable: records of equal keys stay in their order, whichever way it goes.
        rows.sort_by(|a, b| if ascending { compare(a, b) } else { compare(b, a) });
        let ends = ends(&rows, parts_of(batch.plan()), |a, b| compare(a, b).is_eq());
        let mut rows = rows.into_iter().map(&back);
        let mut begin = 0;
        let mut cut = |end| rows.by_ref().take(end - std::mem::replace(&mut begin, end)).collect();
        ends.into_iter().map(&mut cut).collect()
    };
    let node = gathered(parent, kind, count, arrange, |_, out| Box::new(SendRows::new(out)));
    if let Some(partitions) = partitions {
        refuse_none(&node, partitions);
    }
    node
}

/// Where each of `partitions` ends in sorted rows: all are of nearly one size, and equal rows are never parted.
fn ends<X>(rows: &[X], partitions: u32, same: impl Fn(&X, &X) -> bool) -> Vec<usize> {
    let mut before = 0;
    let end = |partition: u32| {
        let fair = (rows.len() as u128 * u128::from(partition + 1) / u128::from(partitions)) as usize;
        let mut end = fair.max(before);
        while 0 < end && end < rows.len() && same(&rows[end - 1], &rows[end]) {
            end += 1;
        }
        before = end;
        end
    };
    (0..partitions).map(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(rows: &[u32], partitions: u32) -> Vec<usize> {
        let ends = ends(rows, partitions, |a, b| a == b);
        let begins = [0].into_iter().chain(ends.iter().copied());
        begins.zip(&ends).map(|(begin, end)| end - begin).collect()
    }

    #[test]
    fn sorted_rows_are_cut_evenly_but_never_between_equal_ones() {
        assert_eq!(sizes(&[1, 2, 3, 4, 5, 6, 7], 3), [2, 2, 3]);
        assert_eq!(sizes(&[1, 1, 1, 1, 2, 3], 3), [4, 0, 2]);
        assert_eq!(sizes(&[5, 5, 5], 2), [3, 0]);
        assert_eq!(sizes(&[1, 2], 4), [0, 1, 0, 1]);
        assert_eq!(sizes(&[], 3), [0, 0, 0]);
        assert_eq!(sizes(&[], 0), [0; 0]);
    }
}
