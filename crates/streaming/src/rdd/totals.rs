//! A whole dataset as one value, or as its first records.

use crate::{Data, ExchangeData, Partitioner, Rdd};
use std::hash::Hash;
use std::iter::Sum;
use std::sync::Arc;
use tidegate_dataflow::ops;

impl<T: Data> Rdd<T> {
    /// As [`DStream::count`](crate::DStream::count).
    #[must_use]
    pub fn count(&self) -> Rdd<u64> {
        Rdd::new(self.stream().count())
    }

    /// As [`DStream::count_by_value`](crate::DStream::count_by_value).
    #[must_use]
    pub fn count_by_value(&self) -> Rdd<(T, u64)>
    where
        T: ExchangeData + Hash + Eq,
    {
        Rdd::new(self.stream().count_by_value())
    }

    /// As [`DStream::count_by_value_with_partitions`](crate::DStream::count_by_value_with_partitions).
    #[must_use]
    pub fn count_by_value_with_partitions(&self, partitions: impl Into<Partitioner<T>>) -> Rdd<(T, u64)>
    where
        T: ExchangeData + Hash + Eq,
    {
        Rdd::new(self.stream().count_by_value_with_partitions(partitions))
    }

    /// Whether there is no record, as the only record.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// assert_eq!(run(|n: DStream<i32>| n.transform(|rdd| rdd.is_empty()), [vec![1], vec![]]), [[false], [true]]);
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> Rdd<bool> {
        self.count().map(|count| count == 0)
    }

    /// The first `n` records, in the order of partitions and positions; all where there are no more.
    ///
    /// Up to `n` records of each partition are in memory in one place.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let two = run(|n: DStream<i32>| n.transform(|rdd| rdd.take(2)), [vec![5, 3, 4], vec![1]]);
    /// assert_eq!(two, [vec![5, 3], vec![1]]);
    /// ```
    #[must_use]
    pub fn take(&self, n: usize) -> Rdd<T>
    where
        T: ExchangeData,
    {
        self.below(ops::take(self.stream().node(), n))
    }

    /// The first record; nothing of an empty dataset, where Spark throws.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// assert_eq!(run(|n: DStream<i32>| n.transform(|rdd| rdd.first()), [vec![5, 3], vec![]]), [vec![5], vec![]]);
    /// ```
    #[must_use]
    pub fn first(&self) -> Rdd<T>
    where
        T: ExchangeData,
    {
        self.below(ops::first(self.stream().node()))
    }

    /// The records reduced by `f` to one; nothing for an empty dataset, where Spark throws.
    ///
    /// `f` must be associative. It need not be commutative, as it must in Spark: partitions are reduced where they are, and
    /// their results in the order of the partitions.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let joined = run(|s: DStream<String>| s.transform(|rdd| rdd.reduce(|a, b| a + &b)), [vec!["a", "b", "c"], vec![]]);
    /// assert_eq!(joined, [vec!["abc".to_owned()], vec![]]);
    /// ```
    #[must_use]
    pub fn reduce(&self, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Rdd<T>
    where
        T: ExchangeData,
    {
        self.reduce_as("reduce", f)
    }

    pub(super) fn reduce_as(&self, kind: &str, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Rdd<T>
    where
        T: ExchangeData,
    {
        self.below(ops::reduce_as(self.stream().node(), kind, f))
    }

    /// As [`reduce`](Rdd::reduce), beginning with `zero`, which is what an empty dataset gives.
    ///
    /// As in Spark, `zero` goes in once for each partition and once more for their results, so it must change nothing: 0 for a
    /// sum, 1 for a product.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let sums = run(|n: DStream<i32>| n.transform(|rdd| rdd.fold(0, |a, b| a + b)), [vec![1, 2, 3], vec![]]);
    /// assert_eq!(sums, [vec![6], vec![0]]);
    /// ```
    #[must_use]
    pub fn fold(&self, zero: T, f: impl Fn(T, T) -> T + Send + Sync + 'static) -> Rdd<T>
    where
        T: ExchangeData + Sync,
    {
        let f = Arc::new(f);
        let combine = f.clone();
        self.aggregate_as("fold", zero, move |made, record| f(made, record), move |a, b| combine(a, b))
    }

    /// One value of another type than the records': in each partition `seq_op` puts the records into `zero`, and `comb_op`
    /// joins what that gives, beginning with `zero` again, in the order of the partitions (in Spark in the order in which
    /// they are done).
    ///
    /// `zero` must change nothing, as for [`fold`](Rdd::fold); it is what an empty dataset gives.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let mean = |n: DStream<i32>| n.transform(|rdd| {
    ///     let sums = rdd.aggregate((0, 0), |(sum, n), x| (sum + x, n + 1), |(sum, n), (more, m)| (sum + more, n + m));
    ///     sums.filter(|(_, n)| *n > 0).map(|(sum, n)| f64::from(sum) / f64::from(n))
    /// });
    /// assert_eq!(run(mean, [vec![1, 2, 6], vec![]]), [vec![3.0], vec![]]);
    /// ```
    #[must_use]
    pub fn aggregate<A>(
        &self,
        zero: A,
        seq_op: impl Fn(A, T) -> A + Send + Sync + 'static,
        comb_op: impl Fn(A, A) -> A + Send + Sync + 'static,
    ) -> Rdd<A>
    where
        A: ExchangeData + Sync,
    {
        self.aggregate_as("aggregate", zero, seq_op, comb_op)
    }

    fn aggregate_as<A>(
        &self,
        kind: &str,
        zero: A,
        seq_op: impl Fn(A, T) -> A + Send + Sync + 'static,
        comb_op: impl Fn(A, A) -> A + Send + Sync + 'static,
    ) -> Rdd<A>
    where
        A: ExchangeData + Sync,
    {
        let begin = zero.clone();
        // Empty only while `seq_op` has it.
        let add = move |made: &mut Option<A>, record| *made = made.take().map(|made| seq_op(made, record));
        let finish =
            move |_: &_, parts: Vec<Option<A>>| [parts.into_iter().flatten().fold(zero.clone(), &comb_op)];
        self.below(ops::aggregate(self.stream().node(), kind, move || Some(begin.clone()), add, finish))
    }

    /// The sum of the records: 0 for an empty dataset. Of the records' own type, unlike Spark's, whose sums are all `double`: map
    /// them to a larger one where they may overflow.
    ///
    /// Floating-point numbers are added up in each partition and then over the partitions, in order: always to the same sum.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// assert_eq!(run(|n: DStream<u64>| n.transform(|rdd| rdd.sum()), [vec![1u64, 2, 3], vec![]]), [[6], [0]]);
    /// ```
    #[must_use]
    pub fn sum(&self) -> Rdd<T>
    where
        T: ExchangeData + Sum,
    {
        let add = |sum: &mut Option<T>, record| *sum = Some(sum.take().into_iter().chain([record]).sum());
        let finish = |_: &_, parts: Vec<Option<T>>| [parts.into_iter().flatten().sum::<T>()];
        self.below(ops::aggregate(self.stream().node(), "sum", || None, add, finish))
    }
}
