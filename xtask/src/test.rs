//! `cargo xtask test`: everything that can fail, from what needs no server to the program under real kills.
//!
//! The order is from quick to slow. A step that fails does not keep the others from running: the closing line is about all.

use crate::cargo::{Cargo, Tally};
use crate::servers::{Servers, check_needs};
use crate::{Outcome, TaskResult, tidy};
use std::error::Error;

/// The program and its sabotaged twin, which the acceptance tests run. Built in release, as they are measured and used.
const PROGRAMS: [&str; 3] = [
    "build --release --example word_count",
    "build --release --bin tidegate",
    "build --release --example word_count_sabotaged --features tidegate-cli/sabotage -p tidegate-cli",
];
/// Two at a time: each test has servers or whole processes of its own.
const HARNESS: [&str; 2] = ["--", "--test-threads=2"];

/// Runs every test there is.
pub(crate) fn everything() -> TaskResult {
    with_servers(|run, servers| {
        run.outcome = run.outcome.and(tidy::run()?);
        run.tests(&with_environment(Cargo::new("test --no-fail-fast"), servers))?;
        run.programs()?;
        let tests = Cargo::new("test --release --no-fail-fast -p tidegate-servers -p tidegate-acceptance");
        run.tests(&with_environment(tests, servers).arguments(&HARNESS))
    })
}

/// Runs the acceptance tests whose name contains one of `names`.
pub(crate) fn acceptance(names: &[&str]) -> TaskResult {
    with_servers(|run, servers| {
        run.programs()?;
        let tests = Cargo::new("test --release --no-fail-fast -p tidegate-acceptance");
        run.tests(&with_environment(tests, servers).arguments(&HARNESS).arguments(names))?;
        if run.tally == Tally::default() {
            return Err(format!("no acceptance test has a name with {}", names.join(" or ")).into());
        }
        Ok(())
    })
}

/// What has been found so far.
struct Run {
    outcome: Outcome,
    tally: Tally,
}

impl Run {
    fn programs(&mut self) -> Result<(), Box<dyn Error>> {
        for line in PROGRAMS {
            self.outcome = self.outcome.and(Cargo::new(line).run()?);
        }
        Ok(())
    }

    fn tests(&mut self, cargo: &Cargo) -> Result<(), Box<dyn Error>> {
        let (outcome, tally) = cargo.run_tests()?;
        self.outcome = self.outcome.and(outcome);
        self.tally.add(tally);
        Ok(())
    }
}

/// Stops the servers whatever `steps` came to, and closes with the one line about all.
fn with_servers(steps: impl FnOnce(&mut Run, &Servers) -> Result<(), Box<dyn Error>>) -> TaskResult {
    check_needs()?;
    let servers = Servers::start()?;
    let mut run = Run { outcome: Outcome::Passed, tally: Tally::default() };
    let done = steps(&mut run, &servers);
    servers.stop(run.outcome.and(Outcome::of(done.is_ok())))?;
    done?;
    if run.outcome == Outcome::Failed && run.tally.failed == 0 {
        println!("\nsomething failed before or beside the tests, see above");
    }
    println!("\n{}", run.tally);
    Ok(run.outcome)
}

fn with_environment(cargo: Cargo, servers: &Servers) -> Cargo {
    servers.environment().iter().fold(cargo, |cargo, (name, value)| cargo.env(name, value))
}
