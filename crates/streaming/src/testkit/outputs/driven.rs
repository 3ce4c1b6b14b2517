//! An epoch of a subject: rows by their numbers, and steps that may not fail.

use super::epoch::{Epoch, batch};
use super::{Subject, plan};
use std::ops::Range;
use tidegate_core::{BatchId, BatchPlan, Delivery, JobId, Output, OutputContext, Placement, Result};

/// The job that all epochs are of.
pub(super) fn job() -> JobId {
    JobId::from("conformance")
}

/// The plan of `batch`.
pub(super) fn at(id: u64) -> BatchPlan {
    plan(id, 10 * id, 10 * id + 10)
}

pub(super) struct Driven<'a, S: Subject> {
    subject: &'a S,
    output: S::Output,
    epoch: Epoch<S::Row>,
}

impl<'a, S: Subject> Driven<'a, S> {
    pub(super) fn open(subject: &'a S, workers: usize) -> Self {
        Driven::try_open(subject, workers, Some(job())).expect("the output can be opened")
    }

    pub(super) fn try_open(subject: &'a S, workers: usize, job: Option<JobId>) -> Result<Self> {
        let output = subject.output()?;
        let context = OutputContext { output: "subject".into(), new_job: self::job(), job };
        let mut epoch = Epoch::open_as(&output, &context, workers)?;
        // Rows come as in a job: not all at once.
        epoch.piece = 7;
        Ok(Driven { subject, output, epoch })
    }

    pub(super) fn delivery(&self) -> Delivery {
        self.output.delivery()
    }

    pub(super) fn completes(&self) -> bool {
        self.output.completes()
    }

    pub(super) fn job(&self) -> Option<&JobId> {
        self.epoch.held.job.as_ref()
    }

    pub(super) fn newest(&self) -> Option<BatchId> {
        self.epoch.held.partitions.values().max().copied()
    }

    pub(super) fn newest_plan(&self) -> Option<BatchPlan> {
        self.epoch.held.newest.clone()
    }

    /// Whether every partition of the output holds `batch`.
    pub(super) fn holds_all(&self, batch: u64) -> bool {
        let partitions = match self.output.placement() {
            Placement::AsIs => self.epoch.held.partitions.keys().copied().collect(),
            Placement::Hash { .. } => self.epoch.partitions(),
        };
        partitions.into_iter().all(|partition| self.epoch.holds(BatchId(batch), partition))
    }

    /// Runs a batch to its end.
    pub(super) fn run(&mut self, batch: u64, rows: Range<u64>) {
        self.try_run(batch, rows).expect("the batch is written");
    }

    pub(super) fn try_run(&mut self, id: u64, rows: Range<u64>) -> Result<()> {
        self.epoch.run(&batch(id), self.rows(rows))
    }

    pub(super) fn prepare(&mut self, id: u64, rows: Range<u64>) {
        self.try_prepare(id, self.rows(rows)).expect("the batch is prepared");
    }

    pub(super) fn try_prepare(&mut self, id: u64, rows: Vec<S::Row>) -> Result<()> {
        self.epoch.prepare(&batch(id), rows)
    }

    fn rows(&self, numbers: Range<u64>) -> Vec<S::Row> {
        numbers.map(|number| self.subject.row(number)).collect()
    }

    pub(super) fn commit(&mut self, id: u64) {
        self.epoch.commit(&batch(id)).expect("the batch is committed");
    }

    /// All writers commit, and none is told that all have.
    pub(super) fn commit_by_all(&mut self, id: u64) {
        self.epoch.commit_by_all(&batch(id)).expect("the batch is committed");
    }

    /// Only the first of the writers that have something commits.
    pub(super) fn commit_by_first(&mut self, id: u64) {
        self.epoch.commit_by_first(&batch(id)).expect("the batch is committed");
    }

    /// Ends the epoch in order.
    pub(super) fn abort(self) {
        self.epoch.abort();
    }
}
