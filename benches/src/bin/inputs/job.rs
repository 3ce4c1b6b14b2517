//! A job on the machine's clock that adds up what it is given, and tells of its batches.

use std::path::Path;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate::{BatchInfo, Conf, DStream, ReceiverInfo, Result, Stop, StreamingContext, StreamingListener};
use tidegate_benches::Failure;

const WORKERS: &str = "local[2]";
/// Far longer than a batch takes.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// How records come into the job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Each batch reads its ranges.
    Direct,
    /// By a receiver, kept in memory.
    Received,
    /// By a receiver with a write-ahead log.
    Logged,
}

impl FromStr for Way {
    type Err = Failure;

    fn from_str(text: &str) -> std::result::Result<Way, Failure> {
        match text {
            "direct" => Ok(Way::Direct),
            "received" => Ok(Way::Received),
            "logged" => Ok(Way::Logged),
            other => Err(format!("records come direct, received or logged, not {other}").into()),
        }
    }
}

/// How many records there were, and how many bytes in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Sum {
    pub(crate) fn of(text: &str) -> Sum {
        Sum { records: 1, bytes: text.len() as u64 }
    }

    pub(crate) fn plus(self, other: Sum) -> Sum {
        Sum { records: self.records + other.records, bytes: self.bytes + other.bytes }
    }
}

/// A job that runs.
pub(crate) struct Job {
    pub(crate) ssc: StreamingContext,
    sum: Arc<Mutex<Sum>>,
    told: Receiver<Told>,
}

enum Told {
    Completed(Box<BatchInfo>),
    Stopped,
}

impl Job {
    /// A job with its checkpoint, and its log if there is one, in `directory`.
    pub(crate) fn new(conf: Conf, way: Way, interval: Duration, directory: &Path) -> Result<Job> {
        let logged = if way == Way::Logged { "true" } else { "false" };
        let conf = conf
            .set_app_name("inputs")
            .set_master(WORKERS)
            .set("tidegate.signals", "false")
            .set("tidegate.receiver.write_ahead_log.enable", logged);
        let ssc = StreamingContext::new(conf, interval)?;
        ssc.checkpoint(directory)?;
        let (tell, told) = channel();
        ssc.add_streaming_listener(Arc::new(Tell(Mutex::new(tell))))?;
        Ok(Job { ssc, sum: Arc::default(), told })
    }

    /// Adds up `sums` once they are in a batch.
    pub(crate) fn add_up(&self, sums: &DStream<(u64, u64)>) -> Result<()> {
        let total = self.sum.clone();
        sums.reduce(|a, b| (a.0 + b.0, a.1 + b.1)).foreach_rdd(move |rdd| {
            rdd.collect(move |_, rows| {
                let mut total = lock(&total);
                rows.into_iter().for_each(|(records, bytes)| *total = total.plus(Sum { records, bytes }));
            })
        })?;
        Ok(())
    }

    /// What has been added up.
    pub(crate) fn sum(&self) -> Sum {
        *lock(&self.sum)
    }

    /// The next batch that is committed.
    pub(crate) fn next(&self) -> std::result::Result<Box<BatchInfo>, Failure> {
        match self.told.recv_timeout(SILENCE_MAX) {
            Ok(Told::Completed(batch)) => Ok(batch),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("no batch was committed for {} s", SILENCE_MAX.as_secs()).into())
            }
            Ok(Told::Stopped) | Err(RecvTimeoutError::Disconnected) => {
                self.ssc.await_termination()?;
                Err("the job stopped by itself".into())
            }
        }
    }

    pub(crate) fn stop(&self, how: Stop) -> Result<()> {
        self.ssc.stop(how)
    }
}

/// As a pair, which a stream can carry.
pub(crate) fn sum_of(text: &str) -> (u64, u64) {
    let sum = Sum::of(text);
    (sum.records, sum.bytes)
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

    fn on_receiver_error(&self, receiver: &ReceiverInfo) {
        eprintln!("{}: {}", receiver.receiver, receiver.last_error.as_deref().unwrap_or_default());
    }

    fn on_stopped(&self, _: Option<&str>) {
        self.send(Told::Stopped);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
