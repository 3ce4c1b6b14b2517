//! Text that is the same everywhere: line `i` follows from `i` and a seed alone, so that an input of any size needs no file
//! and what any processor counted can be checked against what must come out.
//!
//! The rules, from which another language can rebuild it (`mix` is splitmix64, all numbers are unsigned 64 bit):
//! * vocabulary: word `i` has `4 + h % 7` letters, `h = mix(i + 0x9E37)`; the letters are `'a' + (g >> 8) % 26` for repeated
//!   `g = mix(g)` from `h`. If the word is there already: `h = mix(h)` and again.
//! * line `i`: state `s = mix(i ^ seed)`, `5 + (s >> 32) % 6` words. Each next word: `s = mix(s)`, and the word is the first
//!   with `cum[r] > (s >> 11) * 2^-53 * cum[last]`, where `cum[r]` is the sum of `1 / (k + 1)` for `k <= r` as doubles in order.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

/// The seed of all pinned checksums.
pub const SEED: u64 = 42;
/// How many words there are.
pub const VOCABULARY: usize = 10_000;
/// How many partitions a topic of these lines has; line `i` belongs to partition `i % 4`.
pub const PARTITIONS: i32 = 4;

const GUIDE: usize = 4096;

/// The create time of line `i`: a thousand lines share each millisecond.
pub fn timestamp_ms(i: u64) -> i64 {
    1_700_000_000_000 + (i / 1000).cast_signed()
}

/// A source of lines.
#[derive(Debug, Clone)]
pub struct Lines {
    words: Vec<String>,
    cumulated: Vec<f64>,
    /// Where to begin to look for a word, by the upper bits of the random number: looking from the front would be slow.
    guide: Vec<usize>,
    seed: u64,
}

impl Lines {
    /// The lines of `seed`; the vocabulary is the same for all.
    pub fn new(seed: u64) -> Self {
        let mut total = 0.0;
        let cumulated: Vec<f64> = (1..=VOCABULARY)
            .map(|rank| {
                total += 1.0 / rank as f64;
                total
            })
            .collect();
        let mut rank = 0;
        let guide = (0..GUIDE)
            .map(|step| {
                while cumulated[rank] <= step as f64 / GUIDE as f64 * total {
                    rank += 1;
                }
                rank
            })
            .collect();
        Self { words: vocabulary(), cumulated, guide, seed }
    }

    /// Line `i`: 5 to 10 words with one space between, no line end.
    pub fn line(&self, i: u64) -> String {
        let mut line = String::new();
        self.append(i, &mut line);
        line
    }

    /// Appends line `i` to `text`: as [`Lines::line`], without an allocation per line.
    pub fn append(&self, i: u64, text: &mut String) {
        let mut first = true;
        self.ranks(i, |rank| {
            if !first {
                text.push(' ');
            }
            first = false;
            text.push_str(&self.words[rank]);
        });
    }

    /// What a word count over these lines must find.
    pub fn count_words(&self, lines: Range<u64>) -> Counts {
        let mut per_rank = vec![0_u64; VOCABULARY];
        let mut bytes = 0;
        let records = lines.end.saturating_sub(lines.start);
        for i in lines {
            let mut length = 0;
            self.ranks(i, |rank| {
                per_rank[rank] += 1;
                length += self.words[rank].len() + 1;
            });
            bytes += length as u64 - 1;
        }
        let per_word = self
            .words
            .iter()
            .cloned()
            .zip(per_rank)
            .filter(|&(_, count)| count > 0)
            .collect::<HashMap<_, _>>();
        Counts { records, bytes, per_word }
    }

    fn ranks(&self, i: u64, mut word: impl FnMut(usize)) {
        let mut state = mix(i ^ self.seed);
        let total = self.cumulated[VOCABULARY - 1];
        for _ in 0..5 + (state >> 32) % 6 {
            state = mix(state);
            let share = (state >> 11) as f64 / (1_u64 << 53) as f64;
            let mut rank = self.guide[(share * GUIDE as f64) as usize];
            while self.cumulated[rank] <= share * total {
                rank += 1;
            }
            word(rank);
        }
    }
}

/// How often each word is in a range of lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// How many lines there are.
    pub records: u64,
    /// How many bytes they have together, without line ends.
    pub bytes: u64,
    /// How often each word is in them. A word that is not in them is not in here.
    pub per_word: HashMap<String, u64>,
}

impl Counts {
    /// The line that two counts have to have in common to be the same.
    pub fn checksum(&self) -> Checksum {
        let table = TableChecksum::of(self.per_word.iter().map(|(word, &count)| (word.as_str(), count)));
        Checksum { records: self.records, bytes: self.bytes, table }
    }
}

/// What stands for a whole input: its size and the checksum of its word table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    /// How many lines there are.
    pub records: u64,
    /// How many bytes they have together, without line ends.
    pub bytes: u64,
    /// Their words.
    pub table: TableChecksum,
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.records, self.bytes, self.table)
    }
}

/// What stands for a table of words and counts, in whatever order it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TableChecksum {
    /// The sum of all counts.
    pub words: u64,
    /// How many rows there are.
    pub distinct: u64,
    /// The sum over all rows of FNV-1a (64 bit) of the word, times the count, modulo 2^64.
    pub hash: u64,
}

impl TableChecksum {
    /// The checksum of `table`, for instance what a job wrote. A word that comes twice counts as two rows.
    pub fn of<'a>(table: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        let mut sum = Self::default();
        for (word, count) in table {
            sum.words += count;
            sum.distinct += 1;
            sum.hash = sum.hash.wrapping_add(fnv1a(word).wrapping_mul(count));
        }
        sum
    }
}

impl fmt::Display for TableChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:016x}", self.words, self.distinct, self.hash)
    }
}

fn vocabulary() -> Vec<String> {
    let mut seen = HashSet::new();
    (0..VOCABULARY as u64)
        .map(|i| {
            let mut state = mix(i + 0x9E37);
            loop {
                let word = word_of(state);
                if seen.insert(word.clone()) {
                    return word;
                }
                state = mix(state);
            }
        })
        .collect()
}

fn word_of(state: u64) -> String {
    let mut letter = state;
    (0..4 + state % 7)
        .map(|_| {
            letter = mix(letter);
            char::from(b'a' + u8::try_from((letter >> 8) % 26).expect("less than 26"))
        })
        .collect()
}

/// splitmix64.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn fnv1a(word: &str) -> u64 {
    word.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_other_programs_were_measured_with() {
        let lines = Lines::new(SEED);
        for (records, expected) in [
            (1_000, "1000 57963 7515 2357 c87f760f58c88c0b"),
            (1_000_000, "1000000 57515494 7496878 10000 35bf94dc24b056c1"),
        ] {
            assert_eq!(lines.count_words(0..records).checksum().to_string(), expected);
        }
    }

    #[test]
    fn counts_are_those_of_the_lines_as_text() {
        let lines = Lines::new(SEED);
        let counts = lines.count_words(500..700);
        let mut per_word = HashMap::new();
        let mut bytes = 0;
        for i in 500..700 {
            let line = lines.line(i);
            bytes += line.len() as u64;
            for word in line.split(' ') {
                *per_word.entry(word.to_owned()).or_default() += 1;
            }
        }
        assert_eq!(counts, Counts { records: 200, bytes, per_word });
    }
}
