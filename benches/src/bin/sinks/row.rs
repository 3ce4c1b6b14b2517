//! The rows that are written: each follows from its number.

use serde::{Deserialize, Serialize};
use std::iter::{Map, StepBy};
use std::ops::Range;

/// A row, as a place has many: a key, a text of few different values, a measured value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) word: String,
    pub(crate) level: f64,
}

impl Row {
    pub(crate) fn of(number: u64) -> Row {
        let id = i64::try_from(number).expect("fewer rows than that are written");
        Row { id, word: format!("word{}", number % 10_000), level: (number % 1_000) as f64 / 8.0 }
    }
}

/// The share of a thread in a batch.
pub(crate) type Rows = Map<StepBy<Range<u64>>, fn(u64) -> Row>;

/// Every `threads`th row of `numbers`, from that of `thread` on.
pub(crate) fn share(numbers: Range<u64>, thread: u64, threads: u64) -> Rows {
    let step = usize::try_from(threads).expect("few threads");
    (numbers.start + thread..numbers.end).step_by(step).map(Row::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_every_row_once() {
        let mut ids: Vec<i64> =
            (0..2).flat_map(|thread| share(10..20, thread, 2)).map(|row| row.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, (10..20).collect::<Vec<_>>());
    }
}
