//! What an output must promise: prepare unseen, commit at once, remember which batches it holds.

use crate::{Batch, BatchId, BatchPlan, Error, JobId, OutputId, PartitionId, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An output of rows of type `T`, told apart by its [`OutputId`].
///
/// One [`Writer`] for each worker (or one alone, see [`Writers`]) takes the rows of a batch, prepares and commits them.
pub trait Output<T>: Send + Sync + 'static {
    /// What the output is, for logs and the guarantee report: `SQLite table word_counts in counts.db`. Never a secret.
    fn describe(&self) -> String;

    /// What the output does with a batch that is run again.
    fn delivery(&self) -> Delivery;

    /// How many writers it has.
    fn writers(&self) -> Writers {
        Writers::EachWorker
    }

    /// Whether a batch needs a last step, [`Writer::complete`], once all writers have committed it: for what speaks of the batch as a
    /// whole, such as a file that says that all files are there.
    fn completes(&self) -> bool {
        false
    }

    /// Opens the output for a new epoch, before any writer: takes it over from an earlier epoch (whose writers can
    /// commit nothing from then on) and reads what it holds.
    ///
    /// # Errors
    /// The outer system can't be reached (`Retry`), or what it holds does not fit the job (`Reconfigure`).
    fn open(&self, context: &OutputContext) -> Result<Held>;

    /// How rows are spread over the output's own partitions.
    fn placement(&self) -> Placement<T> {
        Placement::AsIs
    }

    /// How rows are packed on the worker where they are, before they go to a [`Writer`]: then only bytes change the thread, and the
    /// process, and the memory of a row is given back by the thread that took it. Without, writers get the rows themselves.
    fn packing(&self) -> Option<Packing<T>> {
        None
    }

    /// Makes the writer of one seat. Called on the thread that will use it, once an epoch.
    ///
    /// # Errors
    /// As [`Output::open`].
    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<T>>>;
}

/// Takes, prepares and commits the part of each batch that falls to one seat. Batches come one after the other, in order.
pub trait Writer<T> {
    /// Stages rows of one partition: executed or kept, but seen by nobody.
    ///
    /// # Errors
    /// `Retry` ends the epoch and the batch is run again; anything else stops the job. Nothing of the batch
    /// has been seen in any output.
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<T>) -> Result<()>;

    /// As [`write`](Writer::write), with rows that a [`Packer`] of this output packed, maybe in another process of this version.
    ///
    /// # Errors
    /// As [`Writer::write`].
    fn write_packed(&mut self, _batch: &Batch, _partition: PartitionId, _rows: Packed) -> Result<()> {
        Err(Error::bug("rows were packed for an output that does not pack"))
    }

    /// All rows were given. Stages that `partitions` hold this batch, and makes sure that a commit can't be refused for
    /// what the rows are. `partitions` are those of this seat that do not hold the batch yet.
    ///
    /// A batch in which the output's stream has no dataset (which is not an empty one) is not told to an output that does not
    /// remember. One that does is told, so that it has missed none; only then, and only if it has no partitions of its own
    /// ([`Placement::AsIs`]), is `partitions` empty.
    ///
    /// # Errors
    /// As [`Writer::write`].
    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()>;

    /// Makes the batch seen. Called once every output on every worker has prepared.
    ///
    /// # Errors
    /// `Retry`: it is not known whether the batch is in; the output is opened again and says.
    fn commit(&mut self, batch: &Batch) -> Result<()>;

    /// Every writer of every output has committed the batch, on whatever worker, and its dataset had `partitions` (or the output has
    /// them as its own). Called where [`Output::completes`] says so, for each batch in which there is a dataset, on the writer of the first
    /// worker alone, which may have had no part in the batch; also where all partitions held the batch from before a crash. The batch counts as committed only after this: until then it is
    /// run again after a crash.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    fn complete(&mut self, _batch: &Batch, _partitions: u32) -> Result<()> {
        Ok(())
    }

    /// The batch, of which some rows were written or all are prepared, is not going to be committed by this writer: takes away
    /// what it staged, as far as that can be done now. Called at the orderly end of an epoch, right before the writer is dropped.
    /// After a commit that failed it is not known whether the batch is in: nothing that may be seen is taken away. A writer that
    /// crashed is not asked at all, so what is staged must be found by [`Output::open`] too.
    fn abort(&mut self) {}
}

/// Makes a [`Packer`] for one partition of a batch.
pub type Packing<T> = Arc<dyn Fn() -> Result<Box<dyn Packer<T>>> + Send + Sync>;

/// Rows of a partition as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// How many they are.
    pub rows: u64,
    /// What the output makes of them.
    pub bytes: Vec<u8>,
}

/// Packs rows of one partition, in their order. See [`Output::packing`].
pub trait Packer<T> {
    /// Adds a row. True when so much is packed that it should be [taken](Packer::take): a packer holds a bounded number of bytes.
    ///
    /// # Errors
    /// `Reconfigure`: the output does not take such a row.
    fn add(&mut self, row: &T) -> Result<bool>;

    /// Takes out what is packed. No piece is without rows.
    ///
    /// # Errors
    /// As [`Packer::add`].
    fn take(&mut self) -> Result<Vec<Packed>>;

    /// Packs `rows`, all of a partition, in as many pieces as they make.
    ///
    /// # Errors
    /// As [`Packer::add`].
    fn pack(&mut self, rows: Vec<T>) -> Result<Vec<Packed>> {
        let mut pieces = Vec::new();
        for row in rows {
            if self.add(&row)? {
                pieces.append(&mut self.take()?);
            }
        }
        pieces.append(&mut self.take()?);
        Ok(pieces)
    }
}

/// What an output does with a batch that is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It remembers what it holds, in the same transaction as the data: each batch is in it once.
    ExactlyOnce,
    /// It does not remember, and need not: a batch that is run again is written under the same names (of files, keys,
    /// documents), in the place of what it wrote before, and never over what a later batch wrote. What is seen in the end is
    /// each batch once.
    Idempotent,
    /// It does not remember: after a crash the last batch may be seen twice.
    AtLeastOnce,
}

/// How many writers an output has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One on each worker.
    EachWorker,
    /// One alone: all rows are brought to it.
    One,
}

/// How rows are spread over the output's partitions.
pub enum Placement<T> {
    /// A row stays in the partition of the dataset it is in. Only for outputs that remember nothing by partition.
    AsIs,
    /// A row goes to partition `hash(row) % partitions`. The function must never change: what the output
    /// remembers depends on it.
    Hash {
        /// Number of partitions, the same for the life of the output.
        partitions: u32,
        /// The row's hash, the same on every machine and in every version.
        hash: Arc<dyn Fn(&T) -> u64 + Send + Sync>,
    },
}

/// Who opens an output.
#[derive(Clone, Debug)]
pub struct OutputContext {
    /// The output's name.
    pub output: OutputId,
    /// The job's name where it is known: a job that has only its database takes the name found there.
    pub job: Option<JobId>,
    /// The name to take when the output has never been used.
    pub new_job: JobId,
}

/// What an output remembers.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The job it belongs to; `None` when it was never used or does not remember.
    pub job: Option<JobId>,
    /// The newest batch that each partition holds. A partition that is not named holds none.
    pub partitions: BTreeMap<PartitionId, BatchId>,
    /// The plan of the newest batch of all, stored beside the data.
    pub newest: Option<BatchPlan>,
}

/// Where a writer sits.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The output's name.
    pub output: OutputId,
    /// Index of the worker.
    pub worker: usize,
    /// Number of workers.
    pub workers: usize,
}
