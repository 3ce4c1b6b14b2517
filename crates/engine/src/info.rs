//! What listeners are told of a batch, of a receiver and of a checkpoint.

use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{BatchId, BatchPlan, BatchTime, OutputReport, RecordAges, StreamId};

/// A batch that is in every output.
#[derive(Clone, Debug)]
pub struct BatchInfo {
    /// What it took of each input.
    pub plan: Arc<BatchPlan>,
    /// Records read.
    pub records: u64,
    /// Records that could not be decoded and were skipped, as the job asked for. The same each time the batch is run.
    pub skipped: u64,
    /// How old the records were at the batch's time, where the source tells.
    pub ages: RecordAges,
    /// When it was committed, on the stream's clock.
    pub committed_at: BatchTime,
    /// From the batch's time to its planning: more than a little means that batches queue up.
    pub scheduling_delay: Duration,
    /// From its planning to its commit.
    pub processing_time: Duration,
    /// Whether it was run again after a failure.
    pub rerun: bool,
    /// Where the processing time went.
    pub stages: StageTimes,
    /// What each output did with it, by name: one that holds the batch from before a crash is there with no rows.
    pub outputs: Vec<OutputReport>,
}

impl BatchInfo {
    /// Number of the batch.
    pub fn id(&self) -> BatchId {
        self.plan.id
    }

    /// Time of the batch.
    pub fn time(&self) -> BatchTime {
        self.plan.time
    }

    /// From the batch's time to its commit.
    pub fn total_delay(&self) -> Duration {
        self.scheduling_delay + self.processing_time
    }
}

/// Lengths of a batch's stages. Journal and processing overlap.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes {
    /// Asking the sources and deciding.
    pub plan: Duration,
    /// Making the plan durable.
    pub journal: Duration,
    /// From handing the plan out until all workers were through.
    pub process: Duration,
    /// From then until every output had prepared.
    pub prepare: Duration,
    /// From then until every output had committed.
    pub commit: Duration,
}

/// A receiver, as of something that happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverInfo {
    /// Name of its stream.
    pub stream: StreamId,
    /// What it is: `socket 127.0.0.1:9999`.
    pub receiver: String,
    /// Whether it receives.
    pub active: bool,
    /// How often it started in this run.
    pub starts: u64,
    /// The newest error of this run, in words.
    pub last_error: Option<String>,
    /// When that was, on the stream's clock.
    pub last_error_at: Option<BatchTime>,
    /// When it happened, on the stream's clock.
    pub at: BatchTime,
}

/// A checkpoint from which the job can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// The batch as of which the state is.
    pub batch: BatchId,
    /// Time of that batch.
    pub time: BatchTime,
    /// State files it names.
    pub files: usize,
    /// Rows in them.
    pub rows: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Those of the files that the checkpoint before does not name.
    pub new_files: usize,
    /// Bytes in them: what this checkpoint wrote.
    pub new_bytes: u64,
    /// From asking for the snapshot until its files were written. Batches go on meanwhile.
    pub taking: Duration,
    /// Writing the manifest.
    pub publishing: Duration,
}
