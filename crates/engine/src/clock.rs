//! Time comes in by argument: the system's, or one that a test moves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tidegate_core::BatchTime;

/// What time it is on the stream's clock, and until when to wait for a time to come.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970, UTC.
    fn now(&self) -> BatchTime;

    /// Time since some fixed moment, never going back: for measuring.
    fn elapsed(&self) -> Duration;

    /// The moment at which `time` will have come; `None` when only [`ManualClock::advance`] brings it.
    fn deadline(&self, time: BatchTime) -> Option<Instant>;

    /// `wake` is called whenever the clock was moved by hand.
    fn on_move(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        let _ = wake;
    }
}

/// The machine's clock. The only reader of the wall clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    start_ms: Duration,
}

impl Default for SystemClock {
    fn default() -> Self {
        // The wall clock is read once: a step of it can't make batch times go back.
        let start_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SystemClock { start: Instant::now(), start_ms }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> BatchTime {
        BatchTime((self.start_ms + self.start.elapsed()).as_millis() as u64)
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn deadline(&self, time: BatchTime) -> Option<Instant> {
        Some(self.start + Duration::from_millis(time.0).saturating_sub(self.start_ms))
    }
}

/// A clock that stands still until it is moved. Copies are the same clock.
#[derive(Clone, Default)]
pub struct ManualClock {
    shared: Arc<Mutex<ManualTime>>,
}

#[derive(Default)]
struct ManualTime {
    now_ms: u64,
    wakes: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl ManualClock {
    /// A clock that stands at `now_ms`.
    pub fn at(now_ms: u64) -> Self {
        ManualClock { shared: Arc::new(Mutex::new(ManualTime { now_ms, wakes: Vec::new() })) }
    }

    /// Moves the clock. Every batch that is due by then is run, in order.
    pub fn advance(&self, by: Duration) {
        let wakes = {
            let mut time = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            time.now_ms += by.as_millis() as u64;
            time.wakes.clone()
        };
        wakes.iter().for_each(|wake| wake());
    }
}

impl Clock for ManualClock {
    fn now(&self) -> BatchTime {
        BatchTime(self.shared.lock().unwrap_or_else(PoisonError::into_inner).now_ms)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().0)
    }

    fn deadline(&self, _: BatchTime) -> Option<Instant> {
        None
    }

    fn on_move(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).wakes.push(wake);
    }
}
