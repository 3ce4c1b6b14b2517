//! The `tidegate` program: from a command to the function that does it.

mod checkpoint;
mod demo;
mod exit;
mod figures;
mod guarantee;
mod job;

use clap::{Parser, Subcommand};
use exit::Failure;
use std::fmt::Display;
use std::io::Write;
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
    /// Looks at checkpoints, and at what becomes of them in a changed program
    #[command(subcommand)]
    Checkpoint(checkpoint::Command),
    /// Tells what the job that COMMAND starts promises of a record, from each input to each output, and why; the program
    /// describes itself and ends without running
    Guarantee(guarantee::Options),
    /// The job process of `demo`.
    #[command(hide = true)]
    DemoJob(demo::job::Options),
}

/// What a command was asked for, on standard output.
fn say(text: &impl Display) -> Result<(), Failure> {
    let written = write!(std::io::stdout(), "{text}");
    written.map_err(|error| Failure::of("can't write to standard output", error))
}

fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(Cli { command: Command::Demo(options) }) => demo::run(&options),
        Ok(Cli { command: Command::Checkpoint(command) }) => checkpoint::run(&command),
        Ok(Cli { command: Command::Guarantee(options) }) => guarantee::run(&options),
        Ok(Cli { command: Command::DemoJob(options) }) => demo::job::run(&options),
        Err(usage) => Err(Failure::Usage(usage)),
    };
    exit::code(done)
}
