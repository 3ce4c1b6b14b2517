//! One job through its crashes: the check that every crash test makes, and that a broken build must not pass.

use crate::database::{Database, Kind, Snapshot};
use crate::kills::{Killed, kill_at_random};
use crate::program::{Build, Job, Run, State, Store};
use crate::sinks::Sink;
use crate::truth::{Totals, Truth, compare, totals_of_all};
use std::path::Path;
use tempfile::TempDir;
use tidegate_servers::Shared;
use tidegate_servers::lines::PARTITIONS;
use tidegate_servers::load;

/// Records a second of each partition that a story's job takes, so that a topic of some 10,000 lines makes some batches.
const RATE: u32 = 8_000;
/// The same for a job with windows, which writes each word of each batch several times.
const RATE_WITH_WINDOWS: u32 = 2_000;
/// About what a run gets done before it is killed at random.
const BATCHES_A_RUN: u64 = 8;
/// Batches a second.
const BATCHES_A_SECOND: u64 = 20;
/// How long a window lasts: four batches. One ends with each batch.
const WINDOW_MS: i64 = 200;

/// The servers that `cargo xtask test` started.
///
/// # Panics
/// When there are none, with how to get them.
pub fn shared() -> Shared {
    Shared::from_env().unwrap_or_else(|missing| panic!("{missing}"))
}

/// A topic with its first lines: `load::produce_lines` from number 0 on.
#[derive(Clone, Debug)]
pub struct Topic {
    /// The brokers.
    pub brokers: String,
    /// Its name.
    pub name: String,
    /// How many lines are in it.
    pub lines: u64,
}

/// Whether a job keeps a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A checkpoint directory and the database.
    Checkpoint,
    /// The database alone.
    DatabaseAlone,
}

/// A job with its database, over any number of runs.
#[derive(Debug)]
pub struct Story {
    /// Its database.
    pub database: Database,
    /// Its command line, apart from what single runs add.
    pub job: Job,
    truth: Truth,
    topic: Topic,
    rate: u32,
    has_windows: bool,
    sinks: Vec<Sink>,
    directory: TempDir,
}

impl Story {
    /// A new job over `topic`. `server` is where a PostgreSQL database is made.
    pub fn new(topic: &Topic, kind: Kind, memory: Memory, server: &str) -> Story {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let database = Database::new(kind, directory.path(), server);
        let job = Job::new(&topic.brokers, &topic.name).with("--out", database.out());
        let job = match memory {
            Memory::Checkpoint => job.checkpoint(&directory.path().join("checkpoint")),
            Memory::DatabaseAlone => job,
        };
        let truth = Truth::new(u64::from(PARTITIONS.unsigned_abs()));
        let (topic, sinks) = (topic.clone(), Vec::new());
        Story { database, job, truth, topic, rate: RATE, has_windows: false, sinks, directory }
    }

    /// Writes to `sinks` too.
    #[must_use]
    pub fn with_sinks(mut self, sinks: impl IntoIterator<Item = Sink>) -> Story {
        for sink in sinks {
            self.job = self.job.with("--out", sink.out());
            self.sinks.push(sink);
        }
        self
    }

    /// With totals that are state, for outputs that can't add.
    #[must_use]
    pub fn with_totals(mut self) -> Story {
        self.job = self.job.state(State::Map, Store::Memory).with("--checkpoint-interval", "100ms");
        self
    }

    /// The outputs that are no database.
    pub fn sinks(&self) -> &[Sink] {
        &self.sinks
    }

    /// Compares each output that is no database with `expected`.
    ///
    /// # Errors
    /// They differ: with all that do.
    pub fn check_sinks(&self, expected: &Totals) -> Result<(), String> {
        let differs = |sink: &Sink| {
            compare(&sink.totals(), expected).err().map(|text| format!("{}: {text}", sink.out()))
        };
        let differ: Vec<_> = self.sinks.iter().filter_map(differs).collect();
        if differ.is_empty() { Ok(()) } else { Err(differ.join("\n")) }
    }

    /// With totals that are state, with windows, and with a checkpoint after every other batch.
    #[must_use]
    pub fn with_state(mut self, state: State, store: Store) -> Story {
        let job = self.job.state(state, store).with("--window", format!("{WINDOW_MS}ms/50ms"));
        self.job = job.with("--checkpoint-interval", "100ms");
        (self.rate, self.has_windows) = (RATE_WITH_WINDOWS, true);
        self
    }

    /// With another build, and a sabotage for it.
    #[must_use]
    pub fn build(mut self, build: Build, sabotage: Option<&str>) -> Story {
        self.job = self.job.build(build);
        if let Some(sabotage) = sabotage {
            self.job = self.job.env("TIDEGATE_SABOTAGE", sabotage);
        }
        self
    }

    /// Files of this test.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The checkpoint directory.
    pub fn checkpoint(&self) -> std::path::PathBuf {
        self.directory().join("checkpoint")
    }

