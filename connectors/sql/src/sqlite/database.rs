//! One connection to a file for all outputs of one job in this process, and the transaction they share.
//!
//! SQLite lets one connection write at a time, and a batch is prepared in *every* output before it is committed in any. So
//! two outputs to one file with a transaction each would wait for each other for ever. They share one instead: whoever has
//! rows of a batch first begins it, the others join, and the first to be told to commit commits for all, which is
//! right because by then all of them have prepared. When one gives up, all of it is rolled back.

use super::failure::failure;
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tidegate_core::{BatchId, Error, JobId, Result};

/// How many transactions that were rolled back are remembered. A writer asks only for its last.
const ROLLED_BACK_MAX: usize = 64;

type Databases = HashMap<(PathBuf, JobId), Weak<Database>>;

/// The files in use. By job as well: what one job prepares must never be committed by another.
static DATABASES: LazyLock<Mutex<Databases>> = LazyLock::new(Mutex::default);

/// A connection whose commits survive a power failure.
pub(super) fn connect(file: &Path, lock_timeout: Duration) -> Result<Connection> {
    let place = format!("SQLite {}", file.display());
    let fail = |error| failure(&place, error);
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(Error::reconfigure(format!(
            "{place}: the directory {} is not there: make it",
            directory.display()
        )));
    }
    if file.is_dir() {
        return Err(Error::reconfigure(format!("{place}: that is a directory: name a file in it")));
    }
    let connection = Connection::open(file).map_err(fail)?;
    connection.busy_timeout(lock_timeout).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Readers go on reading while a batch is written.
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(fail)?;
    if mode != "wal" {
        log::warn!(
            "{place}: write-ahead logging is not to be had here (journal_mode is {mode}): readers wait for batches"
        );
    }
    // NORMAL would sync at checkpoints only: a power failure could take back a batch that the journal knows as committed.
    connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
    Ok(connection)
}

/// A file, as the outputs of one job in this process use it.
pub(super) struct Database {
    pub(super) place: String,
    lock_timeout: Duration,
    state: Mutex<State>,
    /// Told whenever a transaction ends.
    ended: Condvar,
}

/// The connection and the transaction that is open on it.
pub(super) struct State {
    connection: Option<Connection>,
    open: Option<Open>,
    last: u64,
    rolled_back: BTreeMap<u64, &'static str>,
}

struct Open {
    ticket: u64,
    batch: BatchId,
}

/// What came of the wish to take part in a batch's transaction.
pub(super) enum Joined {
    /// It is open; this is its ticket.
    Now { ticket: u64, first: bool },
    /// Another batch's transaction is open still.
    Later,
}

