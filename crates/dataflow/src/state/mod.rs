//! State of operators: what it is, where it begins, how a view of it is taken and written.
//!
//! An operator with state registers a [`StateEntry`] when the graph is built. On each worker it opens its partitions,
//! filled from the checkpoint the epoch begins with, and hands views of what changed to the process's [`Recorder`], which
//! writes them behind the batches' backs. What must not be here: when a checkpoint is due, or what is in its manifest.

mod definition;
mod entry;
mod keyed;
mod recorder;
mod upgrade;
mod view;
mod window_log;

pub use definition::MigratableState;
pub(crate) use definition::StateDefinition;
pub use entry::StateHandle;
pub(crate) use entry::{StateEntries, StateEntry};
pub(crate) use keyed::KeyedPartitions;
pub(crate) use recorder::{Delivery, Recorder};
pub use upgrade::{Difference, StateDescription, Upgrade};
pub(crate) use view::{StateView, Views};
pub(crate) use window_log::WindowLog;

use std::sync::Arc;
use tidegate_core::Storage;
use tidegate_state::Stores;

/// Where a job's state is while it runs, and where views of it are written.
#[derive(Clone)]
pub struct StateSettings {
    /// Where checkpoints are.
    pub storage: Arc<dyn Storage>,
    /// In memory or on disk.
    pub stores: StoreChoice,
    /// States of a checkpoint that may be left behind, by name.
    pub dropped: Vec<tidegate_core::StateId>,
}

/// Where state is held while a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// In memory.
    Memory,
    /// In an embedded store: for state larger than memory.
    Disk {
        /// Its directory, of this machine; emptied at the start of each epoch, because checkpoints are the truth.
        directory: std::path::PathBuf,
        /// Memory that the store's caches and buffers may take.
        memory_bytes: u64,
    },
}

impl StoreChoice {
    /// Opens the stores of an epoch.
    pub(crate) fn open(&self) -> tidegate_core::Result<Stores> {
        match self {
            StoreChoice::Memory => Ok(Stores::Memory),
            StoreChoice::Disk { directory, memory_bytes } => {
                Ok(Stores::Disk(tidegate_state::DiskStores::open(directory, *memory_bytes)?))
            }
        }
    }
}
