//! One epoch of an output, driven by hand: so a test can stop between any two steps.

use super::Subject;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use tidegate_core::{
    Batch, BatchId, BatchPlan, BatchTime, Delivery, Held, JobId, Output, OutputContext, OutputId,
    PartitionId, Placement, Result, Seat, SourcePlan, SourceRange, StreamId, Writer, Writers,
};

/// The job that all epochs are of.
pub(super) fn job() -> JobId {
    JobId::from("conformance")
}

/// The plan of `batch`. That it takes one record more than the one before is all that tells it from others.
pub(super) fn at(batch: u64) -> BatchPlan {
    BatchPlan {
        id: BatchId(batch),
        time: BatchTime(1_000_000 + 1_000 * batch),
        zero: BatchTime(1_000_000),
        sources: vec![SourcePlan {
            stream: StreamId::from("rows"),
            ranges: vec![SourceRange::new("rows-0", batch - 1, batch)],
        }],
    }
}

/// The output opened, with the writers of all workers.
pub(super) struct Epoch<'a, S: Subject> {
    subject: &'a S,
    output: S::Output,
    held: Held,
    workers: usize,
    writers: Vec<Box<dyn Writer<S::Row>>>,
    /// Of the batch that is prepared: the writers that are told of it.
    told: Vec<usize>,
}

impl<'a, S: Subject> Epoch<'a, S> {
    pub(super) fn open(subject: &'a S, workers: usize) -> Self {
        Epoch::try_open(subject, workers, Some(job())).expect("the output can be opened")
    }

    pub(super) fn try_open(subject: &'a S, workers: usize, job: Option<JobId>) -> Result<Self> {
        let output = subject.output()?;
        let id = OutputId::from("subject");
        let context = OutputContext { output: id.clone(), new_job: self::job(), job };
        let held = output.open(&context)?;
        let seats = if output.writers() == Writers::One { 1 } else { workers };
        let seat = |worker| output.writer(&Seat { output: id.clone(), worker, workers });
        let writers = (0..seats).map(seat).collect::<Result<_>>()?;
        Ok(Epoch { subject, output, held, workers: seats, writers, told: Vec::new() })
    }

    pub(super) fn delivery(&self) -> Delivery {
        self.output.delivery()
    }

    pub(super) fn job(&self) -> Option<&JobId> {
        self.held.job.as_ref()
    }

    pub(super) fn newest(&self) -> Option<BatchId> {
        self.held.partitions.values().max().copied()
    }

    pub(super) fn newest_plan(&self) -> Option<BatchPlan> {
        self.held.newest.clone()
    }

    /// Whether every partition of the output holds `batch`.
    pub(super) fn holds_all(&self, batch: u64) -> bool {
        let partitions: Vec<_> = match self.output.placement() {
            Placement::AsIs => self.held.partitions.keys().copied().collect(),
            Placement::Hash { partitions, .. } => (0..partitions).map(PartitionId).collect(),
        };
        partitions.iter().all(|partition| self.holds(batch, *partition))
    }

    /// Runs a batch to its end.
    pub(super) fn run(&mut self, batch: u64, rows: Range<u64>) {
        self.try_run(batch, rows).expect("the batch is written");
    }

    pub(super) fn try_run(&mut self, batch: u64, rows: Range<u64>) -> Result<()> {
        let rows = self.rows(rows);
        self.try_prepare(batch, rows)?;
        self.told.clone().into_iter().try_for_each(|writer| self.writers[writer].commit(&self::batch(batch)))
    }

    pub(super) fn prepare(&mut self, batch: u64, rows: Range<u64>) {
        let rows = self.rows(rows);
        self.try_prepare(batch, rows).expect("the batch is prepared");
    }

    fn rows(&self, numbers: Range<u64>) -> Vec<S::Row> {
        numbers.map(|number| self.subject.row(number)).collect()
    }

    /// Brings each row to the writer of its partition, unless that holds the batch, and has all of them prepare.
    pub(super) fn try_prepare(&mut self, batch: u64, rows: Vec<S::Row>) -> Result<()> {
        let id = batch;
        let batch = self::batch(id);
        let mut parts: BTreeMap<PartitionId, Vec<S::Row>> = BTreeMap::new();
        let mut all: BTreeSet<PartitionId> = BTreeSet::new();
        match self.output.placement() {
            Placement::AsIs => {
                all.extend([PartitionId(0), PartitionId(1)]);
                let half = rows.len().div_ceil(2).max(1);
                for (partition, rows) in rows.chunks(half).enumerate() {
                    parts.insert(PartitionId(partition as u32), rows.to_vec());
                }
            }
            Placement::Hash { partitions, hash } => {
                all.extend((0..partitions).map(PartitionId));
                for row in rows {
                    let partition = PartitionId((hash(&row) % u64::from(partitions)) as u32);
                    parts.entry(partition).or_default().push(row);
                }
            }
        }
        all.retain(|partition| !self.holds(id, *partition));
        for (partition, rows) in parts {
            if all.contains(&partition) {
                // In pieces, as they come.
                for piece in rows.chunks(7) {
                    self.writers[partition.0 as usize % self.workers].write(
                        &batch,
                        partition,
                        piece.to_vec(),
                    )?;
                }
            }
        }
        self.told.clear();
        for worker in 0..self.workers {
            let own: Vec<_> = all
                .iter()
                .filter(|partition| partition.0 as usize % self.workers == worker)
                .copied()
                .collect();
            if !own.is_empty() {
                self.writers[worker].prepare(&batch, &own)?;
                self.told.push(worker);
            }
        }
        Ok(())
    }

    pub(super) fn commit(&mut self, batch: u64) {
        self.told.clone().into_iter().for_each(|writer| {
            self.writers[writer].commit(&self::batch(batch)).expect("the batch is committed")
        });
    }

    /// Only the first of the writers that have something commits.
    pub(super) fn commit_by_first(&mut self, batch: u64) {
        let first = self.told[0];
        self.writers[first].commit(&self::batch(batch)).expect("the batch is committed");
    }

    /// Ends the epoch in order.
    pub(super) fn abort(mut self) {
        self.writers.iter_mut().for_each(|writer| writer.abort());
    }

    fn holds(&self, batch: u64, partition: PartitionId) -> bool {
        self.held.partitions.get(&partition).is_some_and(|held| held.0 >= batch)
    }
}

fn batch(id: u64) -> Batch {
    Batch::new(Arc::new(at(id)))
}
