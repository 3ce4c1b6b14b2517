//! What a batch takes and where a job begins, decided from what is known. Pure: nothing here asks Kafka.

use crate::loss;
use crate::params::OffsetReset;
use crate::topic_partition::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tidegate_core::{Error, Result, SourcePlan, SourceRange};

/// How much a batch may take of one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) records_per_second: Option<u64>,
    pub(crate) min_per_batch: u64,
}

impl Limit {
    /// Offsets of one partition in a batch of length `interval`.
    pub(crate) fn per_batch(&self, interval: Duration) -> u64 {
        let Some(rate) = self.records_per_second else { return u64::MAX };
        let records = u128::from(rate) * interval.as_millis() / 1000;
        u64::try_from(records).unwrap_or(u64::MAX).max(self.min_per_batch)
    }
}

/// What a batch takes of a partition that it reads from `position` on and that can be read up to `end`.
pub(crate) fn range(name: &TopicPartition, position: u64, end: u64, most: u64) -> SourceRange {
    // An end below the position is old news, never a reason to go back.
    let until = end.max(position).min(position.saturating_add(most));
    SourceRange::new(name.to_string(), position, until)
}

/// Known partitions keep their places, new ones come after them by name: a place is a partition of the dataset.
pub(crate) fn order(before: &[TopicPartition], found: &BTreeSet<TopicPartition>) -> Vec<TopicPartition> {
    let kept = before.iter().filter(|name| found.contains(name));
    let new = found.iter().filter(|name| !before.contains(name));
    kept.chain(new).cloned().collect()
}

/// Where each partition of the newest plan goes on, in the order of that plan.
pub(crate) fn positions(last: &SourcePlan) -> Result<Vec<(TopicPartition, u64)>> {
    last.ranges.iter().map(|range| Ok((range.partition.parse()?, range.until))).collect()
}

/// What decides where the partitions of a job begin.
pub(crate) struct Beginning<'a> {
    /// Where the newest plan ended; `None` for a new job.
    pub(crate) resumed: Option<&'a BTreeMap<TopicPartition, u64>>,
    pub(crate) from_offsets: &'a BTreeMap<TopicPartition, u64>,
    pub(crate) reset: OffsetReset,
    pub(crate) fail_on_data_loss: bool,
}

impl Beginning<'_> {
    /// Where `name` begins, whose log holds `begin` .. `end` and can be read up to `reachable`.
    ///
    /// # Errors
    /// `DataLost` when the job was further than the log goes, or is behind it; `Reconfigure` when a setting names an
    /// offset that is not there.
    pub(crate) fn of(&self, name: &TopicPartition, begin: u64, end: u64, reachable: u64) -> Result<u64> {
        if let Some(position) = self.resumed.and_then(|positions| positions.get(name)) {
            return match loss::check(*position, begin, end) {
                Some(lost) => lost.decide(name, self.fail_on_data_loss),
                None => Ok(*position),
            };
        }
        if let Some(offset) = self.from_offsets.get(name) {
            return self.of_setting(name, *offset, begin, end);
        }
        if self.resumed.is_some() {
            // It appeared while the job was stopped: nothing of it was read.
            return Ok(begin);
        }
        match self.reset {
            OffsetReset::Earliest => Ok(begin),
            OffsetReset::Latest => Ok(reachable),
            OffsetReset::None => Err(Error::reconfigure(format!(
                "{name}: auto.offset.reset=none and no offset in from_offsets; give one, or use earliest or latest"
            ))),
        }
    }

    fn of_setting(&self, name: &TopicPartition, offset: u64, begin: u64, end: u64) -> Result<u64> {
        if offset < begin && !self.fail_on_data_loss {
            log::warn!("{name}: from_offsets names {offset}, the oldest record is {begin}; beginning there");
            return Ok(begin);
        }
        if offset < begin || offset > end {
            return Err(Error::reconfigure(format!(
                "{name}: from_offsets names offset {offset}, but the log holds {begin} to {end} (exclusive); give an \
                 offset in it, or leave the partition out of from_offsets"
            )));
        }
        Ok(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ErrorKind;

    fn tp(name: &str) -> TopicPartition {
        name.parse().unwrap()
    }

    #[test]
    fn the_rate_caps_a_batch_but_always_lets_something_through() {
        let cap = |rate, min, ms| {
            Limit { records_per_second: rate, min_per_batch: min }.per_batch(Duration::from_millis(ms))
        };
        assert_eq!(cap(None, 1, 100), u64::MAX);
        assert_eq!(cap(Some(1000), 1, 100), 100);
        assert_eq!(cap(Some(5), 1, 100), 1);
        assert_eq!(cap(Some(5), 20, 100), 20);
        assert_eq!(cap(Some(u64::MAX), 1, 1000), u64::MAX);
    }

    #[test]
    fn a_range_goes_from_the_position_to_the_end_or_the_cap() {
        let cut = |position, end, most| range(&tp("a-0"), position, end, most);
        assert_eq!(cut(5, 20, u64::MAX), SourceRange::new("a-0", 5, 20));
        assert_eq!(cut(5, 20, 10), SourceRange::new("a-0", 5, 15));
        assert_eq!(cut(5, 3, 10), SourceRange::new("a-0", 5, 5));
    }

    #[test]
    fn known_partitions_keep_their_places() {
        let found = ["a-0", "a-1", "a-2", "b-0"].map(tp).into();
        assert_eq!(order(&[], &found), ["a-0", "a-1", "a-2", "b-0"].map(tp));
        assert_eq!(order(&["b-0", "a-1"].map(tp), &found), ["b-0", "a-1", "a-0", "a-2"].map(tp));
    }

    #[test]
    fn a_job_that_goes_on_does_not_look_at_its_settings() {
        let resumed = BTreeMap::from([(tp("a-0"), 30)]);
        let from_offsets = BTreeMap::from([(tp("a-0"), 10), (tp("a-1"), 12)]);
        let mut it = Beginning {
            resumed: Some(&resumed),
            from_offsets: &from_offsets,
            reset: OffsetReset::Latest,
            fail_on_data_loss: true,
        };
        assert_eq!(it.of(&tp("a-0"), 5, 50, 40).unwrap(), 30);
        assert_eq!(it.of(&tp("a-1"), 5, 50, 40).unwrap(), 12);
        assert_eq!(it.of(&tp("a-2"), 5, 50, 40).unwrap(), 5, "new since then: from its beginning");
        assert_eq!(it.of(&tp("a-0"), 31, 50, 40).unwrap_err().kind(), ErrorKind::DataLost);
        assert_eq!(it.of(&tp("a-0"), 0, 29, 29).unwrap_err().kind(), ErrorKind::DataLost);
        it.resumed = None;
        assert_eq!(it.of(&tp("a-0"), 5, 50, 40).unwrap(), 10);
        assert_eq!(it.of(&tp("a-2"), 5, 50, 40).unwrap(), 40);
        assert_eq!(it.of(&tp("a-0"), 11, 50, 40).unwrap_err().kind(), ErrorKind::Reconfigure);
        it.fail_on_data_loss = false;
        assert_eq!(it.of(&tp("a-0"), 11, 50, 40).unwrap(), 11);
        it.reset = OffsetReset::None;
        assert!(it.of(&tp("a-2"), 0, 1, 1).unwrap_err().to_string().contains("auto.offset.reset=none"));
    }
}
