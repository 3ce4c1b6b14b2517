//! How an epoch begins, and what follows its failure.

use super::{Driver, Event};
use crate::engine::{OutputPart, Stop};
use crate::recover::{Remembered, Resume, StateMemory, resume};
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{
    BatchId, EpochStart, Error, ErrorKind, JobId, OutputContext, Pauses, Result, crash_point,
};

impl Driver {
    /// Opens the outputs, decides how to go on, starts the workers; from an older checkpoint when one can't be used.
    pub(super) fn start_epoch(&mut self, careful: bool) -> Result<()> {
        self.runtime = None;
        self.flights.clear();
        self.settle();
        loop {
            self.epoch += 1;
            let resume = self.decide()?;
            self.write_down(&resume)?;
            if let Some(plan) = self.undecided.take() {
                self.sources_go_on(&plan);
            }
            match self.start_runtime(resume, careful) {
                Err(error) if self.gives_up_checkpoint(&error) => {}
                result => return result,
            }
        }
    }

    /// Makes durable what was decided, before any batch of the epoch is run.
    fn write_down(&mut self, resume: &Resume) -> Result<()> {
        if let Some(lost) = &resume.lost {
            log::warn!("{lost}. That is set: the state is empty before batch {}", resume.first);
            if let (Some(checkpoints), Some(storage)) = (&mut self.checkpoints, &self.settings.storage) {
                checkpoints.begin_anew(&**storage, resume.first)?;
            }
        }
        let streams: Vec<_> = self.planners.iter().map(|(stream, _)| stream.clone()).collect();
        let outputs: Vec<_> = self.outputs.iter().map(|output| output.id.clone()).collect();
        self.journal.started(&resume.job, &streams, &outputs)?;
        if let Some(forward) = &resume.forward {
            self.journal.go_forward(forward)?;
        }
        if let Some(batch) = resume.state_from {
            self.journal.state_begins(batch)?;
        }
        for batch in self.journal.pending_up_to(resume.committed) {
            self.journal.committed(batch)?;
        }
        for plan in &resume.adopted {
            self.journal.planned(plan)?;
        }
        self.journal.sync()
    }

    fn start_runtime(&mut self, resume: Resume, careful: bool) -> Result<()> {
        let Resume { job, first, held, committed, restore, rerun, state_from, .. } = resume;
        let replayed = rerun.iter().filter(|plan| plan.id <= committed).count();
        let restored = restore.as_ref().map(|checkpoint| checkpoint.batch());
        if let Some(batch) = restored {
            log::info!("state is restored as of batch {batch}");
        }
        if !rerun.is_empty() {
            let count = rerun.len();
            log::info!(
                "running {count} planned batches again, from batch {first}; {replayed} for state alone"
            );
        }
        self.rerun = rerun.into();
        self.committed = committed;
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.epoch_begins(&job, state_from, restored);
        }
        let (events, epoch) = (self.events.clone(), self.epoch);
        let report = move |event| {
            let _ = events.send(Event::Runtime(epoch, event));
        };
        let start = EpochStart {
            epoch,
            first,
            held,
            committed: if careful { BatchId(u64::MAX) } else { committed },
            restore,
            careful,
            events: Arc::new(report),
        };
        self.runtime = Some(self.runtimes.start(start)?);
        if restored.is_some() || replayed > 0 {
            crash_point("restored");
        }
        Ok(())
    }

    /// Asks every output what it holds and decides how to go on.
    fn decide(&self) -> Result<Resume> {
        let journal = self.journal.journaled();
        let states = self.checkpoints.as_ref();
        let known = journal.last.is_some().then(|| journal.job.clone());
        let open = |output: &OutputPart, job: Option<JobId>| -> Result<Remembered> {
            let context = OutputContext { output: output.id.clone(), job, new_job: journal.job.clone() };
            let held = (output.open)(&context).map_err(|e| e.context(format!("output \"{}\"", output.id)))?;
            let (id, describe) = (output.id.clone(), output.describe.clone());
            Ok(Remembered { id, describe, delivery: output.delivery, held })
        };
        let mut remembered =
            self.outputs.iter().map(|output| open(output, known.clone())).collect::<Result<Vec<_>>>()?;
        // Without a journal the job's name is the one of an output that was used, or of the newest checkpoint; unused
        // outputs take it.
        let used = remembered.iter().find(|output| output.held.newest.is_some());
        let found = used
            .and_then(|used| used.held.job.clone())
            .or_else(|| states.and_then(|checkpoints| checkpoints.job().cloned()));
        if let (None, Some(job)) = (&known, found) {
            for (output, slot) in self.outputs.iter().zip(&mut remembered) {
                if slot.held.newest.is_none() && slot.held.job.as_ref() != Some(&job) {
                    *slot = open(output, Some(job.clone()))?;
                }
            }
        }
        let states: Option<&StateMemory> = states.map(|checkpoints| checkpoints.memory());
        resume(&journal, &remembered, states)
    }

    /// Whether a new epoch, from what is durable, can do better.
    pub(super) fn is_mended_by_an_epoch(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Retry => self.stopping != Some(Stop::Now),
            ErrorKind::DamagedCheckpoint => self.checkpoints.as_ref().is_some_and(|of| of.has_restored()),
            _ => false,
        }
    }

    /// Ends the epoch and starts the next, pausing between tries, until it starts or the job is stopped.
    pub(super) fn recover_from(&mut self, error: Error) -> Result<()> {
        let mut error = error;
        loop {
            self.runtime = None;
            if !self.gives_up_checkpoint(&error) {
                log::warn!("{error}; the planned batches will be run again");
                self.listeners.retry(&error);
                self.failures += 1;
                if self.settings.retry_attempts_max.is_some_and(|most| self.failures > most) {
                    return Err(error.context(format!(
                        "given up after {} tries in which no batch was committed (nothing is lost: the next start runs the planned \
                         batches again)",
                        self.failures - 1
                    )));
                }
                if !self.pause() {
                    // Nothing is lost: the next start runs the planned batches again.
                    return if self.stopping == Some(Stop::Now) { Ok(()) } else { Err(error) };
                }
            }
            match self.start_epoch(false) {
                Ok(()) => return Ok(()),
                Err(again) if again.kind() == ErrorKind::Retry => error = again,
                Err(other) => return Err(other),
            }
        }
    }

    /// Waits before another try; false when the job is stopped meanwhile.
    fn pause(&mut self) -> bool {
        let (first, longest) = (self.settings.retry_pause, self.settings.retry_pause_max);
        let pause = Pauses { first, longest }.after(self.failures, fastrand::f64());
        let until = self.clock.elapsed() + pause;
        loop {
            if self.stopping.is_some() {
                return false;
            }
            let Some(left) =
                until.checked_sub(self.clock.elapsed()).filter(|left: &Duration| !left.is_zero())
            else {
                return true;
            };
            match self.received.recv_timeout(left) {
                Ok(Event::Stop(how)) => self.stopping = Some(how),
                Ok(Event::Runtime(..) | Event::ClockMoved | Event::Background) => {}
                // A manual clock does not move by itself: a test is not made to wait.
                Err(_) => return true,
            }
        }
    }
}
