//! What every step of a benchmark run has to hand.

use crate::child::Running;
use crate::product::wrong_table;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tidegate_servers::lines::{Lines, SEED, TableChecksum};

/// Generous: what hangs is to end, what is slow is to be measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);

/// The topic that holds [`Bench::lines`] lines.
pub(crate) const TOPIC: &str = "lines";

/// One run of the benchmarks.
pub(crate) struct Bench {
    /// Scratch space, on the disk that the checkout is on.
    pub(crate) dir: PathBuf,
    /// Where the programs of this package lie.
    pub(crate) programs: PathBuf,
    /// The program under test.
    pub(crate) program: PathBuf,
    /// Empty when no step reads from a broker.
    pub(crate) brokers: String,
    /// Less of everything: shows that it works, not how fast.
    pub(crate) quick: bool,
    pub(crate) repeats: usize,
    /// Whether Spark is measured too.
    pub(crate) spark: bool,
    /// How many lines [`TOPIC`] holds.
    pub(crate) lines: u64,
    /// The table of their words.
    pub(crate) expected: TableChecksum,
}

impl Bench {
    /// One of this package's programs.
    pub(crate) fn command(&self, program: &str) -> Command {
        Command::new(self.programs.join(program))
    }

    /// A new directory for a run's checkpoint and output.
    pub(crate) fn fresh_dir(&self, name: &str) -> Result<PathBuf, Box<dyn Error>> {
        let dir = self.dir.join(name);
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// Creates `topic` for [`Bench::start_pacing`].
    pub(crate) fn create_topic(&self, topic: &str) -> Result<(), Box<dyn Error>> {
        let mut command = self.command("load");
        command.args(["topic", &self.brokers, topic]);
        Running::start("load topic", command, &self.dir)?.wait(LIMIT).map(drop)
    }

    /// Why `topic` does not hold what makes up `expected`; none if it does. So that a wrong count is blamed on who miscounted.
    pub(crate) fn wrong_topic(
        &self,
        topic: &str,
        expected: &TableChecksum,
    ) -> Result<Option<String>, Box<dyn Error>> {
        let mut command = self.command("raw");
        command.args(["count", &self.brokers, topic]);
        let counted = Running::start("raw check", command, &self.dir)?.wait(LIMIT)?.json()?;
        Ok(wrong_table(&counted, expected).map(|wrong| format!("the input itself is wrong: {wrong}")))
    }

    /// Starts to write `rate` lines a second for `seconds` into `topic`.
    pub(crate) fn start_pacing(
        &self,
        topic: &str,
        rate: u64,
        seconds: u64,
    ) -> Result<Running, Box<dyn Error>> {
        let mut command = self.command("load");
        command.args(["paced", &self.brokers, topic, &rate.to_string(), &seconds.to_string()]);
        Running::start(&format!("load {topic}"), command, &self.dir)
    }
}

/// The table of the words of the first `lines` lines.
pub(crate) fn expected(lines: u64) -> TableChecksum {
    Lines::new(SEED).count_words(0..lines).checksum().table
}
