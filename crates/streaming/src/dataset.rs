//! Operators on whole datasets: counted, reduced, united, put into other partitions, transformed.

use crate::{DStream, Data, ExchangeData, Partitioner, Rdd, StreamingContext};
use std::hash::Hash;
use tidegate_dataflow::ops;

impl StreamingContext {
    /// All records of all `streams`. Partitions are kept: those of the first stream come first.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let all = run(|n: DStream<i32>| n.context().union(&[n.clone(), n.map(|n| n + 1), n.map(|n| n + 2)]), [vec![1]]);
    /// assert_eq!(all, [vec![1, 2, 3]]);
    /// ```
    ///
    /// # Panics
    /// When there is no stream, or one belongs to another context: one job can't read what another computes.
    pub fn union<T: Data>(&self, streams: &[DStream<T>]) -> DStream<T> {
        let first = streams.first().expect("a union of no streams; give it at least one");
        for stream in streams {
            first.assert_same_job(stream, "union");
        }
        assert!(
            self.is_same(first.context()),
            "union of streams of another context; call it on the StreamingContext they were built from"
        );
        let nodes: Vec<_> = streams.iter().map(|stream| stream.node().clone()).collect();
        first.below(ops::union(&nodes))
    }

    /// What `f` makes of each batch's datasets of all `streams`, given in their order. As [`DStream::transform`], `f` runs
    /// once, when the graph is built. For streams of different types there is [`DStream::transform_with`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let sums = run(
    ///     |n: DStream<u64>| {
    ///         let streams = [n.clone(), n.map(|n| n * 10)];
    ///         n.context().transform(&streams, |rdds| rdds[0].union(&rdds[1]).count())
    ///     },
    ///     [vec![1u64, 2]],
    /// );
    /// assert_eq!(sums, [vec![4]]);
    /// ```
    ///
    /// # Panics
    /// When there is no stream, or one belongs to another context.
    pub fn transform<T: Data, U: Data>(
        &self,
        streams: &[DStream<T>],
        f: impl FnOnce(Vec<Rdd<T>>) -> Rdd<U>,
    ) -> DStream<U> {
        let first = streams.first().expect("transform of no streams; give it at least one");
        for stream in streams {
            first.assert_same_job(stream, "transform");
        }
        f(streams.iter().cloned().map(Rdd::new).collect()).into_stream()
    }
}

