//! What to do after a stop or a crash: pure, from what the journal says, what the outputs remember and which checkpoints
//! there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_core::{
    BatchId, BatchPlan, Checkpoint, Delivery, Error, ErrorKind, Held, JobId, OutputId, PartitionId, Result,
};

/// What a journal says.
#[derive(Clone, Debug)]
pub struct Journaled {
    /// The job's name for outputs.
    pub job: JobId,
    /// The newest plan; `None` in a new journal.
    pub last: Option<BatchPlan>,
    /// Plans that are not in every output, oldest first.
    pub pending: Vec<BatchPlan>,
    /// The newest batch that is in every output.
    pub committed: Option<BatchId>,
    /// Plans that are in every output and can be run again for state, oldest first.
    pub kept: Vec<BatchPlan>,
    /// Each output of the last run with the newest batch, of those that took something, that is in it.
    pub outputs: BTreeMap<OutputId, Option<BatchId>>,
    /// The batch before which all state was empty; `None` while the job has never had any.
    pub state_from: Option<BatchId>,
    /// Where it is, for messages.
    pub place: String,
}

/// What an output remembers.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Its name.
    pub id: OutputId,
    /// What it is, for messages.
    pub describe: String,
    /// Whether it remembers at all.
    pub delivery: Delivery,
    /// What it holds.
    pub held: Held,
}

/// What there is of the state of a job that has any.
#[derive(Clone, Debug, Default)]
pub struct StateMemory {
    /// The checkpoints that can be read, oldest first.
    pub checkpoints: Vec<Arc<Checkpoint>>,
    /// Those that can't be used: which file, and what is wrong with it.
    pub damaged: Vec<String>,
    /// The user has decided to begin with empty state where it is lost.
    pub loss_accepted: bool,
}

/// How a job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The job's name for outputs.
    pub job: JobId,
    /// Where the journal goes on, when a checkpoint knows more than it.
    pub forward: Option<Forward>,
    /// Plans that an output knows and the journal does not: to be journaled first.
    pub adopted: Vec<BatchPlan>,
    /// Plans to run again, oldest first; outputs that hold one skip it.
    pub rerun: Vec<BatchPlan>,
    /// What each output holds, by partition.
    pub held: BTreeMap<OutputId, BTreeMap<PartitionId, BatchId>>,
    /// The first batch that is run.
    pub first: BatchId,
    /// The newest batch that is known to be in every output; 0 for none. Those of `rerun` up to it are run for state alone.
    pub committed: BatchId,
    /// The checkpoint that state starts from.
    pub restore: Option<Arc<Checkpoint>>,
    /// The batch before which all state was empty; `None` for a job without state.
    pub state_from: Option<BatchId>,
    /// What is lost, when the user has accepted that.
    pub lost: Option<String>,
}

/// A newer plan than a journal knows, which is in every output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The plan, after which the journal goes on.
    pub plan: BatchPlan,
    /// The outputs that certainly hold what it took.
    pub holders: Vec<OutputId>,
}

/// Decides how a job goes on. `states` is `None` for a job without state.
///
/// # Errors
/// `Reconfigure` when an output belongs to another job; `DataLost` when journal, outputs and checkpoints contradict each
/// other, or when state is lost, so that going on would lose or repeat data.
pub fn resume(journal: &Journaled, outputs: &[Remembered], states: Option<&StateMemory>) -> Result<Resume> {
    let Some(states) = states else { return resume_from_empty(journal, outputs) };
    match resume_with_state(journal, outputs, states) {
        Err(lost) if lost.kind() == ErrorKind::DataLost && states.loss_accepted => {
            // What outputs and journal contradict each other in is no loss of state: it is found again here.
            let resume = resume_from_empty(journal, outputs)?;
            Ok(Resume { state_from: Some(resume.first), lost: Some(lost.to_string()), ..resume })
        }
        result => result,
    }
}

/// Goes on where the outputs stand, with empty state if with any.
fn resume_from_empty(journal: &Journaled, outputs: &[Remembered]) -> Result<Resume> {
    let job = one_job(journal, outputs, None)?;
    let adopted = adopted(journal, outputs)?;
    let rerun = journal.pending.iter().chain(&adopted).cloned().collect();
    Ok(begin(journal, outputs, job, adopted, rerun))
}

