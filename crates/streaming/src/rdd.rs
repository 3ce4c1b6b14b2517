//! A batch's dataset, inside `transform` and `foreach_rdd`.

use crate::output::Outcome;
use crate::{Batch, DStream, Data, ExchangeData, OutputId, PartitionId, Result};
use std::hash::Hash;
use tidegate_dataflow::ops;

/// The dataset of each batch, in a closure that declares what happens to it.
///
/// In Spark an `RDD` is one batch's data and its actions give results at once. Here it stands for every batch's: what
/// an action would have returned is given to a function, with the batch it belongs to.
pub struct Rdd<T> {
    stream: DStream<T>,
}

impl<T: Data> Rdd<T> {
    pub(crate) fn new(stream: DStream<T>) -> Self {
        Rdd { stream }
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

    /// As [`DStream::map_partitions`], where `f` is also told the batch and the partition.
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
        Rdd::new(self.stream.below(ops::map_partitions(self.stream.node(), f)))
    }

    /// As [`DStream::union`].
    ///
    /// # Panics
    /// As [`DStream::union`].
    #[must_use]
    pub fn union(&self, other: &Rdd<T>) -> Rdd<T> {
        Rdd::new(self.stream.union(&other.stream))
    }

    /// As [`DStream::count`].
    #[must_use]
    pub fn count(&self) -> Rdd<u64> {
        Rdd::new(self.stream.count())
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

impl<K: ExchangeData + Hash + Eq, V: ExchangeData> Rdd<(K, V)> {
    /// As [`DStream::reduce_by_key`].
    #[must_use]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Rdd<(K, V)> {
        Rdd::new(self.stream.reduce_by_key(f))
    }
}
