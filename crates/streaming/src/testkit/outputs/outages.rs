//! Something that happens at a step of a batch's way into an output: for tests that lose what an output writes to.
//!
//! What happens is the test's: it stops a server, kills it, cuts a connection. Nothing here knows of servers.

use super::super::{BATCH, MemoryInput, TestJob};
use crate::{Conf, ExchangeData, PartitionId, Stop, StreamingContext};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_core::{
    Batch, BatchId, Delivery, Held, Output, OutputContext, Packed, Packing, Placement, Result, Seat, Writer,
    Writers,
};

/// Where a batch is on its way into an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// All its rows were given to a writer; no writer has begun to prepare it.
    BeforePrepare,
    /// All writers of all outputs have prepared it; no writer of this output has begun to commit it.
    Prepared,
    /// The first writer is about to commit it. A test that wants the commit's own request to be hit says here that it is to be:
    /// what it does at once comes before the commit, as in `Prepared`.
    Committing,
    /// The first writer has committed it; the others, if there are any, have not.
    PartlyCommitted,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 4] =
        [Phase::BeforePrepare, Phase::Prepared, Phase::Committing, Phase::PartlyCommitted];
}

/// An output that tells at which [`Phase`] each batch is, and goes on when it has told. Each phase is told once for each run of a batch,
/// by whichever writer comes first; the others wait for it, and commit one after the other.
///
/// ```
/// use tidegate::testkit::outputs::{Phase, Phased};
/// use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
/// use tidegate::{Conf, Stop};
/// use std::sync::mpsc::channel;
///
/// # fn main() -> tidegate::Result<()> {
/// let (tell, told) = channel();
/// let output = Phased::new(MemoryOutput::new(), move |phase, batch| tell.send((batch.id().0, phase)).unwrap());
/// let input = MemoryInput::new(1);
/// let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
///     ssc.input_stream("words", input.clone())?.output("words", output)
/// })?;
/// input.push(0, ["ebb".to_owned(), "flow".to_owned()]);
/// job.next_batch()?;
/// job.ssc.stop(Stop::Gracefully)?;
/// assert_eq!(told.try_iter().collect::<Vec<_>>(), Phase::ALL.map(|phase| (1, phase)));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Phased<O> {
    inner: O,
    way: Arc<Way>,
}

/// Is told of each phase.
type OfPhases = dyn Fn(Phase, &Batch) + Send + Sync;

/// How far the batch at hand is, of all writers.
struct Way {
    tell: Box<OfPhases>,
    at: Mutex<At>,
}

#[derive(Default)]
struct At {
    batch: Option<BatchId>,
    preparing: bool,
    committing: bool,
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Way")
    }
}

impl Way {
    fn at(&self, batch: BatchId) -> MutexGuard<'_, At> {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.batch != Some(batch) {
            *at = At { batch: Some(batch), ..At::default() };
        }
        at
    }
}

impl<O> Phased<O> {
    /// Has `tell` called at each phase of each batch, while nothing else is done in this output.
    pub fn new(inner: O, tell: impl Fn(Phase, &Batch) + Send + Sync + 'static) -> Phased<O> {
        Phased { inner, way: Arc::new(Way { tell: Box::new(tell), at: Mutex::default() }) }
    }
}

impl<T: 'static, O: Output<T>> Output<T> for Phased<O> {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn delivery(&self) -> Delivery {
        self.inner.delivery()
    }

    fn writers(&self) -> Writers {
        self.inner.writers()
    }

    fn completes(&self) -> bool {
        self.inner.completes()
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        *self.way.at.lock().unwrap_or_else(PoisonError::into_inner) = At::default();
        self.inner.open(context)
    }

    fn placement(&self) -> Placement<T> {
        self.inner.placement()
    }

    fn packing(&self) -> Option<Packing<T>> {
        self.inner.packing()
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(PhasedWriter { inner: self.inner.writer(seat)?, way: self.way.clone() }))
    }
}

struct PhasedWriter<T> {
    inner: Box<dyn Writer<T>>,
    way: Arc<Way>,
}

