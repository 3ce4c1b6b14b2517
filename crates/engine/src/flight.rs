//! A batch between its plan and its commit.

use crate::info::{BatchInfo, StageTimes};
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{BatchPlan, BatchReport, BatchTime, OutputReport};

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Workers are at it.
    Processing,
    /// Workers are through, outputs are preparing it.
    Preparing,
    /// Workers are through and every output has prepared it.
    Prepared,
    /// Outputs are committing it.
    Committing,
}

/// A batch between its plan and its commit, with the moments it passed (on the clock's `elapsed`).
pub(crate) struct Flight {
    pub(crate) plan: Arc<BatchPlan>,
    pub(crate) stage: Stage,
    pub(crate) rerun: bool,
    report: Option<BatchReport>,
    outputs_prepared: bool,
    delay: Duration,
    begun: Duration,
    moved: Duration,
    times: StageTimes,
}

impl Flight {
    /// A batch whose planning began at `begun`, `delay` after its time.
    pub(crate) fn new(
        plan: Arc<BatchPlan>,
        rerun: bool,
        delay: Duration,
        begun: Duration,
        now: Duration,
    ) -> Flight {
        let times = StageTimes { plan: now - begun, ..StageTimes::default() };
        Flight {
            plan,
            stage: Stage::Processing,
            rerun,
            report: None,
            outputs_prepared: false,
            delay,
            begun,
            moved: now,
            times,
        }
    }

    pub(crate) fn journaled(&mut self, length: Duration) {
        self.times.journal = length;
    }

    pub(crate) fn processed(&mut self, report: BatchReport, now: Duration) {
        self.times.process = self.leave(Stage::Preparing, now);
        self.report = Some(report);
        self.settle(now);
    }

    /// The outputs can be ready a little before the last worker has said that it is through.
    pub(crate) fn prepared(&mut self, now: Duration) {
        self.outputs_prepared = true;
        self.settle(now);
    }

    fn settle(&mut self, now: Duration) {
        if self.outputs_prepared && self.stage == Stage::Preparing {
            self.times.prepare = self.leave(Stage::Prepared, now);
        }
    }

    pub(crate) fn committing(&mut self, now: Duration) {
        self.leave(Stage::Committing, now);
    }

    pub(crate) fn committed(mut self, now: Duration, at: BatchTime, outputs: Vec<OutputReport>) -> BatchInfo {
        self.times.commit = self.leave(Stage::Committing, now);
        let report = self.report.take();
        BatchInfo {
            records: report.as_ref().map_or(0, |report| report.records),
            skipped: report.as_ref().map_or(0, |report| report.skipped),
            ages: report.map(|report| report.ages).unwrap_or_default(),
            plan: self.plan,
            committed_at: at,
            scheduling_delay: self.delay,
            processing_time: now - self.begun,
            rerun: self.rerun,
            stages: self.times,
            outputs,
        }
    }

    fn leave(&mut self, stage: Stage, now: Duration) -> Duration {
        self.stage = stage;
        now - std::mem::replace(&mut self.moved, now)
    }
}