    /// Compares the database with the truth for the offsets in it.
    ///
    /// # Errors
    /// They differ.
    pub fn check(&mut self) -> Result<Snapshot, String> {
        let found = self.database.read();
        self.truth.check(&found)?;
        Ok(found)
    }

    /// Writes so many more lines into its topic.
    ///
    /// # Panics
    /// When they can't be written.
    pub fn write_more(&mut self, lines: u64) {
        let next = self.topic.lines;
        self.topic.lines += lines;
        load::produce_lines(&self.topic.brokers, &self.topic.name, next..self.topic.lines)
            .expect("lines can be written");
    }

    /// Runs until the crash point `at` (`committed:3`), and checks.
    ///
    /// # Errors
    /// The run ended otherwise, or the check fails.
    pub fn crash(&mut self, at: &str) -> Result<Snapshot, String> {
        self.crash_at_rate(at, self.rate)
    }

    /// As [`Story::crash`], with another rate.
    ///
    /// # Errors
    /// As [`Story::crash`].
    pub fn crash_at_rate(&mut self, at: &str, rate: u32) -> Result<Snapshot, String> {
        let ended = self.job.clone().rate(rate).until_caught_up().env("TIDEGATE_CRASH_AT", at).run();
        if !ended.was_killed() {
            return Err(format!("{at} was not reached: {}; it printed:\n{}", ended.status, ended.output));
        }
        self.check().map_err(|text| format!("after the crash at {at}: {text}"))
    }

    /// Runs to the end of the topic, and checks all of it. Gives what the run printed. A job with windows goes on at its rate,
    /// so that there are some after the crash.
    ///
    /// # Errors
    /// The run failed, or the totals are not those of the lines.
    pub fn finish(&mut self) -> Result<String, String> {
        self.finish_at_rate(self.has_windows.then_some(self.rate))
    }

    /// As [`Story::finish`], with another rate.
    ///
    /// # Errors
    /// As [`Story::finish`].
    pub fn finish_at_rate(&mut self, rate: Option<u32>) -> Result<String, String> {
        let job = self.job.clone().until_caught_up();
        let ended = rate.map_or(job.clone(), |rate| job.rate(rate)).run();
        ended.succeeded()?;
        self.finished()?;
        Ok(ended.output)
    }

    /// Is killed so many times at random moments, checked after each, and runs to the end of the topic.
    ///
    /// # Panics
    /// When a check fails, or the kills hit nothing: with the seed.
    pub fn kill_at_random(&mut self, what: &str, kills: u64) {
        let seed = kill_at_random(what, self, kills);
        self.finish().unwrap_or_else(|text| panic!("seed {seed}: {text}"));
    }

    /// Checks that the database and all other outputs hold the whole topic, and the windows of a job that has any.
    ///
    /// # Errors
    /// It does not.
    pub fn finished(&mut self) -> Result<(), String> {
        let (found, expected) = (self.check()?, totals_of_all(self.topic.lines));
        compare(&found.totals, &expected)
            .and_then(|()| self.check_sinks(&expected))
            .map_err(|text| format!("at the end: {text}"))?;
        if self.has_windows { self.database.windows().check(WINDOW_MS, &found.totals) } else { Ok(()) }
    }
}

/// The topic is made to last: what is left of it is spread over the runs that are left.
impl Killed for Story {
    fn start(&mut self, left: u64) -> Run {
        let batches = (left + 1) * BATCHES_A_RUN;
        let partitions = u64::from(PARTITIONS.unsigned_abs());
        let rate = (self.topic.lines - self.committed()) * BATCHES_A_SECOND / partitions / batches;
        let rate = u32::try_from(rate.max(BATCHES_A_SECOND)).expect("a small rate");
        self.job.clone().rate(rate).start()
    }

    fn committed(&self) -> u64 {
        self.database.read().records()
    }

    fn check(&mut self) -> Result<(), String> {
        let found = Story::check(self)?;
        if found.records() < self.topic.lines {
            Ok(())
        } else {
            Err("nothing was left to interrupt".to_owned())
        }
    }
}

/// A job that crashes at `at` and is started again counts each line once.
///
/// # Errors
/// What went wrong.
pub fn crash_and_recover(story: &mut Story, at: &str) -> Result<(), String> {
    story.crash(at)?;
    story.finish()?;
    Ok(())
}

/// A batch that was decided before a crash takes the same ranges when it is run again, though the job may by now take
/// more at a time: the journal holds its plan before any of it is seen.
///
/// # Errors
/// What went wrong.
pub fn crash_and_run_the_same_batch(story: &mut Story, at: &str) -> Result<(), String> {
    let before = story.crash(at)?;
    let after = story.crash_at_rate("committed:1", 3 * RATE)?;
    if after.newest() != before.newest() + 1 {
        return Err(format!("batch {} follows batch {}", after.newest(), before.newest()));
    }
    let taken = after.records() - before.records();
    let planned = u64::from(RATE) * 50 / 1000 * u64::from(PARTITIONS.unsigned_abs());
    if taken != planned {
        return Err(format!("batch {} took {taken} records, planned were {planned}", after.newest()));
    }
    story.finish()?;
    Ok(())
}
