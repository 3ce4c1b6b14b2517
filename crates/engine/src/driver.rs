//! The driver: plans batches, orders what is durable, drives commits. One thread, one loop.
//!
//! How an epoch begins and what follows its failure is in `epoch.rs`, how a record is found that a function of the job fails
//! on in `careful.rs`, and when state is saved in `saving.rs`.

mod careful;
mod epoch;
mod inputs;
mod saving;

use crate::background::Background;
use crate::checkpoints::Checkpoints;
use crate::clock::Clock;
use crate::due::DueBatches;
use crate::engine::{EngineParts, OutputPart, Settings, Stop};
use crate::flight::{Flight, Stage};
use crate::journal::Journal;
use crate::listener::Listeners;
use crate::rate::RateEstimator;
use crossbeam_channel::{Receiver, Sender};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{
    BatchId, BatchPlan, BatchTime, Error, ErrorKind, JobId, OutputReport, Planner, Result, Runtime,
    RuntimeEvent, RuntimeFactory, StreamId, crash_point,
};

/// What wakes the driver.
pub(crate) enum Event {
    /// A report of the epoch of that number; one of an earlier epoch means nothing any more.
    Runtime(u64, RuntimeEvent),
    Stop(Stop),
    ClockMoved,
    /// The background has something to report.
    Background,
}

pub(crate) struct Driver {
    settings: Settings,
    planners: Vec<(StreamId, Box<dyn Planner>)>,
    outputs: Vec<OutputPart>,
    runtimes: Box<dyn RuntimeFactory>,
    clock: Arc<dyn Clock>,
    listeners: Listeners,
    events: Sender<Event>,
    received: Receiver<Event>,
    journal: Journal,
    /// Of a job with state.
    checkpoints: Option<Checkpoints>,
    /// Of a job with a storage.
    background: Option<Background>,
    due: DueBatches,
    epoch: u64,
    runtime: Option<Box<dyn Runtime>>,
    /// Plans to run again before any new one.
    rerun: VecDeque<BatchPlan>,
    flights: VecDeque<Flight>,
    /// A plan that was written and is not known to be durable. The next epoch makes it so, and then the sources go on.
    undecided: Option<Arc<BatchPlan>>,
    /// The newest batch that is in every output. Batches up to it are run for state alone.
    committed: BatchId,
    /// Committed batches that may be run again after a crash, as far as is known.
    unreleased: VecDeque<Arc<BatchPlan>>,
    /// One for each input, with back-pressure.
    rates: Vec<RateEstimator>,
    failures: u32,
    stopping: Option<Stop>,
    /// Of a job that stops gracefully: every input has given all that it took.
    drained: bool,
}

impl Driver {
    pub(crate) fn new(
        parts: EngineParts,
        listeners: Listeners,
        events: Sender<Event>,
        received: Receiver<Event>,
    ) -> Result<Driver> {
        let EngineParts { settings, planners, outputs, runtimes, clock, .. } = parts;
        let new_job = JobId(uuid::Uuid::new_v4().to_string());
        let mut journal = match &settings.storage {
            Some(storage) => Journal::open(storage, &settings.app, &new_job, &settings.holder)?,
            None => Journal::in_memory(&settings.app, &new_job),
        };
        let checkpoints = saving::checkpoints(&settings)?;
        journal.keep_after(checkpoints.as_ref().map(Checkpoints::oldest))?;
        let background = saving::background(&settings, &clock, &events)?;
        let due = DueBatches::from(clock.now(), None, settings.interval);
        let rates = inputs::rates(&settings, planners.len());
        Ok(Driver {
            rates,
            settings,
            planners,
            outputs,
            runtimes,
            clock,
            listeners,
            events,
            received,
            journal,
            checkpoints,
            background,
            due,
            epoch: 0,
            runtime: None,
            rerun: VecDeque::new(),
            flights: VecDeque::new(),
            undecided: None,
            committed: BatchId(0),
            unreleased: VecDeque::new(),
            failures: 0,
            stopping: None,
            drained: false,
        })
    }

