//! The journal on a local disk: JSON records in the frames of a log, in a directory that one process holds at a time.

use super::{FORMAT, JournalHead, Opened, committed_in, planned_in, started_in};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use tidegate_core::{BatchId, BatchPlan, Error, JobId, OutputId, Result, StreamId};
use tidegate_storage::{DirectoryLock, Log, LogLimits};

/// The oldest format that is read. Its records are those of the newest, without `kept`.
const OLDEST_FORMAT: u32 = 1;

/// One record.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record<'a> {
    /// First of each segment.
    Head(Cow<'a, JournalHead>),
    /// Behind the head only: a plan that is in every output and is kept to be run again for state.
    Kept(Cow<'a, BatchPlan>),
    /// A run began with these streams and outputs.
    Started { streams: Cow<'a, [StreamId]>, outputs: Cow<'a, [OutputId]> },
    /// The batch is decided.
    Planned(Cow<'a, BatchPlan>),
    /// The batch is in every output.
    Committed { batch: BatchId },
}

/// The log, and the lock on its directory.
pub(super) struct Disk {
    directory: PathBuf,
    log: Log,
    _lock: DirectoryLock,
}

impl Disk {
    pub(super) fn open(directory: &Path, app: &str, new_job: &JobId, holder: &str) -> Result<Opened<Disk>> {
        let lock = DirectoryLock::take(directory, holder)?;
        let files = directory.join("journal");
        let opened = |log, head, kept| {
            let place = Disk { directory: directory.to_owned(), log, _lock: lock };
            Opened { place, head, kept }
        };
        let Some((mut log, frames)) = Log::open(&files, LogLimits::default())? else {
            let head = JournalHead::new(app, new_job);
            let log =
                Log::create(&files, LogLimits::default(), &encode(&Record::Head(Cow::Borrowed(&head))))?;
            return Ok(opened(log, head, VecDeque::new()));
        };
        let Replayed { head, kept, begun_with } = replay(log.path(), &frames)?;
        head.must_be_of(app, &directory.display().to_string())?;
        log.begins_with(&frames[..begun_with]);
        Ok(opened(log, head, kept))
    }

    pub(super) fn describe(&self) -> String {
        self.directory.display().to_string()
    }

    pub(super) fn started(&mut self, streams: &[StreamId], outputs: &[OutputId]) -> Result<()> {
        self.append(&Record::Started { streams: Cow::Borrowed(streams), outputs: Cow::Borrowed(outputs) })
    }

    pub(super) fn planned(&mut self, plan: &BatchPlan) -> Result<()> {
        self.append(&Record::Planned(Cow::Borrowed(plan)))
    }

    pub(super) fn committed(&mut self, batch: BatchId) -> Result<()> {
        self.append(&Record::Committed { batch })
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        self.log.sync()
    }

    pub(super) fn is_full(&self) -> bool {
        self.log.is_full()
    }

    /// Begins a new segment. Each plan that is kept is a frame of its own: all of them in one could be too long for a frame.
    pub(super) fn roll(&mut self, head: &JournalHead, kept: &VecDeque<BatchPlan>) -> Result<()> {
        let head = encode(&Record::Head(Cow::Borrowed(head)));
        let kept: Vec<_> = kept.iter().map(|plan| encode(&Record::Kept(Cow::Borrowed(plan)))).collect();
        self.log.roll(&head, &kept)
    }

    fn append(&mut self, record: &Record<'_>) -> Result<()> {
        self.log.append(&encode(record))
    }
}

fn encode(record: &Record<'_>) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have string keys only")
}

/// What a segment says.
struct Replayed {
    head: JournalHead,
    kept: VecDeque<BatchPlan>,
    /// Frames it began with.
    begun_with: usize,
}

/// The head, moved on by the records after it.
fn replay(path: &Path, frames: &[Vec<u8>]) -> Result<Replayed> {
    let flaw = |place: usize, what: String| {
        Error::data_lost(format!("{}: record {place}: {what}; restore the file from a copy", path.display()))
    };
    let mut head: Option<JournalHead> = None;
    let (mut kept, mut begun_with) = (VecDeque::new(), 1);
    for (place, frame) in frames.iter().enumerate() {
        let record: Record<'_> =
            serde_json::from_slice(frame).map_err(|e| flaw(place, format!("not a journal record ({e})")))?;
        match (record, &mut head) {
            (Record::Head(first), None) => head = Some(readable(first.into_owned(), path)?),
            (Record::Kept(plan), Some(_)) if place == begun_with => {
                plan.follows(kept.back()).map_err(|found| flaw(place, found.0))?;
                kept.push_back(plan.into_owned());
                begun_with += 1;
            }
            (Record::Kept(_), Some(_)) => return Err(flaw(place, "a kept plan in the middle".to_owned())),
            (Record::Started { streams, outputs }, Some(head)) => started_in(head, &streams, &outputs),
            (Record::Planned(plan), Some(head)) => {
                plan.follows(head.last.as_ref()).map_err(|found| flaw(place, found.0))?;
                planned_in(head, plan.into_owned());
            }
            (Record::Committed { batch }, Some(head)) => kept.extend(committed_in(head, batch)),
            (_, None) => return Err(flaw(place, "comes before the head".to_owned())),
            (Record::Head(_), Some(_)) => return Err(flaw(place, "a second head".to_owned())),
        }
    }
    let head = head.ok_or_else(|| flaw(0, "no head".to_owned()))?;
    Ok(Replayed { head, kept, begun_with })
}

/// The head as this version goes on with it.
fn readable(head: JournalHead, path: &Path) -> Result<JournalHead> {
    if (OLDEST_FORMAT..=FORMAT).contains(&head.format) {
        return Ok(JournalHead { format: FORMAT, ..head });
    }
    Err(Error::reconfigure(format!(
        "{}: written in format {}, this version reads formats {OLDEST_FORMAT} to {FORMAT}; use the version that wrote it",
        path.display(),
        head.format
    )))
}