/// Goes on with the newest checkpoint, or without any from where state was empty.
fn resume_with_state(journal: &Journaled, outputs: &[Remembered], states: &StateMemory) -> Result<Resume> {
    let job = one_job(journal, outputs, states.checkpoints.last().map(|newest| &newest.job))?;
    let fits = |checkpoint: &&Arc<Checkpoint>| {
        let before_state_was_lost = journal.state_from.is_some_and(|from| checkpoint.batch().next() < from);
        checkpoint.job == job && !before_state_was_lost
    };
    let restore = states.checkpoints.iter().rev().find(fits).cloned();
    let (forward, journal) = match &restore {
        Some(checkpoint) => as_of(journal, checkpoint, outputs)?,
        None => (None, journal.clone()),
    };
    let used = outputs.iter().any(|output| output.held.newest.is_some());
    if restore.is_none() && journal.last.is_none() && used {
        return Err(state_lost("the outputs hold batches of this job", &journal, states));
    }
    let adopted = adopted(&journal, outputs)?;
    let known = journal.kept.iter().chain(&journal.pending).chain(&adopted);
    let newest = adopted.last().or(journal.last.as_ref()).map(|plan| plan.id);
    let from = match (&restore, journal.state_from, newest) {
        (Some(checkpoint), ..) => checkpoint.batch().next(),
        (None, Some(from), _) => from,
        // The job had no state so far: there is none to be had back.
        (None, None, Some(_)) => {
            journal.pending.first().or(adopted.first()).map_or_else(|| after(newest), |plan| plan.id)
        }
        (None, None, None) => BatchId::FIRST,
    };
    let rerun: Vec<BatchPlan> = known.filter(|plan| plan.id >= from).cloned().collect();
    if let Some(missing) = missing(from, &rerun, newest) {
        let what = format!("batches {missing} would have to be run again, and their plans are gone");
        return Err(state_lost(&what, &journal, states));
    }
    let state_from =
        Some(journal.state_from.unwrap_or(if restore.is_some() { BatchId::FIRST } else { from }));
    let resume = begin(&journal, outputs, job, adopted, rerun);
    Ok(Resume { forward, restore, state_from, ..resume })
}

/// How a job goes on whose journal is, or has become, `journal`.
fn begin(
    journal: &Journaled,
    outputs: &[Remembered],
    job: JobId,
    adopted: Vec<BatchPlan>,
    rerun: Vec<BatchPlan>,
) -> Resume {
    let newest = adopted.last().or(journal.last.as_ref()).map(|plan| plan.id);
    Resume {
        job,
        forward: None,
        first: rerun.first().map_or_else(|| after(newest), |plan| plan.id),
        adopted,
        rerun,
        held: outputs.iter().map(|output| (output.id.clone(), output.held.partitions.clone())).collect(),
        committed: journal.committed.unwrap_or(BatchId(0)),
        restore: None,
        state_from: None,
        lost: None,
    }
}

fn after(newest: Option<BatchId>) -> BatchId {
    newest.map_or(BatchId::FIRST, BatchId::next)
}

/// Which batches from `from` to `newest` are not among `plans`, as a text.
fn missing(from: BatchId, plans: &[BatchPlan], newest: Option<BatchId>) -> Option<String> {
    let newest = newest.filter(|newest| *newest >= from)?;
    let Some(first) = plans.first() else { return Some(format!("{from} to {newest}")) };
    if first.id != from {
        return Some(format!("{from} to {}", first.id.0 - 1));
    }
    let gap = plans.windows(2).find(|pair| pair[1].id != pair[0].id.next());
    gap.map(|pair| format!("{} to {}", pair[0].id.next(), pair[1].id.0 - 1))
}

