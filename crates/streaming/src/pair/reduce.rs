//! One value a key.

use crate::{DStream, Data, ExchangeData, Outcome, Partitioner};
use std::borrow::Borrow;
use std::hash::Hash;
use tidegate_dataflow::{ops, raise};

impl<T: Data> DStream<T> {
    /// [`flat_map_with`](DStream::flat_map_with) and [`reduce_by_key`](DStream::reduce_by_key) in one, for keys that are
    /// parts of the record: `emit` gives them as borrowed, and a key is made only when it is new to the batch.
    ///
    /// Not in Spark. Counting the words of lines it saves most of the work: no word is copied that was seen before. `emit`
    /// may return nothing or a `Result`; an error fails the batch and stops the job.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let counts = run_sorted(
    ///     |lines: DStream<String>| -> DStream<(String, u64)> {
    ///         lines.flat_map_reduce_by_key(
    ///             |line: String, out: &mut dyn FnMut(&str, u64)| line.split(' ').for_each(|word| out(word, 1)),
    ///             |a, b| a + b,
    ///         )
    ///     },
    ///     [vec!["b a", "b"]],
    /// );
    /// assert_eq!(counts, [vec![("a".to_owned(), 1), ("b".to_owned(), 2)]]);
    /// ```
    pub fn flat_map_reduce_by_key<Q, K, V, R>(
        &self,
        emit: impl Fn(T, &mut dyn FnMut(&Q, V)) -> R + Send + Sync + 'static,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> DStream<(K, V)>
    where
        Q: Hash + Eq + ?Sized + 'static,
        K: ExchangeData + Hash + Eq + Borrow<Q> + for<'a> From<&'a Q>,
        V: ExchangeData,
        R: Outcome,
    {
        let emit = move |record, out: &mut dyn FnMut(&Q, V)| {
            emit(record, out).into_result().unwrap_or_else(|e| raise(e))
        };
        self.below(ops::flat_map_reduce_by_key(self.node(), self.context().default_partitions(), emit, f))
    }
}

impl<K, V> DStream<(K, V)> {
    /// One value for each key of a batch: its values reduced by `f`.
    ///
    /// `f` must be associative and commutative: values are combined where they are read and again after the shuffle, in no
    /// particular order. A sum of floating-point numbers is neither, strictly: its last digits may differ from run to run, as they
    /// do in Spark; [`combine_by_key`](DStream::combine_by_key) adds in a fixed order. The result has `tidegate.default.parallelism` partitions, by the key's hash.
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

    /// As [`reduce_by_key`](DStream::reduce_by_key), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let sum = run(|n: DStream<u64>| n.map(|n| ((), n)).reduce_by_key_with_partitions(|a, b| a + b, 1), [vec![1u64, 2]]);
    /// assert_eq!(sum, [vec![((), 3)]]);
    /// ```
    pub fn reduce_by_key_with_partitions(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
    ) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        self.below(ops::reduce_by_key(self.node(), partitions, f))
    }
}
