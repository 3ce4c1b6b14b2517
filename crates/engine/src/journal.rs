//! All that is true after a crash: which batches were planned, and which are in every output.
//!
//! On a local disk the records are frames of a log; on any other storage each plan is an object of its own.
//! `docs/formats.md` has each field. A job with state also keeps the plans it would run again to have its state back.

mod disk;
mod objects;

use crate::recover::{Forward, Journaled};
use disk::Disk;
use objects::Objects;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tidegate_core::{BatchId, BatchPlan, Error, JobId, OutputId, Result, Storage, StreamId};

pub(crate) use objects::Sweep;

/// The format that is written.
const FORMAT: u32 = 2;

/// The job, and where it stood when a segment was begun, or the last head of an object journal was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHead {
    /// Version of the records.
    pub format: u32,
    /// The job's name for outputs, made once.
    pub job: JobId,
    /// The application's name: another application is refused.
    pub app: String,
    /// The newest plan.
    pub last: Option<BatchPlan>,
    /// Plans that are not in every output, oldest first.
    pub pending: Vec<BatchPlan>,
    /// The newest batch that is in every output.
    pub committed: Option<BatchId>,
    /// Input streams of the job.
    pub streams: Vec<StreamId>,
    /// Each output with the newest batch that is in it and took anything from an input; none yet: `null`.
    pub outputs: BTreeMap<OutputId, Option<BatchId>>,
    /// The batch before which all state was empty; `None` while the job has never had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_from: Option<BatchId>,
}

/// The journal of a job: of a storage that this process writes, or, without one, of this run alone.
pub struct Journal {
    head: JournalHead,
    /// Plans that are in every output and are kept to be run again for state, oldest first.
    kept: VecDeque<BatchPlan>,
    /// Whether plans are kept when they are committed.
    keeps: bool,
    place: Place,
}

enum Place {
    Memory,
    Disk(Disk),
    Objects(Box<Objects>),
}

/// What a place holds when it is opened.
struct Opened<P> {
    place: P,
    head: JournalHead,
    kept: VecDeque<BatchPlan>,
}

impl Journal {
    /// A journal that ends with this process: what was planned before a crash is known to the outputs alone.
    pub fn in_memory(app: &str, new_job: &JobId) -> Journal {
        let head = JournalHead::new(app, new_job);
        Journal { head, kept: VecDeque::new(), keeps: false, place: Place::Memory }
    }

    /// Reads the journal in `storage`; a new one is begun, for `new_job`, where there is none. A local directory is taken
    /// for this process.
    ///
    /// # Errors
    /// `Reconfigure` when another process holds the directory or it belongs to another application; `DataLost` when the
    /// journal is corrupt, with file and place; `Retry` when the storage is away.
    pub fn open(storage: &Arc<dyn Storage>, app: &str, new_job: &JobId, holder: &str) -> Result<Journal> {
        if let Some(directory) = storage.local_directory() {
            let Opened { place, head, kept } = Disk::open(directory, app, new_job, holder)?;
            return Ok(Journal { head, kept, keeps: true, place: Place::Disk(place) });
        }
        let Opened { place, head, kept } = Objects::open(storage, app, new_job)?;
        Ok(Journal { head, kept, keeps: true, place: Place::Objects(Box::new(place)) })
    }

    /// The job's name for outputs.
    pub fn job(&self) -> &JobId {
        &self.head.job
    }

    /// The newest plan.
    pub fn last(&self) -> Option<&BatchPlan> {
        self.head.last.as_ref()
    }

    /// Batches up to `batch` that are planned and not said to be in every output.
    pub(crate) fn pending_up_to(&self, batch: BatchId) -> Vec<BatchId> {
        self.head.pending.iter().map(|plan| plan.id).filter(|id| *id <= batch).collect()
    }

