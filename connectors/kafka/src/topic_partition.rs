//! Names of Kafka partitions, and what a batch takes of one. Plain data: nothing here talks to Kafka.

use std::fmt;
use std::str::FromStr;
use tidegate_core::{Error, Result, SourceRange};

/// One partition of one topic. Prints as Kafka's own class does: `lines-3`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// Number of the partition within the topic, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl FromStr for TopicPartition {
    type Err = Error;

    /// Splits at the last `-`, as topics may hold that sign too.
    fn from_str(name: &str) -> Result<Self> {
        let parts = name.rsplit_once('-').filter(|(topic, number)| {
            // `parse` alone would take "+3", and then two names would mean one partition.
            !topic.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        });
        parts.and_then(|(topic, number)| Some(TopicPartition::new(topic, number.parse().ok()?))).ok_or_else(
            || Error::bug(format!("{name:?} is not the name of a Kafka partition (topic-number)")),
        )
    }
}

/// The offsets that a batch takes of one partition: `from_offset` (in) to `until_offset` (out).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OffsetRange {
    /// The topic.
    pub topic: String,
    /// Number of the partition within the topic.
    pub partition: i32,
    /// First offset that is read.
    pub from_offset: u64,
    /// First offset that is not read.
    pub until_offset: u64,
}

impl OffsetRange {
    /// A range of partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32, from_offset: u64, until_offset: u64) -> Self {
        OffsetRange { topic: topic.into(), partition, from_offset, until_offset }
    }

    /// Number of offsets in the range. Compacted topics and transactions leave gaps: there may be fewer records.
    pub fn count(&self) -> u64 {
        self.until_offset.saturating_sub(self.from_offset)
    }

    /// The partition the range belongs to.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic.clone(), self.partition)
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} [{}, {})", self.topic, self.partition, self.from_offset, self.until_offset)
    }
}

impl From<&OffsetRange> for SourceRange {
    fn from(range: &OffsetRange) -> Self {
        SourceRange::new(range.topic_partition().to_string(), range.from_offset, range.until_offset)
    }
}

impl TryFrom<&SourceRange> for OffsetRange {
    type Error = Error;

    fn try_from(range: &SourceRange) -> Result<Self> {
        let TopicPartition { topic, partition } = range.partition.parse()?;
        Ok(OffsetRange { topic, partition, from_offset: range.from, until_offset: range.until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_at_its_last_dash() {
        for (name, topic, partition) in [("lines-3", "lines", 3), ("a-b-12", "a-b", 12), ("x--0", "x-", 0)] {
            let parsed: TopicPartition = name.parse().unwrap();
            assert_eq!(parsed, TopicPartition::new(topic, partition));
            assert_eq!(parsed.to_string(), name);
        }
        for name in ["lines", "-3", "lines-", "lines-+3", "lines-99999999999", ""] {
            assert!(name.parse::<TopicPartition>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_range_goes_to_core_and_back() {
        let range = OffsetRange::new("a-b", 2, 5, 9);
        let core = SourceRange::from(&range);
        assert_eq!(core, SourceRange::new("a-b-2", 5, 9));
        assert_eq!(OffsetRange::try_from(&core).unwrap(), range);
        assert_eq!(range.count(), 4);
    }
}