fn state_lost(why: &str, journal: &Journaled, states: &StateMemory) -> Error {
    let found = match &states.damaged[..] {
        [] if states.checkpoints.is_empty() => "there is no checkpoint".to_owned(),
        [] => "no checkpoint that is there goes far enough".to_owned(),
        damaged => format!("no checkpoint can be used ({})", damaged.join("; ")),
    };
    Error::data_lost(format!(
        "{}: the state of the job is lost: {why}, and {found}; restore the checkpoint from a copy, or set \
         tidegate.state.accept_loss=true to begin with empty state where the outputs stand",
        journal.place
    ))
}

/// What the journal says once it knows that the batch of `checkpoint` is in every output; and the plan it has to go forward
/// to when it did not know that batch at all.
fn as_of(
    journal: &Journaled,
    checkpoint: &Checkpoint,
    outputs: &[Remembered],
) -> Result<(Option<Forward>, Journaled)> {
    let (batch, mut known) = (checkpoint.batch(), journal.clone());
    let same = journal.kept.iter().chain(&journal.pending).chain(&journal.last).find(|plan| plan.id == batch);
    if let Some(other) = same.filter(|plan| **plan != checkpoint.plan) {
        return Err(Error::data_lost(format!(
            "batch {} took other ranges in the checkpoint of that batch than {} says; restore the checkpoint and its journal from \
             one copy",
            other.id, journal.place
        )));
    }
    known.committed = known.committed.max(Some(batch));
    if journal.last.as_ref().is_none_or(|last| last.id < batch) {
        (known.pending, known.kept) = (Vec::new(), Vec::new());
        known.last = Some(checkpoint.plan.clone());
        let holders = holders(&checkpoint.plan, outputs);
        known.outputs.extend(holders.iter().map(|holder| (holder.clone(), Some(batch))));
        return Ok((Some(Forward { plan: checkpoint.plan.clone(), holders }), known));
    }
    let (done, pending) = known.pending.into_iter().partition(|plan: &BatchPlan| plan.id <= batch);
    known.pending = pending;
    if let Some(newest) = done.iter().rev().find(|plan: &&BatchPlan| !plan.is_empty()) {
        known.outputs.values_mut().for_each(|held| *held = Some(newest.id));
    }
    known.kept.extend(done);
    Ok((None, known))
}

/// The outputs that must hold `plan`, which is in every output: those that hold anything, if it took anything.
fn holders(plan: &BatchPlan, outputs: &[Remembered]) -> Vec<OutputId> {
    let used = outputs.iter().filter(|output| !plan.is_empty() && !output.held.partitions.is_empty());
    used.map(|output| output.id.clone()).collect()
}

/// The plan that outputs know and the journal does not, if there is one; and that they hold what the journal says.
fn adopted(journal: &Journaled, outputs: &[Remembered]) -> Result<Vec<BatchPlan>> {
    let newest = outputs.iter().filter_map(|output| output.held.newest.as_ref()).max_by_key(|plan| plan.id);
    let adopted = match (&journal.last, newest) {
        (_, None) => None,
        (None, Some(newest)) => {
            follow_on(newest, outputs)?;
            Some(newest)
        }
        (Some(last), Some(newest)) => adopt(journal, last, newest)?,
    };
    for output in outputs {
        holds_what_was_committed(journal, output)?;
    }
    Ok(adopted.cloned().into_iter().collect())
}

/// A new journal takes the job's name from the outputs, or from the newest checkpoint; an old one must be theirs.
fn one_job(journal: &Journaled, outputs: &[Remembered], checkpointed: Option<&JobId>) -> Result<JobId> {
    let mut owned = outputs.iter().filter_map(|output| Some((output, output.held.job.as_ref()?)));
    if journal.last.is_none() {
        let Some((first, job)) = owned.next() else {
            return Ok(checkpointed.unwrap_or(&journal.job).clone());
        };
        return match owned.find(|(_, other)| *other != job) {
            None => Ok(job.clone()),
            Some((other, _)) => Err(Error::reconfigure(format!(
                "{} and {} hold batches of two different jobs; give this job outputs of its own",
                first.describe, other.describe
            ))),
        };
    }
    match owned.find(|(_, job)| **job != journal.job) {
        None => Ok(journal.job.clone()),
        Some((output, job)) => Err(Error::reconfigure(format!(
            "{} holds batches of job {job}, but {} is the checkpoint of job {}; use the checkpoint directory that belongs to \
             the output, or an empty one (the job then goes on from what the output holds), or give the output another name",
            output.describe, journal.place, journal.job
        ))),
    }
}

