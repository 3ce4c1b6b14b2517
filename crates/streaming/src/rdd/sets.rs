//! Datasets as sets, and records grouped. All of it is a shuffle by the records' hash: into `tidegate.default.parallelism`
//! partitions where no number is given, and in the order of the hashes.

use crate::{ExchangeData, Partitioner, Rdd};
use std::hash::Hash;
use tidegate_dataflow::ops;

impl<T: ExchangeData> Rdd<T> {
    /// Each record once: of equal ones the first, in the order of partitions and positions.
    ///
    /// The distinct records of a partition are in memory before the shuffle (65,536 at most), all of those of a worker's
    /// partitions after it.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let once = run_sorted(|n: DStream<i32>| n.transform(|rdd| rdd.distinct()), [vec![2, 1, 2], vec![]]);
    /// assert_eq!(once, [vec![1, 2], vec![]]);
    /// ```
    #[must_use]
    pub fn distinct(&self) -> Rdd<T>
    where
        T: Hash + Eq,
    {
        self.distinct_with_partitions(self.default_partitions())
    }

    /// As [`distinct`](Rdd::distinct), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let once = |n: DStream<i32>| n.transform(|rdd| rdd.distinct_with_partitions(1).map_partitions(|n| [n.count()]));
    /// assert_eq!(run(once, [vec![2, 1, 2]]), [[2]]);
    /// ```
    #[must_use]
    pub fn distinct_with_partitions(&self, partitions: impl Into<Partitioner<T>>) -> Rdd<T>
    where
        T: Hash + Eq,
    {
        self.below(ops::distinct(self.stream().node(), partitions))
    }

    /// Each record that is in both datasets, once. Both are in memory, spread over the workers.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let both = |n: DStream<i32>| n.transform(|rdd| rdd.filter(|n| *n < 4).intersection(&rdd.filter(|n| *n > 1)));
    /// assert_eq!(run_sorted(both, [vec![1, 2, 2, 3, 4]]), [vec![2, 3]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    #[must_use]
    pub fn intersection(&self, other: &Rdd<T>) -> Rdd<T>
    where
        T: Hash + Eq,
    {
        self.intersection_with_partitions(other, self.default_partitions())
    }

    /// As [`intersection`](Rdd::intersection), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let both = |n: DStream<i32>| n.transform(|rdd| rdd.intersection_with_partitions(&rdd, 1).glom().map(|part| part.len()));
    /// assert_eq!(run(both, [vec![1, 2, 2]]), [[2]]);
    /// ```
    ///
    /// # Panics
    /// As [`intersection`](Rdd::intersection).
    #[must_use]
    pub fn intersection_with_partitions(
        &self,
        other: &Rdd<T>,
        partitions: impl Into<Partitioner<T>>,
    ) -> Rdd<T>
    where
        T: Hash + Eq,
    {
        self.assert_same_job(other, "intersection");
        self.below(ops::intersection(self.stream().node(), other.stream().node(), partitions))
    }

    /// The records that `other` does not have, as often as they are there. Both are in memory, spread over the workers.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let rest = |n: DStream<i32>| n.transform(|rdd| rdd.subtract(&rdd.filter(|n| *n > 2)));
    /// assert_eq!(run_sorted(rest, [vec![1, 3, 1, 2]]), [vec![1, 1, 2]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    #[must_use]
    pub fn subtract(&self, other: &Rdd<T>) -> Rdd<T>
    where
        T: Hash + Eq,
    {
        self.subtract_with_partitions(other, self.default_partitions())
    }

    /// As [`subtract`](Rdd::subtract), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let rest = |n: DStream<i32>| n.transform(|rdd| rdd.subtract_with_partitions(&rdd.filter(|n| *n > 1), 1).glom());
    /// assert_eq!(run(rest, [vec![1, 2, 1]]), [[[1, 1]]]);
    /// ```
    ///
    /// # Panics
    /// As [`subtract`](Rdd::subtract).
    #[must_use]
    pub fn subtract_with_partitions(&self, other: &Rdd<T>, partitions: impl Into<Partitioner<T>>) -> Rdd<T>
    where
        T: Hash + Eq,
    {
        self.assert_same_job(other, "subtract");
        self.below(ops::subtract(self.stream().node(), other.stream().node(), partitions))
    }

    /// The records of each key that `key` gives, in the order of partitions and positions. The records of a batch are in memory,
    /// spread over the workers; where only a total is wanted, reduce by key instead.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let groups = run_sorted(|n: DStream<i32>| n.transform(|rdd| rdd.group_by(|n| n % 2)), [vec![3, 2, 1]]);
    /// assert_eq!(groups, [vec![(0, vec![2]), (1, vec![3, 1])]]);
    /// ```
    #[must_use]
    pub fn group_by<K: ExchangeData + Hash + Eq>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Rdd<(K, Vec<T>)> {
        self.group_by_with_partitions(key, self.default_partitions())
    }

    /// As [`group_by`](Rdd::group_by), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let groups = run(|n: DStream<i32>| n.transform(|rdd| rdd.group_by_with_partitions(|_| 'a', 1)), [vec![3, 2]]);
    /// assert_eq!(groups, [[('a', vec![3, 2])]]);
    /// ```
    #[must_use]
    pub fn group_by_with_partitions<K: ExchangeData + Hash + Eq>(
        &self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
    ) -> Rdd<(K, Vec<T>)> {
        self.below(ops::group_by(self.stream().node(), partitions, key))
    }
}
