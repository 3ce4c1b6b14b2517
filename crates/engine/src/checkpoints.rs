//! Checkpoints of a job with state: when one is due, what is under way, which there are. Decides; the background writes.

use crate::engine::Settings;
use crate::info::CheckpointInfo;
use crate::manifest;
use crate::recover::StateMemory;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{
    BatchId, BatchPlan, BatchTime, Checkpoint, Error, JobId, Result, StateCheckpoint, Storage,
};

/// The checkpoints of one job.
pub(crate) struct Checkpoints {
    interval: Duration,
    retained: usize,
    memory: StateMemory,
    under_way: Option<UnderWay>,
    /// The newest batch that is part of the state of this epoch.
    processed: Option<Arc<BatchPlan>>,
    /// No snapshot before this time, after one that could not be published.
    not_before: BatchTime,
    /// The one that this epoch's state starts from.
    restored: Option<BatchId>,
    /// The last snapshot of a job that stops was asked for.
    closed: bool,
}

/// A snapshot on its way to a checkpoint.
struct UnderWay {
    plan: Arc<BatchPlan>,
    begun: Duration,
    taking: Duration,
    stage: Stage,
}

enum Stage {
    /// The runtime writes its files.
    Taking,
    /// They are written; the batch is not in every output yet.
    Taken(Vec<StateCheckpoint>),
    Publishing,
}

impl Checkpoints {
    /// Reads what there is in the storage of the job.
    ///
    /// # Errors
    /// The storage can't be read; `Reconfigure` when it is that of another application.
    pub(crate) fn load(settings: &Settings, storage: &dyn Storage) -> Result<Checkpoints> {
        let manifest::Manifests { readable, damaged } = manifest::load(storage)?;
        if let Some(other) = readable.iter().find(|checkpoint| checkpoint.app != settings.app) {
            return Err(Error::reconfigure(format!(
                "{} holds a checkpoint of the job \"{}\", not of \"{}\"; give this job a place of its own, or its old name back",
                storage.describe(),
                other.app,
                settings.app
            )));
        }
        let loss_accepted = settings.state_loss_accepted;
        Ok(Checkpoints {
            interval: settings.checkpoint_interval,
            retained: settings.checkpoints_retained.max(1),
            memory: StateMemory { checkpoints: readable, damaged, loss_accepted },
            under_way: None,
            processed: None,
            not_before: BatchTime(0),
            restored: None,
            closed: false,
        })
    }

    /// What recovery may start from.
    pub(crate) fn memory(&self) -> &StateMemory {
        &self.memory
    }

    /// The job that has made the newest checkpoint.
    pub(crate) fn job(&self) -> Option<&JobId> {
        self.memory.checkpoints.last().map(|newest| &newest.job)
    }

    /// The batch after which plans must be kept: that of the oldest checkpoint.
    pub(crate) fn oldest(&self) -> BatchId {
        self.memory.checkpoints.first().map_or(BatchId(0), |oldest| oldest.batch())
    }

    /// An epoch of `job` begins, whose state starts from `restored` and was empty before `state_from`. What was under way
    /// ended with the epoch before; checkpoints of another job, or from before a loss that was accepted, count no more.
    pub(crate) fn epoch_begins(
        &mut self,
        job: &JobId,
        state_from: Option<BatchId>,
        restored: Option<BatchId>,
    ) {
        let counts = |checkpoint: &Arc<Checkpoint>| {
            checkpoint.job == *job && state_from.is_none_or(|from| checkpoint.batch().next() >= from)
        };
        self.memory.checkpoints.retain(counts);
        (self.under_way, self.processed, self.restored) = (None, None, restored);
    }

    /// A loss of state is accepted: no checkpoint of `first` or a later batch counts.
    ///
    /// # Errors
    /// The storage is away.
    pub(crate) fn begin_anew(&mut self, storage: &dyn Storage, first: BatchId) -> Result<()> {
        self.memory.checkpoints.retain(|checkpoint| checkpoint.batch() < first);
        manifest::delete_from(storage, first)
    }

    /// Whether this epoch starts from a checkpoint.
    pub(crate) fn has_restored(&self) -> bool {
        self.restored.is_some()
    }

    /// The checkpoint that this epoch starts from can't be used; gives its batch, `None` when it starts from none.
    pub(crate) fn give_up(&mut self, why: &Error) -> Option<BatchId> {
        let batch = self.restored.take()?;
        self.memory.checkpoints.retain(|checkpoint| checkpoint.batch() != batch);
        self.memory.damaged.push(format!("{}: {why}", manifest::manifest_path(batch)));
        Some(batch)
    }

    /// `plan` is part of the state now; says whether a snapshot is due.
    pub(crate) fn processed(&mut self, plan: Arc<BatchPlan>) -> bool {
        let last = self.memory.checkpoints.last().map_or(plan.zero, |newest| newest.plan.time);
        let due = BatchTime(last.0 + self.interval.as_millis() as u64).max(self.not_before);
        let is_due = self.under_way.is_none() && plan.time >= due && self.is_new(plan.id);
        self.processed = Some(plan);
        is_due
    }

