//! `tidegate checkpoint`: what a place holds of checkpoints, and whether a changed program can go on from them.
//!
//! Nothing of a checkpoint is ever changed here.

mod inspect;
mod place;
mod report;
mod upgrade;
mod utc;

use crate::exit::Failure;

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Shows which checkpoints are there, which of them are damaged, and what is in the newest
    Inspect(inspect::Options),
    /// Tells what becomes of each state of the newest checkpoint in the program that COMMAND starts, which describes itself
    /// and ends without running; exit code 1 if the program can't go on from the checkpoint
    CheckUpgrade(upgrade::Options),
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Inspect(options) => inspect::run(options),
        Command::CheckUpgrade(options) => upgrade::run(options),
    }
}
