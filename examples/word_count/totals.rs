//! Running totals: by an operator with state, or in memory for runs without a database, and a checksum to compare them by.

use super::options::Keeper;
use compact_str::CompactString;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tidegate::{DStream, Result, State, StateSpec};
use tidegate_sql::Table;

/// The name of the state, by which a changed program finds it again.
const UID: &str = "totals";

/// Hands each word of `line` to `each`: what stands between single spaces.
pub(crate) fn split_words<'a>(line: &'a str, mut each: impl FnMut(&'a str)) {
    let mut start = 0;
    for space in memchr::memchr_iter(b' ', line.as_bytes()) {
        each(&line[start..space]);
        start = space + 1;
    }
    each(&line[start..]);
}

/// What is written after each batch: its counts, or the totals that an operator with state keeps.
pub(crate) fn to_write(
    keeper: Keeper,
    counts: &DStream<(CompactString, i64)>,
) -> DStream<(CompactString, i64)> {
    match keeper {
        Keeper::None => counts.clone(),
        Keeper::Update => {
            let total =
                |new: Vec<i64>, total: Option<i64>| Some(total.unwrap_or(0) + new.iter().sum::<i64>());
            counts.update_state_by_key(total).uid(UID).clone()
        }
        Keeper::Map => {
            let total = |word: &CompactString, new: Option<i64>, state: &mut State<'_, i64>| {
                let total = state.get().copied().unwrap_or(0) + new.unwrap_or(0);
                state.update(total);
                (word.clone(), total)
            };
            counts.map_with_state(StateSpec::function(total)).uid(UID).clone()
        }
    }
}

/// The table of totals: counts are added to it, totals take the place of those before.
pub(crate) fn table(keeper: Keeper) -> Table {
    match keeper {
        Keeper::None => Table::add("word_counts", ["word"], ["count"]),
        Keeper::Update | Keeper::Map => Table::upsert("word_counts", ["word"], ["count"]),
    }
}

/// Totals of all batches of this process.
#[derive(Clone, Default)]
pub(crate) struct Totals(Arc<Mutex<HashMap<CompactString, i64>>>);

impl Totals {
    /// Adds the counts of each batch, or takes the totals that `keeper` gives.
    pub(crate) fn keep(&self, keeper: Keeper, rows: &DStream<(CompactString, i64)>) -> Result<()> {
        let totals = self.0.clone();
        rows.foreach_rdd(|rdd| {
            rdd.collect(move |_, rows| {
                let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                for (word, count) in rows {
                    let total = totals.entry(word).or_default();
                    *total = if keeper == Keeper::None { *total + count } else { count };
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
