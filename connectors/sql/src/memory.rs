//! What an output remembers beside its data, in words that both databases share.
//!
//! `tidegate_outputs` has a row for each output: the job it belongs to, its epoch (whoever opened it last; the writers of
//! an earlier epoch can commit nothing) and its number of partitions, which never changes. `tidegate_batches` has a row
//! for each partition: the newest batch it holds. The plan of a batch stands in one row of each transaction that wrote
//! it, the first; so the newest batch of all has its plan in at least one of its rows, whichever transactions came through.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tidegate_core::{BatchId, BatchPlan, Error, Held, JobId, OutputContext, OutputId, PartitionId, Result};

/// What an output knows once it is open. Its writers and its placement go by it.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) job: JobId,
    pub(crate) epoch: i64,
    pub(crate) partitions: u32,
}

/// The place where an output keeps what opening it told.
#[derive(Debug, Default)]
pub(crate) struct Opening(Mutex<Option<Opened>>);

impl Opening {
    pub(crate) fn set(&self, opened: Opened) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
    }

    pub(crate) fn get(&self) -> Option<Opened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a writer goes by.
    pub(crate) fn for_writer(&self, output: &OutputId) -> Result<Opened> {
        self.get().ok_or_else(|| {
            Error::bug(format!("output {output}: a writer was asked for before it was opened"))
        })
    }
}

/// The row of `tidegate_outputs`.
pub(crate) struct Registered {
    pub(crate) job: String,
    pub(crate) epoch: i64,
    pub(crate) partitions: i64,
}

/// A row of `tidegate_batches`.
pub(crate) struct Remembered {
    pub(crate) partition: i64,
    pub(crate) batch: i64,
    pub(crate) plan: Option<String>,
}

/// What opening an output must do, decided from what is there.
pub(crate) enum Takeover {
    /// The output belongs to another job, which may well be running: nothing may be touched. The engine compares.
    NotOurs(JobId),
    /// The row is written as this.
    Take(Opened),
}

/// Decides whether the output may be taken over, and as what.
pub(crate) fn takeover(
    place: &str,
    context: &OutputContext,
    partitions: u32,
    found: Option<&Registered>,
) -> Result<Takeover> {
    let Some(found) = found else {
        let job = context.job.clone().unwrap_or_else(|| context.new_job.clone());
        return Ok(Takeover::Take(Opened { job, epoch: 1, partitions }));
    };
    let job = JobId(found.job.clone());
    if context.job.as_ref().is_some_and(|ours| *ours != job) {
        return Ok(Takeover::NotOurs(job));
    }
    let partitions =
        u32::try_from(found.partitions).ok().filter(|partitions| *partitions > 0).ok_or_else(|| {
            Error::data_lost(format!(
                "{place}: tidegate_outputs says that output {} has {} partitions, which can't be",
                context.output, found.partitions
            ))
        })?;
    Ok(Takeover::Take(Opened { job, epoch: found.epoch + 1, partitions }))
}

/// What the output holds.
pub(crate) fn held(place: &str, output: &OutputId, job: JobId, rows: Vec<Remembered>) -> Result<Held> {
    let flaw = |text: String| Error::data_lost(format!("{place}: tidegate_batches, output {output}: {text}"));
    let newest = rows.iter().map(|row| row.batch).max();
    let mut held = Held { job: Some(job), partitions: BTreeMap::new(), newest: None };
    for row in rows {
        let partition =
            u32::try_from(row.partition).map_err(|_| flaw(format!("partition {}", row.partition)))?;
        let batch = u64::try_from(row.batch).map_err(|_| flaw(format!("batch {}", row.batch)))?;
        held.partitions.insert(PartitionId(partition), BatchId(batch));
        if Some(row.batch) == newest
            && let Some(plan) = row.plan
        {
            let plan: BatchPlan = serde_json::from_str(&plan)
                .map_err(|error| flaw(format!("the plan of batch {batch} can't be read: {error}")))?;
            if plan.id.0 != batch {
                return Err(flaw(format!("the plan beside batch {batch} is that of batch {}", plan.id)));
            }
            held.newest = Some(plan);
        }
    }
    match (&held.newest, newest) {
        (None, Some(batch)) => Err(flaw(format!("batch {batch} is there, but no plan of it"))),
        _ => Ok(held),
    }
}

/// The newest plan, when all of the output holds its batch: the point to go on from.
pub(crate) fn complete(place: &str, output: &str, partitions: i64, held: Held) -> Result<Option<BatchPlan>> {
    let Some(plan) = held.newest else { return Ok(None) };
    let there = held.partitions.values().filter(|batch| **batch == plan.id).count();
    // A batch that takes nothing is not written where it has no rows; the positions are those of the batch before.
    if plan.is_empty() || i64::try_from(there) == Ok(partitions) {
        return Ok(Some(plan));
    }
    Err(Error::reconfigure(format!(
        "{place}: batch {} is in {there} of the {partitions} partitions of output {output}: going on after it would lose \
         rows. Start the job that writes the output once more, so that it finishes the batch",
        plan.id
    )))
}

