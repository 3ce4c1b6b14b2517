//! State is saved: the driver asks for snapshots, and has them published once their batch is in every output.

use super::{Driver, Event};
use crate::background::{Background, Report, Work};
use crate::checkpoints::Checkpoints;
use crate::clock::Clock;
use crate::engine::Settings;
use crossbeam_channel::Sender;
use std::sync::Arc;
use tidegate_core::{BatchId, BatchPlan, Error, ErrorKind, Result, StateCheckpoint, crash_point};

/// The checkpoints of a job with state.
pub(super) fn checkpoints(settings: &Settings) -> Result<Option<Checkpoints>> {
    let Some(state) = settings.states.first() else { return Ok(None) };
    let storage = settings.storage.as_ref().ok_or_else(|| {
        Error::reconfigure(format!(
            "the job has state ({state}) and no checkpoint to keep it in; call checkpoint(directory) before start()"
        ))
    })?;
    Checkpoints::load(settings, &**storage).map(Some)
}

/// The background of a job with a storage.
pub(super) fn background(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    events: &Sender<Event>,
) -> Result<Option<Background>> {
    let Some(storage) = settings.storage.clone() else { return Ok(None) };
    let events = events.clone();
    let wake = move || {
        let _ = events.send(Event::Background);
    };
    Background::start(settings.publishing, storage, clock.clone(), wake).map(Some)
}

impl Driver {
    /// A batch is part of the state: a snapshot is asked for when one is due.
    pub(super) fn save_if_due(&mut self, plan: Arc<BatchPlan>) {
        let now = self.clock.elapsed();
        let Some(checkpoints) = &mut self.checkpoints else { return };
        if checkpoints.processed(plan) {
            let batch = checkpoints.take(now);
            self.ask_for_snapshot(batch);
        }
    }

    fn ask_for_snapshot(&mut self, batch: Option<BatchId>) {
        if let (Some(batch), Some(runtime)) = (batch, &mut self.runtime) {
            runtime.snapshot(batch);
        }
    }

    pub(super) fn snapshot_taken(&mut self, batch: BatchId, states: Vec<StateCheckpoint>) -> Result<()> {
        crash_point("snapshot-taken");
        let now = self.clock.elapsed();
        let Some(checkpoints) = &mut self.checkpoints else {
            return Err(Error::bug(format!("a snapshot of batch {batch} of a job without state")));
        };
        checkpoints.taken(batch, states, now)?;
        self.publish_if_committed();
        Ok(())
    }

    /// Has the snapshot under way published if it is written and its batch is in every output.
    pub(super) fn publish_if_committed(&mut self) {
        let (Some(checkpoints), Some(background)) = (&mut self.checkpoints, &self.background) else { return };
        if let Some(retained) = checkpoints.publish(self.committed, self.journal.job(), &self.settings)
            && !background.give(Work::Publish(retained))
        {
            checkpoints.not_published();
        }
    }

    /// Has plans deleted that nobody needs.
    pub(super) fn sweep_journal(&mut self) {
        if let (Some(background), Some(sweep)) = (&self.background, self.journal.sweep()) {
            // One that is not taken is found again by the next.
            let _ = background.give(Work::Sweep(sweep));
        }
    }

    /// Whether a job that stops has saved its state, so that the next start runs nothing again; if not, sees to it.
    pub(super) fn is_saved(&mut self) -> bool {
        let now = self.clock.elapsed();
        let Some(checkpoints) = &mut self.checkpoints else { return true };
        let last = checkpoints.take_last(now);
        let saved = !checkpoints.is_under_way();
        self.ask_for_snapshot(last);
        saved
    }

    /// Takes what the background reports.
    pub(super) fn take_reports(&mut self) -> Result<()> {
        let reports = self.background.as_ref().map(Background::reports).unwrap_or_default();
        for report in reports {
            let Some(checkpoints) = &mut self.checkpoints else { continue };
            match report {
                Report::Published(checkpoint, publishing) => {
                    let info = checkpoints.published(&checkpoint, publishing);
                    log::debug!("checkpoint of batch {}: {} new bytes", info.batch, info.new_bytes);
                    let oldest = checkpoints.oldest();
                    self.listeners.checkpoint(info);
                    self.journal.keep_after(Some(oldest))?;
                }
                Report::NotPublished(batch, error) => {
                    log::warn!("no checkpoint of batch {batch}, a later one will be tried: {error}");
                    checkpoints.not_published();
                }
            }
        }
        Ok(())
    }

    /// Waits for the background, so that an epoch starts from the newest checkpoint there is.
    pub(super) fn settle(&mut self) {
        if let Some(background) = &self.background {
            background.await_idle();
        }
        if let Err(error) = self.take_reports() {
            log::warn!("{error}");
        }
    }

    /// Tells of the checkpoints that can't be read.
    pub(super) fn tell_damaged(&mut self) {
        for what in self.checkpoints.iter().flat_map(|checkpoints| &checkpoints.memory().damaged) {
            log::warn!("{what}; the job goes on from an older checkpoint");
            self.listeners.checkpoint_damaged(what);
        }
    }

    /// Whether `error` is that the checkpoint of this epoch can't be used; then no other epoch will start from it.
    pub(super) fn gives_up_checkpoint(&mut self, error: &Error) -> bool {
        let Some(checkpoints) = &mut self.checkpoints else { return false };
        if error.kind() != ErrorKind::DamagedCheckpoint {
            return false;
        }
        let Some(batch) = checkpoints.give_up(error) else { return false };
        let what = format!("the checkpoint of batch {batch}: {error}");
        log::warn!("{what}; the job goes on from an older one");
        self.listeners.checkpoint_damaged(&what);
        true
    }
}
