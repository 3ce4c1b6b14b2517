//! A checkpoint: the state of a job as of one batch, as data. Where its files are and what is in them.

use crate::{BatchId, BatchPlan, JobId, PartitionId, StateId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The manifest of one checkpoint: everything needed to go on after its batch.
///
/// It is published only when its batch is in every output, so going on from it skips nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The job's name for outputs.
    pub job: JobId,
    /// The application's name.
    pub app: String,
    /// The plan of the batch as of which the state is: its number, its time, and where the inputs go on.
    pub plan: BatchPlan,
    /// Length of a batch in milliseconds.
    pub interval_ms: u64,
    /// Settings of the job, without any that may be a secret.
    pub settings: BTreeMap<String, String>,
    /// The operators of the graph, in the order in which the program built them: `flat_map #3`.
    pub graph: Vec<String>,
    /// The states, by name.
    pub states: Vec<StateCheckpoint>,
}

impl Checkpoint {
    /// The batch as of which the state is.
    pub fn batch(&self) -> BatchId {
        self.plan.id
    }

    /// The state named `uid`.
    pub fn state(&self, uid: &StateId) -> Option<&StateCheckpoint> {
        self.states.iter().find(|state| state.shape.uid == *uid)
    }
}

/// One state in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCheckpoint {
    /// What it is.
    pub shape: StateShape,
    /// Its files. Those of one partition are applied in this order: a later row of a key takes the place of an earlier one.
    pub files: Vec<StateFile>,
}

/// What a state is, as far as it can be compared: a program with another shape of the same state can't take it as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateShape {
    /// Its name: given by `.uid("...")`, or the kind of operator and its place among those of that kind (`map_with_state-1`).
    pub uid: StateId,
    /// The kind of operator: `map_with_state`.
    pub operator: String,
    /// Number of partitions.
    pub partitions: u32,
    /// How keys find their partition. With another placement each row is looked at and moved to where it belongs.
    pub placement: String,
    /// The columns of keys and values with their types: `key: Utf8`, `value.total: Int64`. Equal texts are equal types.
    pub columns: Vec<String>,
}

/// One file of a state: rows of one partition, sorted by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    /// Its path in the storage.
    pub path: String,
    /// The partition that all its rows belong to.
    pub partition: PartitionId,
    /// Its number of rows.
    pub rows: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// CRC-32C of all its bytes.
    pub crc32c: u32,
    /// The newest time in it (milliseconds since 1970 UTC): a file of a window that is older than the window is left out.
    pub newest_ms: u64,
}

impl fmt::Display for StateShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {} partitions)", self.uid, self.operator, self.partitions)
    }
}
