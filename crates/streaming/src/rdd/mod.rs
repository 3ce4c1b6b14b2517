//! A batch's dataset, inside `transform` and `foreach_rdd`: what it is, functions of records, output. The other operators are
//! in the files beside this one, by subject.

mod pairs;
mod partitions;
mod sets;
mod sorted;
mod totals;

use crate::output::Outcome;
use crate::{Batch, Broadcast, DStream, Data, ExchangeData, OutputId, PartitionId, Result, StreamingContext};
use tidegate_dataflow::{Node, ops};

/// The dataset of each batch, in a closure that declares what happens to it.
///
/// In Spark an `RDD` is one batch's data and its actions give results at once. Here it stands for every batch's: the closure
/// runs once. So an action that gives a value in Spark (`count`, `take`, `first`, `max`, `reduce` ...) gives here a small
/// dataset with that value, in one partition; hand it to [`collect`](Rdd::collect), which also tells the batch, or go on with
/// it. Where Spark throws because there is no record (`first`, `max`, `min`, `reduce`), it is empty. In a batch in which a stream
/// has no dataset nothing is given at all, not even a count of 0.
///
/// ```
/// # use tidegate::{Conf, StreamingContext, Stop};
/// # use std::time::Duration;
/// # fn main() -> tidegate::Result<()> {
/// let ssc = StreamingContext::new(Conf::new().set_master("local[2]"), Duration::from_millis(10))?;
/// let words = ssc.constant_stream(vec!["ebb".to_owned(), "flow".to_owned(), "ebb".to_owned()])?;
/// let (tell, told) = std::sync::mpsc::channel();
/// words.foreach_rdd(|rdd| {
///     let most = rdd.count_by_value().top_by(1, |(_, times)| *times);
///     most.collect(move |_, rows| { tell.send(rows).ok(); })
/// })?;
/// ssc.start()?;
/// assert_eq!(told.recv().unwrap(), [("ebb".to_owned(), 2)]);
/// ssc.stop(Stop::Gracefully)
/// # }
/// ```
///
/// # Order
///
/// Records have an order: that of the partitions, and in each that of the positions. It is the same on any number of workers
/// and each time a batch is run, so whatever depends on it (`take`, `first`, `zip_with_index`, `sample`, ties in `sort_by` and
/// `top`, functions that are not commutative) gives the same too. Spark promises that only where nothing was shuffled.
pub struct Rdd<T> {
    stream: DStream<T>,
}

impl<T> Clone for Rdd<T> {
    fn clone(&self) -> Self {
        Rdd { stream: self.stream.clone() }
    }
}

impl<T: Data> Rdd<T> {
    pub(crate) fn new(stream: DStream<T>) -> Self {
        Rdd { stream }
    }

    pub(crate) fn stream(&self) -> &DStream<T> {
        &self.stream
    }

    pub(crate) fn below<U: Data>(&self, node: Node<U>) -> Rdd<U> {
        Rdd::new(self.stream.below(node))
    }

    /// The context of the stream whose dataset this is.
    pub fn context(&self) -> &StreamingContext {
        self.stream.context()
    }

    fn default_partitions(&self) -> u32 {
        self.context().default_partitions()
    }

    fn assert_same_job<U: Data>(&self, other: &Rdd<U>, operator: &str) {
        self.stream.assert_same_job(&other.stream, operator);
    }

    pub(crate) fn into_stream(self) -> DStream<T> {
        self.stream
    }

    /// As [`DStream::map`].
    #[must_use]
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Rdd<U> {
        Rdd::new(self.stream.map(f))
    }

    /// As [`DStream::flat_map`].
    #[must_use]
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Rdd<U> {
        Rdd::new(self.stream.flat_map(f))
    }

    /// As [`DStream::filter`].
    #[must_use]
    pub fn filter(&self, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Rdd<T> {
        Rdd::new(self.stream.filter(keep))
    }

    /// As [`DStream::map_with`].
    #[must_use]
    pub fn map_with<S: Send + Sync + 'static, U: Data>(
        &self,
        broadcast: &Broadcast<S>,
        f: impl Fn(&S, T) -> U + Send + Sync + 'static,
    ) -> Rdd<U> {
        Rdd::new(self.stream.map_with(broadcast, f))
    }

    /// As [`DStream::filter_with`].
    #[must_use]
    pub fn filter_with<S: Send + Sync + 'static>(
        &self,
        broadcast: &Broadcast<S>,
        keep: impl Fn(&S, &T) -> bool + Send + Sync + 'static,
    ) -> Rdd<T> {
        Rdd::new(self.stream.filter_with(broadcast, keep))
    }

    /// Each record under the key that `key` gives for it.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let keyed = run(|n: DStream<i32>| n.transform(|rdd| rdd.key_by(|n| n % 2 == 0)), [vec![1, 2]]);
    /// assert_eq!(keyed, [vec![(false, 1), (true, 2)]]);
    /// ```
    #[must_use]
    pub fn key_by<K: Data>(&self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Rdd<(K, T)> {
        self.below(ops::key_by(self.stream.node(), key))
    }

    /// As [`DStream::union`].
    ///
    /// # Panics
    /// As [`DStream::union`].
    #[must_use]
    pub fn union(&self, other: &Rdd<T>) -> Rdd<T> {
        Rdd::new(self.stream.union(&other.stream))
    }

    /// Gives each partition of each batch to `f`, on the worker where it is.
    ///
    /// `f` may return nothing or a `Result`; an error stops the job.
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn foreach_partition<R: Outcome>(
        &self,
        f: impl Fn(&Batch, PartitionId, std::vec::IntoIter<T>) -> R + Send + Sync + 'static,
    ) -> Result<OutputId> {
        self.stream.foreach_partition(f)
    }

    /// Gives each record of each batch to `f`, on the worker where it is.
    ///
    /// `f` may return nothing or a `Result`; an error stops the job. For what is set up once (a connection) there is
    /// [`foreach_partition`](Rdd::foreach_partition).
    ///
    /// ```
    /// # use tidegate::{Conf, StreamingContext, Stop};
    /// # use std::time::Duration;
    /// # fn main() -> tidegate::Result<()> {
    /// let ssc = StreamingContext::new(Conf::new().set_master("local[2]"), Duration::from_millis(10))?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// ssc.constant_stream(vec![3i32, 5])?.foreach_rdd(|rdd| rdd.foreach(move |_, n| { tell.send(n).ok(); }))?;
    /// ssc.start()?;
    /// assert_eq!([told.recv().unwrap(), told.recv().unwrap()], [3, 5]);
    /// ssc.stop(Stop::Gracefully)
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn foreach<R: Outcome>(
        &self,
        f: impl Fn(&Batch, T) -> R + Send + Sync + 'static,
    ) -> Result<OutputId> {
        self.stream.foreach_record(f)
    }

    /// Gives all records of each batch to `f`, in one place. They must fit in memory there.
    ///
    /// `f` may return nothing or a `Result`; an error stops the job.
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn collect<R: Outcome>(
        &self,
        f: impl Fn(&Batch, Vec<T>) -> R + Send + Sync + 'static,
    ) -> Result<OutputId>
    where
        T: ExchangeData,
    {
        self.stream.collect(f)
    }
}
