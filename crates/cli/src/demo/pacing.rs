//! How many lines are sent now: as many as the rate asks for, but never so many that the broker drops one unread.
//!
//! The broker in this process (librdkafka's mock cluster) keeps 5 MiB and 100,000 batches of a partition, and drops the oldest
//! without asking whether it was read. A line is read once its batch is committed: before that the job may need it again.

use super::PARTITIONS;
use super::lines::LINE_BYTES_MAX;
use std::time::Duration;

/// Lines of a partition that are sent and not committed, at most.
const UNREAD_LINES_MAX: u64 = 20_000;

/// What Kafka's record format adds to a line that is sent all alone: 61 bytes of batch header, at most 21 of record.
const OVERHEAD_BYTES_MAX: usize = 61 + 21;
/// The largest batch of records: it is dropped as a whole, so a part of it that was read still takes room.
pub(super) const BATCH_BYTES_MAX: usize = 1_000_000;
const KEPT_BYTES: usize = 5 * 1024 * 1024;
const _: () = assert!(
    UNREAD_LINES_MAX as usize * (LINE_BYTES_MAX + OVERHEAD_BYTES_MAX) + BATCH_BYTES_MAX < KEPT_BYTES,
    "an unread line could be dropped"
);
const _: () = assert!(UNREAD_LINES_MAX < 100_000);

/// Lines that should have been sent after `elapsed`.
pub(super) fn due(rate: u64, elapsed: Duration) -> u64 {
    (u128::from(rate) * elapsed.as_millis() / 1000) as u64
}

/// How many lines each partition gets now: `due` of them shared out evenly, as far as there is room beside what is unread.
pub(super) fn portions(due: u64, unread: [u64; PARTITIONS]) -> [u64; PARTITIONS] {
    let partitions = PARTITIONS as u64;
    std::array::from_fn(|place| {
        let share = due / partitions + u64::from((place as u64) < due % partitions);
        share.min(UNREAD_LINES_MAX.saturating_sub(unread[place]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_due_by_the_rate() {
        assert_eq!(due(20_000, Duration::from_millis(5)), 100);
        assert_eq!(due(3, Duration::from_millis(999)), 2);
        assert_eq!(due(500_000, Duration::from_secs(3600)), 1_800_000_000);
    }

    #[test]
    fn a_partition_is_held_back_before_an_unread_line_is_dropped() {
        const FULL: u64 = UNREAD_LINES_MAX;
        let table = [
            (10, [0, 0, 0, 0], [3, 3, 2, 2]),
            (0, [5, 0, 0, 0], [0, 0, 0, 0]),
            (40, [FULL, FULL - 4, 0, FULL + 9], [0, 4, 10, 0]),
            (u64::MAX, [0, FULL, FULL - 1, 1], [FULL, 0, 1, FULL - 1]),
        ];
        for (due, unread, expected) in table {
            assert_eq!(portions(due, unread), expected, "{due} due, unread {unread:?}");
        }
    }
}
