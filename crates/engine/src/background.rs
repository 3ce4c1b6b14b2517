//! What no batch waits for: manifests are published, and what nobody needs is deleted, on a thread of its own.

use crate::clock::Clock;
use crate::journal::Sweep;
use crate::manifest;
use crossbeam_channel::{Sender, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate_core::{BatchId, Checkpoint, Error, Result, Storage, crash_point};

/// Jobs that wait at most: one checkpoint is under way at a time, and a sweep is due once in many batches.
const JOBS_WAITING_MAX: usize = 4;

/// Where checkpoints are published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publishing {
    /// On a thread of its own, as a job must that has batches to run.
    #[default]
    InBackground,
    /// On the driver's thread: batches wait for it, and every run takes the same steps. For tests.
    Inline,
}

/// One piece of work.
pub(crate) enum Work {
    /// Publishes the last of these checkpoints, then deletes what none of them needs.
    Publish(Vec<Arc<Checkpoint>>),
    Sweep(Sweep),
}

/// What became of it.
pub(crate) enum Report {
    /// The checkpoint can be recovered from; how long it took.
    Published(Arc<Checkpoint>, Duration),
    NotPublished(BatchId, Error),
}

/// The thread, or what takes its place.
pub(crate) struct Background {
    shared: Arc<Shared>,
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    wake: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    reports: Vec<Report>,
    /// Work that was given and is not done.
    left: usize,
}

impl Background {
    /// `wake` is called when there is a report.
    ///
    /// # Errors
    /// `Retry` when the thread can't be started.
    pub(crate) fn start(
        how: Publishing,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Background> {
        let (state, idle) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { storage, clock, wake: Box::new(wake), state, idle });
        if how == Publishing::Inline {
            return Ok(Background { shared, work: None, thread: None });
        }
        let (work, waiting) = bounded::<Work>(JOBS_WAITING_MAX);
        let worker = shared.clone();
        let run = move || waiting.iter().for_each(|work| worker.run(work));
        let thread = std::thread::Builder::new().name("tidegate-publish".to_owned()).spawn(run);
        let thread = thread.map_err(|e| Error::retry("can't start the thread that publishes").because(e))?;
        Ok(Background { shared, work: Some(work), thread: Some(thread) })
    }

    /// Gives work; false when too much waits, which it does while the storage is away.
    pub(crate) fn give(&self, work: Work) -> bool {
        self.shared.lock().left += 1;
        let Some(sender) = &self.work else {
            self.shared.run(work);
            return true;
        };
        let given = sender.try_send(work).is_ok();
        if !given {
            self.shared.lock().left -= 1;
        }
        given
    }

    /// What became of work since the last call.
    pub(crate) fn reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.shared.lock().reports)
    }

    /// Waits until all work is done.
    pub(crate) fn await_idle(&self) {
        let mut state = self.shared.lock();
        while state.left > 0 {
            state = self.shared.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // It catches its own panics.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, work: Work) {
        // A storage is code of others; a checkpoint that can't be published stops no batch.
        if catch_unwind(AssertUnwindSafe(|| self.work(work))).is_err() {
            log::warn!("{} panicked; the job goes on", self.storage.describe());
        }
        self.lock().left -= 1;
        self.idle.notify_all();
    }

    fn work(&self, work: Work) {
        match work {
            Work::Publish(retained) => self.publish(&retained),
            Work::Sweep(sweep) => {
                if let Err(error) = sweep.run() {
                    log::warn!("old plans are not deleted, the next sweep tries again: {error}");
                }
            }
        }
    }

    fn publish(&self, retained: &[Arc<Checkpoint>]) {
        let Some(newest) = retained.last() else { return };
        let begun = self.clock.elapsed();
        // Whatever happens to the thread, the driver is told.
        let published = catch_unwind(AssertUnwindSafe(|| manifest::publish(&*self.storage, newest)))
            .unwrap_or_else(|_| Err(Error::bug("the storage panicked")));
        match published {
            Ok(()) => {
                crash_point("manifest-published");
                self.report(Report::Published(newest.clone(), self.clock.elapsed().saturating_sub(begun)));
                match manifest::retire(&*self.storage, retained) {
                    Ok(()) => crash_point("checkpoint-retired"),
                    Err(error) => {
                        log::warn!("old checkpoints are not deleted, the next one tries again: {error}");
                    }
                }
            }
            Err(error) => self.report(Report::NotPublished(newest.batch(), error)),
        }
    }

    fn report(&self, report: Report) {
        self.lock().reports.push(report);
        (self.wake)();
    }
}