/// The plan that an output knows beyond the journal, if there is one.
fn adopt<'a>(journal: &Journaled, last: &BatchPlan, newest: &'a BatchPlan) -> Result<Option<&'a BatchPlan>> {
    if newest.id > last.id {
        // The journal lost its last record (damage at the very end); the output has the plan.
        return match newest.follows(Some(last)) {
            Ok(()) => Ok(Some(newest)),
            Err(flaw) => Err(Error::data_lost(format!(
                "an output holds batch {}, but {} ends at batch {} ({flaw}); restore the newest copy of the checkpoint \
                 directory, or use an empty one: the job then goes on from what the output holds",
                newest.id, journal.place, last.id
            ))),
        };
    }
    let known = journal.kept.iter().chain(&journal.pending).chain([last]).find(|plan| plan.id == newest.id);
    match known {
        Some(known) if known != newest => Err(Error::data_lost(format!(
            "batch {} took other ranges in an output than {} says; restore the checkpoint directory that belongs to the output",
            newest.id, journal.place
        ))),
        _ => Ok(None),
    }
}

/// Without a journal: an output that is behind the newest batch must have missed nothing before it.
fn follow_on(newest: &BatchPlan, outputs: &[Remembered]) -> Result<()> {
    for output in outputs {
        let Some(own) = &output.held.newest else { continue };
        if own.id == newest.id {
            continue;
        }
        let missed = newest.sources.iter().flat_map(|source| {
            let before = own.source(&source.stream);
            let ranges = before.map_or(&[][..], |before| &before.ranges);
            source.ranges.iter().filter(|range| {
                ranges.iter().any(|was| was.partition == range.partition && was.until < range.from)
            })
        });
        if let Some(range) = missed.into_iter().next() {
            return Err(Error::data_lost(format!(
                "{} holds batches up to {}, another output up to {}, and what lies between before {range} is in no \
                 checkpoint; restore the checkpoint directory, or the older state of both outputs",
                output.describe, own.id, newest.id
            )));
        }
    }
    Ok(())
}

