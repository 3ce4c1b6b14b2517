//! What exactly-once costs in Kafka: the same job with transactions and without, in batches of a tenth of a second and of a second.
//!
//! Once flat out, in batches of what comes in an interval at [`FULL_RATE`], and once at [`PACE`] with a batch at each interval, for what is
//! added to a batch.

use super::outputs::Writing;
use super::ratio;
use crate::bench::Bench;
use crate::figures::Figures;
use crate::product::number;
use serde_json::Value;
use std::error::Error;

const INTERVALS_MS: [u64; 2] = [100, 1000];
/// Rows a second, as a full client writes them here.
const FULL_RATE: u64 = 400_000;
const FULL_SECONDS: u64 = 2;
/// Rows a second, by which nobody is kept busy.
const PACE: u64 = 50_000;
const PACED_SECONDS: u64 = 3;
const KINDS: [(&str, &str); 2] = [("kafka", "exactly once"), ("kafka-at-least-once", "at least once")];

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    figures.profile = profile();
    for repeat in 1..=bench.repeats {
        for interval_ms in INTERVALS_MS {
            full(bench, figures, interval_ms, repeat)?;
            paced(bench, figures, interval_ms, repeat)?;
        }
    }
    Ok(())
}

/// Batches as they come at full rate.
fn full(bench: &Bench, figures: &mut Figures, interval_ms: u64, repeat: usize) -> Result<(), Box<dyn Error>> {
    let batches = seconds(bench, FULL_SECONDS) * 1000 / interval_ms;
    let rows = FULL_RATE * interval_ms / 1000;
    let mut rates = Vec::new();
    for (kind, title) in KINDS {
        let said = Writing { way: "job", kind, address: &bench.brokers, rows, batches, last: None }
            .run(bench, figures, repeat)?;
        rates.push(number(&said, &["rows_per_second"]));
        figures.add(&format!("batches of {interval_ms} ms: {title}"), "rows/s", None, rates[rates.len() - 1]);
    }
    let cost = ratio(rates[0], rates[1]);
    figures.add(&format!("batches of {interval_ms} ms: exactly once over at least once"), "", None, cost);
    Ok(())
}

/// Batches at their times.
fn paced(
    bench: &Bench,
    figures: &mut Figures,
    interval_ms: u64,
    repeat: usize,
) -> Result<(), Box<dyn Error>> {
    let batches = seconds(bench, PACED_SECONDS) * 1000 / interval_ms;
    let rows = PACE * interval_ms / 1000;
    let mut all: Vec<Value> = Vec::new();
    for (kind, title) in KINDS {
        let writing =
            Writing { way: "paced", kind, address: &bench.brokers, rows, batches, last: Some(interval_ms) };
        let said = writing.run(bench, figures, repeat)?;
        for stage in ["write", "prepare", "commit"] {
            let time = number(&said, &[&format!("{stage}_ms")]);
            figures.add(&format!("each {interval_ms} ms, {title}: {stage}, p50"), "ms", None, time);
        }
        for part in ["p50", "p99"] {
            let time = number(&said, &["delay_ms", part]);
            let name = format!("each {interval_ms} ms, {title}: from due to committed, {part}");
            figures.add(&name, "ms", None, time);
        }
        all.push(said);
    }
    let delay = |said: &Value| number(said, &["delay_ms", "p50"]);
    let added = delay(&all[0]).zip(delay(&all[1])).map(|(exactly, at_least)| exactly - at_least);
    figures.add(&format!("each {interval_ms} ms: what exactly once adds to a batch, p50"), "ms", None, added);
    Ok(())
}

fn seconds(bench: &Bench, whole: u64) -> u64 {
    if bench.quick { whole.div_ceil(2) } else { whole }
}

fn profile() -> String {
    format!(
        "\
cargo build --release -p tidegate-benches --bin sinks
cargo xtask servers up kafka                          # prints the broker's address, for BROKERS below
target/release/sinks paced kafka BROKERS $(mktemp -d) {} 40 100   # or kafka-at-least-once; prints the stages of a batch
# what the client and the broker say to each other: RUST_LOG=debug, or the broker's log",
        PACE / 10
    )
}
