//! How old a record is when its batch is committed, at a steady rate. The baseline is a consumer that only reads.

use super::{HEAD_START, ratio, unless_quick};
use crate::bench::{Bench, LIMIT, expected};
use crate::child::Running;
use crate::figures::{Figures, Target};
use crate::product::{Job, Out, Stats, number, wrong_sqlite};
use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(10);
const RATE: u64 = 10_000;
const SECONDS: u64 = 30;
const SECONDS_QUICK: u64 = 8;
const P99_MS_MAX: f64 = 40.0;

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let seconds = if bench.quick { SECONDS_QUICK } else { SECONDS };
    let table = expected(RATE * seconds);
    for repeat in 1..=bench.repeats {
        let raw_p99 = raw_latency(bench, figures, repeat, seconds)?;
        for sqlite in [false, true] {
            let name = if sqlite { "into SQLite" } else { "no output" };
            let dir =
                bench.fresh_dir(&format!("latency-{}-{repeat}", if sqlite { "sqlite" } else { "none" }))?;
            let file = dir.join("counts.db");
            let job = Job {
                topic: format!("paced-{}-{repeat}", if sqlite { "sqlite" } else { "none" }),
                checkpoint: dir.join("checkpoint"),
                out: if sqlite { Out::Sqlite(file.clone()) } else { Out::None },
                interval: INTERVAL,
                batch_records_max: None,
                until_caught_up: false,
            };
            let what = format!("word_count, paced, {name} {repeat}");
            let stats = figures.run(&what, |what| paced(bench, &job, what, seconds))?;
            let wrong = if sqlite { wrong_sqlite(&file, &table)? } else { stats.wrong(&table) };
            let wrong = bench.wrong_topic(&job.topic, &table)?.or(wrong);
            figures.wrong.extend(wrong.map(|wrong| format!("{what}: {wrong}")));
            let p99 = stats.get(&["latency_ms", "p99"]);
            let target = unless_quick(bench, Target::MedianBelow(P99_MS_MAX));
            figures.add(&format!("{name}, p50"), "ms", None, stats.get(&["latency_ms", "p50"]));
            figures.add(&format!("{name}, p99"), "ms", target, p99);
            figures.add(&format!("{name}, p99 over that of reading only"), "", None, ratio(p99, raw_p99));
            let delay = stats.get(&["total_delay_ms", "max"]);
            figures.add(&format!("{name}, batch from due to committed, max"), "ms", None, delay);
            figures.profile = profile(&job.line(&bench.program), &job.topic);
        }
    }
    Ok(())
}

fn paced(bench: &Bench, job: &Job, what: &str, seconds: u64) -> Result<Stats, Box<dyn Error>> {
    bench.create_topic(&job.topic)?;
    let running = job.start(what, bench)?;
    thread::sleep(HEAD_START);
    bench.start_pacing(&job.topic, RATE, seconds)?.wait(LIMIT)?;
    thread::sleep(HEAD_START);
    job.stats(running.terminate(LIMIT)?)
}

/// What broker and producer alone take.
fn raw_latency(
    bench: &Bench,
    figures: &mut Figures,
    repeat: usize,
    seconds: u64,
) -> Result<Option<f64>, Box<dyn Error>> {
    let topic = format!("paced-raw-{repeat}");
    let read = figures.run(&format!("raw latency {repeat}"), |what| {
        bench.create_topic(&topic)?;
        let mut command = bench.command("raw");
        command.args(["latency", &bench.brokers, &topic, &(RATE * seconds).to_string()]);
        let reading = Running::start(what, command, Path::new(&bench.dir))?;
        thread::sleep(HEAD_START);
        bench.start_pacing(&topic, RATE, seconds)?.wait(LIMIT)?;
        reading.wait(LIMIT)?.json()
    })?;
    let p99 = number(&read, &["latency_ms", "p99"]);
    figures.add("reading only, p50", "ms", None, number(&read, &["latency_ms", "p50"]));
    figures.add("reading only, p99", "ms", None, p99);
    Ok(p99)
}

fn profile(line: &str, topic: &str) -> String {
    format!(
        "\
cargo xtask servers up                      # prints the broker's address, for BROKERS below
cargo run --release -p tidegate-servers --features load --bin load -- topic BROKERS {topic}
{line} --stats stats.json &
cargo run --release -p tidegate-servers --features load --bin load -- paced BROKERS {topic} {RATE} {SECONDS}
kill -TERM $(pgrep -n word_count)           # then see which stage of a batch is long in stats.json
perf sched record -- sleep 5; perf sched latency   # who waited for a core"
    )
}
