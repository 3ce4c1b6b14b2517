//! A job that only writes: numbers that it makes itself, as rows, into one sink.

use crate::Load;
use crate::row::Row;
use crate::sink::Sink;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidegate::testkit::{BATCH, ManualClock};
use tidegate::{BatchInfo, Conf, Result, Stop, StreamingContext, StreamingListener};
use tidegate_benches::Failure;
use tidegate_benches::{Numbers, Quantiles, Stopwatch};

const WORKERS: &str = "local[2]";
/// A batch that takes longer is taken for one that hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Rows a second when one batch follows the other, and where the time of a batch goes.
pub(crate) fn flat_out(directory: &Path, load: Load, sink: &dyn Sink) -> std::result::Result<Value, Failure> {
    let clock = ManualClock::at(1_000_000);
    let ssc = StreamingContext::with_clock(conf(), BATCH, Arc::new(Stopwatch::new(clock.clone())))?;
    let told = start(&ssc, directory, load, sink)?;
    clock.advance(BATCH);
    take(&ssc, &told, load)?;
    let begin = Instant::now();
    clock.advance(BATCH * u32::try_from(load.batches)?);
    let batches =
        (0..load.batches).map(|_| take(&ssc, &told, load)).collect::<std::result::Result<Vec<_>, _>>()?;
    let seconds = batches.last().map_or(Duration::ZERO, |(at, _)| *at - begin).as_secs_f64();
    ssc.stop(Stop::Now)?;
    let mut figures = stages(&batches);
    figures["rows_per_second"] = json!((load.rows * load.batches) as f64 / seconds);
    Ok(figures)
}

/// Where the time of a batch goes when there is one at each `interval`.
pub(crate) fn paced(
    directory: &Path,
    load: Load,
    sink: &dyn Sink,
    interval: Duration,
) -> std::result::Result<Value, Failure> {
    let ssc = StreamingContext::new(conf(), interval)?;
    let told = start(&ssc, directory, load, sink)?;
    take(&ssc, &told, load)?;
    let batches =
        (0..load.batches).map(|_| take(&ssc, &told, load)).collect::<std::result::Result<Vec<_>, _>>()?;
    ssc.stop(Stop::Now)?;
    Ok(stages(&batches))
}

fn conf() -> Conf {
    Conf::new().set_master(WORKERS).set("tidegate.signals", "false")
}

fn start(ssc: &StreamingContext, directory: &Path, load: Load, sink: &dyn Sink) -> Result<Receiver<Told>> {
    let (tell, told) = channel();
    ssc.add_streaming_listener(Arc::new(Tell(Mutex::new(tell))))?;
    ssc.checkpoint(directory.join("checkpoint"))?;
    let numbers = Numbers::default();
    numbers.take(load.rows);
    sink.save(&ssc.input_stream("numbers", numbers)?.map(Row::of))?;
    ssc.start()?;
    Ok(told)
}

/// The next batch, when it is in the sink, and since when.
fn take(
    ssc: &StreamingContext,
    told: &Receiver<Told>,
    load: Load,
) -> std::result::Result<(Instant, BatchInfo), Failure> {
    let told = told.recv_timeout(PATIENCE)?;
    let Told::Completed(at, batch) = told else {
        ssc.await_termination()?;
        return Err("the job has stopped".into());
    };
    let written: u64 = batch.outputs.iter().map(|output| output.rows).sum();
    if written != load.rows {
        return Err(format!("a batch wrote {written} rows, not {}", load.rows).into());
    }
    if batch.rerun {
        return Err("a batch was run again".into());
    }
    Ok((at, *batch))
}

/// The middle of each stage over all batches, and of the delay its tail.
fn stages(batches: &[(Instant, BatchInfo)]) -> Value {
    let of = |time: &dyn Fn(&BatchInfo) -> Duration| {
        Quantiles::of(batches.iter().map(|(_, batch)| time(batch).as_secs_f64() * 1000.0).collect())
    };
    let middle = |time: &dyn Fn(&BatchInfo) -> Duration| of(time).map(|times| times.p50);
    let longest = |time: fn(&tidegate::OutputReport) -> Duration| {
        middle(&|batch| batch.outputs.iter().map(time).max().unwrap_or_default())
    };
    json!({
        "journal_ms": middle(&|batch| batch.stages.journal),
        "process_ms": middle(&|batch| batch.stages.process),
        "write_ms": longest(|output| output.write),
        "prepare_ms": longest(|output| output.prepare),
        "commit_ms": longest(|output| output.commit),
        "delay_ms": of(&BatchInfo::total_delay).map(Quantiles::to_json),
    })
}

enum Told {
    Completed(Instant, Box<BatchInfo>),
    Stopped,
}

struct Tell(Mutex<Sender<Told>>);

impl Tell {
    fn send(&self, told: Told) {
        // Nobody listens to a job that was told to stop.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).send(told);
    }
}

impl StreamingListener for Tell {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        self.send(Told::Completed(Instant::now(), Box::new(batch.clone())));
    }

    fn on_stopped(&self, _: Option<&str>) {
        self.send(Told::Stopped);
    }
}
