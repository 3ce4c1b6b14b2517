//! What a word count must have found: from the lines alone, for any position in the topic.

use crate::database::Snapshot;
use std::collections::{BTreeMap, HashMap};
use tidegate_servers::lines::{Lines, SEED};

/// Words and how often they occur.
pub type Totals = HashMap<String, i64>;
/// The offset after the last record that counts, by partition of the topic.
pub type Positions = BTreeMap<i32, u64>;

/// The lines of a topic that `load::produce_lines` wrote from number 0 on, counted up to a position that only moves on.
#[derive(Clone, Debug)]
struct Counted {
    lines: Lines,
    partitions: u64,
    positions: Positions,
    totals: Totals,
}

impl Counted {
    fn advance_to(&mut self, positions: &Positions) -> Result<(), String> {
        let mut text = String::new();
        for (&partition, &until) in positions {
            let was = self.positions.insert(partition, until).unwrap_or(0);
            if until < was {
                return Err(format!("partition {partition} went back from offset {was} to {until}"));
            }
            for offset in was..until {
                text.clear();
                // Line i is in partition i % partitions, in order.
                self.lines.append(offset * self.partitions + u64::from(partition.unsigned_abs()), &mut text);
                count_words(&text, &mut self.totals);
            }
        }
        Ok(())
    }
}

/// Adds the words of `line`.
pub fn count_words(line: &str, totals: &mut Totals) {
    for word in line.split(' ') {
        match totals.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(totals.insert(word.to_owned(), 1)),
        }
    }
}

/// The words of these lines.
pub fn totals_of<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Totals {
    let mut totals = Totals::new();
    lines.into_iter().for_each(|line| count_words(line.as_ref(), &mut totals));
    totals
}

/// The words of lines 0 to `records` (exclusive).
pub fn totals_of_all(records: u64) -> Totals {
    let counts = Lines::new(SEED).count_words(0..records);
    counts.per_word.into_iter().map(|(word, count)| (word, i64::try_from(count).expect("fits"))).collect()
}

/// Follows one job: each snapshot of its database must be the truth for the offsets that stand beside the totals, and the
/// offsets must never go back.
#[derive(Debug)]
pub struct Truth {
    topic_partitions: u64,
    /// One for each partition of the output: a crash can leave them at different batches.
    counted: BTreeMap<u32, Counted>,
}

impl Truth {
    /// The truth of a topic with so many partitions.
    pub fn new(topic_partitions: u64) -> Truth {
        Truth { topic_partitions, counted: BTreeMap::new() }
    }

    /// Compares.
    ///
    /// # Errors
    /// The first differences.
    pub fn check(&mut self, found: &Snapshot) -> Result<(), String> {
        let mut expected = Totals::new();
        for (&partition, held) in &found.held {
            let counted = self.counted.entry(partition).or_insert_with(|| Counted {
                lines: Lines::new(SEED),
                partitions: self.topic_partitions,
                positions: Positions::new(),
                totals: Totals::new(),
            });
            counted.advance_to(&held.positions)?;
            let own =
                counted.totals.iter().filter(|(word, _)| partition_of(word, found.partitions) == partition);
            expected.extend(own.map(|(word, count)| (word.clone(), *count)));
        }
        compare(&found.totals, &expected).map_err(|text| {
            format!("at {:?}: {text}", found.held.values().map(|held| &held.positions).next())
        })
    }
}

/// The partition of the output that a word belongs to: part of the format, see the README of the SQL connector.
fn partition_of(word: &str, partitions: u32) -> u32 {
    u32::try_from(hash_of(word) % u64::from(partitions)).expect("less than a u32")
}

fn hash_of(word: &str) -> u64 {
    let length = (word.len() as u64).to_le_bytes();
    let bytes = [4].into_iter().chain(length).chain(word.bytes());
    let hash = bytes.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let z = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Compares what a table holds with what it must hold.
///
/// # Errors
/// How many words differ, with the first of them.
pub fn compare(found: &Totals, expected: &Totals) -> Result<(), String> {
    let count = |totals: &Totals, word: &str| totals.get(word).copied().unwrap_or(0);
    let mut words: Vec<&String> = found.keys().chain(expected.keys()).collect();
    words.sort_unstable();
    words.dedup();
    words.retain(|word| count(found, word) != count(expected, word));
    if words.is_empty() {
        return Ok(());
    }
    let show =
        |word: &&String| format!("{word}: {} instead of {}", count(found, word), count(expected, word));
    let first: Vec<String> = words.iter().take(3).map(show).collect();
    let sum = |totals: &Totals| totals.values().sum::<i64>();
    Err(format!(
        "{} words differ ({}), {} words in all instead of {}",
        words.len(),
        first.join(", "),
        sum(found),
        sum(expected)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Held;

    fn snapshot(until: u64, totals: Totals) -> Snapshot {
        let positions = (0..4).map(|partition| (partition, until)).collect();
        let held = BTreeMap::from([(0, Held { batch: 1, positions })]);
        Snapshot { partitions: 1, held, totals }
    }

    #[test]
    fn truth_is_that_of_the_offsets_and_nothing_else() {
        let mut truth = Truth::new(4);
        truth.check(&snapshot(5, totals_of_all(20))).unwrap();
        truth.check(&snapshot(25, totals_of_all(100))).unwrap();
        assert!(truth.check(&snapshot(25, totals_of_all(99))).is_err());
        let back = truth.check(&snapshot(24, totals_of_all(96))).unwrap_err();
        assert_eq!(back, "partition 0 went back from offset 25 to 24");
    }

    #[test]
    fn differences_are_named() {
        let found = totals_of(["ebb flow", "ebb"]);
        let text = compare(&found, &totals_of(["ebb flow moon"])).unwrap_err();
        assert_eq!(
            text,
            "2 words differ (ebb: 2 instead of 1, moon: 0 instead of 1), 3 words in all instead of 3"
        );
    }

    #[test]
    fn a_word_is_where_the_connector_puts_it() {
        assert_eq!(hash_of("the"), 0x3A82_B310_4910_91FE);
        assert_eq!(hash_of(""), 0x4D3F_C651_B154_5DFD);
    }
}
