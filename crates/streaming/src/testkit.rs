//! Tests of a user's own job: a clock moved by hand, input and output in memory. No sleeping, no waiting for luck.
//!
//! ```
//! use tidegate::{DStream, testkit::run};
//!
//! let lengths = run(|lines: DStream<String>| lines.map(|line| line.len()), [vec!["ebb", "flow"], vec![]]);
//! assert_eq!(lengths, [vec![3, 4], vec![]]);
//! ```

pub mod outputs;
pub mod receivers;

use crate::{
    Batch, BatchId, BatchInfo, Conf, DStream, Data, Error, PartitionId, Result, Stop, StreamId,
    StreamingContext,
};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_core::{
    BatchPlan, BatchTime, Delivery, Emit, Held, InputContext, InputGuarantee, JobId, Output, OutputContext,
    Planner, Progress, Reader, Seat, Source, SourcePlan, SourceRange, Storage, Writer,
};
use tidegate_dataflow::ops;
pub use tidegate_engine::ManualClock;
use tidegate_engine::{Clock, StreamingListener};
use tidegate_storage::MemoryStorage;

/// Length of a batch in [`run`] and [`TestJob`].
pub const BATCH: Duration = Duration::from_secs(1);

/// What each of `batches` becomes: runs `job` on two workers, one dataset a batch, and gives the records in the order of
/// their partitions.
///
/// # Panics
/// When the job fails.
pub fn run<T, U, I>(
    job: impl FnOnce(DStream<T>) -> DStream<U>,
    batches: impl IntoIterator<Item = Vec<I>>,
) -> Vec<Vec<U>>
where
    T: Data + Sync + From<I>,
    U: Data + Sync,
{
    run_on(2, job, batches)
}

/// As [`run`], with the records of each batch sorted: for results whose order is not defined.
///
/// # Panics
/// When the job fails.
pub fn run_sorted<T, U, I>(
    job: impl FnOnce(DStream<T>) -> DStream<U>,
    batches: impl IntoIterator<Item = Vec<I>>,
) -> Vec<Vec<U>>
where
    T: Data + Sync + From<I>,
    U: Data + Sync + Ord,
{
    let mut out = run(job, batches);
    out.iter_mut().for_each(|batch| batch.sort());
    out
}

/// As [`run`], on `workers` workers.
///
/// # Panics
/// When the job fails.
pub fn run_on<T, U, I>(
    workers: usize,
    job: impl FnOnce(DStream<T>) -> DStream<U>,
    batches: impl IntoIterator<Item = Vec<I>>,
) -> Vec<Vec<U>>
where
    T: Data + Sync + From<I>,
    U: Data + Sync,
{
    let input = MemoryInput::new(1);
    let output = MemoryOutput::new();
    let build = |ssc: &StreamingContext| {
        let stream = ssc.input_stream("memory", input.clone())?;
        job(stream.clone()).output_in_place("memory", output.clone())
    };
    let conf = Conf::new().set_master(&format!("local[{workers}]"));
    let mut test = TestJob::with_memory(conf, build).expect("the job starts");
    for batch in batches {
        input.push(0, batch.into_iter().map(T::from));
        test.next_batch().expect("the batch is committed");
    }
    test.ssc.stop(Stop::Gracefully).expect("the job stops");
    output.batches().into_values().collect()
}

/// A job on a clock that the test moves.
pub struct TestJob {
    /// The job's context.
    pub ssc: StreamingContext,
    /// Its clock.
    pub clock: ManualClock,
    told: Receiver<Told>,
}

enum Told {
    Completed(Box<BatchInfo>),
    Retries(String),
    Stopped,
}

struct Tell(Mutex<Sender<Told>>);

impl Tell {
    fn send(&self, told: Told) {
        // A test that does not listen any more has seen what it wanted.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(told);
    }
}

impl StreamingListener for Tell {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        self.send(Told::Completed(Box::new(batch.clone())));
    }

    fn on_retry(&self, error: &str) {
        self.send(Told::Retries(error.to_owned()));
    }

    fn on_stopped(&self, _: Option<&str>) {
        self.send(Told::Stopped);
    }
}

impl TestJob {
    /// Starts the job that `build` describes, with batches of [`BATCH`], and a checkpoint where a directory is given.
    ///
    /// # Errors
    /// As [`StreamingContext::start`].
    pub fn start<R>(
        conf: Conf,
        checkpoint: Option<&std::path::Path>,
        build: impl FnOnce(&StreamingContext) -> Result<R>,
    ) -> Result<TestJob> {
        TestJob::begin(conf, build, |ssc| checkpoint.map_or(Ok(()), |directory| ssc.checkpoint(directory)))
    }

