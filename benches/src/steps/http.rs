//! What the log costs a client that posts: the same server with it and without, for requests of different sizes.

use super::{of_program, ratio};
use crate::bench::Bench;
use crate::figures::Figures;
use crate::product::number;
use std::error::Error;

const RECORDS: [u64; 3] = [1, 100, 1_000];
const SECONDS: u64 = 5;
const SECONDS_QUICK: u64 = 1;

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let seconds = if bench.quick { SECONDS_QUICK } else { SECONDS }.to_string();
    figures.profile = profile();
    for repeat in 1..=bench.repeats {
        for records in RECORDS {
            let mut unlogged = None;
            for (way, name) in [("received", "no log"), ("logged", "write-ahead log")] {
                let said = figures.run(&format!("inputs, http {records} {way} {repeat}"), |what| {
                    of_program(bench, what, &["http", way, &records.to_string(), &seconds])
                })?;
                let row = |what: &str| format!("{name}, {records} a request, {what}");
                let requests = number(&said, &["requests_per_second"]);
                figures.add(&row("requests"), "1/s", None, requests);
                figures.add(&row("records"), "1/s", None, number(&said, &["records_per_second"]));
                figures.add(&row("answer, p99"), "ms", None, number(&said, &["answer_ms", "p99"]));
                if way == "received" {
                    unlogged = requests;
                } else {
                    let share = ratio(requests, unlogged);
                    figures.add(&format!("with the log over without, {records} a request"), "", None, share);
                }
            }
        }
    }
    Ok(())
}

fn profile() -> String {
    "\
cargo build --release -p tidegate-benches --bin inputs
perf record -g --call-graph dwarf target/release/inputs http logged 1 10 $(mktemp -d)   # or received; 100, 1000"
        .to_owned()
}
