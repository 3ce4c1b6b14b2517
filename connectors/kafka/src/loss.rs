//! Records that are gone before they were read: the words, and what is done about it.

use crate::topic_partition::TopicPartition;
use tidegate_core::{Error, Result};

/// Why a position can't be read on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Retention (or a deletion of records) took what lies between.
    Expired { position: u64, begin: u64 },
    /// The log ends before the position: the topic was made again, or cut.
    MadeAgain { position: u64, begin: u64, end: u64 },
    /// The topic has another id than the one that was read up to `position`. What was read since then, up to `reached`,
    /// may be of either.
    Replaced { position: u64, reached: u64, begin: u64, end: u64 },
}

/// Whether `position` can be read on from in a log that holds `begin` .. `end`.
pub(crate) fn check(position: u64, begin: u64, end: u64) -> Option<Loss> {
    if position > end {
        Some(Loss::MadeAgain { position, begin, end })
    } else if position < begin {
        Some(Loss::Expired { position, begin })
    } else {
        None
    }
}

impl Loss {
    /// Where reading goes on if the job may skip.
    pub(crate) fn go_on_at(&self) -> u64 {
        match self {
            Loss::Expired { begin, .. } | Loss::MadeAgain { begin, .. } => *begin,
            // Nothing was read of the new one, or not as far as it goes.
            Loss::Replaced { position, reached, begin, end } if position == reached || reached > end => {
                *begin
            }
            // Rather a gap, which the job may have, than records read twice, which it may not.
            Loss::Replaced { reached, begin, .. } => *reached.max(begin),
        }
    }

    pub(crate) fn words(&self, partition: &TopicPartition) -> String {
        match self {
            Loss::Expired { position, begin } => format!(
                "{partition}: {} records are lost: offsets {position} to {begin} (exclusive) were removed before the \
                 job read them",
                begin - position
            ),
            Loss::MadeAgain { position, begin, end } => format!(
                "{partition}: the job has read up to offset {position}, but the log ends at {end}: the topic was \
                 deleted and made again, or its log was cut; what was added to the old one after {position} is lost, \
                 how much is not known; the new one holds {begin} to {end} (exclusive)"
            ),
            Loss::Replaced { position, begin, end, .. } => format!(
                "{partition}: the topic was deleted and made again: its id is another than that of the one that the job has \
                 read up to offset {position}; what was added to the old one after that is lost, how much is not known; the \
                 new one holds {begin} to {end} (exclusive)"
            ),
        }
    }

    /// The error if the job may not skip; else the warning.
    pub(crate) fn decide(&self, partition: &TopicPartition, fail: bool) -> Result<u64> {
        let words = self.words(partition);
        if fail {
            return Err(Error::data_lost(format!(
                "{words}; set fail_on_data_loss(false) to go on at offset {}, or start a new job with from_offsets",
                self.go_on_at()
            )));
        }
        log::warn!("{words}; going on at offset {}", self.go_on_at());
        Ok(self.go_on_at())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_outside_the_log_is_a_loss() {
        assert_eq!(check(5, 5, 9), None);
        assert_eq!(check(9, 5, 9), None);
        assert_eq!(check(4, 5, 9), Some(Loss::Expired { position: 4, begin: 5 }));
        assert_eq!(check(10, 5, 9), Some(Loss::MadeAgain { position: 10, begin: 5, end: 9 }));
    }

    #[test]
    fn of_a_topic_made_again_nothing_is_read_twice() {
        let go_on = |position, reached, end| Loss::Replaced { position, reached, begin: 3, end }.go_on_at();
        assert_eq!(go_on(10, 10, 50), 3, "nothing of it was read");
        assert_eq!(go_on(10, 20, 15), 3, "what was read is not in it");
        assert_eq!(go_on(10, 20, 20), 20, "10 to 20 may have been read of it");
    }

    #[test]
    fn the_error_says_what_is_lost_and_the_way_out() {
        let lines = TopicPartition::new("lines", 3);
        let error = check(100, 250, 300).unwrap().decide(&lines, true).unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::DataLost);
        let text = error.to_string();
        assert!(text.contains("lines-3: 150 records are lost: offsets 100 to 250"), "{text}");
        assert!(text.contains("fail_on_data_loss(false) to go on at offset 250"), "{text}");
        assert_eq!(check(100, 0, 7).unwrap().decide(&lines, false).unwrap(), 0);
    }
}
