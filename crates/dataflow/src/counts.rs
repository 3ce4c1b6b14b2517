//! What one worker counts of a batch: records read, how old they were, records that an operator skipped. Adding up does not
//! depend on the order in which workers report.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidegate_core::{PartitionId, RecordAges};

/// What was counted of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Records read from all sources.
    pub(crate) records: u64,
    /// How old they were.
    pub(crate) ages: RecordAges,
    /// By the name of the operator that skipped them.
    pub(crate) skipped: BTreeMap<String, Skipped>,
}

/// What one operator skipped of one batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Skipped {
    /// How many records.
    pub(crate) records: u64,
    /// The partition of the first of them, and what was wrong with it.
    pub(crate) first: (PartitionId, String),
}

impl Counts {
    /// Counts records that were read.
    pub(crate) fn read(&mut self, records: u64, ages: &RecordAges) {
        self.records += records;
        self.ages.merge(ages);
    }

    /// Counts records that `operator` skipped. A partition is on one worker, so the first of the lowest partition is the first of
    /// all, whoever reports first.
    pub(crate) fn skipped(&mut self, operator: &str, skipped: Skipped) {
        match self.skipped.get_mut(operator) {
            None => {
                self.skipped.insert(operator.to_owned(), skipped);
            }
            Some(all) => {
                all.records += skipped.records;
                if skipped.first.0 < all.first.0 {
                    all.first = skipped.first;
                }
            }
        }
    }

    /// Adds all of `other`.
    pub(crate) fn merge(&mut self, other: Counts) {
        self.read(other.records, &other.ages);
        for (operator, skipped) in other.skipped {
            self.skipped(&operator, skipped);
        }
    }

    /// Records that were skipped, by any operator.
    pub(crate) fn skipped_records(&self) -> u64 {
        self.skipped.values().map(|skipped| skipped.records).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(operator: &str, records: u64, partition: u32) -> Counts {
        let mut counts = Counts::default();
        counts.read(records, &RecordAges::default());
        let first = (PartitionId(partition), format!("bad in {partition}"));
        counts.skipped(operator, Skipped { records, first });
        counts
    }

    #[test]
    fn the_sum_is_the_same_in_whatever_order_workers_report() {
        let parts = [counts("a", 1, 2), counts("b", 5, 0), counts("a", 3, 1)];
        let sum = |order: [usize; 3]| {
            let mut sum = Counts::default();
            order.into_iter().for_each(|place| sum.merge(parts[place].clone()));
            sum
        };
        let all = sum([0, 1, 2]);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(sum(order), all, "{order:?}");
        }
        assert_eq!((all.records, all.skipped_records()), (9, 9));
        assert_eq!(all.skipped["a"], Skipped { records: 4, first: (PartitionId(1), "bad in 1".to_owned()) });
    }
}
