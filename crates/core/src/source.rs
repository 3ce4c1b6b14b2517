//! What a source must promise: the driver asks what is there, a worker reads exactly what was planned.

use crate::{BatchPlan, PartitionId, Result, SourcePlan, SourceRange, StreamId};
use std::time::Duration;

/// An input of records of type `T`.
///
/// The planner lives at the driver for the whole run; a reader lives in a worker for one epoch.
pub trait Source<T>: Send + Sync + 'static {
    /// What the source is, for logs and the guarantee report: `Kafka topic lines at host:9092`. Never a secret.
    fn describe(&self) -> String;

    /// Opens the driver's side.
    ///
    /// # Errors
    /// The outer system can't be reached, or the source does not exist there.
    fn planner(&self, stream: &StreamId) -> Result<Box<dyn Planner>>;

    /// Opens the side of worker `worker` of `workers`.
    ///
    /// # Errors
    /// The outer system can't be reached.
    fn reader(&self, stream: &StreamId, worker: usize, workers: usize) -> Result<Box<dyn Reader<T>>>;

    /// Which worker reads the range at place `index` of the plan. The same range goes to the same worker from batch
    /// to batch, so that its prefetch is kept; results never depend on it.
    fn worker_of(&self, index: usize, range: &SourceRange, workers: usize) -> usize {
        let _ = range;
        index % workers
    }
}

/// At the driver: says what is there and how much of it a batch takes.
pub trait Planner: Send {
    /// Goes on after `last`, the newest plan of this stream, or starts as the source is configured when there is
    /// none. Called once, before the first plan.
    ///
    /// # Errors
    /// The positions in `last` are not to be had any more and the source may not skip.
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()>;

    /// The ranges that a batch of length `interval` takes now. Pure: asking twice changes nothing.
    ///
    /// # Errors
    /// [`Retry`](crate::ErrorKind::Retry) when the outer system is away: the batch is planned a little later.
    fn plan(&mut self, interval: Duration) -> Result<SourcePlan>;

    /// `plan` is the next batch's: the positions move to its end.
    fn planned(&mut self, plan: &SourcePlan);

    /// The batch of `plan` is in every output. Told after the journal knows; must not block.
    fn committed(&mut self, batch: &BatchPlan, plan: &SourcePlan) {
        let _ = (batch, plan);
    }

    /// The run ends: what is still on its way (offset commits) is given a short time.
    fn close(&mut self) {}
}

/// In a worker: reads exactly the planned ranges.
pub trait Reader<T> {
    /// Begins a batch. `ranges` are those of this worker, with their partition of the dataset; what was fetched ahead
    /// for them is kept.
    ///
    /// # Errors
    /// A range can't be read: `DataLost` when it is gone.
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()>;

    /// Hands on some of the records, about `limit` of them, and says whether there are more. May wait a few
    /// milliseconds for data to arrive, never longer.
    ///
    /// # Errors
    /// As [`Reader::start`].
    fn read(&mut self, limit: usize, out: &mut dyn Emit<T>) -> Result<Progress>;
}

/// Where a reader puts its records.
pub trait Emit<T> {
    /// The records that follow belong to this partition of the dataset.
    fn partition(&mut self, partition: PartitionId);

    /// One record.
    fn record(&mut self, record: T);

    /// The records that follow were made at `time_ms` (milliseconds since 1970, UTC). A source that knows no times never
    /// calls it.
    fn made_at(&mut self, time_ms: i64) {
        let _ = time_ms;
    }
}

/// How far a reader is with its ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more at hand.
    More,
    /// There is more to read, but it has not arrived.
    Waiting,
    /// Every range was read to its end.
    Done,
}
