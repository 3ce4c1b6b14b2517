//! Values that functions of a job read: the same for all batches, or one for each batch.

use crate::{Batch, DStream, Data, StreamingContext};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tidegate_core::BatchPlan;
use tidegate_dataflow::ops;

/// Batches whose values are kept at most. Two batches are at work at a time, and one more may begin.
const VALUES_MAX: usize = 4;

/// A value for functions of a job to read, kept once for all workers of a process: from
/// [`broadcast`](StreamingContext::broadcast), the same for all batches, or from
/// [`broadcast_by_batch`](StreamingContext::broadcast_by_batch). Copies are the same.
///
/// Give it to [`map_with`](DStream::map_with) or [`filter_with`](DStream::filter_with), or ask for its
/// [`value`](Broadcast::value) wherever a function is told the batch.
pub struct Broadcast<T> {
    held: Held<T>,
}

enum Held<T> {
    Always(Arc<T>),
    ByBatch(Arc<ByBatch<T>>),
}

struct ByBatch<T> {
    make: Box<dyn Fn(&Batch) -> T + Send + Sync>,
    /// The newest last.
    values: Mutex<VecDeque<Made<T>>>,
}

/// The value of one batch, made by the first that asks for it.
struct Made<T> {
    plan: Arc<BatchPlan>,
    value: Arc<OnceLock<Arc<T>>>,
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        let held = match &self.held {
            Held::Always(value) => Held::Always(value.clone()),
            Held::ByBatch(by_batch) => Held::ByBatch(by_batch.clone()),
        };
        Broadcast { held }
    }
}

/// Shows no value: it may be large, or a secret.
impl<T> fmt::Debug for Broadcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Broadcast<T> {
    /// The value for `batch`.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let job = |n: DStream<u64>| {
    ///     let times = n.context().broadcast_by_batch(|batch| batch.id().0);
    ///     n.transform(|rdd| {
    ///         rdd.map_partitions_with_batch(move |batch, _, n| {
    ///             let times = times.value(batch);
    ///             n.map(move |n| n * *times)
    ///         })
    ///     })
    /// };
    /// assert_eq!(run(job, [vec![5u64], vec![5]]), [[5], [10]]);
    /// ```
    pub fn value(&self, batch: &Batch) -> Arc<T> {
        match &self.held {
            Held::Always(value) => value.clone(),
            Held::ByBatch(by_batch) => by_batch.value(batch),
        }
    }
}

impl<T> ByBatch<T> {
    fn value(&self, batch: &Batch) -> Arc<T> {
        // Not made under the lock: whoever asks for another batch's does not wait for it.
        self.place(batch).get_or_init(|| Arc::new((self.make)(batch))).clone()
    }

    fn place(&self, batch: &Batch) -> Arc<OnceLock<Arc<T>>> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = values.iter().find(|made| made.plan == *batch.plan()) {
            return made.value.clone();
        }
        if values.len() == VALUES_MAX {
            values.pop_front();
        }
        let value = Arc::new(OnceLock::new());
        values.push_back(Made { plan: batch.plan().clone(), value: value.clone() });
        value
    }
}

impl StreamingContext {
    /// A value that functions of all batches read.
    ///
    /// A closure can hold an `Arc` just as well; this is Spark's name for it, and goes with
    /// [`map_with`](DStream::map_with). Where a job runs in several processes each makes its own.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let job = |n: DStream<i32>| {
    ///     let limit = n.context().broadcast(2);
    ///     n.filter_with(&limit, |limit, n| n <= limit)
    /// };
    /// assert_eq!(run(job, [vec![1, 2, 3]]), [vec![1, 2]]);
    /// ```
    pub fn broadcast<T: Send + Sync + 'static>(&self, value: T) -> Broadcast<T> {
        Broadcast { held: Held::Always(Arc::new(value)) }
    }

    /// A value that may change from batch to batch: what `make` gives for the batch, asked once for each batch (and again
    /// if four others were asked for in between), by the first function that wants it, on its worker's thread.
    ///
    /// **`make` must give the same for the same batch each time**, because a batch may be run again, after a failure or a
    /// restart, and must give the same then. "The newest version in the database" does not: by then it may be a newer one.
    /// Record versions by time, never change one that is in use, and ask for the newest that is no younger than
    /// [`Batch::time`]:
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// # use std::collections::BTreeMap;
    /// let job = |prices: DStream<f64>| {
    ///     // The rates, by the batch time (milliseconds) from which each of them holds.
    ///     let rates = BTreeMap::from([(0, 2.0), (1_002_000, 3.0)]);
    ///     let rate = prices.context().broadcast_by_batch(move |batch| {
    ///         *rates.range(..=batch.time().0).next_back().expect("a rate from the beginning").1
    ///     });
    ///     prices.map_with(&rate, |rate, price| price * rate)
    /// };
    /// // Batches of one second; the first is that of 1,001,000 ms.
    /// assert_eq!(run(job, [vec![1.0], vec![1.0]]), [[2.0], [3.0]]);
    /// ```
    ///
    /// A panic of `make` fails the batch and stops the job.
    pub fn broadcast_by_batch<T: Send + Sync + 'static>(
        &self,
        make: impl Fn(&Batch) -> T + Send + Sync + 'static,
    ) -> Broadcast<T> {
        let by_batch = ByBatch { make: Box::new(make), values: Mutex::default() };
        Broadcast { held: Held::ByBatch(Arc::new(by_batch)) }
    }
}

impl<T: Data> DStream<T> {
    /// Applies `f` to the value that `broadcast` has for the batch, and to each record.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let job = |n: DStream<i32>| n.map_with(&n.context().broadcast(10), |factor, n| n * factor);
    /// assert_eq!(run(job, [vec![1, 2]]), [vec![10, 20]]);
    /// ```
    pub fn map_with<S: Send + Sync + 'static, U: Data>(
        &self,
        broadcast: &Broadcast<S>,
        f: impl Fn(&S, T) -> U + Send + Sync + 'static,
    ) -> DStream<U> {
        let broadcast = broadcast.clone();
        self.below(ops::map_with(self.node(), move |batch| broadcast.value(batch), f))
    }

    /// Keeps the records for which `keep` holds, which is given the value that `broadcast` has for the batch, and the record.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// # use std::collections::HashSet;
    /// let job = |n: DStream<i32>| n.filter_with(&n.context().broadcast(HashSet::from([2])), |bad, n| !bad.contains(n));
    /// assert_eq!(run(job, [vec![1, 2, 3]]), [vec![1, 3]]);
    /// ```
    pub fn filter_with<S: Send + Sync + 'static>(
        &self,
        broadcast: &Broadcast<S>,
        keep: impl Fn(&S, &T) -> bool + Send + Sync + 'static,
    ) -> DStream<T> {
        let broadcast = broadcast.clone();
        self.below(ops::filter_with(self.node(), move |batch| broadcast.value(batch), keep))
    }
}
