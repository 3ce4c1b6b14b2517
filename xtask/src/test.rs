//! `cargo xtask test`: everything that can fail, from what needs no server to the program under real kills.
//!
//! The order is from quick to slow. A step that fails does not keep the others from running: the closing line is about all.

use crate::cargo::{Cargo, Tally};
use crate::servers::{Kind, Servers, check_needs};
use crate::{Outcome, TaskResult, lanes, readme, tidy};
use std::error::Error;
use std::thread;

/// What is built and tested: all of it, in one selection of packages and features, so that cargo compiles each dependency once.
/// Optimised, as the programs that the acceptance tests run must be anyway.
pub(crate) const EVERYTHING: &str = "--release --workspace";
/// The tests against real servers, which plain `cargo test` leaves out (`test = false`): they are built when they are named. They are
/// selected by name and not by a feature, so that the programs are the ones that a user gets.
pub(crate) const REAL: &str = "--test real_*";
/// The programs that the acceptance tests run.
const PROGRAMS: &str = "--bins --examples";
/// Their twin that can break a guarantee on purpose.
const SABOTAGED: &str = "--example word_count_sabotaged --features tidegate-cli/sabotage";
/// Each test has servers or whole processes of its own.
const TWO_AT_A_TIME: &str = "--test-threads=2";

/// Runs every test there is.
pub(crate) fn everything() -> TaskResult {
    let programs = |run: &mut Run| {
        run.step("tidy", tidy::run()?, Tally::default());
        run.build(&format!("{EVERYTHING} {PROGRAMS}"))?;
        run.build(&format!("{EVERYTHING} {SABOTAGED}"))
    };
    with_servers(&Kind::ALL, programs, |run, servers| {
        run.lanes(servers)?;
        for command in readme::commands(&servers.kafka())? {
            run.step(&command.to_string(), command.run()?, Tally::default());
        }
        Ok(())
    })
}

/// Runs the acceptance tests whose name contains one of `names`.
pub(crate) fn acceptance(names: &[&str]) -> TaskResult {
    let selection = "--release -p tidegate-acceptance -p tidegate-cli";
    let programs = |run: &mut Run| {
        run.build(&format!("{selection} {PROGRAMS}"))?;
        run.build(&format!("{selection} {SABOTAGED}"))
    };
    with_servers(&Kind::for_tests_named(names), programs, |run, servers| {
        let tests = Cargo::new(&format!("test --no-fail-fast {selection}"));
        run.tests(&with_environment(tests, servers).arguments(&["--", TWO_AT_A_TIME]).arguments(names))?;
        if run.tally == Tally::default() {
            return Err(format!("no acceptance test has a name with {}", names.join(" or ")).into());
        }
        Ok(())
    })
}

/// Runs the tests of Kafka over TLS, which no other command builds: `feature` says with which OpenSSL. They start brokers of their own.
pub(crate) fn tls(feature: &str) -> TaskResult {
    check_needs()?;
    let mut run = Run::default();
    let selection = format!("-p tidegate-kafka --features {feature} --lib --test real_tls");
    run.tests(&Cargo::new(&format!("test --no-fail-fast {selection} -- {TWO_AT_A_TIME}")))?;
    Ok(run.closed())
}

/// What has been found so far.
#[derive(Default)]
struct Run {
    tally: Tally,
    /// The steps that failed, be it that a test failed or that it did not come to tests.
    failed_steps: Vec<String>,
}

impl Run {
    fn build(&mut self, selection: &str) -> Result<(), Box<dyn Error>> {
        let cargo = Cargo::new(&format!("build {selection}"));
        self.step(&cargo.to_string(), cargo.run()?, Tally::default());
        Ok(())
    }

    fn tests(&mut self, cargo: &Cargo) -> Result<(), Box<dyn Error>> {
        let (outcome, tally) = cargo.run_tests()?;
        self.step(&cargo.to_string(), outcome, tally);
        Ok(())
    }

    /// Every test, and last the examples in the documentation: what rustdoc compiles for them is a program a crate.
    fn lanes(&mut self, servers: &Servers) -> Result<(), Box<dyn Error>> {
        let mut tests = Vec::new();
        for selection in [EVERYTHING.to_owned(), format!("{EVERYTHING} {REAL}")] {
            match lanes::build(&selection)? {
                Some(built) => tests.extend(built),
                None => self.step(&format!("tests of {selection}"), Outcome::Failed, Tally::default()),
            }
        }
        for test in &mut tests {
            test.command.arg(TWO_AT_A_TIME).envs(servers.environment());
        }
        let examples = Cargo::new(&format!("test --doc --no-fail-fast {EVERYTHING}"));
        let command = with_environment(examples, servers).command();
        tests.push(lanes::Test { name: "documentation".to_owned(), command });
        for ended in lanes::run(tests, &servers.directory().join("tests"))? {
            self.step(&ended.name, ended.outcome, ended.tally);
        }
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

    /// Prints what failed, and the one line about all.
    fn closed(&self) -> Outcome {
        for step in &self.failed_steps {
            println!("failed: {step}");
        }
        println!("\n{}", self.tally);
        self.outcome()
    }

    fn outcome(&self) -> Outcome {
        Outcome::of(self.failed_steps.is_empty())
    }
}

/// Does `first` while the servers start, and `steps` when they are there. Stops them whatever came of it, and closes with the one
/// line about all.
fn with_servers(
    kinds: &[Kind],
    first: impl FnOnce(&mut Run) -> Result<(), Box<dyn Error>>,
    steps: impl FnOnce(&mut Run, &Servers) -> Result<(), Box<dyn Error>>,
) -> TaskResult {
    check_needs()?;
    let mut run = Run::default();
    let (servers, first) = thread::scope(|scope| {
        let starting = scope.spawn(|| Servers::start(kinds).map_err(|error| error.to_string()));
        let first = first(&mut run);
        (starting.join().expect("a start gives errors, no panics"), first)
    });
    let servers = servers?;
    let done = first.and_then(|()| steps(&mut run, &servers));
    servers.stop(run.outcome().and(Outcome::of(done.is_ok())))?;
    done?;
    Ok(run.closed())
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