    /// What is true, for recovery.
    pub fn journaled(&self) -> Journaled {
        Journaled {
            job: self.head.job.clone(),
            last: self.head.last.clone(),
            pending: self.head.pending.clone(),
            committed: self.head.committed,
            kept: self.kept.iter().cloned().collect(),
            outputs: self.head.outputs.clone(),
            state_from: self.head.state_from,
            place: self.place(),
        }
    }

    fn place(&self) -> String {
        match &self.place {
            Place::Memory => "this run".to_owned(),
            Place::Disk(disk) => disk.describe(),
            Place::Objects(objects) => objects.describe(),
        }
    }

    /// From now on committed plans after `batch` are kept, and those up to it are not; with `None` none is.
    ///
    /// # Errors
    /// The storage is away.
    pub fn keep_after(&mut self, batch: Option<BatchId>) -> Result<()> {
        self.keeps = batch.is_some();
        let Some(batch) = batch else {
            self.kept.clear();
            return Ok(());
        };
        if let Place::Objects(objects) = &mut self.place {
            let known = self.kept.front().or(self.head.pending.first()).or(self.head.last.as_ref());
            let known = known.map(|plan| plan.id);
            // The newest plan itself stands in the head, committed or not.
            let last_is_committed = self.kept.is_empty() && self.head.pending.is_empty();
            let mut older = objects.older_plans(batch, known)?;
            if let Some(last) = self.head.last.as_ref().filter(|_| last_is_committed) {
                older.push_back(last.clone());
            }
            older.append(&mut self.kept);
            self.kept = older;
        }
        while self.kept.front().is_some_and(|plan| plan.id <= batch) {
            self.kept.pop_front();
        }
        Ok(())
    }

    /// A run begins. Takes over the name of the job from its outputs where the journal is new.
    ///
    /// # Errors
    /// `Reconfigure` when an input of earlier runs is not part of this one, or the journal can't be written.
    pub fn started(&mut self, job: &JobId, streams: &[StreamId], outputs: &[OutputId]) -> Result<()> {
        if let Some(gone) = self.head.streams.iter().find(|stream| !streams.contains(stream)) {
            return Err(Error::reconfigure(format!(
                "{}: the job had an input stream \"{gone}\" and has none of that name now; give the stream its name back, or \
                 start with a new checkpoint directory",
                self.place()
            )));
        }
        let before = self.head.clone();
        self.head.job = job.clone();
        started_in(&mut self.head, streams, outputs);
        let renamed = before.job != *job;
        match &mut self.place {
            Place::Memory => Ok(()),
            Place::Disk(disk) => {
                disk.started(streams, outputs)?;
                if renamed { self.begin_anew() } else { self.sync() }
            }
            Place::Objects(objects) if objects.is_begun() && before == self.head => Ok(()),
            Place::Objects(_) => self.begin_anew(),
        }
    }

    /// All state was empty before `batch`. Durable on return.
    ///
    /// # Errors
    /// The journal can't be written.
    pub fn state_begins(&mut self, batch: BatchId) -> Result<()> {
        if self.head.state_from == Some(batch) {
            return Ok(());
        }
        self.head.state_from = Some(batch);
        self.begin_anew()
    }

    /// The journal goes on after a plan that is newer than all it knows and is in every output. Durable on return.
    ///
    /// # Errors
    /// The journal can't be written.
    pub fn go_forward(&mut self, Forward { plan, holders }: &Forward) -> Result<()> {
        let head = &mut self.head;
        head.last = Some(plan.clone());
        head.pending.clear();
        head.committed = Some(plan.id);
        for (output, newest) in &mut head.outputs {
            if holders.contains(output) {
                *newest = Some(plan.id);
            }
        }
        self.kept.clear();
        self.begin_anew()
    }

