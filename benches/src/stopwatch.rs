//! A clock for jobs that are measured: batches come by hand, stages are measured by the machine's clock.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate::testkit::ManualClock;
use tidegate::{BatchTime, Clock};

/// A clock whose batch times move by hand, and whose lengths of time are real.
pub struct Stopwatch {
    batches: ManualClock,
    start: Instant,
}

impl Stopwatch {
    /// A clock that shows what `batches` shows.
    pub fn new(batches: ManualClock) -> Self {
        Self { batches, start: Instant::now() }
    }
}

impl Clock for Stopwatch {
    fn now(&self) -> BatchTime {
        self.batches.now()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn deadline(&self, time: BatchTime) -> Option<Instant> {
        self.batches.deadline(time)
    }

    fn on_move(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.batches.on_move(wake);
    }
}
