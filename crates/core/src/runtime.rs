//! Where engine and dataflow meet: run this plan, report; commit it, report.

use crate::{BatchId, BatchPlan, Checkpoint, Error, OutputId, PartitionId, Result, StateCheckpoint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Starts epochs. An epoch is one mesh of workers; any failure ends it, and the next starts from what is durable.
pub trait RuntimeFactory: Send {
    /// Starts the workers. From then on they report through `events` until the runtime is dropped.
    ///
    /// # Errors
    /// A worker, reader or writer can't be started.
    fn start(&mut self, start: EpochStart) -> Result<Box<dyn Runtime>>;
}

/// With what an epoch starts.
pub struct EpochStart {
    /// Number of the epoch in this process, from 1.
    pub epoch: u64,
    /// The first batch that will be run.
    pub first: BatchId,
    /// What each output holds already, by partition: rows of those are not written again.
    pub held: BTreeMap<OutputId, BTreeMap<PartitionId, BatchId>>,
    /// The newest batch that is known to be in every output; 0 for none. A batch up to it is run only so that state becomes
    /// what it was: no output is given anything of it, `Processed` ends it, and no commit is asked for.
    pub committed: BatchId,
    /// The checkpoint that state starts from; `None`: empty. A file of it that can't be used fails the start with
    /// [`DamagedCheckpoint`](crate::ErrorKind::DamagedCheckpoint).
    pub restore: Option<Arc<Checkpoint>>,
    /// Run slowly, keeping a sample of each record: a function of the job failed, and the record it failed on is wanted.
    /// Nothing is committed in such an epoch (`committed` is the largest number there is), and it takes no snapshots.
    pub careful: bool,
    /// Where the runtime reports. Called from any thread; never blocks.
    pub events: Arc<dyn Fn(RuntimeEvent) + Send + Sync>,
}

impl EpochStart {
    /// The first epoch of a job that has no state and whose outputs hold nothing.
    pub fn fresh(first: BatchId, events: Arc<dyn Fn(RuntimeEvent) + Send + Sync>) -> EpochStart {
        EpochStart {
            epoch: 1,
            first,
            held: BTreeMap::new(),
            committed: BatchId(0),
            restore: None,
            careful: false,
            events,
        }
    }
}

/// A running mesh of workers. Dropping it ends the epoch: what was prepared and not committed is discarded.
pub trait Runtime: Send {
    /// Runs a plan. Given in the order of ids, the next one once the last is `Processed`.
    fn run(&mut self, plan: Arc<BatchPlan>);

    /// Commits a batch that is `Prepared`, in every output.
    fn commit(&mut self, batch: BatchId);

    /// Takes a view of all state as of `batch`, the newest that is `Processed`, and writes what changed since the last view
    /// to the storage in the background; then reports [`RuntimeEvent::Snapshot`]. Not asked again before that.
    fn snapshot(&mut self, batch: BatchId);
}

/// What a runtime reports.
#[derive(Debug)]
pub enum RuntimeEvent {
    /// All workers are through with the batch; the outputs have all their rows.
    Processed(BatchReport),
    /// Every output on every worker has prepared the batch.
    Prepared(BatchId),
    /// Every output on every worker has committed the batch; what each output that was given the batch did, by name.
    Committed(BatchId, Vec<OutputReport>),
    /// The files that hold all state as of the batch are written: those of this view, and those of earlier ones that still
    /// count. By name of the state.
    Snapshot(BatchId, Vec<StateCheckpoint>),
    /// The epoch is over.
    Failed(Error),
}

/// What running a batch gave.
#[derive(Clone, Debug)]
pub struct BatchReport {
    /// The batch.
    pub batch: BatchId,
    /// Records read from all sources. Fewer than positions where a source has gaps.
    pub records: u64,
    /// How old the records were at the time of the batch, where the source tells.
    pub ages: RecordAges,
    /// Records that an operator skipped because it was told to skip what it can't decode. The same each time the batch is run.
    pub skipped: u64,
}

/// What one output did with a batch, over all its writers. Writers work at the same time, so times are those of the slowest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputReport {
    /// The output.
    pub output: OutputId,
    /// Rows written; none of those that it held already.
    pub rows: u64,
    /// In [`Writer::write`](crate::Writer::write), while workers process the batch.
    pub write: Duration,
    /// In [`Writer::prepare`](crate::Writer::prepare).
    pub prepare: Duration,
    /// In [`Writer::commit`](crate::Writer::commit).
    pub commit: Duration,
}

impl OutputReport {
    /// An output that has done nothing yet.
    pub fn new(output: OutputId) -> OutputReport {
        OutputReport {
            output,
            rows: 0,
            write: Duration::ZERO,
            prepare: Duration::ZERO,
            commit: Duration::ZERO,
        }
    }

    /// Adds what another writer of the output did with the batch.
    pub fn merge(&mut self, other: &OutputReport) {
        self.rows += other.rows;
        self.write = self.write.max(other.write);
        self.prepare = self.prepare.max(other.prepare);
        self.commit = self.commit.max(other.commit);
    }
}

/// How old records were at the time of their batch: a count for each age in milliseconds (negative: made after it).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordAges(pub BTreeMap<i64, u64>);

impl RecordAges {
    /// Distinct ages kept at most; beyond that ages are rounded to whole seconds.
    pub const AGES_MAX: usize = 20_000;

    /// Counts `records` of `age_ms`.
    pub fn add(&mut self, age_ms: i64, records: u64) {
        let full = self.0.len() >= Self::AGES_MAX && !self.0.contains_key(&age_ms);
        let age_ms = if full { age_ms.div_euclid(1000) * 1000 } else { age_ms };
        *self.0.entry(age_ms).or_default() += records;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &RecordAges) {
        for (age_ms, records) in &other.0 {
            self.add(*age_ms, *records);
        }
    }
}
