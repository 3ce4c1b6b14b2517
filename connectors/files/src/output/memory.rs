//! What an output remembers of itself beside its files: opening it, which takes it over from whoever had it, and asking whether it is
//! still ours.
//!
//! The order of the steps is what fences: whoever opens puts a *claim* and then reads the records; whoever commits puts a record and
//! then lists the claims. So of the two at least one sees the other: either the record is read, and counts, or the newer claim is
//! seen, and nothing is published. That rests on nothing but a listing which shows what was put before, so it holds on a store
//! whose `put_new` is not exclusive too.

use super::layout::{self, CLAIMS, Epoch, HIDDEN, Hidden};
use super::record::{Base, Claim, Commit, Part};
use crate::sealed::{self, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate_core::{
    BatchId, BatchPlan, Error, ErrorKind, Held, JobId, OutputContext, OutputId, PartitionId, Result, Storage,
};

/// How often what is there is read again because another run changed it meanwhile.
const TRIES: usize = 8;

/// What the output is, which must not change.
pub(super) struct Expected {
    pub(super) rows: &'static str,
    pub(super) partitions: u32,
}

/// An output that is open. Its writers go by it.
#[derive(Clone)]
pub(super) struct Opened {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) epoch: Epoch,
    pub(super) job: JobId,
    pub(super) output: OutputId,
    /// What each partition holds that holds anything.
    pub(super) parts: BTreeMap<u32, Part>,
}

impl Opened {
    /// Takes the output over. `Err` in the inner result: it belongs to another job, and nothing was touched.
    pub(super) fn open(
        storage: &Arc<dyn Storage>,
        context: &OutputContext,
        expected: &Expected,
    ) -> Result<Result<(Opened, Held), JobId>> {
        let before = Found::read(storage)?;
        let job = match &before.base {
            Some((_, base)) => match fits(storage, base, context, expected)? {
                Some(theirs) => return Ok(Err(theirs)),
                None => base.job.clone(),
            },
            None => context.job.clone().unwrap_or_else(|| context.new_job.clone()),
        };
        let number = before.claims.last().map_or(0, |newest| newest.number) + 1;
        let epoch = Epoch { number, token: token() };
        let claim = Claim { job: job.clone(), output: context.output.clone() };
        storage.put(&epoch.claim(), sealed::write(&claim))?;

        let found = Found::read(storage)?;
        found.check_newest(storage, epoch)?;
        if let Some((_, base)) = &found.base
            && let Some(theirs) = fits(storage, base, context, expected)?
        {
            return Ok(Err(theirs));
        }
        if found.base.is_none()
            && let Err(refused) = refuse_files_without_memory(&**storage)
        {
            // They may be those of a run that has begun since.
            check_newest(&**storage, epoch, &claims(listed(&**storage, CLAIMS)?.keys().copied()))?;
            storage.delete(&epoch.claim())?;
            return Err(refused);
        }
        let (parts, plan) = found.parts();
        let base = Base {
            job: job.clone(),
            output: context.output.clone(),
            rows: expected.rows.to_owned(),
            partitions: expected.partitions,
            plan: plan.clone(),
            held: parts.clone(),
        };
        storage.put(&epoch.base(), sealed::write(&base))?;
        // From here on what an older writer records counts no more. Had another opened meanwhile it may have read other records, so
        // nothing may be moved or removed.
        let after = listed(&**storage, HIDDEN)?;
        check_newest(&**storage, epoch, &claims(after.keys().copied()))?;
        let opened = Opened { storage: storage.clone(), epoch, job, output: context.output.clone(), parts };
        opened.roll_forward()?;
        opened.clean(&after)?;
        let partitions = opened.parts.iter().map(|(id, part)| (PartitionId(*id), BatchId(part.batch)));
        let held = Held { job: Some(opened.job.clone()), partitions: partitions.collect(), newest: plan };
        Ok(Ok((opened, held)))
    }

    /// Gives the files of committed batches their names, where a crash came before.
    fn roll_forward(&self) -> Result<()> {
        for file in self.parts.values().flat_map(|part| &part.publish) {
            match self.storage.rename(&file.from, &file.to) {
                Err(e) if e.kind() == ErrorKind::DataLost => log::info!(
                    "output {}: {} was published before and has been taken away since, with {} rows",
                    self.output,
                    file.to,
                    file.rows
                ),
                other => other?,
            }
        }
        Ok(())
    }

