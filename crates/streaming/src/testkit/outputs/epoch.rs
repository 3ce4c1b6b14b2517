//! One epoch of an output, driven by hand: so a test can stop between any two steps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use tidegate_core::{
    Batch, BatchId, BatchPlan, BatchTime, Held, Output, OutputContext, Packing, PartitionId, Placement,
    Result, Seat, SourcePlan, SourceRange, StreamId, Writer, Writers,
};

/// The time of a first batch, in milliseconds.
const ZERO_MS: u64 = 1_700_000_000_000;

/// The plan of batch `id`, of batches of a second, which takes the records from `from` until `until` of the stream `rows`.
pub fn plan(id: u64, from: u64, until: u64) -> BatchPlan {
    let ranges = vec![SourceRange::new("rows-0", from, until)];
    BatchPlan {
        id: BatchId(id),
        time: BatchTime(ZERO_MS + 1_000 * id),
        zero: BatchTime(ZERO_MS),
        sources: vec![SourcePlan { stream: StreamId::from("rows"), ranges }],
    }
}

/// Batch `id`, with the ten records after those of the batch before.
pub fn batch(id: u64) -> Batch {
    Batch::new(Arc::new(plan(id, 10 * id, 10 * id + 10)))
}

/// An output that was opened, with the writer of each worker. A test takes the steps of a batch one by one, as the engine does, and may
/// stop between any two: what is dropped here is what a crash leaves.
///
/// ```
/// use tidegate::testkit::MemoryOutput;
/// use tidegate::testkit::outputs::{Epoch, batch};
///
/// # fn main() -> tidegate::Result<()> {
/// let output = MemoryOutput::new();
/// let mut epoch = Epoch::open(&output, 2)?;
/// epoch.prepare(&batch(1), vec!["ebb", "flow"])?;
/// assert_eq!(output.rows().len(), 0);
/// drop(epoch);
/// let mut epoch = Epoch::open(&output, 3)?;
/// epoch.run(&batch(1), vec!["ebb", "flow"])?;
/// assert_eq!(output.rows(), ["ebb", "flow"]);
/// # Ok(()) }
/// ```
pub struct Epoch<T> {
    /// What the output holds, as it said when it was opened.
    pub held: Held,
    /// The writer of each worker; one alone where the output has no more.
    pub writers: Vec<Box<dyn Writer<T>>>,
    placement: Placement<T>,
    packing: Option<Packing<T>>,
    completes: bool,
    /// Rows that are given to a writer at once, at most.
    pub(super) piece: usize,
    /// Of the batch that is prepared: the writers that are told of it.
    told: Vec<usize>,
}

impl<T> fmt::Debug for Epoch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoch").field("held", &self.held).field("writers", &self.writers.len()).finish()
    }
}

impl<T> Epoch<T> {
    /// Opens `output` as `out` of the job `job-1`.
    ///
    /// # Errors
    /// What opening it and making its writers give.
    pub fn open(output: &impl Output<T>, workers: usize) -> Result<Epoch<T>> {
        Epoch::open_as(
            output,
            &OutputContext { output: "out".into(), job: Some("job-1".into()), new_job: "job-1".into() },
            workers,
        )
    }

    /// Opens `output` under another name, or for another job.
    ///
    /// # Errors
    /// As [`Epoch::open`].
    pub fn open_as(output: &impl Output<T>, context: &OutputContext, workers: usize) -> Result<Epoch<T>> {
        let held = output.open(context)?;
        let workers = if output.writers() == Writers::One { 1 } else { workers };
        let seat = |worker| output.writer(&Seat { output: context.output.clone(), worker, workers });
        let writers = (0..workers).map(seat).collect::<Result<_>>()?;
        let (placement, packing, completes) = (output.placement(), output.packing(), output.completes());
        Ok(Epoch { held, writers, placement, packing, completes, piece: usize::MAX, told: Vec::new() })
    }

    /// Whether `partition` of the output holds the batch.
    pub fn holds(&self, batch: BatchId, partition: PartitionId) -> bool {
        self.held.partitions.get(&partition).is_some_and(|held| *held >= batch)
    }

