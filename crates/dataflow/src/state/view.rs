//! A consistent view of what changed in a state, ready to be written on another thread.

use std::sync::Arc;
use tidegate_core::{PartitionId, Result, StateFile, StateId, Storage};

type Write = Box<dyn FnOnce(&dyn Storage, &str) -> Result<Vec<StateFile>> + Send>;

/// Makes fewer files of some that follow each other. Told the storage, the beginning of the new names, the files, the oldest
/// time that counts, and whether they are all there are (then what was removed can be forgotten).
pub(crate) type Merge =
    Arc<dyn Fn(&dyn Storage, &str, &[StateFile], Option<u64>, bool) -> Result<Vec<StateFile>> + Send + Sync>;

/// What changed in one partition of one state since the view before.
pub(crate) struct StateView {
    pub(crate) uid: StateId,
    pub(crate) partition: PartitionId,
    /// Writes it, to files whose names begin with the text given.
    pub(crate) write: Write,
    pub(crate) merge: Merge,
    /// Rows older than this count no more.
    pub(crate) oldest_ms: Option<u64>,
}

/// An operator's state on one worker.
pub(crate) trait Views {
    /// Views of all its partitions on this worker, as of now. Costs what changed.
    fn views(&mut self) -> Result<Vec<StateView>>;
}
