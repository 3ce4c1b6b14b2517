//! Two streams brought together by key.

#![expect(clippy::type_complexity, reason = "a name would hide what a record of a join is")]

use crate::{DStream, ExchangeData, Partitioner};
use std::hash::Hash;
use tidegate_dataflow::ops;

impl<K, V> DStream<(K, V)> {
    /// For each key of a batch that either stream has, its values in both: an empty vector where one has none.
    ///
    /// Values are in the order of the partitions they come from and of their places there; all those of one key are in memory at
    /// once. The result has `tidegate.default.parallelism` partitions, by the key's hash. The streams must have the same slide.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let both = run_sorted(
    ///     |pairs: DStream<(char, u64)>| pairs.cogroup(&pairs.filter(|(key, _)| *key == 'b').map_values(|n| n * 10)),
    ///     [vec![('a', 1), ('b', 2), ('a', 3)]],
    /// );
    /// assert_eq!(both, [vec![('a', (vec![1, 3], vec![])), ('b', (vec![2], vec![20]))]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    pub fn cogroup<W>(&self, other: &DStream<(K, W)>) -> DStream<(K, (Vec<V>, Vec<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.cogroup_with_partitions(other, self.context().default_partitions())
    }

    /// As [`cogroup`](DStream::cogroup), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let keys = |n: DStream<u32>| n.map(|n| (n, ())).cogroup_with_partitions(&n.map(|n| (n, ())), 1).map(|(key, _)| key);
    /// assert_eq!(run(keys, [vec![7u32]]), [vec![7]]);
    /// ```
    ///
    /// # Panics
    /// As [`cogroup`](DStream::cogroup).
    pub fn cogroup_with_partitions<W>(
        &self,
        other: &DStream<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> DStream<(K, (Vec<V>, Vec<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.assert_same_job(other, "cogroup");
        self.below(ops::cogroup(self.node(), other.node(), partitions))
    }

    /// For each key of a batch that both streams have, every pair of its values: two values here and three there give six.
    ///
    /// The result has `tidegate.default.parallelism` partitions, by the key's hash. The streams must have the same slide: a batch
    /// is joined with the same batch of `other`, and with a longer past where `other` is a window.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let both = run_sorted(
    ///     |pairs: DStream<(char, u64)>| pairs.join(&pairs.filter(|(key, _)| *key == 'b').map_values(|n| n * 10)),
    ///     [vec![('a', 1), ('b', 2), ('a', 3)]],
    /// );
    /// assert_eq!(both, [vec![('b', (2, 20))]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    pub fn join<W>(&self, other: &DStream<(K, W)>) -> DStream<(K, (V, W))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.join_with_partitions(other, self.context().default_partitions())
    }

    /// As [`join`](DStream::join), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let keys = |n: DStream<u32>| n.map(|n| (n, ())).join_with_partitions(&n.map(|n| (n, ())), 1).map(|(key, _)| key);
    /// assert_eq!(run(keys, [vec![7u32]]), [vec![7]]);
    /// ```
    ///
    /// # Panics
    /// As [`join`](DStream::join).
    pub fn join_with_partitions<W>(
        &self,
        other: &DStream<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> DStream<(K, (V, W))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.assert_same_job(other, "join");
        self.below(ops::join(self.node(), other.node(), partitions))
    }

    /// As [`join`](DStream::join), and a pair with `None` for each value of a key that `other` does not have.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let both = run_sorted(
    ///     |pairs: DStream<(char, u64)>| pairs.left_outer_join(&pairs.filter(|(key, _)| *key == 'b').map_values(|n| n * 10)),
    ///     [vec![('a', 1), ('b', 2), ('a', 3)]],
    /// );
    /// assert_eq!(both, [vec![('a', (1, None)), ('a', (3, None)), ('b', (2, Some(20)))]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    pub fn left_outer_join<W>(&self, other: &DStream<(K, W)>) -> DStream<(K, (V, Option<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.left_outer_join_with_partitions(other, self.context().default_partitions())
    }

    /// As [`left_outer_join`](DStream::left_outer_join), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let keys = |n: DStream<u32>| n.map(|n| (n, ())).left_outer_join_with_partitions(&n.map(|n| (n, ())), 1).map(|(key, _)| key);
    /// assert_eq!(run(keys, [vec![7u32]]), [vec![7]]);
    /// ```
    ///
    /// # Panics
    /// As [`left_outer_join`](DStream::left_outer_join).
    pub fn left_outer_join_with_partitions<W>(
        &self,
        other: &DStream<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> DStream<(K, (V, Option<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.assert_same_job(other, "left_outer_join");
        self.below(ops::left_outer_join(self.node(), other.node(), partitions))
    }

    /// As [`join`](DStream::join), and a pair with `None` for each value of `other` whose key this stream does not have.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let both = run_sorted(
    ///     |pairs: DStream<(char, u64)>| pairs.right_outer_join(&pairs.filter(|(key, _)| *key == 'b').map_values(|n| n * 10)),
    ///     [vec![('b', 2)], vec![('d', 4)]],
    /// );
    /// assert_eq!(both, [vec![('b', (Some(2), 20))], vec![]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    pub fn right_outer_join<W>(&self, other: &DStream<(K, W)>) -> DStream<(K, (Option<V>, W))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.right_outer_join_with_partitions(other, self.context().default_partitions())
    }

    /// As [`right_outer_join`](DStream::right_outer_join), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let keys = |n: DStream<u32>| n.map(|n| (n, ())).right_outer_join_with_partitions(&n.map(|n| (n, ())), 1).map(|(key, _)| key);
    /// assert_eq!(run(keys, [vec![7u32]]), [vec![7]]);
    /// ```
    ///
    /// # Panics
    /// As [`right_outer_join`](DStream::right_outer_join).
    pub fn right_outer_join_with_partitions<W>(
        &self,
        other: &DStream<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> DStream<(K, (Option<V>, W))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.assert_same_job(other, "right_outer_join");
        self.below(ops::right_outer_join(self.node(), other.node(), partitions))
    }

    /// As [`join`](DStream::join), and a pair with `None` for each value whose key the other of the two does not have.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let both = run_sorted(
    ///     |pairs: DStream<(char, u64)>| pairs.full_outer_join(&pairs.filter(|(key, _)| *key == 'b').map_values(|n| n * 10)),
    ///     [vec![('a', 1), ('b', 2)]],
    /// );
    /// assert_eq!(both, [vec![('a', (Some(1), None)), ('b', (Some(2), Some(20)))]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    pub fn full_outer_join<W>(&self, other: &DStream<(K, W)>) -> DStream<(K, (Option<V>, Option<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.full_outer_join_with_partitions(other, self.context().default_partitions())
    }

    /// As [`full_outer_join`](DStream::full_outer_join), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let keys = |n: DStream<u32>| n.map(|n| (n, ())).full_outer_join_with_partitions(&n.map(|n| (n, ())), 1).map(|(key, _)| key);
    /// assert_eq!(run(keys, [vec![7u32]]), [vec![7]]);
    /// ```
    ///
    /// # Panics
    /// As [`full_outer_join`](DStream::full_outer_join).
    pub fn full_outer_join_with_partitions<W>(
        &self,
        other: &DStream<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> DStream<(K, (Option<V>, Option<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.assert_same_job(other, "full_outer_join");
        self.below(ops::full_outer_join(self.node(), other.node(), partitions))
    }
}
