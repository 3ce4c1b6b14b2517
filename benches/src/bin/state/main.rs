//! What state costs, beside the same job with less of it, in turns:
//!
//! * `state count DIRECTORY KEYS`: a batch with one record of each key, totals kept by `map_with_state` or each batch counted by itself.
//! * `state checkpoint DIRECTORY KEYS`: a checkpoint of which one key of a hundred has changed, and one of which all have.
//! * `state recovery DIRECTORY KEYS`: from the start of a job to its first batch, with a checkpoint of all keys and with nothing.
//! * `state windows DIRECTORY RECORDS`: sums over 10 and 100 batches of so many records each, with and without an inverse.
//!
//! Each prints one JSON line. A job that counts wrongly is a failure. The directory must be empty.

mod job;

use job::{Checkpoints, Job, World, ms};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use tidegate::testkit::BATCH;
use tidegate::{DStream, State, StateSpec, Stop};
use tidegate_benches::{Failure, Quantiles, answer, peak_rss_mib};

/// How often each is measured, after a first time that is not.
const TURNS: u64 = 3;
const CHANGED_OF: u64 = 100;
/// What the first batch of a recovered job takes.
const FIRST_BATCH: u64 = 1_000;
const WINDOW_KEYS: u64 = 1_000;
const WINDOWS: [u32; 2] = [10, 100];
const WINDOW_TURNS: u32 = 20;

fn main() -> ExitCode {
    answer(run)
}

fn run(arguments: &[&str]) -> Result<Value, Failure> {
    let (what, directory, size) = match *arguments {
        [what, directory, size] => (what, Path::new(directory), even(size.parse()?)),
        _ => return Err("state count|checkpoint|recovery|windows DIRECTORY SIZE".into()),
    };
    let mut figures = match what {
        "count" => count(directory, size)?,
        "checkpoint" => checkpoint(directory, size)?,
        "recovery" => recovery(directory, size)?,
        "windows" => windows(directory, size)?,
        other => return Err(format!("nothing is measured under the name {other}").into()),
    };
    figures["peak_rss_mib"] = json!(peak_rss_mib("self"));
    Ok(figures)
}

/// Two partitions share the records of a batch evenly.
fn even(size: u64) -> u64 {
    size.next_multiple_of(2 * CHANGED_OF)
}

/// Two jobs, one with state and one without: every batch has every key once.
fn count(directory: &Path, keys: u64) -> Result<Value, Failure> {
    let (with, without) = (World::new(), World::new());
    let mut with = with.start(&directory.join("with"), Checkpoints::AtStop, |n| totals(n, keys))?;
    let mut without = without.start(&directory.join("without"), Checkpoints::AtStop, |n| {
        words(n, keys).reduce_by_key(|a, b| a + b).count()
    })?;
    let mut times = Times::default();
    for turn in 0..=TURNS {
        let (stateless, stateful) = (without.batch(keys, keys)?, with.batch(keys, keys)?);
        if turn > 0 {
            times.add("reduce_ms", stateless.process_ms());
            times.add("state_ms", stateful.process_ms());
        } else {
            times.add("state_first_ms", stateful.process_ms());
        }
    }
    with.stop(Stop::Now)?;
    without.stop(Stop::Now)?;
    Ok(times.medians())
}

/// One job: a batch with every key, then one with a hundredth of them, each followed by a checkpoint of what it changed.
fn checkpoint(directory: &Path, keys: u64) -> Result<Value, Failure> {
    let changed = keys / CHANGED_OF;
    let mut job = World::new().start(directory, Checkpoints::EachBatch, |n| totals(n, keys))?;
    let mut times = Times::default();
    for _ in 0..TURNS {
        for (records, kind) in [(keys, "full"), (changed, "changed")] {
            job.batch(records, records)?;
            let checkpoint = job.checkpoint()?;
            times.add(&format!("{kind}_ms"), ms(checkpoint.taking));
            times.add(&format!("{kind}_bytes"), checkpoint.new_bytes as f64);
            times.add(&format!("{kind}_publishing_ms"), ms(checkpoint.publishing));
        }
    }
    job.stop(Stop::Now)?;
    Ok(times.medians())
}

