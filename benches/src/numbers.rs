//! An input of consecutive numbers: as long as it is asked to be, and nothing of it is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidegate::core::{Emit, InputContext, Planner, Progress, Reader, Source, SourcePlan, SourceRange};
use tidegate::{PartitionId, Result, StreamId};

const PARTITIONS: u64 = 2;

/// The numbers from 0 on, as many a batch as was last said. Copies are the same input.
#[derive(Clone, Default)]
pub struct Numbers {
    batch_records: Arc<AtomicU64>,
}

impl Numbers {
    /// The batches to come take `records` numbers each, a multiple of the partitions' count.
    pub fn take(&self, records: u64) {
        self.batch_records.store(records / PARTITIONS, Ordering::Relaxed);
    }
}

impl Source<u64> for Numbers {
    fn describe(&self) -> String {
        "consecutive numbers".to_owned()
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        Ok(Box::new(NumbersPlanner { stream: context.stream.clone(), input: self.clone(), position: 0 }))
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<u64>>> {
        Ok(Box::new(NumbersReader { left: Vec::new() }))
    }
}

struct NumbersPlanner {
    stream: StreamId,
    input: Numbers,
    /// The same in every partition.
    position: u64,
}

impl Planner for NumbersPlanner {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        last.into_iter().for_each(|last| self.planned(last));
        Ok(())
    }

    fn plan(&mut self, _: Duration) -> Result<SourcePlan> {
        let until = self.position + self.input.batch_records.load(Ordering::Relaxed);
        let range = |place| SourceRange::new(format!("numbers-{place}"), self.position, until);
        Ok(SourcePlan { stream: self.stream.clone(), ranges: (0..PARTITIONS).map(range).collect() })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        self.position = plan.ranges.first().map_or(self.position, |range| range.until);
    }
}

struct NumbersReader {
    left: Vec<(PartitionId, SourceRange)>,
}

impl Reader<u64> for NumbersReader {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.left = ranges.to_vec();
        Ok(())
    }

    fn read(&mut self, limit: usize, out: &mut dyn Emit<u64>) -> Result<Progress> {
        let Some((partition, range)) = self.left.last_mut() else { return Ok(Progress::Done) };
        out.partition(*partition);
        let until = range.until.min(range.from + limit as u64);
        // Partitions take turns: together they have every number once.
        (range.from..until).for_each(|n| out.record(n * PARTITIONS + u64::from(partition.0)));
        range.from = until;
        if range.from == range.until {
            self.left.pop();
        }
        Ok(if self.left.is_empty() { Progress::Done } else { Progress::More })
    }
}
