//! Every development task of Tidegate, as `cargo xtask TASK`.
//!
//! What a task runs is printed before it runs, so that any step can be repeated by hand. What must not be here: a dependency
//! that takes long to compile; everyone waits for this program first.

mod bench;
mod cargo;
mod lanes;
mod lint;
mod readme;
mod servers;
mod test;
mod tidy;

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask TASK

  test            everything: the workspace's tests, then those that need real servers
  test NAME...    only the acceptance tests whose name contains one of NAME
  test-tls        Kafka over TLS, by an OpenSSL that is built for it: minutes, and perl is needed
  test-tls --system    as above by the OpenSSL of this machine (libssl-dev)
  lint            rustfmt, clippy and rustdoc, with warnings as errors
  tidy            the rules on the tree that no compiler checks
  ci              lint, tidy and test
  bench ...       the benchmarks; see `cargo xtask bench --help`
  servers fetch   fetches every server, so that later tasks need no network
  servers up      starts Kafka and PostgreSQL, prints their addresses, and runs them until Ctrl-C
  servers up NAME...   as above for any of kafka, postgres, hdfs, s3, alluxio
  help            this text

The servers are fetched from Maven Central into target/servers and run on loopback.
Needed besides Rust: Java 17 or later, Maven, C and C++ compilers and make.
";

/// A task's end: `Err` is something that could not be done, `Ok(Outcome::Failed)` something that was done and found wanting.
type TaskResult = Result<Outcome, Box<dyn Error>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
}

impl Outcome {
    fn of(passed: bool) -> Self {
        if passed { Outcome::Passed } else { Outcome::Failed }
    }

    fn and(self, other: Self) -> Self {
        Self::of(self == Outcome::Passed && other == Outcome::Passed)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> TaskResult {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["test"] => test::everything(),
        ["test", names @ ..] => test::acceptance(names),
        ["test-tls"] => test::tls("tls"),
        ["test-tls", "--system"] => test::tls("tls-system"),
        ["lint"] => lint::run(),
        ["tidy"] => tidy::run(),
        ["ci"] => Ok(lint::run()?.and(tidy::run()?).and(test::everything()?)),
        ["bench", rest @ ..] => bench::run(rest),
        ["servers", "fetch"] => servers::fetch(),
        ["servers", "up", names @ ..] => servers::up(names),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(Outcome::Passed)
        }
        [] => Err(format!("no task given\n\n{HELP}").into()),
        unknown => Err(format!("no such task: {}\n\n{HELP}", unknown.join(" ")).into()),
    }
}

/// The directory of the workspace, wherever the task was called from.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_owned()
}
