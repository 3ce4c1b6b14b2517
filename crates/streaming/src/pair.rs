//! Operators on streams of pairs.

use crate::{DStream, ExchangeData};
use std::hash::Hash;
use tidegate_dataflow::ops;

// Bounds stand on each method: the compiler then says which one a type lacks, and how to mend it.
impl<K, V> DStream<(K, V)> {
    /// One value for each key of a batch: its values reduced by `f`.
    ///
    /// `f` must be associative and commutative: values are combined where they are read and again after the shuffle, in no
    /// particular order. The result has `tidegate.default.parallelism` partitions, by the key's hash.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let sums = run_sorted(
    ///     |pairs: DStream<(char, u64)>| pairs.reduce_by_key(|a, b| a + b),
    ///     [vec![('a', 1), ('b', 2), ('a', 3)], vec![('b', 4)]],
    /// );
    /// assert_eq!(sums, [vec![('a', 4), ('b', 2)], vec![('b', 4)]]);
    /// ```
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        self.reduce_by_key_with_partitions(f, self.context().default_partitions())
    }

    /// As [`reduce_by_key`](DStream::reduce_by_key), with `partitions` partitions.
    ///
    /// # Panics
    /// When `partitions` is 0.
    pub fn reduce_by_key_with_partitions(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: u32,
    ) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        assert!(partitions > 0, "reduce_by_key into 0 partitions; give it at least 1");
        self.below(ops::reduce_by_key(self.node(), partitions, f))
    }
}
