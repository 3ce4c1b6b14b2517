//! Writes increments from a thread of its own, so that no batch waits for the storage unless it is slower than the batches.

use super::{Held, Ledger, is_due};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegate_core::{Error, ErrorKind, Result, UserFile};

/// Pause before a write is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Keeps a ledger while the job runs.
pub(crate) struct Keeper {
    ledger: Ledger,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// At most one while the job runs: no batch is planned before it is written.
    queue: VecDeque<Vec<UserFile>>,
    /// The newest increment that is durable.
    newest: u64,
    /// The newest snapshot, and the files in it.
    snapshot: (u64, u64),
    /// Files in increments after it.
    since: u64,
    failure: Option<(ErrorKind, String)>,
    closed: bool,
}

impl Keeper {
    /// Goes on with a ledger as it was read.
    pub(crate) fn start(ledger: Ledger, held: &Held) -> Result<Arc<Keeper>> {
        let state =
            State { newest: held.newest, snapshot: held.snapshot, since: held.since, ..State::default() };
        let keeper = Arc::new(Keeper { ledger, state: Mutex::new(state), changed: Condvar::new() });
        let writer = keeper.clone();
        let thread =
            std::thread::Builder::new().name("files-ledger".to_owned()).spawn(move || writer.write());
        thread.map_err(|e| Error::reconfigure("can't start a thread").because(e))?;
        Ok(keeper)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `files` were taken by a plan that is durable.
    pub(crate) fn add(&self, files: Vec<UserFile>) {
        if !files.is_empty() {
            self.lock().queue.push_back(files);
            self.changed.notify_all();
        }
    }

    /// Waits for at most `limit` until all that was added is durable.
    pub(crate) fn await_durable(&self, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        while !state.queue.is_empty() {
            if let Some((kind, text)) = state.failure.as_ref().filter(|(kind, _)| *kind != ErrorKind::Retry) {
                return Err(Error::new(*kind, text.clone()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = state.failure.as_ref().map_or("it is slow", |(_, text)| text);
                return Err(Error::retry(format!(
                    "the files of the newest batch are not in {} yet: {why}",
                    self.ledger.describe()
                )));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// The number of a snapshot of what is taken now and of the one before, if it is time for one.
    pub(crate) fn due(&self) -> Option<(u64, u64)> {
        let state = self.lock();
        let due = !state.closed && is_due(state.newest - state.snapshot.0, state.since, state.snapshot.1);
        due.then_some((state.newest, state.snapshot.0))
    }

    /// Writes a snapshot of `files`, taken after [`due`](Keeper::due) gave its number.
    pub(crate) fn sum_up(
        &self,
        number: u64,
        before: u64,
        folder: String,
        files: Vec<UserFile>,
    ) -> Result<()> {
        let count = files.len() as u64;
        self.ledger.write_snapshot(number, before, folder, files)?;
        let mut state = self.lock();
        state.snapshot = (number, count);
        state.since = 0;
        Ok(())
    }

    /// Ends the thread, once all is written or a write fails.
    pub(crate) fn close(&self, limit: Duration) {
        let written = self.await_durable(limit);
        self.lock().closed = true;
        self.changed.notify_all();
        if let Err(error) = written {
            log::info!("{error}; the next start knows them by the newest plan");
        }
    }

    /// The thread.
    fn write(&self) {
        let mut state = self.lock();
        loop {
            if state.closed {
                return;
            }
            let Some(files) = state.queue.front().cloned() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let number = state.newest + 1;
            drop(state);
            let written = self.ledger.write_increment(number, &files);
            state = self.lock();
            match written {
                Ok(()) => {
                    state.queue.pop_front();
                    state.newest = number;
                    state.since += files.len() as u64;
                    state.failure = None;
                    self.changed.notify_all();
                }
                Err(error) => {
                    log::warn!("file stream: {error}; it is written again");
                    state.failure = Some((error.kind(), error.to_string()));
                    self.changed.notify_all();
                    // Whoever closes is not kept waiting by the pause.
                    let pause = self.changed.wait_timeout(state, PAUSE);
                    state = pause.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}
