//! The same records for every batch.

use crate::Data;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{
    Emit, InputContext, InputGuarantee, PartitionId, Planner, Progress, Reader, Result, Source, SourcePlan,
    SourceRange, StreamId,
};

/// Every batch takes all of `records`; a position is a number of batches.
pub(crate) struct ConstantSource<T> {
    records: Arc<Vec<T>>,
}

impl<T> ConstantSource<T> {
    pub(crate) fn new(records: Vec<T>) -> Self {
        ConstantSource { records: Arc::new(records) }
    }
}

impl<T: Data + Sync> Source<T> for ConstantSource<T> {
    fn describe(&self) -> String {
        format!("{} constant records", self.records.len())
    }

    fn guarantee(&self) -> InputGuarantee {
        InputGuarantee::exactly_once(
            "the records are part of the program, so a batch has them each time it is run",
        )
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        Ok(Box::new(ConstantPlanner { stream: context.stream.clone(), batches: 0 }))
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<T>>> {
        Ok(Box::new(ConstantReader { records: self.records.clone(), partition: None }))
    }
}

struct ConstantPlanner {
    stream: StreamId,
    batches: u64,
}

impl Planner for ConstantPlanner {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        self.batches = last.and_then(|last| last.ranges.first()).map_or(0, |range| range.until);
        Ok(())
    }

    fn plan(&mut self, _: Duration) -> Result<SourcePlan> {
        let range = SourceRange::new("constant", self.batches, self.batches + 1);
        Ok(SourcePlan { stream: self.stream.clone(), ranges: vec![range] })
    }

    fn planned(&mut self, _: &SourcePlan) {
        self.batches += 1;
    }
}

struct ConstantReader<T> {
    records: Arc<Vec<T>>,
    partition: Option<PartitionId>,
}

impl<T: Data + Sync> Reader<T> for ConstantReader<T> {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.partition = ranges.first().map(|(partition, _)| *partition);
        Ok(())
    }

    fn read(&mut self, _: usize, out: &mut dyn Emit<T>) -> Result<Progress> {
        if let Some(partition) = self.partition.take() {
            out.partition(partition);
            self.records.iter().cloned().for_each(|record| out.record(record));
        }
        Ok(Progress::Done)
    }
}
