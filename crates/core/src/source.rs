//! What a source must promise: the driver asks what is there, a worker reads exactly what was planned.

use crate::{BatchPlan, InputGuarantee, PartitionId, Result, SourcePlan, SourceRange, Storage, StreamId};
use std::sync::Arc;
use std::time::Duration;

/// An input of records of type `T`.
///
/// The planner lives at the driver for the whole run; a reader lives in a worker for one epoch.
pub trait Source<T>: Send + Sync + 'static {
    /// What the source is, for logs and the guarantee report: `Kafka topic lines at host:9092`. Never a secret.
    fn describe(&self) -> String;

    /// What becomes of a record after a crash, as far as this input goes. Said at the start and in the guarantee report.
    fn guarantee(&self) -> InputGuarantee {
        InputGuarantee::exactly_once("a range is read again as often as need be, and gives the same records")
    }

    /// Opens the driver's side.
    ///
    /// # Errors
    /// The outer system can't be reached, or the source does not exist there.
    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>>;

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

/// For whom an input is opened.
#[derive(Clone, Debug)]
pub struct InputContext {
    /// The input's name.
    pub stream: StreamId,
    /// Where the job keeps its journal and its checkpoints, if it does. An input that must remember more than its plans
    /// say keeps that below `inputs/NAME/` there.
    pub storage: Option<Arc<dyn Storage>>,
    /// Length of a batch.
    pub batch_interval: Duration,
}

impl InputContext {
    /// The folder of the input in the job's storage. What is no letter, digit, `_`, `-` or `.` in its name is `=` and two
    /// hexadecimal digits there, and so is a `.` in front.
    pub fn folder(&self) -> String {
        let mut folder = "inputs/".to_owned();
        for (place, byte) in self.stream.0.bytes().enumerate() {
            // No name is only dots.
            if byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || byte == b'.' && place > 0 {
                folder.push(char::from(byte));
            } else {
                folder.push_str(&format!("={byte:02x}"));
            }
        }
        if self.stream.0.is_empty() {
            folder.push('=');
        }
        folder
    }

    /// The input `stream` of a job without a storage, with batches of a second: for tests.
    pub fn new(stream: impl Into<StreamId>) -> InputContext {
        InputContext { stream: stream.into(), storage: None, batch_interval: Duration::from_secs(1) }
    }
}

/// What happened to the receiver of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverEvent {
    /// What the receiver is: `socket 127.0.0.1:9999`. Never a secret.
    pub receiver: String,
    /// What happened.
    pub change: ReceiverChange,
}

/// What can happen to a receiver. Each start is followed by one stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverChange {
    /// It started, for the first time or again.
    Started,
    /// Something went wrong, in these words: it goes on, is started again, or ends the job.
    Failed(String),
    /// It ended, with all its threads: the job stops, or it is started again.
    Stopped,
}

/// Is told what happens to a receiver, in order. Any thread may call it; it does not wait.
pub type ReceiverReport = Arc<dyn Fn(ReceiverEvent) + Send + Sync>;

/// At the driver: says what is there and how much of it a batch takes.
pub trait Planner: Send {
    /// Where the input tells what happens to its receiver, if it has one. Called once, before
    /// [`resume`](Planner::resume).
    fn report_to(&mut self, report: ReceiverReport) {
        drop(report);
    }

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

    /// `plan` is the next batch's, and durable: the positions move to its end.
    fn planned(&mut self, plan: &SourcePlan);

    /// From now on the stream takes at most so many records a second over all its partitions, beside its own limits:
    /// back-pressure tells what the job can do. Before the first call there is no such limit.
    fn limit_rate(&mut self, records_per_second: f64) {
        let _ = records_per_second;
    }

    /// No batch up to the one of `plan` will be run again, not for state either: what is kept to read its ranges again may go.
    /// Told after what makes it true is durable, and not for each batch; must not block.
    fn released(&mut self, plan: &SourcePlan) {
        let _ = plan;
    }

    /// The job stops gracefully: from now on the input takes nothing from its origin. Says whether all that it has taken is
    /// planned; until then the job goes on with batches and asks again after each. An input that can be asked again for
    /// what is not planned has nothing to give.
    fn drain(&mut self) -> bool {
        true
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::is_storage_path;

    #[test]
    fn every_name_of_a_stream_is_a_folder_of_its_own() {
        for (stream, expected) in
            [("lines-1", "lines-1"), ("a/b=c d", "a=2fb=3dc=20d"), ("..", "=2e."), ("", "=")]
        {
            assert_eq!(InputContext::new(stream).folder(), format!("inputs/{expected}"));
            assert!(is_storage_path(expected), "{expected}");
        }
    }
}
