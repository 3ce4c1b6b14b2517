//! What a job with windows must have found: a window is the sum of the batches in it, whatever was run again in between.

use crate::truth::{Totals, compare};
use std::collections::BTreeMap;

/// Words and their counts, by the time of a batch or of a window's end, in milliseconds.
pub type ByTime = BTreeMap<i64, Totals>;

/// What the tables of batches and of windows hold. A word with count 0 is not there.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// What each batch counted.
    pub batches: ByTime,
    /// What each window counted, by the batch time at which it ends.
    pub windows: ByTime,
}

impl Windows {
    /// Compares a job whose windows last `length` milliseconds and end at every batch: each is the sum of its batches, each
    /// batch has one, and all batches together are `totals`.
    ///
    /// # Errors
    /// The first window that differs, or how the batches differ from the totals.
    pub fn check(&self, length: i64, totals: &Totals) -> Result<(), String> {
        // A batch without records is in no table, and the window that ends with it may hold others.
        let ends: Vec<i64> = self.windows.keys().chain(self.batches.keys()).copied().collect();
        for end in ends {
            let found = self.windows.get(&end).cloned().unwrap_or_default();
            let in_window = (end - length + 1)..=end;
            compare(&found, &sum(self.batches.range(in_window).map(|(_, batch)| batch)))
                .map_err(|text| format!("the window of {length} ms that ends at {end}: {text}"))?;
        }
        compare(&sum(self.batches.values()), totals).map_err(|text| format!("all batches: {text}"))
    }
}

fn sum<'a>(batches: impl Iterator<Item = &'a Totals>) -> Totals {
    let mut sum = Totals::new();
    for (word, count) in batches.flatten() {
        *sum.entry(word.clone()).or_default() += count;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::totals_of;

    fn by_time(of: &[(i64, &str)]) -> ByTime {
        of.iter().map(|(time, words)| (*time, totals_of([words]))).collect()
    }

    /// Batches of 50 ms, windows of 100 ms; in the batch at 200 there was nothing.
    fn right() -> Windows {
        Windows {
            batches: by_time(&[(100, "ebb"), (150, "flow"), (250, "ebb")]),
            windows: by_time(&[(100, "ebb"), (150, "ebb flow"), (200, "flow"), (250, "ebb")]),
        }
    }

    #[test]
    fn a_window_is_the_sum_of_the_batches_in_it() {
        right().check(100, &totals_of(["ebb flow ebb"])).unwrap();
    }

    #[test]
    fn what_is_missing_or_too_much_is_named_with_its_window() {
        let totals = totals_of(["ebb flow ebb"]);
        for (at, words, expected) in [
            (150, "flow", "the window of 100 ms that ends at 150: 1 words differ (ebb: 0 instead of 1)"),
            (
                200,
                "flow flow",
                "the window of 100 ms that ends at 200: 1 words differ (flow: 2 instead of 1)",
            ),
            (400, "flow", "the window of 100 ms that ends at 400: 1 words differ (flow: 1 instead of 0)"),
        ] {
            let mut wrong = right();
            wrong.windows.insert(at, totals_of([words]));
            let text = wrong.check(100, &totals).unwrap_err();
            assert!(text.starts_with(expected), "{text}");
        }
        let mut missing = right();
        missing.windows.remove(&250);
        let text = missing.check(100, &totals).unwrap_err();
        assert!(text.starts_with("the window of 100 ms that ends at 250: 1 words differ (ebb: 0"), "{text}");
        let text = right().check(100, &totals_of(["ebb flow"])).unwrap_err();
        assert!(text.starts_with("all batches: 1 words differ (ebb: 2 instead of 1)"), "{text}");
    }
}
