//! The journal on a storage that can't be appended to: one object for each plan, and a head that sums up what is older.
//!
//! An object is written only where none is: whoever finds one there knows that another process runs the job. What is
//! committed travels with the next plan.

use super::{FORMAT, JournalHead, Opened, committed_in, planned_in};
use crate::manifest::numbered;
use crate::sealed::{seal, unseal};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use tidegate_core::{BatchId, BatchPlan, Error, JobId, Result, Storage};

const FOLDER: &str = "journal";
const HEAD: &str = "journal/head.json";

/// Plans written before the head is written anew and what is needless is deleted.
const PLANS_UNTIL_SWEEP: usize = 128;

/// Objects that are read at a time.
const READERS: usize = 8;

/// What a plan's object holds.
#[derive(Serialize, Deserialize)]
struct Planned {
    /// The run that wrote it.
    run: String,
    /// The newest batch that was in every output by then.
    committed: Option<BatchId>,
    plan: BatchPlan,
}

/// The objects of one job.
pub(super) struct Objects {
    storage: Arc<dyn Storage>,
    run: String,
    /// Whether there is a head.
    begun: bool,
    /// Plans that are not written yet.
    staged: VecDeque<(BatchId, Vec<u8>)>,
    /// Plans written since the head was.
    since_head: usize,
    /// The newest committed batch that an object or the head tells.
    told: Option<BatchId>,
    /// Objects of plans that the head has summed up, which are there all the same, oldest first.
    older: Vec<BatchId>,
}

/// Work for the background: a new head, then the deletion of what it makes needless.
pub(crate) struct Sweep {
    storage: Arc<dyn Storage>,
    head: Vec<u8>,
    below: BatchId,
}

impl Objects {
    pub(super) fn open(storage: &Arc<dyn Storage>, app: &str, new_job: &JobId) -> Result<Opened<Objects>> {
        let ids: Vec<BatchId> =
            storage.list(FOLDER)?.iter().filter_map(|object| plan_batch(&object.path)).collect();
        let found = storage.get(HEAD)?;
        let begun = found.is_some();
        let mut head = match found {
            Some(bytes) => {
                let head: JournalHead =
                    unseal("head", FORMAT, &bytes).map_err(|what| damaged(&**storage, HEAD, &what))?;
                head.must_be_of(app, &storage.describe())?;
                head
            }
            None if ids.is_empty() => JournalHead::new(app, new_job),
            None => return Err(damaged(&**storage, HEAD, "it is not there, though plans are")),
        };
        let summed_up = head.last.as_ref().map_or(BatchId(0), |last| last.id);
        let (older, newer): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| *id <= summed_up);
        let mut kept = VecDeque::new();
        let since_head = newer.len();
        let newer = read_all(&**storage, &newer)?.into_iter();
        let newer: Vec<Planned> = newer
            .map(|(id, found)| found.map_err(|what| damaged(&**storage, &plan_path(id), &what)))
            .collect::<Result<_>>()?;
        for planned in newer {
            apply(planned, &mut head, &mut kept)
                .map_err(|(id, what)| damaged(&**storage, &plan_path(id), &what))?;
        }
        let objects = Objects {
            storage: storage.clone(),
            run: uuid::Uuid::new_v4().to_string(),
            begun,
            staged: VecDeque::new(),
            since_head,
            told: head.committed,
            older,
        };
        Ok(Opened { place: objects, head, kept })
    }

    pub(super) fn describe(&self) -> String {
        self.storage.describe()
    }

    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Plans after `batch` and before `known` that the head has summed up. One that can't be read, and all before it, are as
    /// good as gone.
    pub(super) fn older_plans(
        &mut self,
        batch: BatchId,
        known: Option<BatchId>,
    ) -> Result<VecDeque<BatchPlan>> {
        let older = std::mem::take(&mut self.older);
        let wanted: Vec<BatchId> =
            older.into_iter().filter(|id| *id > batch && known.is_none_or(|known| *id < known)).collect();
        let mut plans: VecDeque<BatchPlan> = VecDeque::new();
        for (id, found) in read_all(&*self.storage, &wanted)?.into_iter().rev() {
            match found {
                Ok(planned)
                    if plans.front().is_none_or(|after| after.follows(Some(&planned.plan)).is_ok()) =>
                {
                    plans.push_front(planned.plan);
                }
                Ok(_) => break,
                Err(what) => {
                    log::warn!("{} in {}: {what}; plans up to it are lost", plan_path(id), self.describe());
                    break;
                }
            }
        }
        Ok(plans)
    }

    pub(super) fn planned(&mut self, plan: &BatchPlan, committed: Option<BatchId>) {
        let planned = Planned { run: self.run.clone(), committed, plan: plan.clone() };
        self.staged.push_back((plan.id, seal("planned", FORMAT, &planned)));
        self.told = committed;
    }

    /// Writes what is staged. An object that is there already must be this one, from a try of which it was not known how
    /// it ended.
    pub(super) fn sync(&mut self) -> Result<()> {
        while let Some((id, bytes)) = self.staged.front() {
            let path = plan_path(*id);
            let won = self.storage.put_new(&path, bytes.clone())?;
            // A store that keeps no such promise may have let another in at the same time.
            if !(won && self.storage.is_exclusive()) && self.storage.get(&path)?.as_ref() != Some(bytes) {
                return Err(Error::reconfigure(format!(
                    "{path} in {} was written by another process: it runs this job; stop one of the two, or give this one a \
                     checkpoint of its own",
                    self.describe()
                )));
            }
            self.staged.pop_front();
            self.since_head += 1;
        }
        Ok(())
    }

    pub(super) fn write_head(&mut self, head: &JournalHead) -> Result<()> {
        let bytes = seal("head", FORMAT, head);
        if self.begun {
            self.storage.put(HEAD, bytes)?;
        } else if !self.storage.put_new(HEAD, bytes.clone())? && self.storage.get(HEAD)? != Some(bytes) {
            return Err(Error::reconfigure(format!(
                "{HEAD} in {} was written by another process while this one began; start again when it has stopped",
                self.describe()
            )));
        }
        self.begun = true;
        self.told = head.committed;
        Ok(())
    }

    /// Tells what was committed since the last plan was written.
    pub(super) fn close(&mut self, head: &JournalHead) -> Result<()> {
        if self.begun && self.told != head.committed { self.write_head(head) } else { Ok(()) }
    }

    pub(super) fn sweep(&mut self, head: &JournalHead, needed: BatchId) -> Option<Sweep> {
        if self.since_head < PLANS_UNTIL_SWEEP || !self.staged.is_empty() {
            return None;
        }
        self.since_head = 0;
        let head = seal("head", FORMAT, head);
        Some(Sweep { storage: self.storage.clone(), head, below: needed })
    }
}

