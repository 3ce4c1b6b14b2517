//! What a batch takes and where a job begins, decided from what is known. Pure: nothing here asks Kafka.

use crate::loss::{self, Loss};
use crate::params::OffsetReset;
use crate::topic_partition::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tidegate_core::{Error, Result, SourcePlan, SourceRange};

/// How much a batch may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Of one partition; `None`: as much as there is.
    pub(crate) records_per_second: Option<u64>,
    /// Of one partition, however small the rates make it. At least 1.
    pub(crate) min_per_batch: u64,
    /// Of all partitions together, told by back-pressure; `None`: nothing was told.
    pub(crate) total_per_second: Option<f64>,
}

impl Limit {
    /// Offsets of each partition in a batch of length `interval`, where `lags` are there to be read.
    ///
    /// What back-pressure allows is shared out by lag, as Spark does it, so that partitions that are behind catch up
    /// together; a partition's own limit cuts its share. The sum is at most what is allowed, and `min_per_batch` more for
    /// each partition that has a record: none of these is left out.
    pub(crate) fn per_batch(&self, lags: &[u64], interval: Duration) -> Vec<u64> {
        let each = match self.records_per_second {
            Some(rate) => whole_records(u128::from(rate) * interval.as_millis() / 1000),
            None => u64::MAX,
        };
        let allowed = self.total_per_second.map(|rate| {
            // Below 0 and no number at all count as 0; beyond the largest number as that.
            (rate.max(0.0) * interval.as_secs_f64()) as u64
        });
        let shares = match allowed {
            Some(allowed) => by_lag(allowed, lags),
            None => lags.to_vec(),
        };
        let at_least =
            |(share, lag): (u64, &u64)| share.min(each).max(self.min_per_batch.min(*lag)).min(*lag);
        shares.into_iter().zip(lags).map(at_least).collect()
    }
}

fn whole_records(records: u128) -> u64 {
    u64::try_from(records).unwrap_or(u64::MAX)
}