    fn begin<R>(
        conf: Conf,
        build: impl FnOnce(&StreamingContext) -> Result<R>,
        checkpoint: impl FnOnce(&StreamingContext) -> Result<()>,
    ) -> Result<TestJob> {
        let clock = ManualClock::at(1_000_000);
        let conf = conf.set("tidegate.signals", "false");
        let ssc = StreamingContext::with_clock(conf, BATCH, Arc::new(clock.clone()))?;
        let (tell, told) = channel();
        ssc.add_streaming_listener(Arc::new(Tell(Mutex::new(tell))))?;
        build(&ssc)?;
        checkpoint(&ssc)?;
        ssc.start()?;
        // A job that goes on begins after its newest batch: so does its clock.
        let before = Duration::from_millis(ssc.engine()?.first_due().0).saturating_sub(BATCH);
        clock.advance(before.saturating_sub(clock.elapsed()));
        Ok(TestJob { ssc, clock, told })
    }

    /// As [`start`](TestJob::start), with state in memory: for jobs with windows or state by key.
    ///
    /// # Errors
    /// As [`StreamingContext::start`].
    pub fn with_memory<R>(conf: Conf, build: impl FnOnce(&StreamingContext) -> Result<R>) -> Result<TestJob> {
        TestJob::start_on(conf, Some(Arc::new(MemoryStorage::new())), build)
    }

    /// As [`start`](TestJob::start), with the checkpoint in any storage.
    ///
    /// # Errors
    /// As [`StreamingContext::start`].
    pub fn start_on<R>(
        conf: Conf,
        storage: Option<Arc<dyn Storage>>,
        build: impl FnOnce(&StreamingContext) -> Result<R>,
    ) -> Result<TestJob> {
        TestJob::begin(conf, build, |ssc| storage.map_or(Ok(()), |storage| ssc.checkpoint_on(storage)))
    }

    /// Moves the clock by one batch and waits until it is in every output.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn next_batch(&mut self) -> Result<BatchInfo> {
        self.clock.advance(BATCH);
        self.completed()
    }

    /// Waits for the next batch that is in every output.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn completed(&mut self) -> Result<BatchInfo> {
        loop {
            if let Told::Completed(batch) = self.told()? {
                return Ok(*batch);
            }
        }
    }

    /// Waits until the batch at hand is going to be run again, and gives why; nothing once it is in every output.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn retried(&mut self) -> Result<Option<String>> {
        Ok(match self.told()? {
            Told::Retries(error) => Some(error),
            _ => None,
        })
    }

    fn told(&mut self) -> Result<Told> {
        match self.told.recv() {
            Ok(Told::Stopped) | Err(_) => {
                self.ssc.await_termination()?;
                Err(Error::bug("the job stopped"))
            }
            Ok(told) => Ok(told),
        }
    }
}

/// A stream with the datasets of every `n`th batch of `stream` and none in the others, as a window that slides by `n` batches
/// has: for tests of what is done where there is no dataset (nothing).
///
/// ```
/// use tidegate::{DStream, testkit::{every, run}};
///
/// let counts = run(|n: DStream<i32>| every(2, &n).count(), [vec![1], vec![], vec![1], vec![1, 1]]);
/// assert_eq!(counts, [vec![0], vec![2]]);
/// ```
pub fn every<T: Data>(n: u32, stream: &DStream<T>) -> DStream<T> {
    stream.below(ops::thin(stream.node(), stream.node().cadence().slide_ms() * u64::from(n)))
}

/// A batch of `time_ms` that takes nothing: for tests of functions that are given a batch.
pub fn batch_at(time_ms: u64) -> Batch {
    Batch::new(Arc::new(BatchPlan {
        id: BatchId::FIRST,
        time: BatchTime(time_ms),
        zero: BatchTime(0),
        sources: Vec::new(),
    }))
}

/// An input in memory that can be read again and again, as a Kafka topic can. Copies are the same input; it outlives a
/// context, so that a test can stop one and start another on it.
pub struct MemoryInput<T> {
    partitions: Arc<Vec<Mutex<Vec<T>>>>,
}

impl<T> Clone for MemoryInput<T> {
    fn clone(&self) -> Self {
        MemoryInput { partitions: self.partitions.clone() }
    }
}

impl<T> MemoryInput<T> {
    /// An empty input of `partitions` partitions.
    pub fn new(partitions: usize) -> Self {
        MemoryInput { partitions: Arc::new((0..partitions).map(|_| Mutex::default()).collect()) }
    }

    /// Adds records to `partition`.
    ///
    /// # Panics
    /// When there is no such partition.
    pub fn push(&self, partition: usize, records: impl IntoIterator<Item = T>) {
        self.records(partition).extend(records);
    }

