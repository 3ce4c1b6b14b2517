//! Running totals in memory, for runs without a database, and a checksum to compare them by.

use compact_str::CompactString;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tidegate::{DStream, Result};

/// Hands each word of `line` to `each`: what stands between single spaces.
pub(crate) fn split_words<'a>(line: &'a str, mut each: impl FnMut(&'a str)) {
    let mut start = 0;
    for space in memchr::memchr_iter(b' ', line.as_bytes()) {
        each(&line[start..space]);
        start = space + 1;
    }
    each(&line[start..]);
}

/// Totals of all batches of this process.
#[derive(Clone, Default)]
pub(crate) struct Totals(Arc<Mutex<HashMap<CompactString, i64>>>);

impl Totals {
    /// Adds the counts of each batch.
    pub(crate) fn keep(&self, counts: &DStream<(CompactString, i64)>) -> Result<()> {
        let totals = self.0.clone();
        counts.foreach_rdd(|rdd| {
            rdd.collect(move |_, rows| {
                let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                for (word, count) in rows {
                    *totals.entry(word).or_default() += count;
                }
            })
        })
    }

    /// Words, distinct words, and the sum over words of their FNV-1a hash times their count.
    pub(crate) fn checksum(&self) -> (i64, usize, String) {
        let totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fnv = |word: &str| {
            word.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        let hash = totals
            .iter()
            .fold(0u64, |sum, (word, count)| sum.wrapping_add(fnv(word).wrapping_mul(*count as u64)));
        (totals.values().sum(), totals.len(), format!("{hash:016x}"))
    }
}