/// The plan as it stands beside the data.
pub(crate) fn plan_json(plan: &BatchPlan) -> Result<String> {
    serde_json::to_string(plan).map_err(|error| Error::bug(format!("plan of batch {}: {error}", plan.id)))
}

/// The number of a batch as a database keeps it.
pub(crate) fn batch_number(batch: BatchId) -> Result<i64> {
    i64::try_from(batch.0)
        .map_err(|_| Error::bug(format!("batch {batch} is beyond what a database can number")))
}

/// What a writer of an earlier epoch is told.
pub(crate) fn taken_over(place: &str) -> Error {
    Error::reconfigure(format!(
        "{place}: the output was taken over by another run; nothing of the batch was written here. Let one run of the job \
         live, or give the other one an output of its own"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::{BatchTime, SourcePlan, SourceRange};

    fn plan(id: u64, until: u64) -> BatchPlan {
        let ranges = vec![SourceRange::new("lines-0", 0, until)];
        BatchPlan {
            id: BatchId(id),
            time: BatchTime(id * 1000),
            zero: BatchTime(0),
            sources: vec![SourcePlan { stream: "lines".into(), ranges }],
        }
    }

    fn row(partition: i64, batch: i64, plan: Option<BatchPlan>) -> Remembered {
        Remembered { partition, batch, plan: plan.map(|plan| plan_json(&plan).unwrap()) }
    }

    fn read(rows: Vec<Remembered>) -> Result<Held> {
        held("here", &"out".into(), "job".into(), rows)
    }

    #[test]
    fn the_plan_is_json_that_a_person_can_read() {
        assert_eq!(
            plan_json(&plan(7, 10)).unwrap(),
            r#"{"id":7,"time":7000,"zero":0,"sources":[{"stream":"lines","ranges":[{"partition":"lines-0","from":0,"until":10}]}]}"#
        );
    }

    #[test]
    fn the_newest_plan_is_found_beside_whichever_rows_came_through() {
        let held =
            read(vec![row(0, 7, Some(plan(7, 1))), row(1, 8, Some(plan(8, 2))), row(3, 8, None)]).unwrap();
        assert_eq!(held.newest, Some(plan(8, 2)));
        assert_eq!(held.partitions[&PartitionId(0)], BatchId(7));
        assert!(!held.partitions.contains_key(&PartitionId(2)));
        let error = complete("here", "out", 4, held).unwrap_err().to_string();
        assert_eq!(
            error,
            "here: batch 8 is in 2 of the 4 partitions of output out: going on after it would lose rows. Start the job \
             that writes the output once more, so that it finishes the batch"
        );
        let held = read(vec![row(0, 8, Some(plan(8, 2))), row(1, 8, None)]).unwrap();
        assert_eq!(complete("here", "out", 2, held).unwrap(), Some(plan(8, 2)));
    }

    #[test]
    fn a_memory_that_was_tampered_with_is_not_believed() {
        let cases = [
            (vec![row(0, 7, None)], "batch 7 is there, but no plan of it"),
            (vec![row(0, 7, Some(plan(6, 1)))], "the plan beside batch 7 is that of batch 6"),
            (vec![row(-1, 7, Some(plan(7, 1)))], "partition -1"),
        ];
        for (rows, expected) in cases {
            let error = read(rows).unwrap_err().to_string();
            assert_eq!(error, format!("here: tidegate_batches, output out: {expected}"));
        }
    }

    #[test]
    fn an_output_of_another_job_is_left_alone() {
        let context = |job: Option<&str>| OutputContext {
            output: "out".into(),
            job: job.map(JobId::from),
            new_job: "new".into(),
        };
        let found = Registered { job: "mine".into(), epoch: 4, partitions: 3 };
        let take = |job, found| match takeover("here", &context(job), 8, found).unwrap() {
            Takeover::NotOurs(job) => format!("not ours: {job}"),
            Takeover::Take(opened) => format!("{} {} {}", opened.job, opened.epoch, opened.partitions),
        };
        assert_eq!(take(None, None), "new 1 8");
        assert_eq!(take(Some("mine"), None), "mine 1 8");
        assert_eq!(take(None, Some(&found)), "mine 5 3");
        assert_eq!(take(Some("mine"), Some(&found)), "mine 5 3");
        assert_eq!(take(Some("other"), Some(&found)), "not ours: mine");
    }
}