    /// Removes what older epochs left and nobody needs.
    fn clean(&self, listed: &BTreeMap<Hidden, Vec<String>>) -> Result<()> {
        let open = self.parts.values().flat_map(|part| &part.open);
        let needed: BTreeSet<&String> =
            open.flat_map(|file| file.segments.iter().map(|segment| &segment.path)).collect();
        let published: BTreeSet<&String> =
            self.parts.values().flat_map(|part| part.publish.iter().map(|file| &file.from)).collect();
        // Claims last: they say how far numbers have come.
        for older in listed.iter().rev().filter(|(hidden, _)| hidden.epoch() < self.epoch) {
            let paths = older.1.iter().filter(|path| !needed.contains(path) && !published.contains(path));
            paths.into_iter().try_for_each(|path| self.storage.delete(path))?;
        }
        Ok(())
    }

    /// Whether nobody has opened the output since.
    ///
    /// # Errors
    /// `Reconfigure`: somebody has.
    pub(super) fn check_fence(&self) -> Result<()> {
        let listed = listed(&*self.storage, CLAIMS)?;
        check_newest(&*self.storage, self.epoch, &claims(listed.keys().copied())).map_err(|e| match e.kind() {
            ErrorKind::Retry => Error::reconfigure(format!(
                "{}: the output was taken over by another run; nothing of the batch is seen that the other does not know. Let one \
                 run of the job live, or give the other one a folder of its own",
                self.storage.describe()
            )),
            _ => e,
        })
    }
}

/// Hidden objects by what they are, and their paths.
fn listed(storage: &dyn Storage, folder: &str) -> Result<BTreeMap<Hidden, Vec<String>>> {
    let mut listed: BTreeMap<Hidden, Vec<String>> = BTreeMap::new();
    for object in storage.list(folder)? {
        if let Some(hidden) = Hidden::parse(&object.path) {
            listed.entry(hidden).or_default().push(object.path);
        }
    }
    Ok(listed)
}

fn claims(hidden: impl Iterator<Item = Hidden>) -> Vec<Epoch> {
    let mut claims: Vec<Epoch> = hidden
        .filter_map(|hidden| if let Hidden::Claim(epoch) = hidden { Some(epoch) } else { None })
        .collect();
    claims.sort_unstable();
    claims
}

fn check_newest(storage: &dyn Storage, epoch: Epoch, claims: &[Epoch]) -> Result<()> {
    let place = storage.describe();
    match claims.last() {
        Some(newest) if *newest > epoch => {
            Err(Error::retry(format!("{place}: another run opened the output at the same time")))
        }
        _ if claims.contains(&epoch) => Ok(()),
        _ => Err(Error::data_lost(format!(
            "{place}: {} is gone, by which this run has the output: was {HIDDEN} removed? It must stay for as long as the output \
             is written",
            epoch.claim()
        ))),
    }
}

/// What is there, before anything is decided.
struct Found {
    claims: Vec<Epoch>,
    base: Option<(Epoch, Base)>,
    /// The newest record of each partition, of the base's epoch.
    newest: BTreeMap<u32, Commit>,
}

impl Found {
    fn read(storage: &Arc<dyn Storage>) -> Result<Found> {
        for _ in 0..TRIES {
            if let Some(found) = Found::try_read(&**storage)? {
                return Ok(found);
            }
        }
        Err(Error::retry(format!("{}: another run writes the output", storage.describe())))
    }

    /// `None`: an object went away since it was listed.
    fn try_read(storage: &dyn Storage) -> Result<Option<Found>> {
        let listed = listed(storage, HIDDEN)?;
        let mut found = Found { claims: claims(listed.keys().copied()), base: None, newest: BTreeMap::new() };
        let bases = listed
            .keys()
            .filter_map(|hidden| if let Hidden::Base(epoch) = hidden { Some(*epoch) } else { None });
        let mut bases: Vec<Epoch> = bases.collect();
        bases.sort_unstable();
        let records = |of: Epoch| {
            let record = move |hidden: &Hidden| match *hidden {
                Hidden::Record(epoch, partition, batch) if epoch == of => Some((partition, batch)),
                _ => None,
            };
            listed.keys().filter_map(record)
        };
        while let Some(epoch) = bases.pop() {
            match object::<Base>(storage, &epoch.base())? {
                None => return Ok(None),
                Some(Ok(base)) => {
                    found.base = Some((epoch, base));
                    break;
                }
                // Whoever opened the output died while it was written, and so never had a writer. Where there is none before it, and
                // nothing staged, there is nothing to lose either.
                Some(Err(why))
                    if records(epoch).next().is_none() && (!bases.is_empty() || !has_staged(&listed)) =>
                {
                    log::warn!(
                        "{}: {} is {why}; what was before it counts",
                        storage.describe(),
                        epoch.base()
                    );
                }
                Some(Err(why)) => return Err(damaged(storage, &epoch.base(), &why)),
            }
        }
        let Some((epoch, base)) = &found.base else { return Ok(Some(found)) };
        let mut of: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        records(*epoch).for_each(|(partition, batch)| of.entry(partition).or_default().push(batch));
        for (partition, mut batches) in of {
            if partition >= base.partitions {
                continue;
            }
            batches.sort_unstable();
            let mut torn = false;
            while let Some(batch) = batches.pop() {
                let path = epoch.record(partition, batch);
                match object::<Commit>(storage, &path)? {
                    None => return Ok(None),
                    Some(Ok(commit)) => {
                        found.newest.insert(partition, commit);
                        break;
                    }
                    // Its writer was not told that it is there, and so made nothing of it visible.
                    Some(Err(why)) if !torn => {
                        log::warn!("{}: {path} is {why}; the batch is run again", storage.describe());
                        torn = true;
                    }
                    Some(Err(why)) => return Err(damaged(storage, &path, &why)),
                }
            }
        }
        Ok(Some(found))
    }

