//! The conformance suite of outputs: on the output in memory, and on one for each promise that is broken.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tidegate::testkit::outputs::{self, Phase, Subject};
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
use tidegate::{Batch, BatchId, Conf, Error, PartitionId, Result, Stop};
use tidegate_core::{Delivery, Held, Output, OutputContext, Seat, Writer};

/// The row that is refused.
const REFUSED: u64 = u64::MAX;

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Rows are seen when they are prepared.
    SeenWhenPrepared,
    /// What is held is not told.
    ForgetsBatches,
    /// Of a batch that some partitions hold and others do not, nothing is told.
    ForgetsParts,
    /// Batches without rows are not remembered.
    ForgetsEmptyBatches,
    /// The plan of the newest batch is not told.
    ForgetsPlan,
    /// Whose it is is not told.
    ForgetsJob,
    /// A writer of an earlier epoch is heard.
    HearsOldWriters,
    /// A row is refused at the commit only.
    RefusesLate,
    /// A row that can't be written is left out.
    DropsRefused,
}

struct Flawed {
    flaw: Flaw,
    inner: MemoryOutput<u64>,
}

impl Subject for Flawed {
    type Row = u64;
    type Output = Flawed;

    fn output(&self) -> Result<Flawed> {
        Ok(Flawed { flaw: self.flaw, inner: self.inner.clone() })
    }

    fn row(&self, number: u64) -> u64 {
        number
    }

    fn visible(&self) -> Vec<u64> {
        self.inner.rows()
    }

    fn refused(&self) -> Option<u64> {
        Some(REFUSED)
    }
}

impl Output<u64> for Flawed {
    fn describe(&self) -> String {
        format!("{:?}", self.flaw)
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        let held = self.inner.open(context)?;
        Ok(match self.flaw {
            Flaw::ForgetsBatches => Held { partitions: BTreeMap::new(), ..held },
            Flaw::ForgetsParts => {
                let oldest = held.partitions.values().min().copied();
                let partitions = held.partitions.keys().filter_map(|part| Some((*part, oldest?))).collect();
                Held { partitions, newest: held.newest.filter(|plan| Some(plan.id) == oldest), ..held }
            }
            Flaw::ForgetsPlan => Held { newest: None, ..held },
            Flaw::ForgetsJob => Held { job: None, ..held },
            _ => held,
        })
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<u64>>> {
        let inner = self.inner.writer(seat)?;
        Ok(Box::new(FlawedWriter {
            output: self.output()?,
            seat: seat.clone(),
            inner,
            rows: Vec::new(),
            is_empty: false,
        }))
    }
}

struct FlawedWriter {
    output: Flawed,
    seat: Seat,
    inner: Box<dyn Writer<u64>>,
    rows: Vec<(PartitionId, Vec<u64>)>,
    is_empty: bool,
}

impl Writer<u64> for FlawedWriter {
    fn write(&mut self, _: &Batch, partition: PartitionId, rows: Vec<u64>) -> Result<()> {
        self.rows.push((partition, rows));
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        let flaw = self.output.flaw;
        let refused = self.rows.iter_mut().any(|(_, rows)| {
            let before = rows.len();
            rows.retain(|row| *row != REFUSED);
            rows.len() < before
        });
        if refused && !matches!(flaw, Flaw::RefusesLate | Flaw::DropsRefused) {
            return Err(Error::reconfigure("the row is the one that can't be written"));
        }
        if flaw == Flaw::HearsOldWriters {
            self.inner = self.output.inner.writer(&self.seat)?;
        }
        self.is_empty = self.rows.is_empty();
        for (partition, rows) in self.rows.drain(..) {
            self.inner.write(batch, partition, rows)?;
        }
        self.inner.prepare(batch, partitions)?;
        if flaw == Flaw::SeenWhenPrepared {
            self.inner.commit(batch)?;
        }
        if refused && flaw == Flaw::RefusesLate {
            self.rows.push((PartitionId(0), vec![REFUSED]));
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        match self.output.flaw {
            Flaw::SeenWhenPrepared => Ok(()),
            Flaw::ForgetsEmptyBatches if self.is_empty => Ok(()),
            Flaw::RefusesLate if !self.rows.is_empty() => {
                Err(Error::reconfigure("the row is the one that can't be written"))
            }
            _ => self.inner.commit(batch),
        }
    }
}

fn flawed(flaw: Flaw) -> impl Fn() -> Flawed {
    move || Flawed { flaw, inner: MemoryOutput::new() }
}

#[test]
fn an_output_that_keeps_its_promises_passes() {
    outputs::all(flawed(Flaw::None));
}

#[test]
fn each_broken_promise_is_found() {
    let told = |flaw: Flaw| {
        let failure = catch_unwind(AssertUnwindSafe(|| outputs::all(flawed(flaw))));
        let failure = failure.expect_err(&format!("{flaw:?} is found"));
        failure
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| failure.downcast_ref::<&str>().map(|s| (*s).to_owned()))
    };
    for (flaw, words) in [
        (Flaw::SeenWhenPrepared, "before the commit of a batch"),
        (Flaw::ForgetsBatches, "remembers its newest batch"),
        (Flaw::ForgetsEmptyBatches, "batch without rows is remembered"),
        (Flaw::ForgetsPlan, "remembers the plan"),
        (Flaw::ForgetsJob, "says whose it is"),
        (Flaw::HearsOldWriters, "writer of an earlier epoch"),
        (Flaw::RefusesLate, "refused before the commit"),
        (Flaw::DropsRefused, "refused before the commit"),
    ] {
        let told = told(flaw).unwrap_or_default();
        assert!(told.contains(words), "{flaw:?}: {told}");
    }
}

/// What is behind an output, which can be away: nothing can be done in it then.
struct Remote {
    inner: Flawed,
    away: Arc<AtomicBool>,
}

impl Remote {
    fn there(away: &AtomicBool) -> Result<()> {
        if away.load(Ordering::SeqCst) { Err(Error::retry("the memory is away")) } else { Ok(()) }
    }
}

impl Output<u64> for Remote {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn delivery(&self) -> Delivery {
        self.inner.delivery()
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        Remote::there(&self.away)?;
        self.inner.open(context)
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<u64>>> {
        Ok(Box::new(RemoteWriter { inner: self.inner.writer(seat)?, away: self.away.clone() }))
    }
}

struct RemoteWriter {
    inner: Box<dyn Writer<u64>>,
    away: Arc<AtomicBool>,
}

impl Writer<u64> for RemoteWriter {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<u64>) -> Result<()> {
        self.inner.write(batch, partition, rows)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        Remote::there(&self.away)?;
        self.inner.prepare(batch, partitions)
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        Remote::there(&self.away)?;
        self.inner.commit(batch)
    }
}

/// Rows of six batches, and what is seen of them when the memory was away at each phase.
fn after_outages(flaw: Flaw) -> Vec<u64> {
    let rows = |batch: u64| (batch * 100..batch * 100 + 10).collect();
    let (inner, away) = (MemoryOutput::new(), Arc::new(AtomicBool::new(false)));
    let output = Remote { inner: Flawed { flaw, inner: inner.clone() }, away: away.clone() };
    let (gone, back) = (away.clone(), away);
    let lose = move |_| gone.store(true, Ordering::SeqCst);
    let noticed = outputs::lost_in_each_phase(output, rows, lose, |_| back.store(false, Ordering::SeqCst));
    let phases: Vec<_> = noticed.iter().map(|(phase, _)| *phase).collect();
    assert_eq!(phases, Phase::ALL);
    assert!(noticed.iter().all(|(_, error)| error.contains("the memory is away")), "{noticed:?}");
    let mut seen = inner.rows();
    seen.sort_unstable();
    seen
}

#[test]
fn what_is_lost_in_a_phase_is_made_up_for_by_an_output_that_remembers() {
    let whole = MemoryOutput::new();
    outputs::untroubled(whole.clone(), |batch: u64| (batch * 100..batch * 100 + 10).collect());
    let mut expected = whole.rows();
    expected.sort_unstable();
    assert_eq!(expected.len(), 60);
    assert_eq!(after_outages(Flaw::None), expected);
    let twice = after_outages(Flaw::ForgetsParts);
    assert!(twice.len() > expected.len(), "what was committed in part is written again: {twice:?}");
}

/// Rows are keys: the batch with the largest number has a key last.
#[derive(Clone, Default)]
struct Keys(Arc<Mutex<BTreeMap<u64, BatchId>>>);

impl Subject for Keys {
    type Row = u64;
    type Output = Keys;

