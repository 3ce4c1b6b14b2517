//! The `tidegate` program: from a command to the function that does it.

mod demo;
mod exit;

use clap::{Parser, Subcommand};
use exit::Failure;
use std::process::ExitCode;

/// Exactly-once micro-batch stream processing.
#[derive(Parser)]
#[command(name = "tidegate", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Counts words from Kafka into SQLite while its own job process is killed, and compares every count at the end
    Demo(demo::Options),
    /// The job process of `demo`.
    #[command(hide = true)]
    DemoJob(demo::job::Options),
}

fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(Cli { command: Command::Demo(options) }) => demo::run(&options),
        Ok(Cli { command: Command::DemoJob(options) }) => demo::job::run(&options),
        Err(usage) => Err(Failure::Usage(usage)),
    };
    exit::code(done)
}
