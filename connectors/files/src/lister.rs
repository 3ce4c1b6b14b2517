//! Lists the folder from a thread of its own, so that no batch waits for it, however many files there are.

use crate::ledger::{self, Keeper};
use crate::pool::{Findings, Pool};
use crate::selection::Selection;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegate_core::{FileSystem, Result, UserFile};

/// Files that are looked at before a batch that is being planned gets its turn.
const TURN: usize = 4096;
/// Files that a log line names.
const NAMED: usize = 3;

/// What is listed.
pub(crate) struct List {
    pub(crate) files: Arc<dyn FileSystem>,
    pub(crate) selection: Selection,
    pub(crate) depth: usize,
}

impl List {
    /// The files that the stream takes, as they are now.
    pub(crate) fn now(&self) -> Result<Vec<UserFile>> {
        let mut files = self.files.list(self.depth)?;
        files.retain(|file| self.selection.takes(file));
        Ok(files)
    }
}

/// What the lister and the planner share.
pub(crate) struct Shared {
    pool: Mutex<Pool>,
    stopped: Mutex<bool>,
    stop: Condvar,
    begun: Instant,
}

impl Shared {
    pub(crate) fn new(pool: Pool) -> Shared {
        Shared {
            pool: Mutex::new(pool),
            stopped: Mutex::new(false),
            stop: Condvar::new(),
            begun: Instant::now(),
        }
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.notify_all();
    }

    /// Waits, and says whether to go on.
    fn pause(&self, pause: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stop.wait_timeout_while(stopped, pause, |stopped| !*stopped);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Lister {
    pub(crate) list: List,
    pub(crate) shared: Arc<Shared>,
    pub(crate) keeper: Option<Arc<Keeper>>,
    pub(crate) interval: Duration,
}

impl Lister {
    /// The thread. A listing that fails is told of once and tried again: batches take nothing meanwhile.
    pub(crate) fn run(self) {
        let mut is_away = false;
        let mut took = Duration::ZERO;
        while self.shared.pause(self.interval.max(took)) {
            let begun = Instant::now();
            match self.list.now() {
                Ok(files) => {
                    if is_away {
                        log::info!("file stream: {} can be listed again", self.list.files.describe());
                        is_away = false;
                    }
                    self.take_in(files);
                    self.sum_up();
                }
                Err(error) if !is_away => {
                    log::warn!("file stream: {error}; no new files are taken until it can be listed");
                    is_away = true;
                }
                Err(_) => {}
            }
            took = begun.elapsed();
        }
    }

    pub(crate) fn take_in(&self, files: Vec<UserFile>) {
        let now = self.shared.begun.elapsed();
        self.shared.pool().begin_listing();
        let mut findings = Findings::default();
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let found = self.shared.pool().see(files.by_ref().take(TURN), now);
            findings.written_again.extend(found.written_again);
            findings.replaced.extend(found.replaced);
        }
        let forgotten = self.shared.pool().end_listing(now);
        self.tell(&findings, forgotten);
    }

    fn tell(&self, findings: &Findings, forgotten: usize) {
        let folder = self.list.files.describe();
        for path in &findings.written_again {
            log::warn!(
                "{folder}/{path} was taken already and written to since; it is not taken again. Write what is new \
                 to a new file, and move it in when it is complete"
            );
        }
        if !findings.replaced.is_empty() {
            let named = findings.replaced.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
            let count = findings.replaced.len();
            log::info!("{folder}: {count} files took the place of others and are taken as new: {named}");
        }
        if forgotten > 0 {
            log::debug!("{folder}: {forgotten} taken files are gone for long, and forgotten");
        }
    }

    /// Writes a snapshot of what was taken, when it is time.
    fn sum_up(&self) {
        let Some(keeper) = &self.keeper else { return };
        let Some((number, before)) = keeper.due().filter(|_| !self.shared.is_stopped()) else { return };
        let files = ledger::files(self.shared.pool().taken());
        if let Err(error) = keeper.sum_up(number, before, self.list.files.describe(), files) {
            log::warn!("file stream: {error}; what was taken is summed up later");
        }
    }
}