/// Splits `allowed`, or all there is if that is less, in proportion to `lags`. Every share is within one record of its exact
/// value and not above its lag, and nothing is left over: a share is the difference of two sums that are rounded down.
fn by_lag(allowed: u64, lags: &[u64]) -> Vec<u64> {
    let total: u128 = lags.iter().map(|lag| u128::from(*lag)).sum();
    let allowed = u128::from(allowed);
    if allowed >= total {
        return lags.to_vec();
    }
    let (mut seen, mut given) = (0, 0);
    let share = |lag: &u64| {
        seen += u128::from(*lag);
        // No topic holds 2^64 records: the product fits.
        let upto = allowed * seen / total;
        whole_records(upto - std::mem::replace(&mut given, upto))
    };
    lags.iter().map(share).collect()
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

/// The ids of the topics that the newest plan was made for, where it says.
pub(crate) fn planned_ids(last: &SourcePlan) -> Result<BTreeMap<TopicPartition, String>> {
    let marked = last.ranges.iter().filter_map(|range| Some((range, range.mark.clone()?)));
    marked.map(|(range, id)| Ok((range.partition.parse()?, id))).collect()
}

/// What a partition's log holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    /// Up to where it can be read: a transaction may be open.
    pub(crate) reachable: u64,
    /// It is that of a topic that was made again since the newest plan.
    pub(crate) replaced: bool,
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
    /// Where `name` begins.
    ///
    /// # Errors
    /// `DataLost` when the job was further than the log goes, or is behind it; `Reconfigure` when a setting names an
    /// offset that is not there.
    pub(crate) fn of(&self, name: &TopicPartition, log: Log) -> Result<u64> {
        let Log { begin, end, reachable, replaced } = log;
        if let Some(position) = self.resumed.and_then(|positions| positions.get(name)) {
            let lost = if replaced {
                Some(Loss::Replaced { position: *position, reached: *position, begin, end })
            } else {
                loss::check(*position, begin, end)
            };
            return match lost {
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

    fn limit(records_per_second: Option<u64>, min_per_batch: u64, total_per_second: Option<f64>) -> Limit {
        Limit { records_per_second, min_per_batch, total_per_second }
    }

    #[test]
    fn the_rate_caps_a_batch_but_always_lets_something_through() {
        let cap =
            |rate, min, ms| limit(rate, min, None).per_batch(&[1 << 60, 0, 3], Duration::from_millis(ms));
        assert_eq!(cap(None, 1, 100), [1 << 60, 0, 3]);
        assert_eq!(cap(Some(1000), 1, 100), [100, 0, 3]);
        assert_eq!(cap(Some(5), 1, 100), [1, 0, 1]);
        assert_eq!(cap(Some(5), 20, 100), [20, 0, 3]);
        assert_eq!(cap(Some(u64::MAX), 1, 1000), [1 << 60, 0, 3]);
    }

    #[test]
    fn back_pressure_shares_out_by_lag() {
        let shares = |rate, each, min, lags: &[u64]| {
            limit(each, min, Some(rate)).per_batch(lags, Duration::from_millis(500))
        };
        assert_eq!(shares(200.0, None, 1, &[1000, 3000]), [25, 75]);
        assert_eq!(
            shares(20.0, None, 1, &[7, 7, 7]),
            [3, 3, 4],
            "nothing of what is allowed is lost by rounding"
        );
        assert_eq!(shares(200.0, None, 1, &[10, 30]), [10, 30], "there is less than is allowed");
        assert_eq!(
            shares(200.0, Some(60), 1, &[1000, 3000]),
            [25, 30],
            "the partition's own limit cuts its share"
        );
        assert_eq!(
            shares(2.0, None, 1, &[1_000_000, 1, 0]),
            [1, 1, 0],
            "the partition with one record is not left out"
        );
        assert_eq!(shares(200.0, None, 40, &[1000, 30, 3000]), [40, 30, 75]);
        for none in [0.0, -5.0, f64::NAN] {
            assert_eq!(shares(none, None, 2, &[1000, 1]), [2, 1], "{none}");
        }
        assert_eq!(shares(f64::INFINITY, None, 1, &[1 << 60, 1 << 60]), [1 << 60, 1 << 60]);
        assert_eq!(shares(1e15, None, 1, &[1 << 60, 1 << 60]), [250_000_000_000_000; 2]);
        assert!(shares(5.0, None, 1, &[]).is_empty());
    }

    /// Many inputs by a generator with a fixed seed, so that a failure can be had again.
    #[test]
    fn a_batch_never_exceeds_what_is_allowed_and_no_partition_starves() {
        let mut state = 1_u64;
        let mut bits = |bits: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) & ((1 << bits) - 1)
        };
        // Of every magnitude alike.
        let mut number = || {
            let magnitude = bits(5);
            bits(magnitude)
        };
        for round in 0..20_000 {
            let lags: Vec<u64> = (0..number() % 9).map(|_| number()).collect();
            let each = (number() % 2 == 0).then(&mut number);
            let (min, rate, ms) = (1 + number() % 50, number(), 1 + number() % 5_000);
            let interval = Duration::from_millis(ms);
            let shares = limit(each, min, Some(rate as f64)).per_batch(&lags, interval);
            let told = format!("round {round}: {lags:?} at {rate}/s, {each:?}, {min}, {ms} ms: {shares:?}");
            let waiting = lags.iter().filter(|lag| **lag > 0).count() as u64;
            assert!(shares.iter().sum::<u64>() <= rate * ms / 1000 + min * waiting, "{told}");
            let most = each.map_or(u64::MAX, |each| (each * ms / 1000).max(min));
            for (share, lag) in shares.iter().zip(&lags) {
                assert!(*share >= min.min(*lag) && share <= lag && *share <= most, "{told}");
            }
            let without_own = limit(None, 1, Some(rate as f64)).per_batch(&lags, interval);
            let all: u64 = lags.iter().sum();
            assert!(without_own.iter().sum::<u64>() >= (rate * ms / 1000).min(all), "{told}");
        }
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
        let of = |it: &Beginning<'_>, name, begin, end, reachable| {
            it.of(&tp(name), Log { begin, end, reachable, replaced: false })
        };
        assert_eq!(of(&it, "a-0", 5, 50, 40).unwrap(), 30);
        assert_eq!(of(&it, "a-1", 5, 50, 40).unwrap(), 12);
        assert_eq!(of(&it, "a-2", 5, 50, 40).unwrap(), 5, "new since then: from its beginning");
        assert_eq!(of(&it, "a-0", 31, 50, 40).unwrap_err().kind(), ErrorKind::DataLost);
        assert_eq!(of(&it, "a-0", 0, 29, 29).unwrap_err().kind(), ErrorKind::DataLost);
        let replaced = Log { begin: 5, end: 50, reachable: 40, replaced: true };
        let error = it.of(&tp("a-0"), replaced).unwrap_err();
        assert!(error.to_string().contains("its id is another"), "{error}");
        it.fail_on_data_loss = false;
        assert_eq!(it.of(&tp("a-0"), replaced).unwrap(), 5);
        it.fail_on_data_loss = true;
        it.resumed = None;
        assert_eq!(of(&it, "a-0", 5, 50, 40).unwrap(), 10);
        assert_eq!(of(&it, "a-2", 5, 50, 40).unwrap(), 40);
        assert_eq!(of(&it, "a-0", 11, 50, 40).unwrap_err().kind(), ErrorKind::Reconfigure);
        it.fail_on_data_loss = false;
        assert_eq!(of(&it, "a-0", 11, 50, 40).unwrap(), 11);
        it.reset = OffsetReset::None;
        assert!(of(&it, "a-2", 0, 1, 1).unwrap_err().to_string().contains("auto.offset.reset=none"));
    }
}
