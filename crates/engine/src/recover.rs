//! What to do after a stop or a crash: pure, from what the journal says and what the outputs remember.

use std::collections::BTreeMap;
use tidegate_core::{BatchId, BatchPlan, Delivery, Error, Held, JobId, OutputId, PartitionId, Result};

/// What a journal says.
#[derive(Clone, Debug)]
pub struct Journaled {
    /// The job's name for outputs.
    pub job: JobId,
    /// The newest plan; `None` in a new journal.
    pub last: Option<BatchPlan>,
    /// Plans that are not in every output, oldest first.
    pub pending: Vec<BatchPlan>,
    /// Each output of the last run with the newest batch, of those that took something, that is in it.
    pub outputs: BTreeMap<OutputId, Option<BatchId>>,
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

/// How a job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The job's name for outputs.
    pub job: JobId,
    /// Plans that an output knows and the journal does not: to be journaled first.
    pub adopted: Vec<BatchPlan>,
    /// Plans to run again, oldest first; outputs that hold one skip it.
    pub rerun: Vec<BatchPlan>,
    /// What each output holds, by partition.
    pub held: BTreeMap<OutputId, BTreeMap<PartitionId, BatchId>>,
}

/// Decides how a job goes on.
///
/// # Errors
/// `Reconfigure` when an output belongs to another job; `DataLost` when journal and outputs contradict each other, so that
/// going on would lose or repeat data.
pub fn resume(journal: &Journaled, outputs: &[Remembered]) -> Result<Resume> {
    let job = one_job(journal, outputs)?;
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
    let adopted: Vec<_> = adopted.cloned().into_iter().collect();
    let rerun = journal.pending.iter().chain(&adopted).cloned().collect();
    let held = outputs.iter().map(|output| (output.id.clone(), output.held.partitions.clone())).collect();
    Ok(Resume { job, adopted, rerun, held })
}

/// A new journal takes the job's name from the outputs; an old one must be theirs.
fn one_job(journal: &Journaled, outputs: &[Remembered]) -> Result<JobId> {
    let mut owned = outputs.iter().filter_map(|output| Some((output, output.held.job.as_ref()?)));
    if journal.last.is_none() {
        let Some((first, job)) = owned.next() else { return Ok(journal.job.clone()) };
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
    let known = journal.pending.iter().chain([last]).find(|plan| plan.id == newest.id);
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
    if output.delivery == Delivery::AtLeastOnce || !missing {
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
        resume(journal, &[output(held)]).unwrap().rerun.iter().map(|plan| plan.id.0).collect()
    }

    fn refusal(journal: &Journaled, outputs: &[Remembered]) -> String {
        let error = resume(journal, outputs).unwrap_err();
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
        let resume = resume(&journal(&[], 0, 0), &[output(&[7, 6])]).unwrap();
        assert_eq!((resume.adopted, resume.rerun), (vec![plan(7)], vec![plan(7)]));
    }

    #[test]
    fn a_plan_that_only_the_output_has_is_adopted() {
        let resume = resume(&journal(&[], 4, 4), &[output(&[5, 4])]).unwrap();
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
        assert_eq!(resume(&journal(&[6], 6, 5), &[output(&[5]), fresh]).unwrap().rerun, [plan(6)]);
    }
}
