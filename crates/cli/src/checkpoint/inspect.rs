//! `tidegate checkpoint inspect`.

use super::place::Found;
use super::report::Report;
use crate::exit::Failure;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// A checkpoint directory, s3://BUCKET/PREFIX, hdfs://HOST:PORT/PATH or alluxio://HOST:PORT/PATH
    #[arg(value_name = "DIR_OR_URL")]
    place: String,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let found = Found::at(&options.place)?;
    crate::say(&Report(&found))?;
    // The report names what is damaged; where nothing else is there, that is a failure.
    found.newest().map(drop)
}