    /// The output's partitions. Where they are those of the dataset, it has two.
    pub fn partitions(&self) -> BTreeSet<PartitionId> {
        let partitions = match self.placement {
            Placement::AsIs => 2,
            Placement::Hash { partitions, .. } => partitions,
        };
        (0..partitions).map(PartitionId).collect()
    }

    /// Brings each row to the writer of its partition, unless that holds the batch; packed, where the output packs.
    ///
    /// # Errors
    /// What the writer says that fails first.
    pub fn write(&mut self, batch: &Batch, rows: Vec<T>) -> Result<()> {
        for (partition, mut rows) in self.placed(rows) {
            let writer = self.seat(partition);
            while !rows.is_empty() && !self.holds(batch.id(), partition) {
                let rest = rows.split_off(self.piece.min(rows.len()));
                self.give(writer, batch, partition, rows)?;
                rows = rest;
            }
        }
        Ok(())
    }

    /// As [`Epoch::write`], and has each writer prepare that has a partition which does not hold the batch.
    ///
    /// # Errors
    /// As [`Epoch::write`].
    pub fn prepare(&mut self, batch: &Batch, rows: Vec<T>) -> Result<()> {
        self.write(batch, rows)?;
        let mut missing = self.partitions();
        missing.retain(|partition| !self.holds(batch.id(), *partition));
        self.told.clear();
        for worker in 0..self.writers.len() {
            let own: Vec<_> =
                missing.iter().copied().filter(|partition| self.seat(*partition) == worker).collect();
            if !own.is_empty() {
                self.writers[worker].prepare(batch, &own)?;
                self.told.push(worker);
            }
        }
        Ok(())
    }

    fn give(&mut self, writer: usize, batch: &Batch, partition: PartitionId, rows: Vec<T>) -> Result<()> {
        let writer = &mut self.writers[writer];
        let Some(packing) = &self.packing else { return writer.write(batch, partition, rows) };
        let pieces = packing()?.pack(rows)?;
        pieces.into_iter().try_for_each(|rows| writer.write_packed(batch, partition, rows))
    }

    fn seat(&self, partition: PartitionId) -> usize {
        partition.0 as usize % self.writers.len()
    }

    fn placed(&self, rows: Vec<T>) -> BTreeMap<PartitionId, Vec<T>> {
        let half = rows.len().div_ceil(2);
        let mut parts: BTreeMap<PartitionId, Vec<T>> = BTreeMap::new();
        for (place, row) in rows.into_iter().enumerate() {
            let partition = match &self.placement {
                Placement::AsIs => u32::from(place >= half),
                Placement::Hash { partitions, hash } => (hash(&row) % u64::from(*partitions)) as u32,
            };
            parts.entry(PartitionId(partition)).or_default().push(row);
        }
        parts
    }

    /// Has all writers commit that were told of the batch, and the first one complete it, where the output does that.
    ///
    /// # Errors
    /// What the writer says that fails first; those after it have not committed.
    pub fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.commit_by_all(batch)?;
        if self.completes {
            let partitions = self.partitions().len() as u32;
            self.writers[0].complete(batch, partitions)?;
        }
        Ok(())
    }

    /// Has all writers commit that were told of the batch, and none complete it.
    ///
    /// # Errors
    /// As [`Epoch::commit`].
    pub fn commit_by_all(&mut self, batch: &Batch) -> Result<()> {
        self.told.iter().try_for_each(|writer| self.writers[*writer].commit(batch))
    }

    /// Only the first of the writers commits that were told of the batch.
    ///
    /// # Errors
    /// What it says.
    pub fn commit_by_first(&mut self, batch: &Batch) -> Result<()> {
        self.told.first().map_or(Ok(()), |writer| self.writers[*writer].commit(batch))
    }

    /// Runs a batch to its end.
    ///
    /// # Errors
    /// As [`Epoch::prepare`] and [`Epoch::commit`].
    pub fn run(&mut self, batch: &Batch, rows: Vec<T>) -> Result<()> {
        self.prepare(batch, rows)?;
        self.commit(batch)
    }

    /// Ends the epoch in order.
    pub fn abort(mut self) {
        self.writers.iter_mut().for_each(|writer| writer.abort());
    }
}
