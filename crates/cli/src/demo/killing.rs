//! When the job process is killed.

use super::lines::Chance;
use std::time::Duration;

/// `kills` moments in a run of `length`, in order: one at random in each of as many equal parts of the time from a tenth of the
/// run to nine tenths.
pub(super) fn moments(kills: u32, length: Duration, mut chance: Chance) -> Vec<Duration> {
    let part = length * 8 / 10 / kills.max(1);
    (0..kills).map(|n| length / 10 + part * n + chance.length_below(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_spread_over_the_run_and_differ_by_seed() {
        let length = Duration::from_secs(20);
        for seed in 0..100 {
            let moments = moments(4, length, Chance::seeded(seed));
            for (n, moment) in moments.iter().enumerate() {
                let from = Duration::from_secs(2 + 4 * n as u64);
                assert!((from..from + Duration::from_secs(4)).contains(moment), "{moments:?}");
            }
        }
        assert_ne!(moments(4, length, Chance::seeded(1)), moments(4, length, Chance::seeded(2)));
        assert_eq!(moments(0, length, Chance::seeded(1)), []);
    }
}
