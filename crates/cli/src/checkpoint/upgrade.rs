//! `tidegate checkpoint check-upgrade`: the newest checkpoint against a program that may have changed since.

use super::place::Found;
use super::utc::utc;
use crate::exit::Failure;
use crate::{job, say};
use std::ffi::OsString;
use tidegate::core::Checkpoint;
use tidegate::{JobDescription, Upgrade};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// A checkpoint directory, s3://BUCKET/PREFIX, hdfs://HOST:PORT/PATH or alluxio://HOST:PORT/PATH
    #[arg(value_name = "DIR_OR_URL")]
    place: String,
    /// What starts the job, with all its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let found = Found::at(&options.place)?;
    found.damaged.iter().for_each(|what| eprintln!("damaged: {what}"));
    let newest = found.newest()?;
    let job = job::describe(&options.command)?;
    let upgrade = Upgrade::between(newest, &job.states, &job.dropped);
    let (batch, time) = (newest.batch(), utc(newest.plan.time.0));
    say(&format!("{}, batch {batch} of {time}\n{upgrade}", found.place))?;

    let mut refusals = other_application(newest, &job).into_iter().collect::<Vec<_>>();
    refusals.extend(gone_inputs(newest, &job));
    refusals.extend(upgrade.check(&found.place).err().map(|refusal| refusal.to_string()));
    if refusals.is_empty() { Ok(()) } else { Err(Failure::Failed(refusals.join("\ntidegate: "))) }
}

/// A place belongs to one application: `start` refuses another.
fn other_application(newest: &Checkpoint, job: &JobDescription) -> Option<String> {
    (newest.app != job.app).then(|| {
        format!(
            "the checkpoint is that of the application \"{}\", and the program is \"{}\"; give it its old name back, or a place \
             of its own",
            newest.app, job.app
        )
    })
}

/// What was read of an input is found again by its name: `start` refuses a program that has none of it.
fn gone_inputs(newest: &Checkpoint, job: &JobDescription) -> Vec<String> {
    let is_gone = |stream: &tidegate::StreamId| !job.inputs.iter().any(|(input, _)| input == stream);
    let gone = newest.plan.sources.iter().map(|source| &source.stream).filter(|stream| is_gone(stream));
    let refusal = |stream| {
        format!(
            "the job had an input stream \"{stream}\", and the program has none of that name; give the stream its name back, or \
             start with a new place for checkpoints"
        )
    };
    gone.map(refusal).collect()
}
