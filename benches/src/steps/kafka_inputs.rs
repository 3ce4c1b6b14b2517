//! What receiving costs beside reading directly: the same topic, summed up by the same job, in turns.

use super::{of_program, ratio, unless_quick};
use crate::bench::{Bench, LIMIT};
use crate::child::Running;
use crate::figures::{Figures, Target};
use crate::product::number;
use std::error::Error;

const LINES: u64 = 2_000_000;
const LINES_QUICK: u64 = 100_000;
const TOPIC: &str = "inputs";
/// What receivers may need: records held (64 MiB each of two), the client's prefetch (8 MiB of lines of each of four partitions, and
/// what librdkafka keeps beside each line), the program.
const RECEIVED_MIB_MAX: f64 = 400.0;

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let lines = if bench.quick { LINES_QUICK } else { LINES }.to_string();
    figures.profile = profile(&lines);
    let mut load = bench.command("load");
    load.args(["lines", &bench.brokers, TOPIC, &lines]);
    Running::start("load inputs", load, &bench.dir)?.wait(LIMIT)?;
    let read = |figures: &mut Figures, way: &str, repeat: usize| {
        figures.run(&format!("inputs, kafka {way} {repeat}"), |what| {
            of_program(bench, what, &["kafka", way, &bench.brokers, TOPIC, &lines])
        })
    };
    // The page cache of the broker is warm for all alike.
    read(figures, "direct", 0)?;
    for repeat in 1..=bench.repeats {
        let mut direct = None;
        for (way, name) in
            [("direct", "direct"), ("received", "received, no log"), ("logged", "received, write-ahead log")]
        {
            let said = read(figures, way, repeat)?;
            let (rate, memory) = (number(&said, &["records_per_second"]), number(&said, &["peak_rss_mib"]));
            figures.add(name, "records/s", None, rate);
            let bound = if way == "direct" {
                direct = rate;
                None
            } else {
                figures.add(&format!("{name}, over direct"), "", None, ratio(rate, direct));
                unless_quick(bench, Target::EachBelow(RECEIVED_MIB_MAX))
            };
            figures.add(&format!("{name}, peak memory"), "MiB", bound, memory);
        }
    }
    Ok(())
}

fn profile(lines: &str) -> String {
    format!(
        "\
cargo xtask servers up kafka                # prints the broker's address, for BROKERS below
cargo run --release -p tidegate-servers --features load --bin load -- lines BROKERS {TOPIC} {lines}
perf record -g --call-graph dwarf target/release/inputs kafka logged BROKERS {TOPIC} {lines} $(mktemp -d)"
    )
}
