//! Back-pressure: from how long batches took to how much the next ones may take. Pure.
//!
//! A PID controller as Spark Streaming's, with its parameters and defaults (`spark.streaming.backpressure.pid.*`; Spark 3's
//! configuration reference): the error is how far the rate was from what was processed, and batches that wait count as history.

use std::time::Duration;

/// How strongly a rate follows what was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PidSettings {
    /// Weight of the difference between the rate and what was processed; 1.
    pub proportional: f64,
    /// Weight of what has piled up; 0.2.
    pub integral: f64,
    /// Weight of how the difference changes; 0.
    pub derived: f64,
    /// The rate never falls below so many records a second; 100.
    pub min_rate: f64,
    /// Records a second until the first batches have been measured; `None`: no limit.
    pub initial_rate: Option<f64>,
}

impl Default for PidSettings {
    fn default() -> Self {
        PidSettings { proportional: 1.0, integral: 0.2, derived: 0.0, min_rate: 100.0, initial_rate: None }
    }
}

/// What a batch was, for one input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// When it was committed, in milliseconds.
    pub(crate) at_ms: u64,
    /// Records that it took of the input.
    pub(crate) records: u64,
    pub(crate) processing: Duration,
    /// How long it waited for batches before it.
    pub(crate) scheduling: Duration,
}

/// The rate of one input.
#[derive(Debug)]
pub(crate) struct RateEstimator {
    settings: PidSettings,
    interval: Duration,
    /// Time, rate and error as of the newest batch; `None` before the first.
    latest: Option<(u64, f64, f64)>,
}

impl RateEstimator {
    pub(crate) fn new(settings: PidSettings, interval: Duration) -> RateEstimator {
        RateEstimator { settings, interval, latest: None }
    }

    /// The rate after a batch, in records a second; `None` where it says nothing: no records, or the first one.
    pub(crate) fn after(&mut self, batch: Measured) -> Option<f64> {
        let seconds = batch.processing.as_secs_f64();
        if batch.records == 0 || seconds <= 0.0 {
            return None;
        }
        let processed = batch.records as f64 / seconds;
        let Some((at_ms, rate, error)) = self.latest else {
            self.latest = Some((batch.at_ms, processed, 0.0));
            return None;
        };
        if batch.at_ms <= at_ms {
            return None;
        }
        let since = (batch.at_ms - at_ms) as f64 / 1000.0;
        let is = rate - processed;
        // Records that wait, spread over the time of a batch.
        let waiting = batch.scheduling.as_secs_f64() * processed / self.interval.as_secs_f64();
        let change = (is - error) / since;
        let PidSettings { proportional, integral, derived, min_rate, .. } = self.settings;
        let next = (rate - proportional * is - integral * waiting - derived * change).max(min_rate);
        self.latest = Some((batch.at_ms, next, is));
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn batch(at: u64, records: u64, processing_ms: u64, scheduling_ms: u64) -> Measured {
        Measured {
            at_ms: at * 1000,
            records,
            processing: Duration::from_millis(processing_ms),
            scheduling: Duration::from_millis(scheduling_ms),
        }
    }

    fn estimator(settings: PidSettings) -> RateEstimator {
        RateEstimator::new(settings, SECOND)
    }

    #[test]
    fn the_first_batch_is_measured_and_changes_nothing() {
        let mut rate = estimator(PidSettings::default());
        assert_eq!(rate.after(batch(1, 0, 10, 0)), None, "it took nothing");
        assert_eq!(rate.after(batch(2, 1000, 2000, 0)), None);
        // 500 a second were processed, and with the defaults the rate goes there at once.
        assert_eq!(rate.after(batch(3, 1000, 2500, 0)), Some(400.0));
    }

    #[test]
    fn what_has_piled_up_lowers_the_rate_and_the_lowest_holds() {
        let mut rate = estimator(PidSettings::default());
        rate.after(batch(1, 1000, 1000, 0));
        // 1000 a second, three seconds late: 0.2 x 3000 are taken off.
        assert_eq!(rate.after(batch(2, 1000, 1000, 3000)), Some(400.0));
        assert_eq!(rate.after(batch(3, 1000, 1000, 60_000)), Some(100.0));
    }

    #[test]
    fn a_batch_out_of_order_says_nothing() {
        let mut rate = estimator(PidSettings::default());
        rate.after(batch(5, 1000, 1000, 0));
        assert_eq!(rate.after(batch(5, 1000, 1000, 0)), None);
    }

    #[test]
    fn the_derived_part_follows_the_change_of_the_error() {
        let settings =
            PidSettings { proportional: 0.0, integral: 0.0, derived: 1.0, ..PidSettings::default() };
        let mut rate = estimator(settings);
        rate.after(batch(1, 1000, 1000, 0));
        assert_eq!(rate.after(batch(3, 500, 1000, 0)), Some(1000.0 - 500.0 / 2.0));
    }

    /// A sink that takes 1,000 a second and an origin that offers 5,000: the backlog stays within a few batches.
    #[test]
    fn the_delay_of_an_overloaded_job_stays_bounded() {
        let mut rate = estimator(PidSettings { initial_rate: Some(5000.0), ..PidSettings::default() });
        let (mut allowed, mut free_at, mut worst) = (5000.0_f64, 0.0_f64, 0.0_f64);
        for second in 1..=60 {
            let due = second as f64;
            let begins = free_at.max(due);
            let records = allowed.min(5000.0);
            free_at = begins + records / 1000.0;
            worst = worst.max(begins - due);
            let measured = Measured {
                at_ms: (free_at * 1000.0) as u64,
                records: records as u64,
                processing: Duration::from_secs_f64(records / 1000.0),
                scheduling: Duration::from_secs_f64(begins - due),
            };
            allowed = rate.after(measured).unwrap_or(allowed);
        }
        assert!(worst < 10.0, "a batch waited {worst} s");
        assert!((500.0..=1100.0).contains(&allowed), "it settles at what the sink takes: {allowed}");
    }
}
