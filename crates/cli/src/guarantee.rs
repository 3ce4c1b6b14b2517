//! `tidegate guarantee`: what a job promises of each record, told by the job's own program, which is not run.

use crate::exit::Failure;
use crate::{job, say};
use std::ffi::OsString;
use tidegate::PathGuarantee;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print JSON: the application, and its paths with their links
    #[arg(long)]
    json: bool,
    /// What starts the job, with all its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(serde::Serialize)]
struct Report {
    app: String,
    paths: Vec<PathGuarantee>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let job = job::describe(&options.command)?;
    let report = Report { app: job.app, paths: job.paths };
    if options.json {
        let json = serde_json::to_string_pretty(&report).expect("a report has string keys only");
        return say(&format!("{json}\n"));
    }
    if report.paths.is_empty() {
        return say(&format!("{}: no input leads to an output, so nothing is promised\n", report.app));
    }
    let paths: String = report.paths.iter().map(|path| format!("{path}\n")).collect();
    say(&paths)
}
