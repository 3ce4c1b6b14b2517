//! Numbers that come at a given rate, made where they are read: for measuring, examples and tests of speed.

use std::time::Duration;
use tidegate_core::{
    Batch, Emit, Error, InputContext, InputGuarantee, PartitionId, Planner, Progress, Reader, Result, Source,
    SourcePlan, SourceRange, StreamId,
};

/// Numbers 0, 1, 2 and so on without a gap. A position is a number, so a range is all that is needed to make it again.
pub(crate) struct RateSource {
    records_per_second: u64,
}

impl RateSource {
    pub(crate) fn new(records_per_second: u64) -> Result<RateSource> {
        if records_per_second == 0 {
            return Err(Error::reconfigure(
                "rate_stream(0) would never give a record; use a rate of 1 or more",
            ));
        }
        Ok(RateSource { records_per_second })
    }
}

impl Source<u64> for RateSource {
    fn describe(&self) -> String {
        format!("{} numbers a second", self.records_per_second)
    }

    fn guarantee(&self) -> InputGuarantee {
        InputGuarantee::exactly_once("a range of numbers is all that is needed to make it again")
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        Ok(Box::new(RatePlanner {
            stream: context.stream.clone(),
            rate: self.records_per_second as f64,
            limit: f64::INFINITY,
            next: 0,
            owed: 0.0,
        }))
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<u64>>> {
        Ok(Box::new(RateReader { left: Vec::new() }))
    }
}

struct RatePlanner {
    stream: StreamId,
    rate: f64,
    limit: f64,
    next: u64,
    /// Part of a record that the batches so far were too short for. Not kept over a restart: a start is late by less than one
    /// record, and gives none twice.
    owed: f64,
}

impl RatePlanner {
    /// Records that a batch of length `interval` takes, with the part of one that is left.
    fn due(&self, interval: Duration) -> (u64, f64) {
        let due = self.owed + self.rate.min(self.limit).max(0.0) * interval.as_secs_f64();
        // Sums of tenths fall a little short of the whole.
        let whole = (due + 1e-6).floor();
        (whole as u64, (due - whole).max(0.0))
    }
}

impl Planner for RatePlanner {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        self.next = last.and_then(|last| last.ranges.first()).map_or(0, |range| range.until);
        Ok(())
    }

    fn plan(&mut self, interval: Duration) -> Result<SourcePlan> {
        let until = self.next.saturating_add(self.due(interval).0);
        let mut range = SourceRange::new("rate", self.next, until);
        // The times of the records depend on it, and it may be another when the batch is run again.
        range.mark = Some(interval.as_millis().to_string());
        Ok(SourcePlan { stream: self.stream.clone(), ranges: vec![range] })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        let Some(range) = plan.ranges.first() else { return };
        self.owed = self.due(Duration::from_millis(interval_ms(range))).1;
        self.next = range.until;
    }

    fn limit_rate(&mut self, records_per_second: f64) {
        self.limit = records_per_second;
    }
}

/// Length of the batch that a range was planned for.
fn interval_ms(range: &SourceRange) -> u64 {
    range.mark.as_deref().and_then(|mark| mark.parse().ok()).unwrap_or(0)
}

struct RateReader {
    left: Vec<(PartitionId, SourceRange)>,
}

impl Reader<u64> for RateReader {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.left = ranges.to_vec();
        Ok(())
    }

    fn read(&mut self, limit: usize, out: &mut dyn Emit<u64>) -> Result<Progress> {
        let Some((partition, range)) = self.left.last_mut() else { return Ok(Progress::Done) };
        out.partition(*partition);
        let until = range.until.min(range.from.saturating_add(limit as u64));
        (range.from..until).for_each(|number| out.record(number));
        range.from = until;
        if range.is_empty() {
            self.left.pop();
        }
        Ok(if self.left.is_empty() { Progress::Done } else { Progress::More })
    }
}

/// When the numbers of a batch came: spread evenly over the time from its start to its end.
pub(crate) struct RateTimes {
    begin_ms: u64,
    length_ms: u64,
    from: u64,
    count: u64,
}

impl RateTimes {
    pub(crate) fn of(batch: &Batch, stream: &StreamId) -> RateTimes {
        let range = batch.ranges(stream).first();
        let length_ms = range.map_or(0, interval_ms);
        RateTimes {
            begin_ms: batch.time().0.saturating_sub(length_ms),
            length_ms,
            from: range.map_or(0, |range| range.from),
            count: range.map_or(0, SourceRange::len),
        }
    }

    /// When `number` came, in milliseconds since 1970 UTC.
    pub(crate) fn at(&self, number: u64) -> u64 {
        let place = u128::from(number.saturating_sub(self.from));
        let passed = place * u128::from(self.length_ms) / u128::from(self.count.max(1));
        self.begin_ms.saturating_add(passed as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(planner: &mut dyn Planner, interval_ms: u64, batches: usize) -> Vec<(u64, u64)> {
        let plan = |_| {
            let interval = Duration::from_millis(interval_ms);
            let plan = planner.plan(interval).unwrap();
            assert_eq!(planner.plan(interval).unwrap(), plan, "asking twice changes nothing");
            planner.planned(&plan);
            (plan.ranges[0].from, plan.ranges[0].until)
        };
        (0..batches).map(plan).collect()
    }

    fn planner(records_per_second: u64) -> Box<dyn Planner> {
        RateSource::new(records_per_second).unwrap().planner(&InputContext::new("rate")).unwrap()
    }

    #[test]
    fn a_second_has_its_records_however_short_the_batches_are() {
        for (rate, interval_ms) in [(1, 100), (3, 100), (7, 50), (1_000_003, 1), (10, 1000), (1, 1)] {
            let batches = 10_000 / interval_ms as usize;
            let ranges = plans(&mut *planner(rate), interval_ms, batches);
            assert!(
                ranges.windows(2).all(|pair| pair[0].1 == pair[1].0),
                "no gap at {rate} by {interval_ms} ms"
            );
            assert_eq!((ranges[0].0, ranges[batches - 1].1), (0, rate * 10), "{rate} by {interval_ms} ms");
            let lengths = ranges.iter().map(|(from, until)| until - from);
            let (least, most) = (lengths.clone().min().unwrap(), lengths.max().unwrap());
            assert!(most - least <= 1, "{rate} by {interval_ms} ms: from {least} to {most}");
        }
    }

    #[test]
    fn a_limit_takes_less_and_makes_up_for_nothing_later() {
        let mut planner = planner(100);
        planner.limit_rate(30.0);
        assert_eq!(plans(&mut *planner, 1000, 2), [(0, 30), (30, 60)]);
        planner.limit_rate(1e9);
        assert_eq!(plans(&mut *planner, 1000, 2), [(60, 160), (160, 260)]);
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        assert!(RateSource::new(0).err().unwrap().to_string().starts_with("rate_stream(0) would never give"));
    }
}
