//! An engine from outside: its parts, how it is started, stopped and awaited.

use crate::background::Publishing;
use crate::clock::Clock;
use crate::driver::{Driver, Event};
use crate::listener::{Listeners, StreamingListener};
use crate::rate::PidSettings;
use crossbeam_channel::{Sender, unbounded};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidegate_core::{
    BatchTime, Delivery, Error, ErrorKind, Held, OutputContext, OutputId, Planner, Result, RuntimeFactory,
    StateShape, Storage, StreamId,
};

/// How a job is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the application: a checkpoint directory belongs to one.
    pub app: String,
    /// Length of a batch.
    pub interval: Duration,
    /// Where journal and checkpoints are; without one only what the outputs remember survives the process, and a job with
    /// state does not start.
    pub storage: Option<Arc<dyn Storage>>,
    /// The states of the graph. Without any there are no checkpoints, only the journal.
    pub states: Vec<StateShape>,
    /// From the batch of one checkpoint to that of the next, at least.
    pub checkpoint_interval: Duration,
    /// Checkpoints that are kept: at least 1. With more than one, a damaged one costs running more batches again, not the state.
    pub checkpoints_retained: usize,
    /// Where checkpoints are published.
    pub publishing: Publishing,
    /// Settings as a checkpoint may show them: without any that may be a secret.
    pub settings_shown: BTreeMap<String, String>,
    /// The operators of the graph, as a checkpoint shows them: `flat_map #3`.
    pub graph: Vec<String>,
    /// Begin with empty state where the state is lost, instead of refusing to start.
    pub state_loss_accepted: bool,
    /// Batches between plan and commit at most: 1 or 2. With 2 a batch is processed while the one before is committed.
    pub batches_in_flight_max: usize,
    /// Lets what batches took decide how much inputs take; `None`: inputs have their own limits only.
    pub backpressure: Option<PidSettings>,
    /// Pause before the first new try after a failure; doubled each time up to `retry_pause_max`. Of each, half to all is waited,
    /// by chance: jobs that lost one server do not come back to it in one moment.
    pub retry_pause: Duration,
    /// Longest pause between tries.
    pub retry_pause_max: Duration,
    /// Tries after which the job ends with the failure, when no batch was committed between them; `None`: it tries until it is
    /// stopped.
    pub retry_attempts_max: Option<u32>,
    /// Who holds the checkpoint directory, for whoever finds it taken.
    pub holder: String,
}

impl Settings {
    /// Settings for `app` with batches of `interval` and everything else as usual: no storage, no state; checkpoints, when
    /// there is state, every 10 seconds (or every batch, when that is longer), three of them kept.
    pub fn new(app: &str, interval: Duration) -> Settings {
        Settings {
            app: app.to_owned(),
            interval,
            storage: None,
            states: Vec::new(),
            checkpoint_interval: interval.max(Duration::from_secs(10)),
            checkpoints_retained: 3,
            publishing: Publishing::default(),
            settings_shown: BTreeMap::new(),
            graph: Vec::new(),
            state_loss_accepted: false,
            batches_in_flight_max: 2,
            backpressure: None,
            retry_pause: Duration::from_millis(100),
            retry_pause_max: Duration::from_secs(10),
            retry_attempts_max: None,
            holder: format!("process {} ({app})", std::process::id()),
        }
    }
}

/// Opens an output for an epoch and tells what it holds.
pub type OpenOutput = Arc<dyn Fn(&OutputContext) -> Result<Held> + Send + Sync>;

/// An output as the engine needs it.
#[derive(Clone)]
pub struct OutputPart {
    /// Its name.
    pub id: OutputId,
    /// What it is.
    pub describe: String,
    /// What it does with a batch that is run again.
    pub delivery: Delivery,
    /// Opens it for an epoch.
    pub open: OpenOutput,
}

/// All an engine is made of.
pub struct EngineParts {
    /// How the job is run.
    pub settings: Settings,
    /// The driver's side of each input, in the order of the graph.
    pub planners: Vec<(StreamId, Box<dyn Planner>)>,
    /// The outputs.
    pub outputs: Vec<OutputPart>,
    /// Starts the workers.
    pub runtimes: Box<dyn RuntimeFactory>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Who is told.
    pub listeners: Vec<Arc<dyn StreamingListener>>,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Finish what is planned, then stop.
    Gracefully,
    /// Stop at once. What is planned is run again by the next start.
    Now,
}

/// A started engine. Dropping it stops the engine at once.
pub struct EngineHandle {
    events: Sender<Event>,
    first_due: BatchTime,
    outcome: Arc<Outcome>,
}

#[derive(Default)]
struct Outcome {
    ended: Mutex<Option<Result<(), (ErrorKind, String)>>>,
    changed: Condvar,
}

/// The engine: decides and orders what is durable.
pub struct Engine;

impl Engine {
    /// Recovers, starts the first epoch and the driver's thread.
    ///
    /// # Errors
    /// Whatever keeps the job from starting: an outer system away, a checkpoint that does not fit.
    pub fn start(parts: EngineParts) -> Result<EngineHandle> {
        let (events, received) = unbounded();
        let moved = events.clone();
        parts.clock.on_move(Arc::new(move || {
            let _ = moved.send(Event::ClockMoved);
        }));
        let listeners = Listeners::start(parts.listeners.clone());
        let mut driver = Driver::new(parts, listeners, events.clone(), received)?;
        driver.begin()?;
        let first_due = driver.next_due();
        let outcome = Arc::new(Outcome::default());
        let told = outcome.clone();
        let drive = move || {
            let result = catch_unwind(AssertUnwindSafe(|| driver.drive()));
            let result = result.unwrap_or_else(|panic| Err(driver.panicked(&*panic)));
            // Whoever waits for the end may use the directory and the outputs again: they are let go first.
            drop(driver);
            *told.ended.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(result.map_err(|error| (error.kind(), error.to_string())));
            told.changed.notify_all();
        };
        std::thread::Builder::new()
            .name("tidegate-driver".to_owned())
            .spawn(drive)
            .map_err(|e| Error::retry("can't start the driver's thread").because(e))?;
        Ok(EngineHandle { events, first_due, outcome })
    }
}

impl EngineHandle {
    /// The time of the first new batch: after the newest of an earlier run, even if the clock went back.
    pub fn first_due(&self) -> BatchTime {
        self.first_due
    }

    /// Asks the engine to stop; [`EngineHandle::await_end`] says when it has.
    pub fn stop(&self, how: Stop) {
        // An engine that is gone needs no asking.
        let _ = self.events.send(Event::Stop(how));
    }

    /// Waits for the end, for at most `limit`; `None` when it did not come.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn await_end(&self, limit: Option<Duration>) -> Option<Result<()>> {
        let until = limit.map(|limit| Instant::now() + limit);
        let mut ended = self.outcome.ended.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = &*ended {
                return Some(result.clone().map_err(|(kind, text)| Error::new(kind, text)));
            }
            ended = match until {
                None => self.outcome.changed.wait(ended).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.checked_duration_since(Instant::now())?;
                    self.outcome.changed.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        self.stop(Stop::Now);
        // Its outputs and files are free when this returns.
        let _ = self.await_end(None);
    }
}