    fn check_newest(&self, storage: &Arc<dyn Storage>, epoch: Epoch) -> Result<()> {
        check_newest(&**storage, epoch, &self.claims)
    }

    /// What each partition holds, and the plan of the newest batch.
    fn parts(&self) -> (BTreeMap<u32, Part>, Option<BatchPlan>) {
        let (mut parts, mut plan) = self
            .base
            .as_ref()
            .map_or_else(Default::default, |(_, base)| (base.held.clone(), base.plan.clone()));
        for (partition, commit) in &self.newest {
            if plan.as_ref().is_none_or(|plan| plan.id < commit.plan.id) {
                plan = Some(commit.plan.clone());
            }
            parts.insert(*partition, commit.part.clone());
        }
        (parts, plan)
    }
}

fn has_staged(listed: &BTreeMap<Hidden, Vec<String>>) -> bool {
    listed.keys().any(|hidden| matches!(hidden, Hidden::Staged(_)))
}

/// An object, or what is wrong with it; `None` when it is not there.
fn object<R: Record>(storage: &dyn Storage, path: &str) -> Result<Option<Result<R, String>>> {
    Ok(storage.get(path)?.map(|bytes| sealed::read(&bytes)))
}

fn damaged(storage: &dyn Storage, path: &str, why: &str) -> Error {
    Error::data_lost(format!(
        "{}: {path} is {why}. It says which batches the output holds. Bring it back from a copy, or let the job begin in another folder",
        storage.describe()
    ))
}

/// Whether the output that is there is the one that is opened: `None`; or the job whose it is.
fn fits(
    storage: &Arc<dyn Storage>,
    base: &Base,
    context: &OutputContext,
    expected: &Expected,
) -> Result<Option<JobId>> {
    let place = storage.describe();
    if context.job.as_ref().is_some_and(|ours| *ours != base.job) {
        return Ok(Some(base.job.clone()));
    }
    if base.output != context.output {
        return Err(Error::reconfigure(format!(
            "{place}: the folder is that of output {} of job {}: give output {} a folder of its own",
            base.output, base.job, context.output
        )));
    }
    if base.partitions != expected.partitions {
        return Err(Error::reconfigure(format!(
            "{place}: output {} was made with {} partitions, and has {} now: which partition a row goes to must not change. Give it \
             {} again (FilesOutput::partitions), or another folder",
            base.output, base.partitions, expected.partitions, base.partitions
        )));
    }
    if base.rows != expected.rows {
        return Err(Error::reconfigure(format!(
            "{place}: output {} has files of {}, and would have files of {} too: give it another folder",
            base.output, base.rows, expected.rows
        )));
    }
    Ok(None)
}

/// Files that an output left whose memory was removed: names would be given again, and the rows in those files be lost.
fn refuse_files_without_memory(storage: &dyn Storage) -> Result<()> {
    match storage.list("")?.iter().find(|object| layout::is_visible(&object.path)) {
        None => Ok(()),
        Some(object) => Err(Error::reconfigure(format!(
            "{}: {} was written by an output whose {HIDDEN} is gone, so nobody knows which batches are there. Let the job begin in \
             another folder, or move the files away",
            storage.describe(),
            object.path
        ))),
    }
}

/// A number that two processes, or two openings, don't share but by great chance.
fn token() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one((std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
}