/// The same job on a checkpoint of `keys` keys, and on none. The first batch is small, so that the start is what is measured.
fn recovery(directory: &Path, keys: u64) -> Result<Value, Failure> {
    let full = World::new();
    let kept = directory.join("kept");
    let mut job = full.start(&kept, Checkpoints::AtStop, |n| totals(n, keys))?;
    job.batch(keys, keys)?;
    job.stop(Stop::Gracefully)?;
    let mut times = Times::default();
    for turn in 0..TURNS {
        let fresh = directory.join(format!("fresh-{turn}"));
        for (world, directory, figure) in [(&World::new(), &fresh, "empty_ms"), (&full, &kept, "full_ms")] {
            let mut job = world.start(directory, Checkpoints::AtStop, |n| totals(n, keys))?;
            times.add(figure, ms(job.batch(FIRST_BATCH, FIRST_BATCH)?.since_start));
            job.stop(Stop::Gracefully)?;
        }
        fs::remove_dir_all(fresh)?;
    }
    Ok(times.medians())
}

/// Four jobs that sum up windows, in turns once the windows are full.
fn windows(directory: &Path, records: u64) -> Result<Value, Failure> {
    let mut jobs: Vec<(String, u32, Job)> = Vec::new();
    for batches in WINDOWS {
        for inverse in [true, false] {
            let name = format!("{}_{batches}_ms", if inverse { "inverse" } else { "plain" });
            let job = World::new()
                .start(&directory.join(&name), Checkpoints::AtStop, |n| window_sum(n, batches, inverse))?;
            jobs.push((name, batches, job));
        }
    }
    let full = WINDOWS.into_iter().max().unwrap_or_default();
    let mut times = Times::default();
    for batch in 1..=full + WINDOW_TURNS {
        for (name, batches, job) in &mut jobs {
            let in_window = u64::from(batch.min(*batches));
            let time = job.batch(records, records * in_window)?.process_ms();
            if batch > full {
                times.add(name, time);
            }
        }
    }
    jobs.into_iter().try_for_each(|(_, _, job)| job.stop(Stop::Now))?;
    Ok(times.medians())
}

/// One word a number, `keys` different ones, with a count of 1.
fn words(numbers: &DStream<u64>, keys: u64) -> DStream<(String, u64)> {
    numbers.map(move |n| (format!("word{}", n % keys), 1))
}

/// A running total for each word; how many there were in the batch.
fn totals(numbers: &DStream<u64>, keys: u64) -> DStream<u64> {
    let add = |_: &String, one: Option<u64>, state: &mut State<'_, u64>| {
        let total = state.get().copied().unwrap_or(0) + one.unwrap_or(0);
        state.update(total);
        total
    };
    words(numbers, keys).map_with_state(StateSpec::function(add)).count()
}

/// How many records each key has in the window; then all of these together.
fn window_sum(numbers: &DStream<u64>, batches: u32, inverse: bool) -> DStream<u64> {
    let pairs = numbers.map(|n| (n % WINDOW_KEYS, 1u64));
    let sums = if inverse {
        pairs.reduce_by_key_and_window_with_inverse(|a, b| a + b, |a, b| a - b, BATCH * batches, BATCH)
    } else {
        pairs.reduce_by_key_and_window(|a, b| a + b, BATCH * batches, BATCH)
    };
    sums.map(|(_, sum)| sum).reduce(|a, b| a + b)
}

/// Values by name.
#[derive(Default)]
struct Times(BTreeMap<String, Vec<f64>>);

impl Times {
    fn add(&mut self, name: &str, value: f64) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    fn medians(self) -> Value {
        let median = |(name, values)| Some((name, json!(Quantiles::of(values)?.p50)));
        Value::Object(self.0.into_iter().filter_map(median).collect())
    }
}
