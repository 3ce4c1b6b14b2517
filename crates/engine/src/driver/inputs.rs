//! What inputs are told beside their plans: how much they may take, what is never read again, that the job stops.

use super::Driver;
use crate::engine::{Settings, Stop};
use crate::info::BatchInfo;
use crate::rate::{Measured, RateEstimator};

/// An estimator for each input of a job with back-pressure.
pub(super) fn rates(settings: &Settings, inputs: usize) -> Vec<RateEstimator> {
    let Some(pid) = settings.backpressure else { return Vec::new() };
    (0..inputs).map(|_| RateEstimator::new(pid, settings.interval)).collect()
}

impl Driver {
    /// The first batch has nothing to be measured by, so it may be told how much to take.
    pub(super) fn begin_slowly(&mut self) {
        if let Some(rate) = self.settings.backpressure.and_then(|pid| pid.initial_rate) {
            self.planners.iter_mut().for_each(|(_, planner)| planner.limit_rate(rate));
        }
    }

    /// After a batch each input is told how much it may take from now on.
    pub(super) fn adjust_rates(&mut self, batch: &BatchInfo) {
        // How long a batch waited that an earlier process planned says nothing about this one.
        if batch.rerun {
            return;
        }
        for ((stream, planner), rate) in self.planners.iter_mut().zip(&mut self.rates) {
            let measured = Measured {
                at_ms: batch.committed_at.0,
                records: batch.plan.source(stream).map_or(0, |source| source.len()),
                processing: batch.processing_time,
                scheduling: batch.scheduling_delay,
            };
            if let Some(rate) = rate.after(measured) {
                log::trace!("input {stream}: {rate} records a second");
                planner.limit_rate(rate);
            }
        }
    }

    /// Tells inputs up to where no batch will be run again: what is committed and known to be, or, for a job with state, what the
    /// oldest checkpoint holds.
    pub(super) fn release(&mut self) {
        let safe = self.checkpoints.as_ref().map_or(self.committed, |checkpoints| checkpoints.oldest());
        let mut newest = None;
        while self.unreleased.front().is_some_and(|plan| plan.id <= safe) {
            newest = self.unreleased.pop_front();
        }
        let Some(plan) = newest else { return };
        for (stream, planner) in &mut self.planners {
            if let Some(source) = plan.source(stream) {
                planner.released(source);
            }
        }
    }

    /// Whether new batches are planned: the job is not stopping, or inputs still have what they took.
    pub(super) fn takes_more(&self) -> bool {
        match self.stopping {
            None => true,
            Some(Stop::Gracefully) => !self.drained,
            Some(Stop::Now) => false,
        }
    }

    /// Asks inputs to take no more, and whether all that they took is planned.
    pub(super) fn drain(&mut self) {
        let gracefully = self.stopping == Some(Stop::Gracefully);
        self.drained =
            !gracefully || self.planners.iter_mut().fold(true, |all, (_, planner)| planner.drain() & all);
    }
}
