//! The judgement: what the table holds against what was produced, word by word.

use super::feed::Produced;
use super::run::Tally;
use crate::exit::Failure;
use crate::figures::grouped;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Words that are named when they differ, at most.
const NAMED_MAX: usize = 10;

/// What came of the demo.
pub(super) struct Report {
    pub(super) produced: Produced,
    pub(super) found: BTreeMap<String, i64>,
    pub(super) tally: Tally,
    pub(super) kills_asked: u32,
}

impl Report {
    /// Each word whose count is wrong: expected, found.
    fn differences(&self) -> Vec<(&str, i128, i128)> {
        let words: BTreeSet<&String> = self.produced.words.keys().chain(self.found.keys()).collect();
        let expected = |word| self.produced.words.get(word).map_or(0, |count| i128::from(*count));
        let found = |word| self.found.get(word).map_or(0, |count| i128::from(*count));
        let compared = words.into_iter().map(|word| (word.as_str(), expected(word), found(word)));
        compared.filter(|(_, expected, found)| expected != found).collect()
    }

    /// The sum over all words of how far the count is off, whichever way: too many here never make up for too few there.
    fn difference(&self) -> u128 {
        self.differences().iter().map(|(_, expected, found)| expected.abs_diff(*found)).sum()
    }

    /// An error unless every word was counted exactly once and every kill took place.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        let differences = self.differences();
        if !differences.is_empty() {
            let named = differences.iter().take(NAMED_MAX);
            let lines: Vec<_> = named
                .map(|(word, expected, found)| format!("\n  {word}: expected {expected}, found {found}"))
                .collect();
            return Err(Failure::Failed(format!(
                "{} words were not counted exactly once:{}",
                differences.len(),
                lines.concat()
            )));
        }
        let kills = self.tally.recoveries.len();
        if kills != self.kills_asked as usize {
            return Err(Failure::Failed(format!(
                "{kills} kills took place, {} were asked for",
                self.kills_asked
            )));
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: u64 = self.produced.lines.iter().sum();
        let expected: u64 = self.produced.words.values().sum();
        let found: i64 = self.found.values().sum();
        let found_sign = if found < 0 { "-" } else { "" };
        let recoveries: Vec<_> =
            self.tally.recoveries.iter().map(|length| length.as_millis().to_string()).collect();
        let difference = u64::try_from(self.difference()).unwrap_or(u64::MAX);
        let seconds = format!("{:.1} s", self.tally.length.as_secs_f64());
        writeln!(f)?;
        writeln!(f, "  lines             {:>13}   in {seconds}", grouped(lines))?;
        writeln!(f, "  batches           {:>13}", grouped(self.tally.batches))?;
        writeln!(
            f,
            "  words expected    {:>13}   {} different ones",
            grouped(expected),
            self.produced.words.len()
        )?;
        writeln!(f, "  words found       {:>13}", format!("{found_sign}{}", grouped(found.unsigned_abs())))?;
        writeln!(
            f,
            "  difference        {:>13}   sum over the words of |expected - found|",
            grouped(difference)
        )?;
        writeln!(f, "  kills survived    {:>13}   of {}", recoveries.len(), self.kills_asked)?;
        if !recoveries.is_empty() {
            writeln!(
                f,
                "  recovery ms       {:>13}   from SIGKILL to the first batch the next process committed",
                recoveries.join(", ")
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report(expected: &[(&str, u64)], found: &[(&str, i64)], recoveries_ms: &[u64]) -> Report {
        let words = expected.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
        Report {
            produced: Produced { lines: [2, 2, 2, 1], words },
            found: found.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect(),
            tally: Tally {
                batches: 41,
                recoveries: recoveries_ms.iter().copied().map(Duration::from_millis).collect(),
                length: Duration::from_millis(4250),
            },
            kills_asked: 2,
        }
    }

    #[test]
    fn words_too_many_do_not_make_up_for_words_too_few() {
        type Case = (&'static [(&'static str, u64)], &'static [(&'static str, i64)], u128);
        let table: [Case; 5] = [
            (&[("ebb", 3), ("flow", 4)], &[("ebb", 3), ("flow", 4)], 0),
            (&[("ebb", 3), ("flow", 4)], &[("ebb", 4), ("flow", 3)], 2),
            (&[("ebb", 3)], &[], 3),
            (&[("ebb", 3)], &[("ebb", 3), ("flow", 1)], 1),
            (&[("ebb", 3)], &[("ebb", -1)], 4),
        ];
        for (expected, found, difference) in table {
            let report = report(expected, found, &[300, 250]);
            assert_eq!(report.difference(), difference, "{expected:?} {found:?}");
            assert_eq!(report.verdict().is_ok(), difference == 0);
        }
    }

    #[test]
    fn a_kill_that_did_not_take_place_is_a_failure() {
        assert!(report(&[("ebb", 3)], &[("ebb", 3)], &[300]).verdict().is_err());
    }

    #[test]
    fn the_report_says_what_was_compared() {
        let text =
            report(&[("ebb", 3), ("flow", 1234)], &[("ebb", 3), ("flow", 1234)], &[300, 250]).to_string();
        let expected = "
  lines                         7   in 4.2 s
  batches                      41
  words expected            1,237   2 different ones
  words found               1,237
  difference                    0   sum over the words of |expected - found|
  kills survived                2   of 2
  recovery ms            300, 250   from SIGKILL to the first batch the next process committed
";
        assert_eq!(text, expected);
    }
}
