//! What can be said on the command line of `demo`.

use super::workplace::Workplace;
use super::{PARTITIONS, TABLE};
use crate::exit::Failure;
use crate::figures::grouped;
use clap::error::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate::Master;

/// Settings of the demo.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long lines are produced
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Lines a second; fewer come when the job can't keep up
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=500_000))]
    pub(super) rate: u64,
    /// How often the job process is killed (SIGKILL), at random moments; at most once a second
    #[arg(long, default_value_t = 3)]
    pub(super) kills: u32,
    /// Where the job runs: local, local[n] or local[*]
    #[arg(long, default_value = "local[2]", value_parser = master)]
    pub(super) master: String,
    /// Decides the lines and the moments of the kills [default: another each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Keeps the database and the checkpoint directory
    #[arg(long)]
    pub(super) keep: bool,
}

impl Options {
    /// What no single option shows to be wrong.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if u64::from(self.kills) <= self.seconds {
            return Ok(());
        }
        let text = format!(
            "--kills {}: at most one a second, so --seconds must be {} or more\n",
            self.kills, self.kills
        );
        Err(Failure::Usage(clap::Error::raw(ErrorKind::ValueValidation, text)))
    }

    pub(super) fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(super) fn seed(&self) -> u64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        self.seed.unwrap_or_else(|| now() % 1_000_000)
    }

    pub(super) fn introduction(&self, seed: u64, workplace: &Workplace) -> String {
        format!(
            "Word count: Kafka (in this process, {PARTITIONS} partitions) -> SQLite table {TABLE}, batches of {} ms.\n\
             {} lines/s for {} s; the job process is killed {} times. Seed {seed}, files in {}.",
            super::job::BATCH_INTERVAL.as_millis(),
            grouped(self.rate),
            self.seconds,
            self.kills,
            workplace.directory().display(),
        )
    }
}

fn master(text: &str) -> Result<String, String> {
    text.parse::<Master>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}
