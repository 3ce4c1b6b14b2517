//! What state by key costs: a batch, a checkpoint, a recovery, a window, each beside the same with less or no state.
//!
//! The only step that measures Tidegate as a library (`src/bin/state`), on numbers that it makes itself: no broker, no output.

use super::{ratio, unless_quick};
use crate::bench::{Bench, LIMIT};
use crate::child::Running;
use crate::figures::{Figures, Target};
use crate::product::number;
use serde_json::Value;
use std::error::Error;
use std::fs;

const KEYS: u64 = 1_000_000;
const KEYS_QUICK: u64 = 20_000;
const WINDOW_RECORDS: u64 = 100_000;
const WINDOW_RECORDS_QUICK: u64 = 5_000;
const CHANGED_OF_FULL_MAX: f64 = 0.1;

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let (keys, records) =
        if bench.quick { (KEYS_QUICK, WINDOW_RECORDS_QUICK) } else { (KEYS, WINDOW_RECORDS) };
    figures.profile = profile();
    for repeat in 1..=bench.repeats {
        let said = measured(bench, figures, "count", keys, repeat)?;
        count(figures, &said);
        let said = measured(bench, figures, "checkpoint", keys, repeat)?;
        checkpoint(bench, figures, &said);
        let said = measured(bench, figures, "recovery", keys, repeat)?;
        recovery(figures, &said);
        let said = measured(bench, figures, "windows", records, repeat)?;
        windows(figures, &said);
    }
    Ok(())
}

/// What the program says of `what`. Its files are gone after that.
fn measured(
    bench: &Bench,
    figures: &mut Figures,
    what: &str,
    size: u64,
    repeat: usize,
) -> Result<Value, Box<dyn Error>> {
    let dir = bench.fresh_dir(&format!("state-{what}-{repeat}"))?;
    let said = figures.run(&format!("state, {what} {repeat}"), |name| {
        let mut command = bench.command("state");
        command.arg(what).arg(&dir).arg(size.to_string());
        Running::start(name, command, &bench.dir)?.wait(LIMIT)?.json()
    })?;
    fs::remove_dir_all(dir)?;
    Ok(said)
}

fn count(figures: &mut Figures, said: &Value) {
    let (state, reduce) = (number(said, &["state_ms"]), number(said, &["reduce_ms"]));
    figures.add("batch of each key once, reduce_by_key", "ms", None, reduce);
    figures.add("batch of each key once, map_with_state", "ms", None, state);
    figures.add("map_with_state over reduce_by_key", "", None, ratio(state, reduce));
    figures.add("first batch, all keys new, map_with_state", "ms", None, number(said, &["state_first_ms"]));
    figures.add("both jobs, peak memory", "MiB", None, number(said, &["peak_rss_mib"]));
}

fn checkpoint(bench: &Bench, figures: &mut Figures, said: &Value) {
    let share = |unit: &str| {
        ratio(number(said, &[&format!("changed_{unit}")]), number(said, &[&format!("full_{unit}")]))
    };
    let target = || unless_quick(bench, Target::MedianBelow(CHANGED_OF_FULL_MAX));
    figures.add("checkpoint, all keys changed, time", "ms", None, number(said, &["full_ms"]));
    figures.add("checkpoint, all keys changed, size", "bytes", None, number(said, &["full_bytes"]));
    figures.add("checkpoint, 1 % changed over all: time", "", target(), share("ms"));
    figures.add("checkpoint, 1 % changed over all: bytes", "", target(), share("bytes"));
}

fn recovery(figures: &mut Figures, said: &Value) {
    let (full, empty) = (number(said, &["full_ms"]), number(said, &["empty_ms"]));
    figures.add("empty start: start to first commit", "ms", None, empty);
    figures.add("recovery of all keys: start to first commit", "ms", None, full);
    figures.add("recovery over empty start", "", None, ratio(full, empty));
}

fn windows(figures: &mut Figures, said: &Value) {
    for (name, kind) in [("with inverse", "inverse"), ("without", "plain")] {
        let at = |batches: u32| number(said, &[&format!("{kind}_{batches}_ms")]);
        figures.add(&format!("window of 10 batches, {name}"), "ms", None, at(10));
        figures.add(&format!("window of 100 batches, {name}"), "ms", None, at(100));
        figures.add(&format!("window of 100 batches over 10, {name}"), "", None, ratio(at(100), at(10)));
    }
}

fn profile() -> String {
    format!(
        "\
cargo build --release -p tidegate-benches --bin state
perf record -g --call-graph dwarf target/release/state checkpoint $(mktemp -d) {KEYS}   # or count, recovery
perf record -g --call-graph dwarf target/release/state windows $(mktemp -d) {WINDOW_RECORDS}"
    )
}
