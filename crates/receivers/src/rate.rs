//! A bucket of permits: so many records a second, on average.

use std::time::{Duration, Instant};

/// What a stream may still take. Asked before records are stored; their number is taken off afterwards, so that a large call is
/// let through and the next one waits for it.
#[derive(Debug)]
pub(crate) struct Permits {
    /// Records a second; `None`: any number.
    rate: Option<f64>,
    left: f64,
    at: Instant,
}

/// Permits that are saved up: those of so long a time.
const SAVED: Duration = Duration::from_millis(200);
/// Whoever has many records is let through with those of so long a time at least: each piece is a block, and with a log a sync.
const PIECE: Duration = Duration::from_millis(50);

impl Permits {
    pub(crate) fn new(rate: Option<f64>, now: Instant) -> Permits {
        Permits { rate, left: 1.0, at: now }
    }

    pub(crate) fn set_rate(&mut self, rate: Option<f64>, now: Instant) {
        self.refill(now);
        self.rate = rate.map(|rate| rate.max(f64::MIN_POSITIVE));
    }

    /// How long to wait until something may be stored; zero: now.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.piece(1, now).err().unwrap_or_default()
    }

    /// How many of `wanted` records, at least one, may be stored now; or how long to wait until a piece of them may.
    pub(crate) fn piece(&mut self, wanted: u64, now: Instant) -> Result<u64, Duration> {
        self.refill(now);
        let Some(rate) = self.rate else { return Ok(wanted) };
        let least = (rate * PIECE.as_secs_f64()).min(wanted as f64).max(1.0);
        if self.left >= least {
            return Ok(wanted.min(self.left as u64));
        }
        let wait = Duration::from_secs_f64(((least - self.left) / rate).clamp(0.0, 60.0));
        Err(wait.max(Duration::from_millis(1)))
    }

    /// So many records were stored.
    pub(crate) fn take(&mut self, records: u64) {
        if self.rate.is_some() {
            self.left -= records as f64;
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        match self.rate {
            None => self.left = 1.0,
            Some(rate) => {
                let most = (rate * SAVED.as_secs_f64()).max(1.0);
                self.left = (self.left + rate * passed).min(most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_average_no_more_than_the_rate_is_let_through() {
        let begun = Instant::now();
        let mut permits = Permits::new(Some(100.0), begun);
        let (mut now, mut stored) = (begun, 0u64);
        while now < begun + Duration::from_secs(10) {
            let wait = permits.wait(now);
            if wait.is_zero() {
                permits.take(7);
                stored += 7;
            }
            now += wait;
        }
        assert!((990..=1030).contains(&stored), "{stored} records in ten seconds at 100 a second");
    }

    #[test]
    fn a_call_of_many_records_is_let_through_and_the_next_one_waits() {
        let begun = Instant::now();
        let mut permits = Permits::new(Some(100.0), begun);
        assert!(permits.wait(begun).is_zero());
        permits.take(1000);
        let wait = permits.wait(begun);
        assert!((Duration::from_secs(9)..=Duration::from_secs(11)).contains(&wait), "{wait:?}");
        permits.set_rate(Some(10_000.0), begun);
        assert!(permits.wait(begun) < Duration::from_secs(1), "a new rate holds at once");
    }

    #[test]
    fn many_records_are_let_through_in_pieces_that_the_rate_admits() {
        let begun = Instant::now();
        let mut permits = Permits::new(Some(1000.0), begun);
        let (mut now, mut left, mut pieces) = (begun, 10_000, Vec::new());
        while left > 0 {
            match permits.piece(left, now) {
                Ok(piece) => {
                    permits.take(piece);
                    left -= piece;
                    pieces.push(piece);
                }
                Err(wait) => now += wait,
            }
        }
        let passed = now - begun;
        assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&passed), "{passed:?}");
        assert!(pieces.iter().all(|piece| (50..=200).contains(piece)), "{pieces:?}");
        assert_eq!(permits.piece(3, now + Duration::from_secs(1)), Ok(3), "no more than there are");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut permits = Permits::new(None, Instant::now());
        permits.take(u64::MAX);
        assert!(permits.wait(Instant::now()).is_zero());
        assert_eq!(permits.piece(u64::MAX, Instant::now()), Ok(u64::MAX));
    }
}
