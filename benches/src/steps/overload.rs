//! Five times what the output takes, for a minute: with back-pressure delay and memory stay bounded. Without it, the baseline, the
//! delay grows as long as it lasts.

use super::{HEAD_START, of_program, unless_quick};
use crate::bench::Bench;
use crate::figures::{Figures, Target};
use crate::product::number;
use serde_json::Value;
use std::error::Error;
use std::thread;

/// Lines a second that the output takes.
const RATE: u64 = 20_000;
const TIMES: u64 = 5;
const SECONDS: u64 = 60;
const SECONDS_QUICK: u64 = 15;
/// Batches of a second: none waits for longer, and in the end none for more than the one before it.
const DELAY_MAX_MS: f64 = 10_000.0;
const DELAY_LAST_MS: f64 = 2_000.0;
/// The program and the client's prefetch: of each of four partitions 8 MiB of lines, and what librdkafka keeps beside each line, which
/// is more than a line.
const DIRECT_MIB_MAX: f64 = 250.0;
/// And what two receivers hold, 64 MiB each.
const RECEIVED_MIB_MAX: f64 = 400.0;

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let seconds = if bench.quick { SECONDS_QUICK } else { SECONDS };
    figures.profile = profile();
    for (way, name, bound) in
        [("direct", "direct", DIRECT_MIB_MAX), ("logged", "received, write-ahead log", RECEIVED_MIB_MAX)]
    {
        for (held, with) in [("free", "no back-pressure"), ("held", "back-pressure")] {
            let said = figures.run(&format!("inputs, overload {way} {held}"), |what| {
                overloaded(bench, what, way, held, seconds)
            })?;
            let figure = |name: &str| number(&said, &[name]);
            let row = |what: &str| format!("{name}, {with}: {what}");
            let bounded = |most| {
                if held == "held" { unless_quick(bench, Target::EachBelow(most)) } else { None }
            };
            let (most, last) = (bounded(DELAY_MAX_MS), bounded(DELAY_LAST_MS));
            figures.add(&row("longest delay of a batch"), "ms", most, figure("delay_max_ms"));
            figures.add(&row("delay of the last batch"), "ms", last, figure("delay_last_ms"));
            let taken = figure("records_per_second").map(|rate| rate / RATE as f64);
            figures.add(&row("share of the output's rate"), "", None, taken);
            // What is bounded is bounded without it too.
            let memory = Some(Target::EachBelow(bound));
            figures.add(&row("peak memory"), "MiB", memory, figure("peak_rss_mib"));
        }
    }
    Ok(())
}

/// What the job says that is given `TIMES` what it takes; the load ends with it.
fn overloaded(
    bench: &Bench,
    what: &str,
    way: &str,
    held: &str,
    seconds: u64,
) -> Result<Value, Box<dyn Error>> {
    let topic = format!("overload-{way}-{held}");
    bench.create_topic(&topic)?;
    let (rate, length) = (RATE.to_string(), seconds.to_string());
    thread::scope(|scope| {
        let arguments = ["overload", way, held, &bench.brokers, &topic, &rate, &length];
        let job = scope.spawn(move || of_program(bench, what, &arguments).map_err(|error| error.to_string()));
        thread::sleep(HEAD_START);
        // Longer than the job, which may begin late.
        let load = bench.start_pacing(&topic, RATE * TIMES, 3 * seconds);
        let said = job.join().expect("waiting does not panic");
        drop(load?);
        Ok(said?)
    })
}

fn profile() -> String {
    format!(
        "\
cargo xtask servers up kafka                # prints the broker's address, for BROKERS below
cargo run --release -p tidegate-servers --features load --bin load -- topic BROKERS overload
cargo run --release -p tidegate-servers --features load --bin load -- paced BROKERS overload {} 120 &
target/release/inputs overload direct held BROKERS overload {RATE} {SECONDS} $(mktemp -d)
# memory: valgrind --tool=massif",
        RATE * TIMES
    )
}
