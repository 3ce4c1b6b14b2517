//! Records in an order of their own: sorted, the first or the last of that order.
//!
//! Ties are decided by the order of partitions and positions everywhere: of equal records the first comes first, and the first
//! is kept. Spark leaves them to chance.

use crate::{ExchangeData, Rdd};
use std::cmp::Ordering;
use tidegate_dataflow::ops;

impl<T: ExchangeData> Rdd<T> {
    /// The records in the order of what `key` gives for them; with `ascending` false, the largest first. Records of equal keys
    /// stay in their order, either way. Into as many partitions as there are.
    ///
    /// The records of a batch, with their keys, must fit in memory in one place: they are sorted there. Partitions are of nearly
    /// one size, and records of equal keys are in one. A key that is no `Ord` (`f64`) needs a wrapper that is.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let longest_first = |rdd: DStream<String>| rdd.transform(|rdd| rdd.sort_by(|word| word.len(), false));
    /// let sorted = run(longest_first, [vec!["ebb", "tide", "sea", "water"]]);
    /// assert_eq!(sorted, [["water", "tide", "ebb", "sea"]]);
    /// ```
    #[must_use]
    pub fn sort_by<K: Ord + 'static>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        ascending: bool,
    ) -> Rdd<T> {
        self.below(ops::sort_by(self.stream().node(), key, ascending, None))
    }

    /// As [`sort_by`](Rdd::sort_by), into `partitions` partitions: at least 1, or the start is refused.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let parts = run(
    ///     |n: DStream<i32>| n.transform(|rdd| rdd.sort_by_with_partitions(|n| *n, true, 2).glom()),
    ///     [vec![2, 1, 2, 2]],
    /// );
    /// assert_eq!(parts, [vec![vec![1, 2, 2, 2], vec![]]]);
    /// ```
    #[must_use]
    pub fn sort_by_with_partitions<K: Ord + 'static>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        ascending: bool,
        partitions: u32,
    ) -> Rdd<T> {
        self.below(ops::sort_by(self.stream().node(), key, ascending, Some(partitions)))
    }

    /// The `n` smallest records, smallest first; all where there are no more.
    ///
    /// Up to `2 * n` records (and some) of each partition are in memory, and `n` of each in one place.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let two = run(|n: DStream<i32>| n.transform(|rdd| rdd.take_ordered(2)), [vec![5, 3, 4], vec![1]]);
    /// assert_eq!(two, [vec![3, 4], vec![1]]);
    /// ```
    #[must_use]
    pub fn take_ordered(&self, n: usize) -> Rdd<T>
    where
        T: Ord,
    {
        self.least("take_ordered", n, Ord::cmp)
    }

    /// As [`take_ordered`](Rdd::take_ordered), in the order of what `key` gives for the records.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let shortest = |s: DStream<String>| s.transform(|rdd| rdd.take_ordered_by(2, |word| word.len()));
    /// assert_eq!(run(shortest, [vec!["flow", "ebb", "sea", "tide"]]), [["ebb", "sea"]]);
    /// ```
    #[must_use]
    pub fn take_ordered_by<K: ExchangeData + Ord>(
        &self,
        n: usize,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Rdd<T> {
        self.least_by("take_ordered_by", n, key, Ord::cmp)
    }

    /// The `n` largest records, largest first; all where there are no more. What is in memory is as for
    /// [`take_ordered`](Rdd::take_ordered).
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let two = run(|n: DStream<i32>| n.transform(|rdd| rdd.top(2)), [vec![5, 3, 6], vec![1]]);
    /// assert_eq!(two, [vec![6, 5], vec![1]]);
    /// ```
    #[must_use]
    pub fn top(&self, n: usize) -> Rdd<T>
    where
        T: Ord,
    {
        self.least("top", n, |a, b| b.cmp(a))
    }

    /// As [`top`](Rdd::top), in the order of what `key` gives for the records.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let most = |s: DStream<String>| s.transform(|rdd| rdd.count_by_value().top_by(1, |(_, times)| *times));
    /// assert_eq!(run(most, [vec!["ebb", "flow", "ebb"]]), [[("ebb".to_owned(), 2)]]);
    /// ```
    #[must_use]
    pub fn top_by<K: ExchangeData + Ord>(
        &self,
        n: usize,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Rdd<T> {
        self.least_by("top_by", n, key, |a, b| b.cmp(a))
    }

    /// The largest record; nothing of an empty dataset, where Spark throws.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// assert_eq!(run(|n: DStream<i32>| n.transform(|rdd| rdd.max()), [vec![1, 5, 3], vec![]]), [vec![5], vec![]]);
    /// ```
    #[must_use]
    pub fn max(&self) -> Rdd<T>
    where
        T: Ord,
    {
        self.reduce_as("max", |a, b| if b > a { b } else { a })
    }

    /// The smallest record; nothing of an empty dataset, where Spark throws.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// assert_eq!(run(|n: DStream<i32>| n.transform(|rdd| rdd.min()), [vec![4, 2, 3], vec![]]), [vec![2], vec![]]);
    /// ```
    #[must_use]
    pub fn min(&self) -> Rdd<T>
    where
        T: Ord,
    {
        self.reduce_as("min", |a, b| if b < a { b } else { a })
    }

    fn least(
        &self,
        kind: &str,
        n: usize,
        compare: impl Fn(&T, &T) -> Ordering + Copy + Send + Sync + 'static,
    ) -> Rdd<T> {
        self.least_as(kind, n, |row| row, compare, |row| row)
    }

    fn least_by<K: ExchangeData>(
        &self,
        kind: &str,
        n: usize,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        compare: impl Fn(&K, &K) -> Ordering + Copy + Send + Sync + 'static,
    ) -> Rdd<T> {
        self.least_as(
            kind,
            n,
            move |row: T| (key(&row), row),
            move |a: &(K, T), b: &(K, T)| compare(&a.0, &b.0),
            |(_, row)| row,
        )
    }

    /// The `n` least of each dataset by `compare`, which is given what `into` makes of the records; `back` gives them back.
    fn least_as<X: ExchangeData>(
        &self,
        kind: &str,
        n: usize,
        into: impl Fn(T) -> X + Send + Sync + 'static,
        compare: impl Fn(&X, &X) -> Ordering + Copy + Send + Sync + 'static,
        back: impl Fn(X) -> T + Copy + Send + Sync + 'static,
    ) -> Rdd<T> {
        let add = move |least: &mut Vec<X>, record| {
            least.push(into(record));
            if least.len() >= n.saturating_mul(2).max(LEAST_MIN) {
                keep_least(least, n, compare);
            }
        };
        let finish = move |_: &_, parts: Vec<Vec<X>>| {
            let mut least: Vec<X> = parts.into_iter().flatten().collect();
            keep_least(&mut least, n, compare);
            least.into_iter().map(back)
        };
        self.below(ops::aggregate(self.stream().node(), kind, Vec::new, add, finish))
    }
}

/// Records of a partition that are kept before it is looked which are too many.
const LEAST_MIN: usize = 64;

/// The sort is stable, and what comes later is behind: so of equal ones the first are kept.
fn keep_least<X>(rows: &mut Vec<X>, n: usize, compare: impl Fn(&X, &X) -> Ordering) {
    rows.sort_by(compare);
    rows.truncate(n);
}

impl<K: ExchangeData + Ord, V: ExchangeData> Rdd<(K, V)> {
    /// As [`sort_by`](Rdd::sort_by), by the key of each pair.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let sorted = run(
    ///     |pairs: DStream<(char, u32)>| pairs.transform(|rdd| rdd.sort_by_key(true)),
    ///     [vec![('b', 1), ('a', 2), ('b', 0)]],
    /// );
    /// assert_eq!(sorted, [[('a', 2), ('b', 1), ('b', 0)]]);
    /// ```
    #[must_use]
    pub fn sort_by_key(&self, ascending: bool) -> Rdd<(K, V)> {
        self.below(ops::sort_by_key(self.stream().node(), ascending, None))
    }

    /// As [`sort_by_key`](Rdd::sort_by_key), into `partitions` partitions: at least 1, or the start is refused.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let parts = run(
    ///     |pairs: DStream<(char, u32)>| pairs.transform(|rdd| rdd.sort_by_key_with_partitions(false, 2).keys().glom()),
    ///     [vec![('b', 1), ('a', 2)]],
    /// );
    /// assert_eq!(parts, [[['b'], ['a']]]);
    /// ```
    #[must_use]
    pub fn sort_by_key_with_partitions(&self, ascending: bool, partitions: u32) -> Rdd<(K, V)> {
        self.below(ops::sort_by_key(self.stream().node(), ascending, Some(partitions)))
    }
}
