//! The lines: words of a small vocabulary, the first ones far more often than the last. The same seed gives the same lines.

use std::time::Duration;

/// Frequent words first.
pub(super) const WORDS: [&str; 40] = [
    "the",
    "tide",
    "of",
    "and",
    "sea",
    "to",
    "water",
    "in",
    "gate",
    "moon",
    "ebb",
    "flow",
    "at",
    "harbour",
    "rises",
    "falls",
    "with",
    "ship",
    "wind",
    "wave",
    "shore",
    "pilot",
    "sand",
    "salt",
    "anchor",
    "current",
    "spring",
    "neap",
    "mudflat",
    "estuary",
    "lantern",
    "keel",
    "sluice",
    "buoy",
    "heron",
    "skipper",
    "causeway",
    "breakwater",
    "saltmarsh",
    "lighthouse",
];
const WORDS_PER_LINE_MIN: u64 = 3;
const WORDS_PER_LINE_MAX: u64 = 9;
/// No line is longer.
pub(super) const LINE_BYTES_MAX: usize = 100;

/// Chance that can be repeated: SplitMix64.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn seeded(seed: u64) -> Chance {
        Chance(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From zero to `end`, without `end` unless it is zero.
    pub(super) fn length_below(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(end.as_micros() as u64))
    }
}

/// Makes lines and keeps count of their words.
pub(super) struct Lines {
    chance: Chance,
    /// `weights[n]`: how many of `weights[last]` draws give a word up to the n-th. The n-th word's own share is 1/n.
    weights: [u64; WORDS.len()],
    counts: [u64; WORDS.len()],
    line: String,
}

impl Lines {
    pub(super) fn seeded(seed: u64) -> Lines {
        let mut sum = 0;
        let weights = std::array::from_fn(|place| {
            sum += 1_000_000 / (place as u64 + 1);
            sum
        });
        Lines { chance: Chance::seeded(seed), weights, counts: [0; WORDS.len()], line: String::new() }
    }

    /// The next line; its words are counted as made.
    pub(super) fn make(&mut self) -> &str {
        let words = WORDS_PER_LINE_MIN + self.chance.below(WORDS_PER_LINE_MAX - WORDS_PER_LINE_MIN + 1);
        self.line.clear();
        for _ in 0..words {
            let drawn = self.chance.below(self.weights[WORDS.len() - 1]);
            let place = self.weights.partition_point(|weight| *weight <= drawn);
            self.counts[place] += 1;
            if !self.line.is_empty() {
                self.line.push(' ');
            }
            self.line.push_str(WORDS[place]);
        }
        &self.line
    }

    /// How often each word was made.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        WORDS.into_iter().zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_counts_are_those_of_the_lines() {
        let mut lines = Lines::seeded(7);
        let mut counted = BTreeMap::<String, u64>::new();
        for _ in 0..5_000 {
            for word in lines.make().split(' ') {
                *counted.entry(word.to_owned()).or_default() += 1;
            }
        }
        let said: BTreeMap<_, _> = lines.counts().map(|(word, count)| (word.to_owned(), count)).collect();
        assert_eq!(said, counted);
        assert!(said["the"] > 10 * said["lighthouse"], "the distribution is skewed");
    }

    #[test]
    fn a_seed_gives_the_same_lines_and_another_seed_others() {
        let first = |seed| {
            let mut lines = Lines::seeded(seed);
            (0..20).map(|_| lines.make().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn no_line_is_longer_than_the_pacing_reckons_with() {
        let longest = WORDS.iter().map(|word| word.len()).max().unwrap();
        assert!((longest + 1) * WORDS_PER_LINE_MAX as usize - 1 <= LINE_BYTES_MAX);
    }
}
