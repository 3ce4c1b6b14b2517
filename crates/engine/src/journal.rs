//! All that is true after a crash: which batches were planned, and which are in every output.
//!
//! Records are JSON in the frames of a log; `docs/formats.md` has each field. Every segment begins with a head that sums
//! up all before it.

use crate::recover::Journaled;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tidegate_core::{BatchId, BatchPlan, Error, JobId, OutputId, Result, StreamId};
use tidegate_storage::{DirectoryLock, Log, LogLimits};

const FORMAT: u32 = 1;

/// What the head of a segment says: the job, and where it stood when the segment was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointHead {
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
}

/// One record.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record<'a> {
    /// First of each segment.
    Head(Cow<'a, CheckpointHead>),
    /// A run began with these streams and outputs.
    Started { streams: Cow<'a, [StreamId]>, outputs: Cow<'a, [OutputId]> },
    /// The batch is decided.
    Planned(Cow<'a, BatchPlan>),
    /// The batch is in every output.
    Committed { batch: BatchId },
}

/// The journal of a job: of a checkpoint directory that this process holds, or, without one, of this run alone.
pub struct Journal {
    head: CheckpointHead,
    disk: Option<Disk>,
}

struct Disk {
    directory: PathBuf,
    log: Log,
    _lock: DirectoryLock,
}

impl Journal {
    /// A journal that ends with this process: what was planned before a crash is known to the outputs alone.
    pub fn in_memory(app: &str, new_job: &JobId) -> Journal {
        Journal { head: CheckpointHead::new(app, new_job), disk: None }
    }

    /// Takes `directory` for this process and reads its journal; a new one is begun, for `new_job`, where there is none.
    ///
    /// # Errors
    /// `Reconfigure` when another process holds the directory or it belongs to another application; `DataLost` when the
    /// journal is corrupt, with file and place.
    pub fn open(directory: &Path, app: &str, new_job: &JobId, holder: &str) -> Result<Journal> {
        let lock = DirectoryLock::take(directory, holder)?;
        let files = directory.join("journal");
        let (log, head) = match Log::open(&files, LogLimits::default())? {
            Some((log, frames)) => {
                let head = replay(log.path(), &frames)?;
                if head.app != app {
                    return Err(Error::reconfigure(format!(
                        "{} is the checkpoint of the job \"{}\", not of \"{app}\"; give this job a directory of its own, or its \
                         old name back",
                        directory.display(),
                        head.app
                    )));
                }
                (log, head)
            }
            None => {
                let head = CheckpointHead::new(app, new_job);
                (
                    Log::create(&files, LogLimits::default(), &encode(&Record::Head(Cow::Borrowed(&head))))?,
                    head,
                )
            }
        };
        Ok(Journal { head, disk: Some(Disk { directory: directory.to_owned(), log, _lock: lock }) })
    }

    /// The job's name for outputs.
    pub fn job(&self) -> &JobId {
        &self.head.job
    }

    /// The newest plan.
    pub fn last(&self) -> Option<&BatchPlan> {
        self.head.last.as_ref()
    }

    /// What is true, for recovery.
    pub fn journaled(&self) -> Journaled {
        Journaled {
            job: self.head.job.clone(),
            last: self.head.last.clone(),
            pending: self.head.pending.clone(),
            outputs: self.head.outputs.clone(),
            place: match &self.disk {
                Some(disk) => disk.directory.display().to_string(),
                None => "this run".to_owned(),
            },
        }
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
                self.journaled().place
            )));
        }
        let renamed = self.head.job != *job;
        self.head.job = job.clone();
        let started = Record::Started { streams: Cow::Borrowed(streams), outputs: Cow::Borrowed(outputs) };
        started_in(&mut self.head, streams, outputs);
        self.append(&started)?;
        if renamed { self.roll() } else { self.sync() }
    }

    /// Appends that a batch is decided. It is durable after [`Journal::sync`].
    ///
    /// # Errors
    /// `Reconfigure` when it can't be written; `Bug` when the plan can't follow the one before.
    pub fn planned(&mut self, plan: &BatchPlan) -> Result<()> {
        plan.follows(self.head.last.as_ref()).map_err(|flaw| Error::bug(flaw.0))?;
        self.append(&Record::Planned(Cow::Borrowed(plan)))?;
        planned_in(&mut self.head, plan.clone());
        Ok(())
    }

    /// Appends that a batch is in every output. Durable with the next sync; lost, the batch is run again and the outputs
    /// say that they hold it.
    ///
    /// # Errors
    /// `Reconfigure` when it can't be written.
    pub fn committed(&mut self, batch: BatchId) -> Result<()> {
        self.append(&Record::Committed { batch })?;
        committed_in(&mut self.head, batch);
        if self.disk.as_ref().is_some_and(|disk| disk.log.is_full()) { self.roll() } else { Ok(()) }
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// `Reconfigure` when the disk refuses.
    pub fn sync(&mut self) -> Result<()> {
        self.disk.as_mut().map_or(Ok(()), |disk| disk.log.sync())
    }

    fn append(&mut self, record: &Record<'_>) -> Result<()> {
        self.disk.as_mut().map_or(Ok(()), |disk| disk.log.append(&encode(record)))
    }

    fn roll(&mut self) -> Result<()> {
        let head = encode(&Record::Head(Cow::Borrowed(&self.head)));
        self.disk.as_mut().map_or(Ok(()), |disk| disk.log.roll(&head))
    }
}