    fn records(&self, partition: usize) -> MutexGuard<'_, Vec<T>> {
        self.partitions[partition].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Data + Sync> Source<T> for MemoryInput<T> {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn guarantee(&self) -> InputGuarantee {
        InputGuarantee::exactly_once(
            "its records can be read again for as long as the test has it, as those of a topic can",
        )
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        let positions = vec![0; self.partitions.len()];
        Ok(Box::new(MemoryPlanner { stream: context.stream.clone(), input: self.clone(), positions }))
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<T>>> {
        Ok(Box::new(MemoryReader { input: self.clone(), reading: Vec::new() }))
    }
}

struct MemoryPlanner<T> {
    stream: StreamId,
    input: MemoryInput<T>,
    positions: Vec<u64>,
}

impl<T: Data + Sync> Planner for MemoryPlanner<T> {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        last.into_iter().for_each(|last| self.planned(last));
        Ok(())
    }

    fn plan(&mut self, _: Duration) -> Result<SourcePlan> {
        let range = |(place, from): (usize, &u64)| {
            SourceRange::new(format!("memory-{place}"), *from, self.input.records(place).len() as u64)
        };
        let ranges = self.positions.iter().enumerate().map(range).collect();
        Ok(SourcePlan { stream: self.stream.clone(), ranges })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        self.positions.iter_mut().zip(&plan.ranges).for_each(|(position, range)| *position = range.until);
    }
}

struct MemoryReader<T> {
    input: MemoryInput<T>,
    reading: Vec<(PartitionId, SourceRange)>,
}

impl<T: Data + Sync> Reader<T> for MemoryReader<T> {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.reading = ranges.to_vec();
        Ok(())
    }

    fn read(&mut self, _: usize, out: &mut dyn Emit<T>) -> Result<Progress> {
        for (partition, range) in self.reading.drain(..) {
            out.partition(partition);
            let records = self.input.records(partition.0 as usize);
            let taken = records.get(range.from as usize..range.until as usize).unwrap_or_default().to_vec();
            drop(records);
            taken.into_iter().for_each(|record| out.record(record));
        }
        Ok(Progress::Done)
    }
}

/// An output in memory that remembers which batches it holds, as a table in a database can. Copies are the same output; it
/// outlives a context.
pub struct MemoryOutput<T> {
    shared: Arc<Mutex<Memory<T>>>,
}

struct Memory<T> {
    job: Option<JobId>,
    /// How often it was opened: writers of before can commit nothing.
    epoch: u64,
    newest: Option<BatchPlan>,
    held: BTreeMap<PartitionId, BatchId>,
    rows: BTreeMap<(BatchId, PartitionId), Vec<T>>,
}

impl<T> Clone for MemoryOutput<T> {
    fn clone(&self) -> Self {
        MemoryOutput { shared: self.shared.clone() }
    }
}

impl<T: Data> Default for MemoryOutput<T> {
    fn default() -> Self {
        MemoryOutput::new()
    }
}

impl<T: Data> MemoryOutput<T> {
    /// An empty output.
    pub fn new() -> Self {
        let memory =
            Memory { job: None, epoch: 0, newest: None, held: BTreeMap::new(), rows: BTreeMap::new() };
        MemoryOutput { shared: Arc::new(Mutex::new(memory)) }
    }

    /// The rows of each batch, in the order of their partitions.
    pub fn batches(&self) -> BTreeMap<BatchId, Vec<T>> {
        let mut batches: BTreeMap<BatchId, Vec<T>> = BTreeMap::new();
        for ((batch, _), rows) in &self.lock().rows {
            batches.entry(*batch).or_default().extend(rows.iter().cloned());
        }
        batches
    }

    /// All rows.
    pub fn rows(&self) -> Vec<T> {
        self.lock().rows.values().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Memory<T>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Data> Output<T> for MemoryOutput<T> {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        let mut memory = self.lock();
        memory.epoch += 1;
        if memory.newest.is_none() {
            memory.job = Some(context.job.clone().unwrap_or_else(|| context.new_job.clone()));
        }
        Ok(Held { job: memory.job.clone(), partitions: memory.held.clone(), newest: memory.newest.clone() })
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<T>>> {
        let epoch = self.lock().epoch;
        Ok(Box::new(MemoryWriter { output: self.clone(), epoch, staged: BTreeMap::new() }))
    }
}

struct MemoryWriter<T> {
    output: MemoryOutput<T>,
    epoch: u64,
    staged: BTreeMap<PartitionId, Vec<T>>,
}

impl<T: Data> Writer<T> for MemoryWriter<T> {
    fn write(&mut self, _: &Batch, partition: PartitionId, mut rows: Vec<T>) -> Result<()> {
        self.staged.entry(partition).or_default().append(&mut rows);
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, partitions: &[PartitionId]) -> Result<()> {
        for partition in partitions {
            self.staged.entry(*partition).or_default();
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let mut memory = self.output.lock();
        if memory.epoch != self.epoch {
            return Err(Error::retry("the output was opened again: this writer is of an earlier epoch"));
        }
        if self.staged.is_empty() {
            // No dataset: the batch is remembered all the same, in all partitions there are.
            memory.held.entry(PartitionId(0)).or_insert(batch.id());
            memory.held.values_mut().for_each(|held| *held = batch.id().max(*held));
        }
        for (partition, rows) in std::mem::take(&mut self.staged) {
            memory.held.insert(partition, batch.id());
            memory.rows.entry((batch.id(), partition)).or_default().extend(rows);
        }
        if memory.newest.as_ref().is_none_or(|newest| newest.id < batch.id()) {
            memory.newest = Some(BatchPlan::clone(batch.plan()));
        }
        Ok(())
    }
}
