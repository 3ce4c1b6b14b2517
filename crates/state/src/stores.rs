//! Where states are held: in memory, or in one embedded store on disk for the whole process.

use fjall::{Config, Keyspace, PartitionCreateOptions, PartitionHandle};
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tidegate_core::{Error, Result};

/// What the caches and buffers of a store on disk may have at least.
const MEMORY_BYTES_MIN: u64 = 8 << 20;
/// What one state's buffer may have at most, however much memory there is: larger ones only make flushes longer.
const BUFFER_BYTES_MAX: u64 = 32 << 20;
/// So many closed states may stay on disk while others are open.
const CLOSED_MAX: u64 = 16;
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
/// It is a larger memory and nothing more: nothing of it outlives the process, so nothing is synced for its sake. The place
/// of a state that is closed is given back when all are closed, or 16 are and a new one is opened; until then it stays on disk.
#[derive(Clone)]
pub struct DiskStores {
    opened: Arc<Opened>,
}

struct Opened {
    directory: PathBuf,
    memory_bytes: u64,
    /// The engine that new states go to, while any state is open in it.
    newest: Mutex<Weak<Engine>>,
    engines: AtomicU64,
    _lock: File,
}

/// One store of the library, in a folder of its own that goes with it.
///
/// Single parts are never deleted: the library's flushing thread ends for good when it is at work on a part that is. So closed
/// states go together, with the whole engine.
struct Engine {
    // Closed before the lock is let go.
    keyspace: Keyspace,
    parts: AtomicU64,
    closed: AtomicU64,
    opened: Arc<Opened>,
}

/// The part of an engine that holds one state.
#[derive(Clone)]
pub(crate) struct Part {
    handle: PartitionHandle,
    engine: Arc<Engine>,
}

impl DiskStores {
    /// Opens a store in `directory`, which is made if it is not there. What an earlier process left in its `store` folder is
    /// **removed**: a state is filled from a checkpoint and never from here. Nothing else in the directory is touched.
    ///
    /// `memory_bytes` bounds the caches and write buffers of all states together; at least 8 MiB are used. What an operation has
    /// in its hands, and about 2 bytes a key for filters and indexes, come on top, and what the allocator holds back.
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
        match fs::remove_dir_all(directory.join(STORE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(DiskStores {
            opened: Arc::new(Opened {
                directory: directory.to_owned(),
                memory_bytes: memory_bytes.max(MEMORY_BYTES_MIN),
                newest: Mutex::new(Weak::new()),
                engines: AtomicU64::new(0),
                _lock: lock,
            }),
        })
    }

    /// A new, empty part.
    pub(crate) fn new_part(&self) -> Result<Part> {
        let mut newest = self.opened.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let engine =
            match newest.upgrade().filter(|engine| engine.closed.load(Ordering::Relaxed) < CLOSED_MAX) {
                Some(engine) => engine,
                None => Arc::new(Engine::new(&self.opened)?),
            };
        *newest = Arc::downgrade(&engine);
        let name = format!("state-{}", engine.parts.fetch_add(1, Ordering::Relaxed));
        let buffer_bytes = (self.opened.memory_bytes / 8).min(BUFFER_BYTES_MAX);
        let options = PartitionCreateOptions::default()
            .manual_journal_persist(true)
            .max_memtable_size(u32::try_from(buffer_bytes).expect("bounded"));
        let opened = engine.keyspace.open_partition(&name, options);
        let handle = opened.map_err(|error| store_failed(&self.opened.directory, error))?;
        Ok(Part { handle, engine })
    }
}

impl Engine {
    fn new(opened: &Arc<Opened>) -> Result<Engine> {
        let number = opened.engines.fetch_add(1, Ordering::Relaxed);
        let config = Config::new(opened.directory.join(STORE).join(number.to_string()))
            .temporary(true)
            // A quarter is left for what is being flushed and compacted.
            .cache_size(opened.memory_bytes * 3 / 8)
            .max_write_buffer_size(opened.memory_bytes * 3 / 8)
            // Not handed to the kernel before a buffer is full, and never synced for its own sake.
            .manual_journal_persist(true)
            .fsync_ms(None);
        Ok(Engine {
            keyspace: config.open().map_err(|error| store_failed(&opened.directory, error))?,
            parts: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            opened: Arc::clone(opened),
        })
    }
}

impl Part {
    /// The entries.
    pub(crate) fn entries(&self) -> &PartitionHandle {
        &self.handle
    }

    /// Says that its state is closed.
    pub(crate) fn close(&self) {
        self.engine.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// The error of an operation that failed.
    pub(crate) fn failed(&self, error: impl Into<fjall::Error>) -> Error {
        store_failed(&self.engine.opened.directory, error.into())
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