impl<T> Writer<T> for PhasedWriter<T> {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<T>) -> Result<()> {
        self.inner.write(batch, partition, rows)
    }

    fn write_packed(&mut self, batch: &Batch, partition: PartitionId, rows: Packed) -> Result<()> {
        self.inner.write_packed(batch, partition, rows)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        let mut at = self.way.at(batch.id());
        if !std::mem::replace(&mut at.preparing, true) {
            (self.way.tell)(Phase::BeforePrepare, batch);
        }
        drop(at);
        self.inner.prepare(batch, partitions)
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let mut at = self.way.at(batch.id());
        if std::mem::replace(&mut at.committing, true) {
            return self.inner.commit(batch);
        }
        (self.way.tell)(Phase::Prepared, batch);
        (self.way.tell)(Phase::Committing, batch);
        self.inner.commit(batch)?;
        (self.way.tell)(Phase::PartlyCommitted, batch);
        Ok(())
    }

    fn complete(&mut self, batch: &Batch, partitions: u32) -> Result<()> {
        self.inner.complete(batch, partitions)
    }

    fn abort(&mut self) {
        self.inner.abort();
    }
}

/// Runs a job of two workers whose output loses what it writes to, once in each [`Phase`]: in the first batch and in the last one nothing
/// happens, and in each batch between `lose` is called at its phase. When the job tells that it tries again, or has the batch
/// all the same, `restore` is called, which is to bring back what was lost; then the batch has to come to its end. `rows` are those of a
/// batch, whose number counts from 1.
///
/// Gives what the job said when it first noticed, phase by phase. What is seen in the end must be what [`untroubled`] leaves with
/// the same rows: the test compares both, by a reader that knows nothing of Tidegate.
///
/// # Panics
/// When the job stops, or a phase is not reached.
pub fn lost_in_each_phase<T: ExchangeData + Sync>(
    output: impl Output<T>,
    rows: impl Fn(u64) -> Vec<T>,
    lose: impl Fn(Phase) + Send + Sync + 'static,
    mut restore: impl FnMut(Phase),
) -> Vec<(Phase, String)> {
    let next = Arc::new(Mutex::new(None));
    let output = {
        let next = next.clone();
        Phased::new(output, move |phase, _| {
            let due = take_if(&next, |due| *due == phase);
            due.into_iter().for_each(&lose);
        })
    };
    let mut job = Job::start(output);
    job.batch(rows(1), |_| ());
    let mut noticed = Vec::new();
    for (batch, phase) in (2..).zip(Phase::ALL) {
        *next.lock().unwrap_or_else(PoisonError::into_inner) = Some(phase);
        let mut lost = true;
        job.batch(rows(batch), |error| {
            let was_reached = next.lock().unwrap_or_else(PoisonError::into_inner).is_none();
            if was_reached && std::mem::take(&mut lost) {
                noticed.extend(error.map(|error| (phase, error.to_owned())));
                restore(phase);
            }
        });
        assert!(!lost, "batch {batch} was never at the phase {phase:?}");
    }
    job.batch(rows(2 + Phase::ALL.len() as u64), |_| ());
    job.end();
    noticed
}

/// Runs the batches of [`lost_in_each_phase`], and nothing is lost.
///
/// # Panics
/// When the job stops.
pub fn untroubled<T: ExchangeData + Sync>(output: impl Output<T>, rows: impl Fn(u64) -> Vec<T>) {
    let mut job = Job::start(output);
    (1..=2 + Phase::ALL.len() as u64).for_each(|batch| job.batch(rows(batch), |_| ()));
    job.end();
}

fn take_if<T>(value: &Mutex<Option<T>>, wanted: impl FnOnce(&mut T) -> bool) -> Option<T> {
    value.lock().unwrap_or_else(PoisonError::into_inner).take_if(wanted)
}

/// A job of one stream and one output.
struct Job<T> {
    job: TestJob,
    input: MemoryInput<T>,
}

impl<T: ExchangeData + Sync> Job<T> {
    fn start(output: impl Output<T>) -> Job<T> {
        let input = MemoryInput::new(2);
        let build = |ssc: &StreamingContext| ssc.input_stream("rows", input.clone())?.output("out", output);
        // What comes back is found soon.
        let conf = Conf::new().set_master("local[2]").set("tidegate.retry.pause_max_ms", "100");
        let job = TestJob::with_memory(conf, build).expect("the job starts");
        Job { job, input }
    }

    /// Runs one batch, and tells `noticed` of each try that failed, and of the end.
    fn batch(&mut self, rows: Vec<T>, mut noticed: impl FnMut(Option<&str>)) {
        rows.into_iter().enumerate().for_each(|(place, row)| self.input.push(place % 2, [row]));
        self.job.clock.advance(BATCH);
        while let Some(error) = self.job.retried().expect("the job goes on") {
            noticed(Some(&error));
        }
        noticed(None);
    }

    fn end(self) {
        self.job.ssc.stop(Stop::Gracefully).expect("the job stops");
    }
}
