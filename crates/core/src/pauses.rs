//! How long to wait before something that failed in a way that passes is tried again. Whoever waits has the clock and the dice.

use std::time::Duration;

/// Pauses between tries: doubled after each failure, up to the longest, and of each half to all by chance, so that many who wait for
/// the same server do not come back at once.
///
/// ```
/// use std::time::Duration;
/// use tidegate_core::Pauses;
///
/// let pauses = Pauses { first: Duration::from_millis(50), longest: Duration::from_secs(2) };
/// // As a thread would, with `fastrand::f64()` in the place of 0.5.
/// let waits: Vec<u128> = (1..=8).map(|failures| pauses.after(failures, 0.5).as_millis()).collect();
/// assert_eq!(waits, [37, 75, 150, 300, 600, 1200, 1500, 1500]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The pause after the first failure.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl Pauses {
    /// How long to wait after so many failures in a row, counted from 1. `chance` is a number from 0 to 1, another one each time.
    pub fn after(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses { first: Duration::from_millis(100), longest: Duration::from_secs(10) };

    #[test]
    fn a_pause_is_doubled_up_to_the_longest_and_never_overflows() {
        for (failures, whole) in [(0, 100), (1, 100), (2, 200), (7, 6_400), (8, 10_000), (u32::MAX, 10_000)] {
            assert_eq!(PAUSES.after(failures, 1.0), Duration::from_millis(whole), "{failures} failures");
        }
        let endless = Pauses { first: Duration::MAX, longest: Duration::MAX };
        assert_eq!(endless.after(9, 0.0), Duration::MAX.mul_f64(0.5));
    }

    #[test]
    fn half_to_all_of_a_pause_is_waited() {
        for (chance, waited) in [(0.0, 50), (0.5, 75), (1.0, 100), (-1.0, 50), (2.0, 100)] {
            assert_eq!(PAUSES.after(1, chance), Duration::from_millis(waited), "chance {chance}");
        }
    }
}