    /// Whether the state as of `batch` is not in a checkpoint yet.
    fn is_new(&self, batch: BatchId) -> bool {
        let newest = self.memory.checkpoints.last().map(|newest| newest.batch());
        newest.max(self.restored).is_none_or(|newest| batch > newest)
    }

    /// Begins the snapshot of the newest batch that was processed.
    pub(crate) fn take(&mut self, now: Duration) -> Option<BatchId> {
        let plan = self.processed.clone()?;
        let batch = plan.id;
        self.under_way = Some(UnderWay { plan, begun: now, taking: Duration::ZERO, stage: Stage::Taking });
        Some(batch)
    }

    /// The batch of the snapshot that a job which stops still has to take.
    pub(crate) fn take_last(&mut self, now: Duration) -> Option<BatchId> {
        if self.under_way.is_some() || std::mem::replace(&mut self.closed, true) {
            return None;
        }
        self.processed.as_ref().filter(|plan| self.is_new(plan.id))?;
        self.take(now)
    }

    /// Whether a snapshot is on its way.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The files of the snapshot are written.
    ///
    /// # Errors
    /// `Bug` when no such snapshot was asked for.
    pub(crate) fn taken(
        &mut self,
        batch: BatchId,
        states: Vec<StateCheckpoint>,
        now: Duration,
    ) -> Result<()> {
        match &mut self.under_way {
            Some(UnderWay { plan, begun, taking, stage: stage @ Stage::Taking }) if plan.id == batch => {
                *taking = now.saturating_sub(*begun);
                *stage = Stage::Taken(states);
                Ok(())
            }
            _ => Err(Error::bug(format!("a snapshot of batch {batch} was not asked for"))),
        }
    }

    /// The checkpoint to be published, with those it leaves retained before it, once its files are written and its batch is
    /// in every output: recovering from it earlier would skip the batch.
    pub(crate) fn publish(
        &mut self,
        committed: BatchId,
        job: &JobId,
        settings: &Settings,
    ) -> Option<Vec<Arc<Checkpoint>>> {
        #[cfg(feature = "sabotage")]
        let committed = if crate::sabotage::checkpoint_early() { BatchId(u64::MAX) } else { committed };
        let under_way = self.under_way.as_mut().filter(|under_way| under_way.plan.id <= committed)?;
        if !matches!(under_way.stage, Stage::Taken(_)) {
            return None;
        }
        let Stage::Taken(states) = std::mem::replace(&mut under_way.stage, Stage::Publishing) else {
            return None;
        };
        let checkpoint = Checkpoint {
            job: job.clone(),
            app: settings.app.clone(),
            plan: BatchPlan::clone(&under_way.plan),
            interval_ms: settings.interval.as_millis() as u64,
            settings: settings.settings_shown.clone(),
            graph: settings.graph.clone(),
            states,
        };
        Some(self.retained_with(Arc::new(checkpoint)))
    }

    /// The newest checkpoints, as many as are retained, with `newest` the last.
    fn retained_with(&self, newest: Arc<Checkpoint>) -> Vec<Arc<Checkpoint>> {
        let mut all = self.memory.checkpoints.clone();
        all.retain(|checkpoint| checkpoint.job == newest.job && checkpoint.batch() < newest.batch());
        all.push(newest);
        let beyond = all.len().saturating_sub(self.retained);
        all.split_off(beyond)
    }

    /// A checkpoint is published: the job can go on from it.
    pub(crate) fn published(&mut self, checkpoint: &Arc<Checkpoint>, publishing: Duration) -> CheckpointInfo {
        let before = self.memory.checkpoints.last().cloned();
        self.memory.checkpoints = self.retained_with(checkpoint.clone());
        let taking = self.under_way.take().map_or(Duration::ZERO, |under_way| under_way.taking);
        let files = || checkpoint.states.iter().flat_map(|state| &state.files);
        let kept: BTreeSet<&str> = before.iter().flat_map(|before| &before.states).flat_map(paths).collect();
        let new = || files().filter(|file| !kept.contains(file.path.as_str()));
        CheckpointInfo {
            batch: checkpoint.batch(),
            time: checkpoint.plan.time,
            files: files().count(),
            bytes: files().map(|file| file.bytes).sum(),
            rows: files().map(|file| file.rows).sum(),
            new_files: new().count(),
            new_bytes: new().map(|file| file.bytes).sum(),
            taking,
            publishing,
        }
    }

    /// It could not be published: the next is taken after the usual interval.
    pub(crate) fn not_published(&mut self) {
        if let Some(UnderWay { plan, .. }) = self.under_way.take() {
            self.not_before = BatchTime(plan.time.0 + self.interval.as_millis() as u64);
        }
    }
}

fn paths(state: &StateCheckpoint) -> impl Iterator<Item = &str> {
    state.files.iter().map(|file| file.path.as_str())
}
