//! Outputs that are broken on purpose, to see that the tests notice. Compiled only with the feature `sabotage`.
//!
//! `TIDEGATE_SABOTAGE` says how:
//!
//! - `by_clock`: an output goes by the clock where it should go by the batch, so a batch that is run again is another one to it;
//! - `key_by_run`: what a total is found by is another one in each run of the program;
//! - `late_batch`: after each batch the one before is written again, as by a run that hung and comes to itself. That breaks nothing;
//! - `late_by_clock`: the same by the clock, which makes the late batch the newest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tidegate::core::{BatchPlan, Delivery, Held, Output, OutputContext, Placement, Seat, Writer, Writers};
use tidegate::{Batch, BatchId, BatchTime, PartitionId, Result};

fn asked() -> String {
    std::env::var("TIDEGATE_SABOTAGE").unwrap_or_default()
}

/// By what the total of `word` is found again.
pub(crate) fn key(word: &str) -> String {
    if asked() == "key_by_run" { format!("{word} {}", std::process::id()) } else { word.to_owned() }
}

/// An output, with what was asked for done to it.
pub(crate) struct Sabotaged<O> {
    output: O,
    flaws: Flaws,
    clocked: Clocked,
}

#[derive(Clone, Copy)]
struct Flaws {
    by_clock: bool,
    late: bool,
}

impl<O> Sabotaged<O> {
    pub(crate) fn new(output: O) -> Sabotaged<O> {
        let asked = asked();
        let flaws = Flaws {
            by_clock: matches!(asked.as_str(), "by_clock" | "late_by_clock"),
            late: matches!(asked.as_str(), "late_batch" | "late_by_clock"),
        };
        Sabotaged { output, flaws, clocked: Arc::default() }
    }
}

/// Newest batches under the clock's numbers and times, on which all writers must agree. Some are a batch ahead of others.
type Clocked = Arc<Mutex<BTreeMap<BatchId, Batch>>>;

const CLOCKED_MAX: usize = 16;

fn clocked(newest: &Clocked, batch: &Batch) -> Batch {
    let mut newest = newest.lock().expect("nothing panics with the lock");
    let told = newest.entry(batch.id()).or_insert_with(|| of_now(batch)).clone();
    if newest.len() > CLOCKED_MAX {
        newest.pop_first();
    }
    told
}

impl<T: Clone + 'static, O: Output<T>> Output<T> for Sabotaged<O> {
    fn describe(&self) -> String {
        self.output.describe()
    }

    fn delivery(&self) -> Delivery {
        match self.output.delivery() {
            // It remembers times, of which the engine can't tell which batches they are.
            Delivery::ExactlyOnce if self.flaws.by_clock => Delivery::AtLeastOnce,
            delivery => delivery,
        }
    }

    fn writers(&self) -> Writers {
        self.output.writers()
    }

    fn completes(&self) -> bool {
        self.output.completes()
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        let held = self.output.open(context)?;
        Ok(if self.flaws.by_clock { Held { job: held.job, ..Held::default() } } else { held })
    }

    fn placement(&self) -> Placement<T> {
        self.output.placement()
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<T>>> {
        let writer = self.output.writer(seat)?;
        let clocked = self.clocked.clone();
        Ok(Box::new(SabotagedWriter { writer, flaws: self.flaws, clocked, at_hand: None, before: None }))
    }
}

struct SabotagedWriter<T> {
    writer: Box<dyn Writer<T>>,
    flaws: Flaws,
    clocked: Clocked,
    at_hand: Option<Given<T>>,
    /// The newest with rows that was committed, if one is to come late.
    before: Option<Given<T>>,
}

/// A batch and what was given of it.
struct Given<T> {
    batch: Batch,
    /// What the output takes it for.
    told: Batch,
    /// Of a batch that is to come late.
    rows: Vec<(PartitionId, Vec<T>)>,
    partitions: Vec<PartitionId>,
}

impl<T: Clone> SabotagedWriter<T> {
    fn told(&self, batch: &Batch) -> Batch {
        if self.flaws.by_clock { clocked(&self.clocked, batch) } else { batch.clone() }
    }

    fn given(&mut self, batch: &Batch) -> &mut Given<T> {
        let told = self.told(batch);
        self.at_hand.get_or_insert_with(|| Given {
            batch: batch.clone(),
            told,
            rows: Vec::new(),
            partitions: Vec::new(),
        })
    }
}

impl<T: Clone> Writer<T> for SabotagedWriter<T> {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<T>) -> Result<()> {
        let is_kept = self.flaws.late;
        let given = self.given(batch);
        if is_kept {
            given.rows.push((partition, rows.clone()));
        }
        let told = given.told.clone();
        self.writer.write(&told, partition, rows)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        let given = self.given(batch);
        given.partitions = partitions.to_vec();
        let told = given.told.clone();
        self.writer.prepare(&told, partitions)
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.given(batch);
        let Some(given) = self.at_hand.take() else { return Ok(()) };
        self.writer.commit(&given.told)?;
        if given.rows.is_empty() {
            // One without rows comes to nothing, and would have the one before it, which is the newest, written again.
            return Ok(());
        }
        if let Some(late) = self.before.replace(given) {
            let told = if self.flaws.by_clock { of_now(&late.batch) } else { late.told };
            for (partition, rows) in late.rows {
                self.writer.write(&told, partition, rows)?;
            }
            self.writer.prepare(&told, &late.partitions)?;
            self.writer.commit(&told)?;
        }
        Ok(())
    }

    fn complete(&mut self, batch: &Batch, partitions: u32) -> Result<()> {
        self.writer.complete(&self.told(batch), partitions)
    }

    fn abort(&mut self) {
        self.at_hand = None;
        self.writer.abort();
    }
}

/// The batch as one whose number and time are those of the clock.
fn of_now(batch: &Batch) -> Batch {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let plan = BatchPlan { id: BatchId(now), time: BatchTime(now), ..(**batch.plan()).clone() };
    Batch::new(plan.into())
}