impl Sweep {
    /// Does it.
    ///
    /// # Errors
    /// The storage is away; the next sweep finds what is left.
    pub(crate) fn run(self) -> Result<()> {
        self.storage.put(HEAD, self.head)?;
        for object in self.storage.list(FOLDER)? {
            if plan_batch(&object.path).is_some_and(|batch| batch < self.below) {
                self.storage.delete(&object.path)?;
            }
        }
        Ok(())
    }
}

/// Moves the head on by a plan's object.
fn apply(
    planned: Planned,
    head: &mut JournalHead,
    kept: &mut VecDeque<BatchPlan>,
) -> Result<(), (BatchId, String)> {
    let Planned { committed, plan, .. } = planned;
    let id = plan.id;
    if let Some(committed) = committed {
        let done: Vec<_> = head.pending.iter().map(|plan| plan.id).filter(|id| *id <= committed).collect();
        kept.extend(done.into_iter().filter_map(|id| committed_in(head, id)));
    }
    let next = head.last.as_ref().map_or(BatchId::FIRST, |last| last.id.next());
    // The head is older than what was deleted, which was all committed: the job goes on behind the gap.
    if id > next && head.pending.is_empty() && committed.is_some_and(|committed| committed.next() >= id) {
        head.last = None;
        head.committed = committed;
        kept.clear();
    }
    plan.follows(head.last.as_ref()).map_err(|flaw| (id, flaw.0))?;
    planned_in(head, plan);
    Ok(())
}

/// Reads plans, several at a time; each or what is wrong with it, in the order of `ids`.
fn read_all(storage: &dyn Storage, ids: &[BatchId]) -> Result<Vec<(BatchId, Result<Planned, String>)>> {
    let part = ids.len().div_ceil(READERS).max(1);
    let read_part = |ids: &[BatchId]| ids.iter().map(|id| read(storage, *id)).collect::<Result<Vec<_>>>();
    if part == 1 && ids.len() <= 2 {
        return read_part(ids);
    }
    let parts = std::thread::scope(|scope| {
        let readers: Vec<_> = ids.chunks(part).map(|ids| scope.spawn(move || read_part(ids))).collect();
        let died = || Error::bug(format!("a reader of {} panicked", storage.describe()));
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|_| Err(died())))
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

fn read(storage: &dyn Storage, id: BatchId) -> Result<(BatchId, Result<Planned, String>)> {
    let found = storage.get(&plan_path(id))?.ok_or_else(|| "listed, but not there".to_owned());
    let planned = found.and_then(|bytes| unseal("planned", FORMAT, &bytes));
    let planned = planned.and_then(|planned: Planned| {
        let is = planned.plan.id;
        if is == id { Ok(planned) } else { Err(format!("is the plan of batch {is}")) }
    });
    Ok((id, planned))
}

fn plan_path(batch: BatchId) -> String {
    format!("{FOLDER}/{:020}.json", batch.0)
}

fn plan_batch(path: &str) -> Option<BatchId> {
    numbered(path.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?)
}

fn damaged(storage: &dyn Storage, path: &str, what: &str) -> Error {
    Error::data_lost(format!(
        "{path} in {}: {what}; restore it from a copy, or move the folder {FOLDER} away and go on from what the outputs and the \
         checkpoints hold",
        storage.describe()
    ))
}
