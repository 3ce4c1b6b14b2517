//! When the job process is killed.

use super::lines::Chance;
use std::time::Duration;

/// `kills` moments in a run of `length`, in order: one at random in each of as many equal parts of the time from a tenth of the
/// run to nine tenths.
pub(super) fn moments(kills: u32, length: Duration, chance: &mut Chance) -> Vec<Duration> {
    let part = length * 8 / 10 / kills.max(1);
    (0..kills).map(|n| length / 10 + part * n + chance.length_below(part)).collect()
}

/// Batches are worked on mostly so long after their time; a kill later than that would strike a job that waits.
const AT_WORK: Duration = Duration::from_millis(25);

/// How long to wait at `now` (since the Unix epoch) to strike while a batch is worked on: batches are due at multiples of
/// `interval` on the clock.
pub(super) fn into_batch(now: Duration, interval: Duration, chance: &mut Chance) -> Duration {
    let gone = Duration::from_nanos((now.as_nanos() % interval.as_nanos().max(1)) as u64);
    interval - gone + chance.length_below(AT_WORK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_run_and_differ_by_seed() {
        let length = Duration::from_secs(20);
        for seed in 0..100 {
            let moments = moments(4, length, &mut Chance::seeded(seed));
            for (n, moment) in moments.iter().enumerate() {
                let from = Duration::from_secs(2 + 4 * n as u64);
                assert!((from..from + Duration::from_secs(4)).contains(moment), "{moments:?}");
            }
        }
        assert_ne!(moments(4, length, &mut Chance::seeded(1)), moments(4, length, &mut Chance::seeded(2)));
        assert_eq!(moments(0, length, &mut Chance::seeded(1)), []);
    }

    #[test]
    fn a_kill_strikes_soon_after_a_batch_is_due() {
        let interval = Duration::from_millis(100);
        let mut chance = Chance::seeded(1);
        for now_ms in [0, 1, 99, 100, 1_700_000_000_042] {
            let now = Duration::from_millis(now_ms);
            let strike = now + into_batch(now, interval, &mut chance);
            assert!(
                strike.as_millis() % 100 < 25 && strike - now < Duration::from_millis(125),
                "{now_ms}: {strike:?}"
            );
        }
    }
}
