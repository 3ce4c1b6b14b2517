//! A job under the program's hand: its batches come when they are asked for, and are timed by the machine's clock.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidegate::testkit::{BATCH, ManualClock};
use tidegate::{BatchInfo, CheckpointInfo, Conf, DStream, Result, Stop, StreamingContext, StreamingListener};
use tidegate_benches::Failure;
use tidegate_benches::{Numbers, Stopwatch};

const WORKERS: &str = "local[2]";

/// When a job writes checkpoints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checkpoints {
    /// After each batch.
    EachBatch,
    /// When it stops.
    AtStop,
}

/// The input and the time of a job, which outlive it.
#[derive(Clone)]
pub(crate) struct World {
    input: Numbers,
    clock: ManualClock,
}

/// A job that runs.
pub(crate) struct Job {
    ssc: StreamingContext,
    world: World,
    told: Receiver<Told>,
    sum: Arc<Mutex<u64>>,
    started: Instant,
}

impl World {
    pub(crate) fn new() -> World {
        World { input: Numbers::default(), clock: ManualClock::at(1_000_000) }
    }

    /// Starts the job that makes one number of each batch, with its checkpoint in `directory`.
    pub(crate) fn start(
        &self,
        directory: &Path,
        checkpoints: Checkpoints,
        build: impl FnOnce(&DStream<u64>) -> DStream<u64>,
    ) -> Result<Job> {
        let interval = if checkpoints == Checkpoints::EachBatch { BATCH } else { BATCH * 1_000_000 };
        let conf = Conf::new()
            .set_master(WORKERS)
            .set("tidegate.signals", "false")
            .set("tidegate.checkpoint.interval_ms", &interval.as_millis().to_string());
        let clock = Stopwatch::new(self.clock.clone());
        let ssc = StreamingContext::with_clock(conf, BATCH, Arc::new(clock))?;
        let (tell, told) = channel();
        ssc.add_streaming_listener(Arc::new(Tell(Mutex::new(tell))))?;
        ssc.checkpoint(directory)?;
        let sum = Arc::new(Mutex::new(0u64));
        let result = sum.clone();
        let numbers = ssc.input_stream("numbers", self.input.clone())?;
        build(&numbers)
            .foreach_rdd(|rdd| rdd.collect(move |_, rows| *lock(&result) = rows.into_iter().sum()))?;
        let started = Instant::now();
        ssc.start()?;
        Ok(Job { ssc, world: self.clone(), told, sum, started })
    }
}

impl Job {
    /// Runs a batch of `records`, which must make `expected`.
    pub(crate) fn batch(&mut self, records: u64, expected: u64) -> std::result::Result<Batch, Failure> {
        self.world.input.take(records);
        self.world.clock.advance(BATCH);
        loop {
            match self.told.recv()? {
                Told::Completed(info) => {
                    if info.records != records {
                        return Err(format!("a batch took {} records, not {records}", info.records).into());
                    }
                    let found = *lock(&self.sum);
                    if found != expected {
                        return Err(format!("a batch made {found}, expected {expected}").into());
                    }
                    return Ok(Batch { info: *info, since_start: self.started.elapsed() });
                }
                Told::Checkpoint(_) => {}
                Told::Stopped => self.ssc.await_termination()?,
            }
        }
    }

    /// Waits for the checkpoint of the batch before.
    pub(crate) fn checkpoint(&mut self) -> std::result::Result<CheckpointInfo, Failure> {
        loop {
            match self.told.recv()? {
                Told::Checkpoint(info) => return Ok(info),
                Told::Completed(_) => {}
                Told::Stopped => self.ssc.await_termination()?,
            }
        }
    }

    pub(crate) fn stop(self, how: Stop) -> Result<()> {
        self.ssc.stop(how)
    }
}

/// A batch that is in every output.
pub(crate) struct Batch {
    info: BatchInfo,
    /// From the start of its job.
    pub(crate) since_start: Duration,
}

impl Batch {
    /// What the workers took for it: without the sync of its plan, which goes on meanwhile.
    pub(crate) fn process_ms(&self) -> f64 {
        ms(self.info.stages.process)
    }
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

enum Told {
    Completed(Box<BatchInfo>),
    Checkpoint(CheckpointInfo),
    Stopped,
}

struct Tell(Mutex<Sender<Told>>);

impl Tell {
    fn send(&self, told: Told) {
        // Nobody listens to a job that was told to stop.
        let _ = lock(&self.0).send(told);
    }
}

impl StreamingListener for Tell {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        self.send(Told::Completed(Box::new(batch.clone())));
    }

    fn on_checkpoint(&self, checkpoint: &CheckpointInfo) {
        self.send(Told::Checkpoint(checkpoint.clone()));
    }

    fn on_stopped(&self, _: Option<&str>) {
        self.send(Told::Stopped);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
