//! The values of a key brought together.

use crate::{DStream, ExchangeData, Partitioner};
use std::hash::Hash;
use tidegate_dataflow::ops;

impl<K, V> DStream<(K, V)> {
    /// All values of each key of a batch, in the order of the partitions they come from and of their places there.
    ///
    /// Every value crosses the shuffle, and those of one key are in memory at once; where a sum or a count is wanted,
    /// [`reduce_by_key`](DStream::reduce_by_key) sends one value a key. The result has `tidegate.default.parallelism` partitions,
    /// by the key's hash. (Spark gives the values in the order in which they arrive, another one each time.)
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let groups = run_sorted(
    ///     |pairs: DStream<(char, u64)>| pairs.group_by_key(),
    ///     [vec![('a', 3), ('b', 2), ('a', 1)], vec![('b', 4)], vec![]],
    /// );
    /// assert_eq!(groups, [vec![('a', vec![3, 1]), ('b', vec![2])], vec![('b', vec![4])], vec![]]);
    /// ```
    pub fn group_by_key(&self) -> DStream<(K, Vec<V>)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        self.group_by_key_with_partitions(self.context().default_partitions())
    }

    /// As [`group_by_key`](DStream::group_by_key), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, Partitioner, testkit::run};
    /// let by_parity = || Partitioner::by("parity", 2, |n: &u32| n % 2);
    /// let odd_last = run(
    ///     move |n: DStream<u32>| n.map(|n| (n, n)).group_by_key_with_partitions(by_parity()).glom().map(|part| part.len()),
    ///     [vec![1u32, 2, 3, 5]],
    /// );
    /// assert_eq!(odd_last, [vec![1, 3]]);
    /// ```
    pub fn group_by_key_with_partitions(&self, partitions: impl Into<Partitioner<K>>) -> DStream<(K, Vec<V>)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        self.below(ops::group_by_key(self.node(), partitions))
    }

    /// One combiner for each key of a batch: `create` makes it of the key's first value, `merge_value` adds each further one.
    ///
    /// With `map_side_combine` this is done in each partition before the shuffle, so that one combiner a key and partition crosses
    /// it, and `merge_combiners` joins them; without, every value crosses it and `merge_combiners` is not called. Values and
    /// combiners meet in the order of partitions and places, so the functions need not be commutative, and sums of
    /// floating-point numbers are the same to the last digit on any number of workers.
    /// (At most 65,536 keys of a partition are combined before the shuffle at once: a key may have several combiners of one
    /// partition, in order. `merge_combiners` must fit `merge_value`, as in Spark.)
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let means = run_sorted(
    ///     |pairs: DStream<(char, u64)>| {
    ///         let sums = pairs.combine_by_key(
    ///             |n| (n, 1),
    ///             |(sum, count), n| (sum + n, count + 1),
    ///             |(sum, count), (more, others)| (sum + more, count + others),
    ///             4,
    ///             true,
    ///         );
    ///         sums.map_values(|(sum, count)| sum / count)
    ///     },
    ///     [vec![('a', 3), ('b', 2), ('a', 1)]],
    /// );
    /// assert_eq!(means, [vec![('a', 2), ('b', 2)]]);
    /// ```
    pub fn combine_by_key<C>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
        map_side_combine: bool,
    ) -> DStream<(K, C)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        C: ExchangeData,
    {
        let node = self.node();
        self.below(ops::combine_by_key(
            node,
            partitions,
            create,
            merge_value,
            merge_combiners,
            map_side_combine,
        ))
    }
}