impl<T: Data> DStream<T> {
    /// All records of this stream and of `other`. Partitions are kept: those of `other` come behind.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let both = run(|n: DStream<i32>| n.filter(|n| *n < 3).union(&n.map(|n| n * 10)), [vec![1, 2, 3]]);
    /// assert_eq!(both, [vec![1, 2, 10, 20, 30]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    pub fn union(&self, other: &DStream<T>) -> DStream<T> {
        self.context().union(&[self.clone(), other.clone()])
    }

    /// The number of records of each batch, as its only record: 0 for an empty batch.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// assert_eq!(run(|n: DStream<i32>| n.count(), [vec![7, 7, 7], vec![]]), [vec![3], vec![0]]);
    /// ```
    pub fn count(&self) -> DStream<u64> {
        self.below(ops::count(self.node()))
    }

    /// The records of each batch reduced by `f` to one: nothing for an empty batch, unlike [`count`](DStream::count).
    ///
    /// `f` must be associative. It need not be commutative, as it must in Spark: partitions are reduced where they are and their
    /// results in order.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let longest = run(
    ///     |words: DStream<String>| words.reduce(|a, b| if b.len() > a.len() { b } else { a }),
    ///     [vec!["ebb", "tide", "flow"], vec![]],
    /// );
    /// assert_eq!(longest, [vec!["tide".to_owned()], vec![]]);
    /// ```
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> DStream<T>
    where
        T: ExchangeData,
    {
        self.below(ops::reduce(self.node(), f))
    }

    /// How often each value occurs in each batch.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let counts = run_sorted(|words: DStream<String>| words.count_by_value(), [vec!["b", "a", "b"], vec![]]);
    /// assert_eq!(counts, [vec![("a".to_owned(), 1), ("b".to_owned(), 2)], vec![]]);
    /// ```
    pub fn count_by_value(&self) -> DStream<(T, u64)>
    where
        T: ExchangeData + Hash + Eq,
    {
        self.count_by_value_with_partitions(self.context().default_partitions())
    }

    /// As [`count_by_value`](DStream::count_by_value), with a number of partitions or a [`Partitioner`].
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let counts = run(|words: DStream<char>| words.count_by_value_with_partitions(1), [vec!['b', 'b']]);
    /// assert_eq!(counts, [vec![('b', 2)]]);
    /// ```
    pub fn count_by_value_with_partitions(&self, partitions: impl Into<Partitioner<T>>) -> DStream<(T, u64)>
    where
        T: ExchangeData + Hash + Eq,
    {
        self.map(|value| (value, 1u64)).reduce_by_key_with_partitions(|a, b| a + b, partitions)
    }

    /// Each partition of a batch as one record, empty ones too: `map_partitions` without a function.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let partitions = run(|n: DStream<i32>| n.repartition(1).glom(), [vec![1, 2, 3], vec![]]);
    /// assert_eq!(partitions, [vec![vec![1, 2, 3]], vec![vec![]]]);
    /// ```
    pub fn glom(&self) -> DStream<Vec<T>> {
        self.map_partitions(|records| [records.collect()])
    }

    /// The same records in `partitions` partitions of nearly one size. More of them, and more workers have something to do.
    ///
    /// The records of each partition are dealt out one by one, beginning at a place that differs from partition to partition:
    /// always in the same way, so that a batch that is run again has each record where it was.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run_sorted};
    /// let sizes = run_sorted(|n: DStream<i32>| n.repartition(4).glom().map(|part| part.len()), [vec![7; 10]]);
    /// assert_eq!(sizes, [vec![2, 2, 3, 3]]);
    /// ```
    pub fn repartition(&self, partitions: u32) -> DStream<T>
    where
        T: ExchangeData,
    {
        self.below(ops::repartition(self.node(), partitions))
    }

    /// This stream. In Spark `cache` keeps a dataset that several operators use from being computed once for each; here what
    /// several operators use is computed once anyway, and nothing is kept.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// assert_eq!(run(|n: DStream<i32>| n.map(|n| n * n).cache(), [vec![3]]), [vec![9]]);
    /// ```
    #[must_use]
    pub fn cache(&self) -> DStream<T> {
        self.clone()
    }

    /// As [`cache`](DStream::cache): this stream. There are no storage levels, because nothing is kept.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// assert_eq!(run(|n: DStream<i32>| n.map(|n| n * n).persist(), [vec![3]]), [vec![9]]);
    /// ```
    #[must_use]
    pub fn persist(&self) -> DStream<T> {
        self.clone()
    }

    /// What `f` makes of each batch's dataset.
    ///
    /// In Spark `f` runs on the driver for each batch. Here it runs once, when the graph is built, and declares what
    /// happens to every batch; what must vary by batch takes the [`Batch`](crate::Batch) as an argument
    /// ([`Rdd::map_partitions_with_batch`]).
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let out = run(|n: DStream<i32>| n.transform(|rdd| rdd.filter(|n| *n > 1).map(|n| n + 1)), [vec![1, 2]]);
    /// assert_eq!(out, [vec![3]]);
    /// ```
    pub fn transform<U: Data>(&self, f: impl FnOnce(Rdd<T>) -> Rdd<U>) -> DStream<U> {
        f(Rdd::new(self.clone())).into_stream()
    }

    /// What `f` makes of each batch's datasets of this stream and of `other`. As [`transform`](DStream::transform), `f` runs
    /// once, when the graph is built.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let both = run(
    ///     |n: DStream<i32>| n.transform_with(&n.count(), |n, count| n.map(|n| n as u64).union(&count)),
    ///     [vec![5, 6], vec![]],
    /// );
    /// assert_eq!(both, [vec![5, 6, 2], vec![0]]);
    /// ```
    ///
    /// # Panics
    /// When `other` belongs to another context.
    pub fn transform_with<U: Data, V: Data>(
        &self,
        other: &DStream<U>,
        f: impl FnOnce(Rdd<T>, Rdd<U>) -> Rdd<V>,
    ) -> DStream<V> {
        self.assert_same_job(other, "transform_with");
        f(Rdd::new(self.clone()), Rdd::new(other.clone())).into_stream()
    }
}
