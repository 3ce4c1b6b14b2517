//! How the program ends: 0 done, 1 failed, 2 wrong usage, 128 + n ended by signal n. Decided here and nowhere else.

use std::fmt::Display;
use std::process::ExitCode;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line can't be used; asking for help comes this way too.
    Usage(clap::Error),
    /// It was tried and failed.
    Failed(String),
    /// This signal asked the program to end.
    Signalled(i32),
}

impl Failure {
    /// `what` failed because of `why`.
    pub(crate) fn of(what: &str, why: impl Display) -> Failure {
        Failure::Failed(format!("{what}: {why}"))
    }
}

impl From<tidegate::Error> for Failure {
    fn from(error: tidegate::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// The exit code of a command that ended so. What went wrong is told on standard error.
pub(crate) fn code(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            // Nobody is left to be told that nobody can be told.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        Err(Failure::Failed(text)) => {
            eprintln!("tidegate: {text}");
            ExitCode::FAILURE
        }
        Err(Failure::Signalled(signal)) => {
            eprintln!("tidegate: ended by signal {signal}");
            ExitCode::from(signalled(signal))
        }
    }
}

/// What a shell says of a process that a signal ended.
pub(crate) fn signalled(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

/// Ends the process although its threads are not through: for a job that nobody waits for any more.
pub(crate) fn at_once(why: &str) -> ! {
    eprintln!("tidegate: {why}");
    std::process::exit(1)
}