    /// Records that a batch is decided. It is durable after [`Journal::sync`].
    ///
    /// # Errors
    /// `Reconfigure` when it can't be written; `Bug` when the plan can't follow the one before.
    pub fn planned(&mut self, plan: &BatchPlan) -> Result<()> {
        plan.follows(self.head.last.as_ref()).map_err(|flaw| Error::bug(flaw.0))?;
        match &mut self.place {
            Place::Memory => {}
            Place::Disk(disk) => disk.planned(plan)?,
            Place::Objects(objects) => objects.planned(plan, self.head.committed),
        }
        planned_in(&mut self.head, plan.clone());
        Ok(())
    }

    /// Records that a batch is in every output. Durable with the next plan that is synced; lost, the batch is run again and
    /// the outputs say that they hold it.
    ///
    /// # Errors
    /// `Reconfigure` when it can't be written.
    pub fn committed(&mut self, batch: BatchId) -> Result<()> {
        if let Place::Disk(disk) = &mut self.place {
            disk.committed(batch)?;
        }
        let plan = committed_in(&mut self.head, batch);
        self.kept.extend(plan.filter(|_| self.keeps));
        match &self.place {
            Place::Disk(disk) if disk.is_full() => self.begin_anew(),
            _ => Ok(()),
        }
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// `Reconfigure` when the disk refuses, or when another process writes plans of this job; `Retry` when the storage is away:
    /// the next call writes what this one did not.
    pub fn sync(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Memory => Ok(()),
            Place::Disk(disk) => disk.sync(),
            Place::Objects(objects) => objects.sync(),
        }
    }

    /// The run ends as it should: what was committed need not be run again by the next.
    ///
    /// # Errors
    /// As [`Journal::sync`].
    pub fn close(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Objects(objects) => {
                objects.sync()?;
                objects.close(&self.head)
            }
            _ => self.sync(),
        }
    }

    /// What is to be done in the background, when something is: plans that nobody needs are deleted.
    pub(crate) fn sweep(&mut self) -> Option<Sweep> {
        let Place::Objects(objects) = &mut self.place else { return None };
        let needed = self.kept.front().or(self.head.pending.first()).or(self.head.last.as_ref())?;
        objects.sweep(&self.head, needed.id)
    }

    /// Writes a head that sums up all there is, and the plans that are kept.
    fn begin_anew(&mut self) -> Result<()> {
        match &mut self.place {
            Place::Memory => Ok(()),
            Place::Disk(disk) => disk.roll(&self.head, &self.kept),
            Place::Objects(objects) => {
                objects.sync()?;
                objects.write_head(&self.head)
            }
        }
    }
}

impl JournalHead {
    fn new(app: &str, job: &JobId) -> JournalHead {
        JournalHead {
            format: FORMAT,
            job: job.clone(),
            app: app.to_owned(),
            last: None,
            pending: Vec::new(),
            committed: None,
            streams: Vec::new(),
            outputs: BTreeMap::new(),
            state_from: None,
        }
    }

    /// Refuses the journal of another application.
    fn must_be_of(&self, app: &str, place: &str) -> Result<()> {
        if self.app == app {
            return Ok(());
        }
        Err(Error::reconfigure(format!(
            "{place} is the checkpoint of the job \"{}\", not of \"{app}\"; give this job a directory of its own, or its old name \
             back",
            self.app
        )))
    }
}

fn started_in(head: &mut JournalHead, streams: &[StreamId], outputs: &[OutputId]) {
    head.streams = streams.to_vec();
    head.outputs.retain(|output, _| outputs.contains(output));
    for output in outputs {
        head.outputs.entry(output.clone()).or_default();
    }
}

fn planned_in(head: &mut JournalHead, plan: BatchPlan) {
    head.pending.push(plan.clone());
    head.last = Some(plan);
}

/// Gives the plan, which is pending no more.
fn committed_in(head: &mut JournalHead, batch: BatchId) -> Option<BatchPlan> {
    let place = head.pending.iter().position(|plan| plan.id == batch)?;
    let plan = head.pending.remove(place);
    head.committed = Some(batch);
    if !plan.is_empty() {
        head.outputs.values_mut().for_each(|newest| *newest = Some(batch));
    }
    Some(plan)
}
