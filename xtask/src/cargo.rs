//! Runs cargo as a person would, and counts what its tests said while they say it.

use crate::{Outcome, root};
use std::error::Error;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, fmt};

/// How many tests ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Tally {
    /// Adds what a line like `test result: ok. 5 passed; 0 failed; 1 ignored; ...` says; any other line changes nothing.
    fn take_line(&mut self, line: &str) {
        // Not at the line's start only: what a test printed without a line end may stand before it.
        let Some((_, result)) = line.split_once("test result: ") else { return };
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split("; ") {
            match part.split_once(' ').map(|(count, what)| (count.parse::<u64>(), what)) {
                Some((Ok(count), "passed")) => self.passed += count,
                Some((Ok(count), "failed")) => self.failed += count,
                Some((Ok(count), "ignored")) => self.ignored += count,
                _ => {}
            }
        }
    }

    /// Of all that a program printed.
    pub(crate) fn of(text: &str) -> Self {
        let mut tally = Self::default();
        text.lines().for_each(|line| tally.take_line(line));
        tally
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        // Never silently: a test that did not run has shown nothing.
        if self.ignored > 0 { write!(f, ", {} ignored", self.ignored) } else { Ok(()) }
    }
}

/// `cargo ARGUMENTS` in the workspace, printed before it runs.
pub(crate) struct Cargo {
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Cargo {
    pub(crate) fn new(line: &str) -> Self {
        Self { arguments: line.split_whitespace().map(str::to_owned).collect(), environment: Vec::new() }
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Runs it with its output passed on.
    pub(crate) fn run(&self) -> Result<Outcome, Box<dyn Error>> {
        self.announced(|command| Ok(Outcome::of(command.status()?.success())))
    }

    /// Runs it, and gives what it prints to its standard output.
    pub(crate) fn output(&self) -> Result<(Outcome, String), Box<dyn Error>> {
        self.announced(|command| {
            let output = command.stderr(Stdio::inherit()).output()?;
            Ok((Outcome::of(output.status.success()), String::from_utf8(output.stdout)?))
        })
    }

    /// Runs it with its output passed on, and says how many tests passed and failed. Also `Failed` when it did not compile.
    pub(crate) fn run_tests(&self) -> Result<(Outcome, Tally), Box<dyn Error>> {
        self.announced(|command| {
            let mut child = command.stdout(Stdio::piped()).spawn()?;
            let mut tally = Tally::default();
            for line in BufReader::new(child.stdout.take().expect("stdout is piped")).split(b'\n') {
                let line = line?;
                // A test may print what is no text; that must not end the run.
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                tally.take_line(&line);
            }
            Ok((Outcome::of(child.wait()?.success()), tally))
        })
    }

    /// The command, for those who run and announce it themselves.
    pub(crate) fn command(&self) -> Command {
        // The cargo that started us, so that `cargo +TOOLCHAIN xtask` stays with that toolchain.
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(root());
        command
    }

    fn announced<T>(
        &self,
        run: impl FnOnce(&mut Command) -> Result<T, Box<dyn Error>>,
    ) -> Result<T, Box<dyn Error>> {
        println!("\n==> {self}");
        let start = Instant::now();
        let result = run(&mut self.command());
        println!("<== {:.1} s: {self}", start.elapsed().as_secs_f64());
        result
    }
}

impl fmt::Display for Cargo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}='{value}' ")?;
        }
        write!(f, "cargo {}", self.arguments.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tally_is_the_sum_of_all_result_lines() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test a::test result ... ok",
            "noise of a testtest result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out",
            "all doctests ran in 0.30s; merged doctests compilation took 0.29s",
        ] {
            tally.take_line(line);
        }
        assert_eq!(tally, Tally { passed: 15, failed: 2, ignored: 1 });
        assert_eq!(tally.to_string(), "15 passed, 2 failed, 1 ignored");
    }
}
