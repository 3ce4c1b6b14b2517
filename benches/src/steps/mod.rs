//! The steps of a run. Each measures the program beside a baseline, in turns, and gives figures with targets.

mod batch_cost;
mod latency;
mod restart;
mod state;
mod throughput;

use crate::bench::Bench;
use crate::figures::{Figures, Target};
use std::error::Error;
use std::time::Duration;

/// For a program to connect and to plan its first batches before records come that are timed.
const HEAD_START: Duration = Duration::from_secs(2);

type Run = fn(&Bench, &mut Figures) -> Result<(), Box<dyn Error>>;

/// One step.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Whether it reads from Kafka.
    pub(crate) reads_broker: bool,
    run: Run,
}

/// All steps, in the order in which they run.
pub(crate) const STEPS: [Step; 5] = [
    Step { name: "throughput", title: "Throughput", reads_broker: true, run: throughput::run },
    Step { name: "batch-cost", title: "What a batch costs", reads_broker: true, run: batch_cost::run },
    Step { name: "latency", title: "Latency", reads_broker: true, run: latency::run },
    Step { name: "restart", title: "Restart after a kill", reads_broker: true, run: restart::run },
    Step { name: "state", title: "State by key", reads_broker: false, run: state::run },
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

fn ratio(value: Option<f64>, baseline: Option<f64>) -> Option<f64> {
    Some(value? / baseline.filter(|baseline| *baseline > 0.0)?)
}
