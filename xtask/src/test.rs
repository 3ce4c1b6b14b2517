//! `cargo xtask test`: everything that can fail, from what needs no server to the program under real kills.
//!
//! The order is from quick to slow. A step that fails does not keep the others from running: the closing line is about all.

use crate::cargo::{Cargo, Tally};
use crate::servers::{Kind, Servers, check_needs};
use crate::{Outcome, TaskResult, readme, tidy};
use std::error::Error;

/// The tests of the workspace, those of the connectors with their servers too.
const WORKSPACE: &str =
    "test --no-fail-fast --features tidegate-kafka/real-kafka --features tidegate-sql/real-postgres";
/// The storages for checkpoints and files, and the outputs, that have servers of their own. Apart: what they are built on takes long to compile.
/// The program is among them so that cargo gives libraries the features they have in every other step, and builds them once.
const STORES: &str = "test --no-fail-fast -p tidegate-object-store -p tidegate-files -p tidegate-elasticsearch -p tidegate-cli --features tidegate-object-store/real-servers --features tidegate-files/real-servers --features tidegate-elasticsearch/real-servers --lib --test real_alluxio --test real_elasticsearch --test real_hdfs --test real_s3 --test real_stores";
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
    with_servers(&Kind::ALL, |run, servers| {
        run.step("tidy", tidy::run()?, Tally::default());
        run.tests(&with_environment(Cargo::new(WORKSPACE), servers))?;
        run.tests(&with_environment(Cargo::new(STORES), servers).arguments(&HARNESS))?;
        run.programs()?;
        let tests = Cargo::new(
            // With the program, for the same reason as above.
            "test --release --no-fail-fast -p xtask -p tidegate-benches -p tidegate-servers -p tidegate-acceptance -p tidegate-cli",
        );
        run.tests(&with_environment(tests, servers).arguments(&HARNESS))?;
        for command in readme::commands(&servers.kafka())? {
            run.step(&command.to_string(), command.run()?, Tally::default());
        }
        Ok(())
    })
}

/// Runs the acceptance tests whose name contains one of `names`.
pub(crate) fn acceptance(names: &[&str]) -> TaskResult {
    with_servers(&Kind::for_tests_named(names), |run, servers| {
        run.programs()?;
        let tests = Cargo::new("test --release --no-fail-fast -p tidegate-acceptance -p tidegate-cli");
        run.tests(&with_environment(tests, servers).arguments(&HARNESS).arguments(names))?;
        if run.tally == Tally::default() {
            return Err(format!("no acceptance test has a name with {}", names.join(" or ")).into());
        }
        Ok(())
    })
}

/// What has been found so far.
#[derive(Default)]
struct Run {
    tally: Tally,
    /// The steps that failed, be it that a test failed or that it did not come to tests.
    failed_steps: Vec<String>,
}

impl Run {
    fn programs(&mut self) -> Result<(), Box<dyn Error>> {
        for line in PROGRAMS {
            let cargo = Cargo::new(line);
            self.step(&cargo.to_string(), cargo.run()?, Tally::default());
        }
        Ok(())
    }

    fn tests(&mut self, cargo: &Cargo) -> Result<(), Box<dyn Error>> {
        let (outcome, tally) = cargo.run_tests()?;
        self.step(&cargo.to_string(), outcome, tally);
        Ok(())
    }

    /// A step that failed without a failed test counts as one: the closing line must never say "0 failed" about a failure.
    fn step(&mut self, name: &str, outcome: Outcome, mut tally: Tally) {
        if outcome == Outcome::Failed {
            tally.failed = tally.failed.max(1);
            self.failed_steps.push(name.to_owned());
        }
        self.tally.add(tally);
    }

    fn outcome(&self) -> Outcome {
        Outcome::of(self.failed_steps.is_empty())
    }
}

/// Stops the servers whatever `steps` came to, and closes with the one line about all.
fn with_servers(
    kinds: &[Kind],
    steps: impl FnOnce(&mut Run, &Servers) -> Result<(), Box<dyn Error>>,
) -> TaskResult {
    check_needs()?;
    let servers = Servers::start(kinds)?;
    let mut run = Run::default();
    let done = steps(&mut run, &servers);
    servers.stop(run.outcome().and(Outcome::of(done.is_ok())))?;
    done?;
    for step in &run.failed_steps {
        println!("failed: {step}");
    }
    println!("\n{}", run.tally);
    Ok(run.outcome())
}

fn with_environment(cargo: Cargo, servers: &Servers) -> Cargo {
    servers.environment().iter().fold(cargo, |cargo, (name, value)| cargo.env(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_that_did_not_come_to_its_tests_counts_as_a_failure() {
        let mut run = Run::default();
        run.step("a", Outcome::Passed, Tally { passed: 3, failed: 0, ignored: 0 });
        assert_eq!(run.outcome(), Outcome::Passed);
        run.step("b", Outcome::Failed, Tally { passed: 5, failed: 2, ignored: 0 });
        run.step("c", Outcome::Failed, Tally::default());
        assert_eq!(run.tally, Tally { passed: 8, failed: 3, ignored: 0 });
        assert_eq!(
            (run.outcome(), run.failed_steps),
            (Outcome::Failed, vec!["b".to_owned(), "c".to_owned()])
        );
    }
}