impl CheckpointHead {
    fn new(app: &str, job: &JobId) -> CheckpointHead {
        CheckpointHead {
            format: FORMAT,
            job: job.clone(),
            app: app.to_owned(),
            last: None,
            pending: Vec::new(),
            committed: None,
            streams: Vec::new(),
            outputs: BTreeMap::new(),
        }
    }
}

fn encode(record: &Record<'_>) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys only")
}

fn started_in(head: &mut CheckpointHead, streams: &[StreamId], outputs: &[OutputId]) {
    head.streams = streams.to_vec();
    head.outputs.retain(|output, _| outputs.contains(output));
    for output in outputs {
        head.outputs.entry(output.clone()).or_default();
    }
}

fn planned_in(head: &mut CheckpointHead, plan: BatchPlan) {
    head.pending.push(plan.clone());
    head.last = Some(plan);
}

fn committed_in(head: &mut CheckpointHead, batch: BatchId) {
    let Some(place) = head.pending.iter().position(|plan| plan.id == batch) else { return };
    let plan = head.pending.remove(place);
    head.committed = Some(batch);
    if !plan.is_empty() {
        head.outputs.values_mut().for_each(|newest| *newest = Some(batch));
    }
}

/// The head, moved on by the records after it.
fn replay(path: &Path, frames: &[Vec<u8>]) -> Result<CheckpointHead> {
    let flaw = |place: usize, what: String| {
        Error::data_lost(format!("{}: record {place}: {what}; restore the file from a copy", path.display()))
    };
    let mut head: Option<CheckpointHead> = None;
    for (place, frame) in frames.iter().enumerate() {
        let record: Record<'_> =
            serde_json::from_slice(frame).map_err(|e| flaw(place, format!("not a journal record ({e})")))?;
        match (record, &mut head) {
            (Record::Head(first), None) if first.format == FORMAT => head = Some(first.into_owned()),
            (Record::Head(first), None) => {
                return Err(Error::reconfigure(format!(
                    "{}: written in format {}, this version reads format {FORMAT}; use the version that wrote it",
                    path.display(),
                    first.format
                )));
            }
            (Record::Started { streams, outputs }, Some(head)) => started_in(head, &streams, &outputs),
            (Record::Planned(plan), Some(head)) => {
                plan.follows(head.last.as_ref()).map_err(|found| flaw(place, found.0))?;
                planned_in(head, plan.into_owned());
            }
            (Record::Committed { batch }, Some(head)) => committed_in(head, batch),
            (_, None) => return Err(flaw(place, "comes before the head".to_owned())),
            (Record::Head(_), Some(_)) => return Err(flaw(place, "a second head".to_owned())),
        }
    }
    head.ok_or_else(|| flaw(0, "no head".to_owned()))
}