/// What the journal says is in an output must be there.
fn holds_what_was_committed(journal: &Journaled, output: &Remembered) -> Result<()> {
    let Some(Some(committed)) = journal.outputs.get(&output.id) else { return Ok(()) };
    let missing =
        output.held.partitions.is_empty() || output.held.partitions.values().any(|held| held < committed);
    if output.delivery != Delivery::ExactlyOnce || !missing {
        return Ok(());
    }
    let held = output
        .held
        .partitions
        .values()
        .min()
        .map_or_else(|| "none".to_owned(), |held| format!("up to {held}"));
    Err(Error::data_lost(format!(
        "{} should hold every batch up to {committed}, as {} says, but holds {held}: it was restored from an older copy, emptied or \
         replaced. Restore the newer copy, or start with an empty checkpoint directory: the job then goes on from what the \
         output holds",
        output.describe, journal.place
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::{BatchTime, ErrorKind, SourcePlan, SourceRange};

    fn plan(id: u64) -> BatchPlan {
        let ranges = vec![SourceRange::new("lines-0", (id - 1) * 10, id * 10)];
        let sources = vec![SourcePlan { stream: "lines".into(), ranges }];
        BatchPlan { id: BatchId(id), time: BatchTime(id * 100), zero: BatchTime(0), sources }
    }

    fn journal(pending: &[u64], last: u64, committed: u64) -> Journaled {
        Journaled {
            job: "job".into(),
            last: (last > 0).then(|| plan(last)),
            pending: pending.iter().copied().map(plan).collect(),
            committed: (committed > 0).then_some(BatchId(committed)),
            kept: Vec::new(),
            state_from: None,
            outputs: BTreeMap::from([("counts".into(), (committed > 0).then_some(BatchId(committed)))]),
            place: "the checkpoint".to_owned(),
        }
    }

    fn output(held: &[u64]) -> Remembered {
        let partitions =
            held.iter().enumerate().map(|(p, batch)| (PartitionId(p as u32), BatchId(*batch))).collect();
        Remembered {
            id: "counts".into(),
            describe: "table counts".to_owned(),
            delivery: Delivery::ExactlyOnce,
            held: Held {
                job: (!held.is_empty()).then(|| "job".into()),
                partitions,
                newest: held.iter().max().copied().map(plan),
            },
        }
    }

    fn rerun(journal: &Journaled, held: &[u64]) -> Vec<u64> {
        resume(journal, &[output(held)], None).unwrap().rerun.iter().map(|plan| plan.id.0).collect()
    }

    fn refusal(journal: &Journaled, outputs: &[Remembered]) -> String {
        let error = resume(journal, outputs, None).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::DataLost | ErrorKind::Reconfigure), "{error}");
        error.to_string()
    }

    #[test]
    fn what_was_planned_and_not_committed_is_run_again_whatever_the_outputs_hold() {
        for held in [vec![4, 4], vec![5, 4], vec![5, 5]] {
            assert_eq!(rerun(&journal(&[5], 5, 4), &held), [5], "{held:?}");
        }
        assert_eq!(rerun(&journal(&[5, 6], 6, 4), &[5, 5]), [5, 6]);
        assert_eq!(rerun(&journal(&[], 5, 5), &[5]), [0u64; 0]);
        assert_eq!(rerun(&journal(&[], 0, 0), &[]), [0u64; 0]);
    }

    #[test]
    fn a_database_alone_knows_the_batch_to_run_again() {
        let resume = resume(&journal(&[], 0, 0), &[output(&[7, 6])], None).unwrap();
        assert_eq!((resume.adopted, resume.rerun), (vec![plan(7)], vec![plan(7)]));
    }

    #[test]
    fn a_plan_that_only_the_output_has_is_adopted() {
        let resume = resume(&journal(&[], 4, 4), &[output(&[5, 4])], None).unwrap();
        assert_eq!((resume.adopted, resume.rerun), (vec![plan(5)], vec![plan(5)]));
    }

    #[test]
    fn contradictions_are_refused() {
        let too_far = refusal(&journal(&[], 4, 4), &[output(&[9, 9])]);
        assert!(
            too_far.starts_with("an output holds batch 9, but the checkpoint ends at batch 4"),
            "{too_far}"
        );
        let behind = refusal(&journal(&[], 5, 5), &[output(&[3, 3])]);
        assert!(behind.starts_with(
            "table counts should hold every batch up to 5, as the checkpoint says, but holds up to 3"
        ));
        let emptied = refusal(&journal(&[6], 6, 5), &[output(&[])]);
        assert!(emptied.contains("but holds none"), "{emptied}");
        let mut other = output(&[5]);
        other.held.job = Some("other".into());
        let foreign = refusal(&journal(&[], 5, 5), &[other]);
        assert!(foreign.starts_with(
            "table counts holds batches of job other, but the checkpoint is the checkpoint of job job"
        ));
        let mut different = output(&[5]);
        different.held.newest.as_mut().unwrap().sources[0].ranges[0].from = 41;
        let different = refusal(&journal(&[5], 5, 4), &[different]);
        assert!(
            different.starts_with("batch 5 took other ranges in an output than the checkpoint says"),
            "{different}"
        );
        let (ahead, mut behind) = (output(&[7]), output(&[4]));
        behind.id = "other".into();
        let gap = refusal(&journal(&[], 0, 0), &[ahead, behind]);
        assert!(gap.contains("what lies between before lines-0 [60, 70) is in no checkpoint"), "{gap}");
    }

    #[test]
    fn an_output_that_is_new_to_the_job_starts_where_the_job_is() {
        let mut fresh = output(&[]);
        fresh.id = "fresh".into();
        assert_eq!(resume(&journal(&[6], 6, 5), &[output(&[5]), fresh], None).unwrap().rerun, [plan(6)]);
    }

    fn checkpoint(batch: u64) -> Arc<Checkpoint> {
        Arc::new(Checkpoint {
            job: "job".into(),
            app: "app".to_owned(),
            plan: plan(batch),
            interval_ms: 100,
            settings: BTreeMap::new(),
            graph: Vec::new(),
            states: Vec::new(),
        })
    }

    fn states(checkpoints: &[u64]) -> StateMemory {
        let checkpoints = checkpoints.iter().copied().map(checkpoint).collect();
        StateMemory { checkpoints, ..StateMemory::default() }
    }

    /// A journal of a job with state that keeps the plans after `kept`, and knows those up to `last`.
    fn keeping(kept: u64, committed: u64, last: u64) -> Journaled {
        let pending: Vec<u64> = (committed + 1..=last).collect();
        Journaled {
            kept: (kept + 1..=committed).map(plan).collect(),
            state_from: Some(BatchId(1)),
            ..journal(&pending, last, committed)
        }
    }

    fn state_refusal(journal: &Journaled, held: &[u64], states: &StateMemory) -> String {
        let error = resume(journal, &[output(held)], Some(states)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLost, "{error}");
        error.to_string()
    }

    #[test]
    fn state_starts_from_the_newest_checkpoint_and_every_batch_after_it_is_run_again() {
        // journal, outputs, checkpoints; restored, run again, known to be in every output
        for (journal, held, checkpoints, restored, again, committed) in [
            (keeping(2, 7, 8), &[8, 7][..], &[2, 5][..], Some(5), vec![6, 7, 8], 7),
            // Stopped as it should: nothing is run again.
            (keeping(2, 8, 8), &[8, 8], &[2, 8], Some(8), vec![], 8),
            // The journal lost the record that a batch was committed; its checkpoint knows.
            (keeping(2, 6, 8), &[8, 7], &[2, 7], Some(7), vec![8], 7),
            // The newest was damaged.
            (keeping(2, 7, 7), &[7], &[2], Some(2), vec![3, 4, 5, 6, 7], 7),
            // None was published yet, or none is left, and the journal has all plans.
            (keeping(0, 2, 3), &[2], &[], None, vec![1, 2, 3], 2),
            (keeping(0, 0, 0), &[], &[], None, vec![], 0),
            // The journal is lost: the checkpoint has its newest plan, or an output has the one after.
            (journal(&[], 0, 0), &[5], &[5], Some(5), vec![], 5),
            (journal(&[], 0, 0), &[6, 5], &[2, 5], Some(5), vec![6], 5),
            // The journal lost its end.
            (keeping(2, 4, 4), &[6, 5], &[2, 5], Some(5), vec![6], 5),
        ] {
            let text = format!("{journal:?}, {held:?}, {checkpoints:?}");
            let resume = resume(&journal, &[output(held)], Some(&states(checkpoints))).expect(&text);
            let rerun: Vec<u64> = resume.rerun.iter().map(|plan| plan.id.0).collect();
            assert_eq!(resume.restore.as_ref().map(|restored| restored.batch().0), restored, "{text}");
            assert_eq!((&rerun, resume.committed.0), (&again, committed), "{text}");
            let newest = again.last().copied().or(restored).unwrap_or(0);
            assert_eq!(resume.first.0, again.first().copied().unwrap_or(newest + 1), "{text}");
            let journal_is_behind = journal.last.as_ref().is_none_or(|last| Some(last.id.0) < restored);
            let forward = resume.forward.map(|forward| forward.plan.id.0);
            assert_eq!(forward, restored.filter(|_| journal_is_behind), "{text}");
            assert_eq!((resume.state_from, resume.lost), (Some(BatchId(1)), None), "{text}");
        }
    }

    #[test]
    fn the_job_is_that_of_the_newest_checkpoint_where_nothing_else_knows_it() {
        let mut fresh = journal(&[], 0, 0);
        fresh.job = "new".into();
        assert_eq!(resume(&fresh, &[output(&[])], Some(&states(&[5]))).unwrap().job, "job".into());
        let mut of_another = output(&[5]);
        of_another.held.job = Some("other".into());
        let lost = resume(&fresh, &[of_another], Some(&states(&[5]))).unwrap_err().to_string();
        assert!(
            lost.contains("the outputs hold batches of this job, and no checkpoint that is there"),
            "{lost}"
        );
    }

    #[test]
    fn lost_state_is_refused_with_what_is_lost_and_the_ways_out() {
        let lost = state_refusal(&keeping(2, 7, 7), &[7], &states(&[]));
        assert_eq!(
            lost,
            "the checkpoint: the state of the job is lost: batches 1 to 2 would have to be run again, and their plans are \
             gone, and there is no checkpoint; restore the checkpoint from a copy, or set tidegate.state.accept_loss=true to \
             begin with empty state where the outputs stand"
        );
        let lost = state_refusal(&journal(&[], 0, 0), &[5], &states(&[]));
        assert!(lost.contains("the outputs hold batches of this job, and there is no checkpoint"), "{lost}");
        let lost = state_refusal(&keeping(6, 7, 7), &[7], &states(&[4]));
        assert!(lost.contains("batches 5 to 6 would have to be run again"), "{lost}");
        assert!(lost.contains("and no checkpoint that is there goes far enough"), "{lost}");
        let damaged = StateMemory { damaged: vec!["x.json: torn".to_owned()], ..states(&[]) };
        let lost = state_refusal(&keeping(2, 7, 7), &[7], &damaged);
        assert!(lost.contains("and no checkpoint can be used (x.json: torn)"), "{lost}");
    }

    #[test]
    fn accepted_loss_begins_with_empty_state_where_the_outputs_stand_and_never_again_before_that() {
        let accepting = StateMemory { loss_accepted: true, ..states(&[4]) };
        let resumed = resume(&keeping(6, 7, 8), &[output(&[8])], Some(&accepting)).unwrap();
        assert_eq!((resumed.rerun, resumed.restore), (vec![plan(8)], None));
        assert_eq!(resumed.state_from, Some(BatchId(8)));
        assert!(resumed.lost.is_some_and(|lost| lost.contains("batches 5 to 6")));
        // The next start has the plans since then, and does not take the checkpoint from before.
        let journal = Journaled { state_from: Some(BatchId(8)), ..keeping(7, 9, 9) };
        let resumed = resume(&journal, &[output(&[9])], Some(&states(&[4]))).unwrap();
        assert_eq!((resumed.rerun, resumed.restore), (vec![plan(8), plan(9)], None));
        // What is no loss of state is not accepted with it.
        let contradiction = resume(&keeping(6, 7, 8), &[output(&[3])], Some(&accepting)).unwrap_err();
        assert!(contradiction.to_string().contains("should hold every batch up to 7"), "{contradiction}");
    }

    #[test]
    fn a_job_that_has_had_no_state_begins_with_it_where_it_stands() {
        let resumed = resume(&journal(&[5], 5, 4), &[output(&[4])], Some(&states(&[]))).unwrap();
        assert_eq!((resumed.rerun, resumed.state_from), (vec![plan(5)], Some(BatchId(5))));
        let resumed = resume(&journal(&[], 5, 5), &[output(&[5])], Some(&states(&[]))).unwrap();
        assert_eq!((resumed.rerun, resumed.state_from), (vec![], Some(BatchId(6))));
    }

    #[test]
    fn a_checkpoint_that_contradicts_journal_or_outputs_is_refused() {
        let mut other = Checkpoint::clone(&checkpoint(5));
        other.plan.sources[0].ranges[0].from = 41;
        let other = StateMemory { checkpoints: vec![Arc::new(other)], ..StateMemory::default() };
        let refused = state_refusal(&keeping(2, 7, 7), &[7], &other);
        assert!(refused.starts_with("batch 5 took other ranges in the checkpoint"), "{refused}");
        let behind = state_refusal(&journal(&[], 0, 0), &[4, 4], &states(&[5]));
        assert!(behind.contains("should hold every batch up to 5"), "{behind}");
        let ahead = state_refusal(&journal(&[], 0, 0), &[7, 7], &states(&[5]));
        assert!(ahead.starts_with("an output holds batch 7, but the checkpoint ends at batch 5"), "{ahead}");
    }
}
