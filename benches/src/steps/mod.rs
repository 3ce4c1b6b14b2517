//! The steps of a run. Each measures the program beside a baseline, in turns, and gives figures with targets.

mod batch_cost;
mod exactly_once;
mod http;
mod kafka_inputs;
mod latency;
mod outputs;
mod overload;
mod restart;
mod state;
mod throughput;
mod wal;

use crate::bench::{Bench, LIMIT};
use crate::child::Running;
use crate::figures::{Figures, Target};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::time::Duration;

/// For a program to connect and to plan its first batches before records come that are timed.
const HEAD_START: Duration = Duration::from_secs(2);

type Run = fn(&Bench, &mut Figures) -> Result<(), Box<dyn Error>>;

/// One step.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// What it needs of Kafka.
    pub(crate) broker: Broker,
    /// The name of several steps that it is one of. Such a step measures the library, and not the example.
    pub(crate) group: Option<&'static str>,
    run: Run,
}

/// What a step needs of Kafka.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Broker {
    /// Nothing.
    Absent,
    /// A broker for topics of its own.
    Empty,
    /// A broker that holds the lines.
    Full,
}

/// The name of all steps about inputs.
const INPUTS: &str = "inputs";
/// The name of all steps about outputs.
const SINKS: &str = "sinks";

const fn step(name: &'static str, title: &'static str, broker: Broker, run: Run) -> Step {
    Step { name, title, broker, group: None, run }
}

const fn grouped(
    group: &'static str,
    name: &'static str,
    title: &'static str,
    broker: Broker,
    run: Run,
) -> Step {
    Step { name, title, broker, group: Some(group), run }
}

/// All steps, in the order in which they run.
pub(crate) const STEPS: [Step; 11] = [
    step("throughput", "Throughput", Broker::Full, throughput::run),
    step("batch-cost", "What a batch costs", Broker::Empty, batch_cost::run),
    step("latency", "Latency", Broker::Empty, latency::run),
    step("restart", "Restart after a kill", Broker::Full, restart::run),
    step("state", "State by key", Broker::Absent, state::run),
    grouped(INPUTS, "kafka-inputs", "Kafka, direct and received", Broker::Empty, kafka_inputs::run),
    grouped(INPUTS, "wal", "The write-ahead log of receivers", Broker::Absent, wal::run),
    grouped(INPUTS, "http", "Records posted by HTTP", Broker::Absent, http::run),
    grouped(INPUTS, "overload", "Overload", Broker::Empty, overload::run),
    grouped(SINKS, "outputs", "Outputs", Broker::Empty, outputs::run),
    grouped(SINKS, "exactly-once", "What exactly-once costs in Kafka", Broker::Empty, exactly_once::run),
];

impl Step {
    /// Its figures. What went wrong is one of them: the other steps are still worth running.
    pub(crate) fn figures(&self, bench: &Bench) -> Figures {
        println!("\n==> {}", self.title);
        let mut figures = Figures::default();
        if let Err(error) = (self.run)(bench, &mut figures) {
            eprintln!("error: {error}");
            figures.wrong.push(error.to_string());
        }
        figures
    }
}

/// A target is what the project promises for a whole run; a quick one shows only that the figures come.
fn unless_quick(bench: &Bench, target: Target) -> Option<Target> {
    (!bench.quick).then_some(target)
}

/// What the program `inputs` says of `arguments`, behind which it is given a fresh directory. That is gone after it.
fn of_program(bench: &Bench, what: &str, arguments: &[&str]) -> Result<Value, Box<dyn Error>> {
    let dir = bench.fresh_dir(&what.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"))?;
    let mut command = bench.command("inputs");
    command.args(arguments).arg(&dir);
    let said = Running::start(what, command, &bench.dir)?.wait(LIMIT)?.json()?;
    fs::remove_dir_all(dir)?;
    Ok(said)
}

fn ratio(value: Option<f64>, baseline: Option<f64>) -> Option<f64> {
    Some(value? / baseline.filter(|baseline| *baseline > 0.0)?)
}
