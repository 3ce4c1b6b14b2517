//! Where states are held: in memory, or in one embedded store on disk for the whole process.

use fjall::{Config, Keyspace, PartitionCreateOptions, PartitionHandle};
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_core::{Error, Result};

/// What the caches and buffers of a store on disk may have at least.
const MEMORY_BYTES_MIN: u64 = 8 << 20;
/// What one state's buffer may have at most, however much memory there is: larger ones only make flushes longer.
const BUFFER_BYTES_MAX: u64 = 32 << 20;
/// Name of the folder that holds the store.
const STORE: &str = "store";
/// Name of the file that is locked while a process uses the store.
const LOCK: &str = "LOCK";

/// Where states are held.
#[derive(Clone, Debug, Default)]
pub enum Stores {
    /// In memory: the fastest, and as large as memory is.
    #[default]
    Memory,
    /// On disk, with caches and buffers of a given size: as large as the disk is.
    Disk(DiskStores),
}

/// One embedded store in a directory, for all states of this process. A clone is the same store.
///
/// It is a larger memory and nothing more: nothing of it outlives the process, so nothing is synced for its sake.
#[derive(Clone)]
pub struct DiskStores {
    opened: Arc<Opened>,
}

struct Opened {
    // Closed before the lock is let go.
    keyspace: Keyspace,
    directory: PathBuf,
    buffer_bytes: u32,
    next_name: AtomicU64,
    _lock: File,
}

impl DiskStores {
    /// Opens a store in `directory`, which is made if it is not there. What an earlier process left in its `store` folder is
    /// **removed**: a state is filled from a checkpoint and never from here. Nothing else in the directory is touched.
    ///
    /// `memory_bytes` bounds the caches and write buffers of all states together; at least 8 MiB are used. What an operation has
    /// in its hands, and about 2 bytes a key for filters and indexes, come on top.
    ///
    /// # Errors
    /// `Reconfigure`, naming the directory, when it can't be used or another process uses it.
    pub fn open(directory: &Path, memory_bytes: u64) -> Result<DiskStores> {
        let failed = |error: std::io::Error| {
            Error::reconfigure(format!("{}: states can't be kept here", directory.display())).because(error)
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let lock = File::create(directory.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::reconfigure(format!(
                "{}: another process keeps its states here; give each its own directory",
                directory.display()
            )),
            TryLockError::Error(error) => failed(error),
        })?;
        let store = directory.join(STORE);
        match fs::remove_dir_all(&store) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let memory_bytes = memory_bytes.max(MEMORY_BYTES_MIN);
        let config = Config::new(&store)
            .cache_size(memory_bytes / 2)
            .max_write_buffer_size(memory_bytes / 4)
            // Not handed to the kernel before a buffer is full, and never synced for its own sake.
            .manual_journal_persist(true)
            .fsync_ms(None);
        let keyspace = config.open().map_err(|error| store_failed(directory, error))?;
        let buffer_bytes = (memory_bytes / 16).min(BUFFER_BYTES_MAX);
        Ok(DiskStores {
            opened: Arc::new(Opened {
                keyspace,
                directory: directory.to_owned(),
                buffer_bytes: u32::try_from(buffer_bytes).expect("bounded"),
                next_name: AtomicU64::new(0),
                _lock: lock,
            }),
        })
    }

    /// A new, empty part of the store.
    pub(crate) fn new_part(&self) -> Result<PartitionHandle> {
        let name = format!("state-{}", self.opened.next_name.fetch_add(1, Ordering::Relaxed));
        let options = PartitionCreateOptions::default()
            .manual_journal_persist(true)
            .max_memtable_size(self.opened.buffer_bytes);
        self.opened.keyspace.open_partition(&name, options).map_err(|error| self.failed(error))
    }

    /// Removes a part of the store; what still reads it may go on.
    pub(crate) fn remove_part(&self, part: &PartitionHandle) {
        if let Err(error) = self.opened.keyspace.delete_partition(part.clone()) {
            log::warn!("{}: a state that is closed stays on disk: {error}", self.opened.directory.display());
        }
    }

    /// The error of an operation that failed.
    pub(crate) fn failed(&self, error: impl Into<fjall::Error>) -> Error {
        store_failed(&self.opened.directory, error.into())
    }
}

fn store_failed(directory: &Path, error: fjall::Error) -> Error {
    Error::reconfigure(format!("{}: the store of states can't be used; see to its disk", directory.display()))
        .because(error)
}

impl fmt::Debug for DiskStores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DiskStores").field(&self.opened.directory).finish()
    }
}