    /// Recovers and starts the first epoch; the sources go on where the newest plan ended.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.tell_damaged();
        self.start_epoch(false)?;
        // A batch that is run again asks no source: the workers are at it while the sources find their positions.
        if !self.rerun.is_empty() {
            self.hand_out_next()?;
        }
        let last = self.journal.last().cloned();
        for (stream, planner) in &mut self.planners {
            planner.report_to(self.listeners.receiver_report(stream, &self.clock));
            let source = last.as_ref().and_then(|last| last.source(stream));
            planner.resume(source).map_err(|e| e.context(format!("input {stream}")))?;
        }
        self.begin_slowly();
        let last_time = last.map(|last| last.time);
        self.due = DueBatches::from(self.clock.now(), last_time, self.settings.interval);
        Ok(())
    }

    /// The time of the next new batch.
    pub(crate) fn next_due(&self) -> BatchTime {
        self.due.next()
    }

    /// Runs batches until asked to stop or failing.
    pub(crate) fn drive(&mut self) -> Result<()> {
        let result = loop {
            match self.run_epoch() {
                Err(error) if error.kind() == ErrorKind::UserCode => break Err(self.find_record(error)),
                Err(error) if self.is_done() && error.kind() == ErrorKind::Retry => {
                    log::warn!(
                        "{error}; all batches are committed, the next start runs the newest again for state"
                    );
                    break Ok(());
                }
                Err(error) if self.is_mended_by_an_epoch(&error) => {
                    if let Err(error) = self.recover_from(error) {
                        break Err(error);
                    }
                }
                result => break result,
            }
        };
        self.runtime = None;
        self.planners.iter_mut().for_each(|(_, planner)| planner.close());
        self.settle();
        // What was committed need not be run again by the next start.
        let closed = if result.is_ok() { self.journal.close() } else { self.journal.sync() };
        let result = result.and(closed);
        self.listeners.stopped(result.as_ref().err());
        result
    }

    /// A planner, an output or the engine itself panicked on this thread. Nothing is committed after that, and
    /// whoever waits for the end is told.
    pub(crate) fn panicked(&mut self, panic: &(dyn Any + Send)) -> Error {
        let text =
            panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        let error = Error::bug(format!("the driver panicked: {}", text.unwrap_or("a panic without a text")));
        self.runtime = None;
        self.listeners.stopped(Some(&error));
        error
    }

    fn run_epoch(&mut self) -> Result<()> {
        loop {
            if self.stopping == Some(Stop::Now) {
                return Ok(());
            }
            self.hand_out_next()?;
            if self.is_done() && self.is_saved() {
                return Ok(());
            }
            match self.wait() {
                None | Some(Event::ClockMoved) => {}
                Some(Event::Background) => self.take_reports()?,
                Some(Event::Stop(how)) => {
                    log::info!(
                        "stopping {}",
                        if how == Stop::Now { "at once" } else { "after what is planned" }
                    );
                    self.stopping = Some(how);
                    self.drain();
                }
                Some(Event::Runtime(epoch, event)) if epoch == self.epoch => self.reported(event)?,
                Some(Event::Runtime(..)) => {}
            }
        }
    }

    /// Whether a job that is asked to stop has committed all that was planned.
    fn is_done(&self) -> bool {
        self.stopping.is_some() && self.drained && self.flights.is_empty() && self.rerun.is_empty()
    }

    /// The next event, or none when a batch is due.
    fn wait(&self) -> Option<Event> {
        let deadline =
            (self.may_hand_out() && self.takes_more()).then(|| self.clock.deadline(self.due.next()));
        match deadline.flatten() {
            None => self.received.recv().ok(),
            Some(deadline) => self.received.recv_deadline(deadline).ok(),
        }
    }

    /// Workers process one batch at a time; behind it others may still be committed.
    fn may_hand_out(&self) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::journal_late() && !self.flights.is_empty() {
            return false; // the next id comes from the journal
        }
        self.flights.len() < self.settings.batches_in_flight_max.max(1)
            && self.flights.iter().all(|flight| flight.stage != Stage::Processing)
    }

    fn hand_out_next(&mut self) -> Result<()> {
        if !self.may_hand_out() {
            return Ok(());
        }
        let begun = self.clock.elapsed();
        if let Some(plan) = self.rerun.pop_front() {
            return self.hand_out(Arc::new(plan), true, begun);
        }
        match self.due.peek(self.clock.now()) {
            Some(time) if self.takes_more() => {
                let plan = self.plan(time)?;
                self.due.take();
                self.hand_out(Arc::new(plan), false, begun)?;
                if self.stopping.is_some() {
                    self.drain();
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Asks each source what the batch of `time` takes. Changes nothing.
    fn plan(&mut self, time: BatchTime) -> Result<BatchPlan> {
        let last = self.journal.last();
        let id = last.map_or(BatchId::FIRST, |last| last.id.next());
        let before = BatchTime(time.0.saturating_sub(self.settings.interval.as_millis() as u64));
        let zero = last.map_or(before, |last| last.zero);
        let mut sources = Vec::with_capacity(self.planners.len());
        for (stream, planner) in &mut self.planners {
            sources.push(
                planner
                    .plan(self.settings.interval)
                    .map_err(|e| e.context(format!("batch {id}, input {stream}")))?,
            );
        }
        Ok(BatchPlan { id, time, zero, sources })
    }

    /// Decides a batch and hands it to the workers. A crash after any line is repaired by running the batch again, or, before
    /// the sync, by planning it anew: nothing of it can have been seen.
    fn hand_out(&mut self, plan: Arc<BatchPlan>, rerun: bool, begun: Duration) -> Result<()> {
        let now = self.clock.elapsed();
        let delay = Duration::from_millis(self.clock.now().0.saturating_sub(plan.time.0));
        self.flights.push_back(Flight::new(plan.clone(), rerun, delay, begun, now));
        if rerun {
            self.hand_to_workers(&plan);
            return Ok(());
        }
        #[cfg(feature = "sabotage")]
        if crate::sabotage::journal_late() {
            self.hand_to_workers(&plan);
            self.sources_go_on(&plan);
            return Ok(());
        }
        crash_point("before-journal");
        self.journal.planned(&plan)?; // 1 written
        crash_point("journal-unsynced");
        self.hand_to_workers(&plan); // 2 processing begins, and overlaps the sync
        let durable = self.journal.sync(); // 3 the batch is decided; only now may it be committed
        crash_point("journal-synced");
        if let Some(flight) = self.flights.back_mut() {
            flight.journaled(self.clock.elapsed().saturating_sub(now));
        }
        if let Err(error) = durable {
            self.undecided = Some(plan); // what a source remembers of a plan is never ahead of the journal
            return Err(error);
        }
        self.sources_go_on(&plan); // 4 the next plan begins where this one ends
        self.release(); // 5 with it, that the batches before are committed
        Ok(())
    }

    /// `plan` is durable.
    fn sources_go_on(&mut self, plan: &BatchPlan) {
        for ((_, planner), source) in self.planners.iter_mut().zip(&plan.sources) {
            planner.planned(source);
        }
    }

    fn hand_to_workers(&mut self, plan: &Arc<BatchPlan>) {
        #[cfg(feature = "sabotage")]
        let plan = &crate::sabotage::off_by_one(plan);
        if let Some(runtime) = &mut self.runtime {
            runtime.run(plan.clone());
        }
    }

    /// Takes a batch on by what the runtime reports.
    fn reported(&mut self, event: RuntimeEvent) -> Result<()> {
        let now = self.clock.elapsed();
        match event {
            RuntimeEvent::Processed(report) => {
                crash_point("processed");
                let plan = self.flight(report.batch)?.plan.clone();
                if report.batch <= self.committed {
                    self.flights.retain(|flight| flight.plan.id != report.batch); // run for state alone
                } else {
                    self.flight(report.batch)?.processed(report, now);
                }
                self.save_if_due(plan); // before the next batch changes the state
                self.commit_oldest(now);
            }
            // A runtime may tell that outputs which were given nothing have nothing to do.
            RuntimeEvent::Prepared(batch) if batch <= self.committed => {}
            RuntimeEvent::Prepared(batch) => {
                crash_point("prepared");
                self.flight(batch)?.prepared(now);
                self.commit_oldest(now);
            }
            RuntimeEvent::Committed(batch, outputs) => self.committed(batch, outputs)?,
            RuntimeEvent::Snapshot(batch, states) => self.snapshot_taken(batch, states)?,
            RuntimeEvent::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// Batches are committed in order, one at a time.
    fn commit_oldest(&mut self, now: Duration) {
        if let Some(flight) = self.flights.front_mut()
            && flight.stage == Stage::Prepared
        {
            flight.committing(now);
            let batch = flight.plan.id;
            if let Some(runtime) = &mut self.runtime {
                runtime.commit(batch);
            }
        }
    }

    /// A batch is in every output. A crash after any line is repaired by running it again: every output skips it.
    fn committed(&mut self, batch: BatchId, outputs: Vec<OutputReport>) -> Result<()> {
        let flight = self
            .flights
            .pop_front()
            .filter(|flight| flight.plan.id == batch && flight.stage == Stage::Committing);
        let flight = flight.ok_or_else(|| Error::bug(format!("batch {batch} was committed out of order")))?;
        crash_point("committed");
        #[cfg(feature = "sabotage")]
        if crate::sabotage::journal_late() && !flight.rerun {
            self.journal.planned(&flight.plan)?;
            self.journal.sync()?;
        }
        self.journal.committed(batch)?; // 1 durable with the next plan
        crash_point("journal-committed");
        self.committed = batch;
        for (stream, planner) in &mut self.planners {
            // By name: a batch that is run again may have been planned by a program that built its inputs otherwise.
            if let Some(source) = flight.plan.source(stream) {
                planner.committed(&flight.plan, source); // 2 sources are told
            }
        }
        crash_point("sources-told");
        let now = self.clock.elapsed();
        let info = flight.committed(now, self.clock.now(), outputs);
        self.unreleased.push_back(info.plan.clone());
        self.adjust_rates(&info);
        self.listeners.completed(info); // 3 listeners are told, never before
        self.failures = 0;
        self.publish_if_committed(); // 4 its state, when that is written, may be gone on from
        self.sweep_journal();
        self.commit_oldest(now);
        Ok(())
    }

    fn flight(&mut self, batch: BatchId) -> Result<&mut Flight> {
        let flight = self.flights.iter_mut().find(|flight| flight.plan.id == batch);
        flight.ok_or_else(|| Error::bug(format!("a report on batch {batch}, which is not on its way")))
    }
}
