//! Datasets of pairs, beyond what streams of pairs have too.

use crate::{Data, ExchangeData, Partitioner, Rdd, StaticPairs};
use std::hash::Hash;
use tidegate_dataflow::ops;

// Bounds stand on each method: the compiler then says which one a type lacks, and how to mend it.
impl<K: Data, V: Data> Rdd<(K, V)> {
    /// The key of each pair.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let keys = run(|pairs: DStream<(char, u32)>| pairs.transform(|rdd| rdd.keys()), [vec![('b', 1), ('a', 2)]]);
    /// assert_eq!(keys, [['b', 'a']]);
    /// ```
    #[must_use]
    pub fn keys(&self) -> Rdd<K> {
        self.below(ops::keys(self.stream().node()))
    }

    /// The value of each pair.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let values = run(|pairs: DStream<(char, u32)>| pairs.transform(|rdd| rdd.values()), [vec![('b', 1), ('a', 2)]]);
    /// assert_eq!(values, [[1, 2]]);
    /// ```
    #[must_use]
    pub fn values(&self) -> Rdd<V> {
        self.below(ops::values(self.stream().node()))
    }

    /// How many pairs each key has. In Spark a map on the driver; here a dataset.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let counts = run_sorted(
    ///     |pairs: DStream<(char, u32)>| pairs.transform(|rdd| rdd.count_by_key()),
    ///     [vec![('b', 1), ('a', 2), ('b', 3)]],
    /// );
    /// assert_eq!(counts, [[('a', 1), ('b', 2)]]);
    /// ```
    #[must_use]
    pub fn count_by_key(&self) -> Rdd<(K, u64)>
    where
        K: ExchangeData + Hash + Eq,
    {
        self.keys().count_by_value()
    }

    /// The pairs whose key `other` does not have. Both are in memory, spread over the workers, though of `other` only the keys.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let rest = |pairs: DStream<(char, u32)>| pairs.transform(|rdd| rdd.subtract_by_key(&rdd.filter(|(_, n)| *n > 2)));
    /// assert_eq!(run_sorted(rest, [vec![('b', 1), ('a', 2), ('b', 3)]]), [[('a', 2)]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    #[must_use]
    pub fn subtract_by_key<W>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.subtract_by_key_with_partitions(other, self.default_partitions())
    }

    /// As [`subtract_by_key`](Rdd::subtract_by_key), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let rest = |pairs: DStream<(char, u32)>| pairs.transform(|rdd| {
    ///     rdd.subtract_by_key_with_partitions(&rdd.filter(|(_, n)| *n > 2), 1).glom()
    /// });
    /// assert_eq!(run(rest, [vec![('b', 1), ('a', 2), ('b', 3)]]), [[[('a', 2)]]]);
    /// ```
    ///
    /// # Panics
    /// As [`subtract_by_key`](Rdd::subtract_by_key).
    #[must_use]
    pub fn subtract_by_key_with_partitions<W>(
        &self,
        other: &Rdd<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> Rdd<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        self.assert_same_job(other, "subtract_by_key");
        self.below(ops::subtract_by_key(self.stream().node(), other.stream().node(), partitions))
    }

    /// As [`DStream::join_static`](crate::DStream::join_static).
    #[must_use]
    pub fn join_static<W: Data + Sync>(&self, table: &StaticPairs<K, W>) -> Rdd<(K, (V, W))>
    where
        K: Sync + Hash + Eq,
    {
        Rdd::new(self.stream().join_static(table))
    }

    /// As [`DStream::left_outer_join_static`](crate::DStream::left_outer_join_static).
    #[must_use]
    pub fn left_outer_join_static<W: Data + Sync>(
        &self,
        table: &StaticPairs<K, W>,
    ) -> Rdd<(K, (V, Option<W>))>
    where
        K: Sync + Hash + Eq,
    {
        Rdd::new(self.stream().left_outer_join_static(table))
    }

    /// As [`DStream::subtract_static`](crate::DStream::subtract_static).
    #[must_use]
    pub fn subtract_static<W: Data + Sync>(&self, table: &StaticPairs<K, W>) -> Rdd<(K, V)>
    where
        K: Sync + Hash + Eq,
    {
        Rdd::new(self.stream().subtract_static(table))
    }
}

impl<K: ExchangeData + Hash + Eq, V: ExchangeData> Rdd<(K, V)> {
    /// As [`DStream::reduce_by_key`](crate::DStream::reduce_by_key).
    #[must_use]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Rdd<(K, V)> {
        Rdd::new(self.stream().reduce_by_key(f))
    }
}