impl Database {
    /// The one for `file` and `job` in this process. `file` must exist.
    pub(super) fn shared(file: &Path, job: &JobId, lock_timeout: Duration) -> Result<Arc<Database>> {
        let place = format!("SQLite {}", file.display());
        let real = file
            .canonicalize()
            .map_err(|error| Error::reconfigure(format!("{place}: can't be found")).because(error))?;
        let mut databases = DATABASES.lock().unwrap_or_else(PoisonError::into_inner);
        databases.retain(|_, database| database.strong_count() > 0);
        let key = (real, job.clone());
        if let Some(database) = databases.get(&key).and_then(Weak::upgrade) {
            return Ok(database);
        }
        let state = State { connection: None, open: None, last: 0, rolled_back: BTreeMap::new() };
        let database = Database { place, lock_timeout, state: Mutex::new(state), ended: Condvar::new() };
        let database = Arc::new(database);
        databases.insert(key, Arc::downgrade(&database));
        Ok(database)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Database::lock`], once no transaction of a batch other than `batch` is open.
    pub(super) fn lock_for(&self, batch: BatchId) -> Result<MutexGuard<'_, State>> {
        let other = |state: &mut State| state.open.as_ref().is_some_and(|open| open.batch != batch);
        let (state, waited) = self
            .ended
            .wait_timeout_while(self.lock(), self.lock_timeout, other)
            .unwrap_or_else(PoisonError::into_inner);
        match &state.open {
            Some(open) if waited.timed_out() && open.batch != batch => Err(Error::retry(format!(
                "{}: batch {batch} waited {:?} for batch {} of another output to be committed",
                self.place, self.lock_timeout, open.batch
            ))),
            _ => Ok(state),
        }
    }

    /// Commits the transaction of `ticket`, unless another output of the file has done so.
    pub(super) fn commit(&self, ticket: u64) -> Result<()> {
        let mut state = self.lock();
        if !state.is_open(ticket) {
            return state.outcome(ticket).map_err(|reason| self.gone(reason));
        }
        let connection = state.connection()?;
        if connection.is_autocommit() {
            state.abandon("SQLite ended it");
            return Err(self.gone("SQLite ended it"));
        }
        let done = connection.execute_batch("COMMIT");
        match done {
            Ok(()) => state.open = None,
            Err(_) => state.abandon("its commit failed"),
        }
        self.ended.notify_all();
        done.map_err(|error| {
            // Whatever it was, whether the batch is in is for the next opening to say.
            Error::retry(failure(&self.place, error).to_string())
        })
    }

    /// Gives up the transaction of `ticket`, for every output that takes part in it.
    pub(super) fn give_up(&self, ticket: u64) {
        let mut state = self.lock();
        if state.is_open(ticket) {
            state.abandon("an output that shares it gave up");
        }
        self.ended.notify_all();
    }

    fn gone(&self, reason: &str) -> Error {
        Error::retry(format!("{}: the transaction of the batch was rolled back: {reason}", self.place))
    }

    /// Takes part in the transaction of `batch`, which is begun when no other is open. `ticket` is that of the last call for the
    /// same batch.
    pub(super) fn join(&self, state: &mut State, batch: BatchId, ticket: Option<u64>) -> Result<Joined> {
        if let Some(ticket) = ticket {
            if state.is_open(ticket) {
                return Ok(Joined::Now { ticket, first: false });
            }
            let reason =
                state.outcome(ticket).err().unwrap_or("another output committed it before all was written");
            return Err(self.gone(reason));
        }
        match &state.open {
            Some(open) if open.batch == batch => Ok(Joined::Now { ticket: open.ticket, first: true }),
            Some(_) => Ok(Joined::Later),
            None => {
                // IMMEDIATE: the lock is taken now, or not at all. A transaction that began by reading could be
                // refused it later, with rows already written.
                let begun = state.connection()?.execute_batch("BEGIN IMMEDIATE");
                begun.map_err(|error| failure(&self.place, error))?;
                state.last += 1;
                let ticket = state.last;
                state.open = Some(Open { ticket, batch });
                Ok(Joined::Now { ticket, first: true })
            }
        }
    }
}

impl State {
    /// The connection that came with the last opening.
    pub(super) fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(|| Error::bug("SQLite: written before it was opened"))
    }

    /// Takes a new connection: the file may have been replaced since the last epoch.
    pub(super) fn renew(&mut self, connection: Connection) {
        self.connection = Some(connection);
    }

    /// Rolls back what is open. Those who took part learn `reason`.
    pub(super) fn abandon(&mut self, reason: &'static str) {
        let Some(open) = self.open.take() else { return };
        self.rolled_back.insert(open.ticket, reason);
        if self.rolled_back.len() > ROLLED_BACK_MAX {
            self.rolled_back.pop_first();
        }
        if let Some(connection) = &self.connection
            && !connection.is_autocommit()
            && let Err(error) = connection.execute_batch("ROLLBACK")
        {
            // Closing the connection rolls back as well.
            log::warn!("SQLite: ROLLBACK failed, the connection is closed: {error}");
            self.connection = None;
        }
    }

    fn is_open(&self, ticket: u64) -> bool {
        self.open.as_ref().is_some_and(|open| open.ticket == ticket)
    }

    /// How a transaction that is over ended: committed, or rolled back for a reason.
    fn outcome(&self, ticket: u64) -> Result<(), &'static str> {
        self.rolled_back.get(&ticket).map_or(Ok(()), |reason| Err(*reason))
    }
}
