//! What a program says it is: its command is run, describes the job and ends without running it.

use crate::exit::Failure;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use tidegate::{DESCRIBE_ENV, JobDescription};

/// Runs `command` and takes the description that it leaves. What it prints goes to standard error.
pub(crate) fn describe(command: &[OsString]) -> Result<JobDescription, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::of("no command", "give the one that starts the job after --"));
    };
    // Not its arguments: they may hold a password.
    let shown = program.to_string_lossy();
    let directory =
        tempfile::tempdir().map_err(|error| Failure::of("can't make a temporary directory", error))?;
    let file = directory.path().join("job.json");
    let status = Command::new(program)
        .args(arguments)
        .env(DESCRIBE_ENV, &file)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .map_err(|error| Failure::of(&format!("`{shown}` can't be started"), error))?;
    if !status.success() {
        return Err(Failure::of(&format!("`{shown}` failed"), format!("{status}; what it said is above")));
    }
    if !file.exists() {
        return Err(Failure::of(
            &format!("`{shown}` did not say what its job is"),
            "the command must call StreamingContext::start(), in a program built with this version of Tidegate",
        ));
    }
    JobDescription::read(&file)
        .map_err(|error| Failure::of(&format!("`{shown}` was built with another version of Tidegate"), error))
}
