//! Whole partitions: functions of them, and records put into others.

use crate::{Batch, Data, ExchangeData, PartitionId, Rdd};
use tidegate_dataflow::ops;

impl<T: Data> Rdd<T> {
    /// As [`DStream::map_partitions`](crate::DStream::map_partitions).
    #[must_use]
    pub fn map_partitions<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> Rdd<U> {
        Rdd::new(self.stream().map_partitions(f))
    }

    /// As [`map_partitions`](Rdd::map_partitions), where `f` is also told the partition.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let parts = run(
    ///     |n: DStream<i32>| n.transform(|rdd| {
    ///         let sorted = rdd.sort_by_with_partitions(|n| *n, true, 2);
    ///         sorted.map_partitions_with_index(|part, n| n.map(|n| (part.0, n)).collect::<Vec<_>>())
    ///     }),
    ///     [vec![4, 1, 3, 2]],
    /// );
    /// assert_eq!(parts, [vec![(0, 1), (0, 2), (1, 3), (1, 4)]]);
    /// ```
    #[must_use]
    pub fn map_partitions_with_index<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(PartitionId, std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> Rdd<U> {
        self.map_partitions_with_batch(move |_, partition, records| f(partition, records))
    }

    /// As [`map_partitions`](Rdd::map_partitions), where `f` is also told the batch and the partition.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let numbered = run(
    ///     |n: DStream<i32>| n.transform(|rdd| rdd.map_partitions_with_batch(|batch, _, n| n.map(move |n| (batch.id().0, n)).collect::<Vec<_>>())),
    ///     [vec![5], vec![6]],
    /// );
    /// assert_eq!(numbered, [vec![(1, 5)], vec![(2, 6)]]);
    /// ```
    #[must_use]
    pub fn map_partitions_with_batch<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(&Batch, PartitionId, std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> Rdd<U> {
        self.below(ops::map_partitions(self.stream().node(), f))
    }

    /// Each partition as one record, empty ones too.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let parts = run(|n: DStream<i32>| n.transform(|rdd| rdd.glom()), [vec![1, 2], vec![]]);
    /// assert_eq!(parts, [vec![vec![1, 2]], vec![vec![]]]);
    /// ```
    #[must_use]
    pub fn glom(&self) -> Rdd<Vec<T>> {
        Rdd::new(self.stream().glom())
    }

    /// The same records in the same order in at most `partitions` partitions: neighbours become one. A dataset that has no more
    /// than that keeps them; to get more there is [`repartition`](Rdd::repartition).
    ///
    /// Partition `i` of `n` is made of those from `i * m / n` to `(i + 1) * m / n` of the `m` before, as in Spark where no
    /// place is preferred. Into 0 is refused at the start.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let parts = run(
    ///     |n: DStream<i32>| n.transform(|rdd| rdd.sort_by_with_partitions(|n| *n, true, 5).coalesce(2).glom()),
    ///     [vec![1, 2, 3, 4, 5]],
    /// );
    /// assert_eq!(parts, [vec![vec![1, 2], vec![3, 4, 5]]]);
    /// ```
    #[must_use]
    pub fn coalesce(&self, partitions: u32) -> Rdd<T>
    where
        T: ExchangeData,
    {
        self.below(ops::coalesce(self.stream().node(), partitions))
    }

    /// The same records in `partitions` partitions of nearly one size: those of each partition are dealt out one by one, always
    /// in the same way. (Spark deals them out from a random place, so that a stage that is run again can lose records; here
    /// it can't.)
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let sizes = run(
    ///     |n: DStream<i32>| n.transform(|rdd| rdd.repartition(3).map_partitions(|part| [part.count()])),
    ///     [vec![1, 2, 3, 4, 5, 6]],
    /// );
    /// assert_eq!(sizes, [vec![2, 2, 2]]);
    /// ```
    #[must_use]
    pub fn repartition(&self, partitions: u32) -> Rdd<T>
    where
        T: ExchangeData,
    {
        Rdd::new(self.stream().repartition(partitions))
    }

    /// Each record with its number, counted from 0 in the order of partitions and positions.
    ///
    /// A batch's records are kept in memory, on the workers where they are, until their partitions are counted.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let numbered = run(|n: DStream<char>| n.transform(|rdd| rdd.zip_with_index()), [vec!['a', 'b'], vec!['c']]);
    /// assert_eq!(numbered, [vec![('a', 0), ('b', 1)], vec![('c', 0)]]);
    /// ```
    #[must_use]
    pub fn zip_with_index(&self) -> Rdd<(T, u64)> {
        self.below(ops::zip_with_index(self.stream().node()))
    }

    /// A random part of the records: each with probability `fraction`; or, `with_replacement`, each any number of times, `fraction`
    /// on average (a Poisson distribution).
    ///
    /// What is taken is decided by `seed`, the batch, the partition and the position of the record, so it is the same when the
    /// batch is run again and differs from batch to batch. (Spark with a given seed takes the same positions of each batch.)
    ///
    /// A negative fraction is refused at the start, and so is one over 1 without replacement.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let all = run(|n: DStream<i32>| n.transform(|rdd| rdd.sample(false, 1.0, 7)), [vec![1, 2, 3]]);
    /// assert_eq!(all, [vec![1, 2, 3]]);
    /// ```
    #[must_use]
    pub fn sample(&self, with_replacement: bool, fraction: f64, seed: u64) -> Rdd<T> {
        self.below(ops::sample(self.stream().node(), with_replacement, fraction, seed))
    }
}