    fn output(&self) -> Result<Keys> {
        Ok(self.clone())
    }

    fn row(&self, number: u64) -> u64 {
        number
    }

    fn visible(&self) -> Vec<u64> {
        self.0.lock().unwrap().keys().copied().collect()
    }
}

impl Output<u64> for Keys {
    fn describe(&self) -> String {
        "keys in memory".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::Idempotent
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        Ok(Held::default())
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<u64>>> {
        Ok(Box::new(KeysWriter { keys: self.clone(), staged: HashSet::new() }))
    }
}

struct KeysWriter {
    keys: Keys,
    staged: HashSet<u64>,
}

impl Writer<u64> for KeysWriter {
    fn write(&mut self, _: &Batch, _: PartitionId, rows: Vec<u64>) -> Result<()> {
        self.staged.extend(rows);
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, _: &[PartitionId]) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let mut keys = self.keys.0.lock().unwrap();
        for row in self.staged.drain() {
            let newest = keys.entry(row).or_insert(batch.id());
            *newest = batch.id().max(*newest);
        }
        Ok(())
    }
}

#[test]
fn an_output_that_writes_over_itself_passes() {
    outputs::all(Keys::default);
}

#[test]
fn a_batch_tells_what_each_output_did_with_it() {
    let (input, counted, all) = (MemoryInput::new(2), MemoryOutput::new(), MemoryOutput::new());
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.output("all", all.clone())?;
        numbers.count().output("counted", counted.clone())
    })
    .unwrap();
    input.push(0, 0..3u64);
    input.push(1, 3..10u64);
    let batch = job.next_batch().unwrap();
    let rows: Vec<_> = batch.outputs.iter().map(|done| (done.output.0.as_str(), done.rows)).collect();
    assert_eq!(rows, [("all", 10), ("counted", 1)]);
    job.ssc.stop(Stop::Gracefully).unwrap();
}
