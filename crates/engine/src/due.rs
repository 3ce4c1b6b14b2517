//! Which batch times are due: every one since the start, in order, also after a pause.

use std::time::Duration;
use tidegate_core::BatchTime;

/// The batch times of one run: the multiples of the interval.
#[derive(Debug)]
pub(crate) struct DueBatches {
    interval_ms: u64,
    next: BatchTime,
}

impl DueBatches {
    /// From the first multiple of `interval` after `now` and after `last`, the newest batch of an earlier run. Times that
    /// passed while no run was there are not made up for: the next batch takes what arrived meanwhile.
    pub(crate) fn from(now: BatchTime, last: Option<BatchTime>, interval: Duration) -> Self {
        let interval_ms = (interval.as_millis() as u64).max(1);
        let after = last.map_or(now, |last| last.max(now));
        DueBatches { interval_ms, next: BatchTime((after.0 / interval_ms + 1) * interval_ms) }
    }

    /// The oldest time that is due and was not taken yet.
    pub(crate) fn peek(&self, now: BatchTime) -> Option<BatchTime> {
        (self.next <= now).then_some(self.next)
    }

    /// The time that is due next.
    pub(crate) fn next(&self) -> BatchTime {
        self.next
    }

    /// The next time was taken.
    pub(crate) fn take(&mut self) {
        self.next = BatchTime(self.next.0 + self.interval_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_due_once_in_order_also_after_a_pause() {
        let mut due = DueBatches::from(BatchTime(1050), None, Duration::from_millis(100));
        assert_eq!(due.peek(BatchTime(1099)), None);
        let mut taken = Vec::new();
        while let Some(time) = due.peek(BatchTime(1400)) {
            taken.push(time.0);
            due.take();
        }
        assert_eq!(taken, [1100, 1200, 1300, 1400]);
    }

    #[test]
    fn a_new_run_begins_after_the_last_batch_even_if_the_clock_went_back() {
        let due = DueBatches::from(BatchTime(900), Some(BatchTime(1100)), Duration::from_millis(100));
        assert_eq!(due.next(), BatchTime(1200));
        let due = DueBatches::from(BatchTime(5030), Some(BatchTime(1100)), Duration::from_millis(100));
        assert_eq!(due.next(), BatchTime(5100));
    }
}
