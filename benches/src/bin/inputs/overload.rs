//! More than the output takes, for a while: what waits, for how long, and in how much memory.

use crate::job::Job;
use crate::kafka::Topic;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tidegate::core::{Delivery, Held, Output, OutputContext, Seat, Writer};
use tidegate::{Batch, Conf, PartitionId, Result, Stop};
use tidegate_benches::Failure;

const INTERVAL: Duration = Duration::from_secs(1);
/// Of what the output takes: what a user may guess who does not know it well.
const FIRST_GUESS: u64 = 2;

/// Runs for `seconds` from the first batch with records on; the output takes `rate` lines a second.
pub(crate) fn run(
    topic: &Topic<'_>,
    held: bool,
    rate: u64,
    seconds: u64,
    directory: &Path,
) -> std::result::Result<Value, Failure> {
    let conf = Conf::new()
        .set("tidegate.backpressure.enable", if held { "true" } else { "false" })
        .set("tidegate.backpressure.initial_rate", &(FIRST_GUESS * rate).to_string());
    let job = Job::new(conf, topic.way, INTERVAL, directory)?;
    let texts = topic.lines(&job.ssc)?.flat_map(|line| line.text().map(str::to_owned).ok());
    let sink = Sink { rate, taken: Arc::default() };
    texts.output("sink", sink)?;
    job.ssc.start()?;
    let (mut begun_ms, mut records, mut batches, mut delay_max) = (None, 0, 0u64, Duration::ZERO);
    let (passed_ms, delay_last) = loop {
        let batch = job.next()?;
        if batch.records == 0 && begun_ms.is_none() {
            continue;
        }
        (records, batches) = (records + batch.records, batches + 1);
        delay_max = delay_max.max(batch.scheduling_delay);
        let passed_ms = batch.committed_at.0.saturating_sub(*begun_ms.get_or_insert(batch.time().0));
        if passed_ms >= seconds * 1000 {
            break (passed_ms, batch.scheduling_delay);
        }
    };
    job.stop(Stop::Now)?;
    let passed = passed_ms as f64 / 1000.0;
    Ok(json!({
        "batches": batches,
        "seconds": passed,
        "records_per_second": records as f64 / passed,
        "delay_max_ms": delay_max.as_secs_f64() * 1000.0,
        "delay_last_ms": delay_last.as_secs_f64() * 1000.0,
    }))
}

/// Takes so many rows a second over all its writers, and forgets them.
struct Sink {
    rate: u64,
    /// Until when it is busy with what it has taken.
    taken: Arc<Mutex<Option<Instant>>>,
}

impl Output<String> for Sink {
    fn describe(&self) -> String {
        format!("{} rows a second", self.rate)
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        Ok(Held::default())
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<String>>> {
        Ok(Box::new(Pace { rate: self.rate, taken: self.taken.clone() }))
    }
}

struct Pace {
    rate: u64,
    taken: Arc<Mutex<Option<Instant>>>,
}

impl Writer<String> for Pace {
    fn write(&mut self, _: &Batch, _: PartitionId, rows: Vec<String>) -> Result<()> {
        // The writers stand in one line.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let free = taken.map_or(now, |until| until.max(now))
            + Duration::from_secs_f64(rows.len() as f64 / self.rate as f64);
        *taken = Some(free);
        thread::sleep(free.saturating_duration_since(now));
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, _: &[PartitionId]) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, _: &Batch) -> Result<()> {
        Ok(())
    }
}
