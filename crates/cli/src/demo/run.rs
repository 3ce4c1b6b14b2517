//! The demo while it runs: listens to the job, kills it, starts it again, shows how it goes.

use super::Options;
use super::feed::{Broker, Feed, Levels, Produced};
use super::job::BATCH_INTERVAL;
use super::killing;
use super::lines::Chance;
use super::process::{JobProcess, Launch, Told};
use super::progress::{Job, Progress};
use super::screen::{Screen, Status};
use super::signal::Signal;
use super::table::TopWords;
use super::workplace::Workplace;
use crate::exit::Failure;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest silence of the job: reaching it is a failure, never a way to go on.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest time from the last line to its count.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Longest end of a job process that is told to stop, or that has closed its output.
const END_MAX: Duration = Duration::from_secs(15);
/// Longest wait for a batch, between looks at the clock and at signals.
const TICK: Duration = Duration::from_millis(20);

/// What the job did, as it was seen.
pub(super) struct Tally {
    pub(super) batches: u64,
    pub(super) recoveries: Vec<Duration>,
    pub(super) length: Duration,
}

/// A demo that runs.
pub(super) struct Run<'a> {
    started: Instant,
    length: Duration,
    /// Moments of the kills to come, the next one last.
    kills: Vec<Duration>,
    chance: Chance,
    signal: &'a Signal,
    screen: &'a mut Screen,
    words: TopWords,
    launch: Launch,
    job: Option<JobProcess>,
    feed: Option<Feed>,
    levels: Arc<Levels>,
    progress: Progress,
}

impl<'a> Run<'a> {
    /// Starts the job process and the producer.
    pub(super) fn start(
        options: &Options,
        seed: u64,
        signal: &'a Signal,
        workplace: &Workplace,
        broker: &Broker,
        screen: &'a mut Screen,
    ) -> Result<Run<'a>, Failure> {
        let address = broker.address();
        let launch = Launch::new(&address, workplace, &options.master)?;
        let feed = Feed::start(&address, options.rate, seed)?;
        let mut chance = Chance::seeded(!seed);
        let mut kills = killing::moments(options.kills, options.length(), &mut chance);
        kills.reverse();
        Ok(Run {
            started: Instant::now(),
            length: options.length(),
            kills,
            chance,
            signal,
            screen,
            words: TopWords::of(workplace.database()),
            job: Some(JobProcess::start(&launch)?),
            launch,
            levels: feed.levels.clone(),
            feed: Some(feed),
            progress: Progress::new(),
        })
    }

    /// Runs for the time asked for, and until every kill took place and was recovered from.
    pub(super) fn feed_and_kill(&mut self) -> Result<(), Failure> {
        while self.now() < self.length || !self.kills.is_empty() || self.progress.job != Job::Running {
            self.step()?;
            // A process that has committed nothing yet is let be: each recovery is measured to its end.
            if self.progress.job == Job::Running
                && self.kills.pop_if(|moment| *moment <= self.started.elapsed()).is_some()
            {
                self.kill()?;
            }
        }
        Ok(())
    }

    /// Stops the producer and waits until all of its lines are committed.
    pub(super) fn drain(&mut self) -> Result<Produced, Failure> {
        let feed = self.feed.take().expect("the producer runs until drain()");
        let produced = feed.finish()?;
        let deadline = self.now() + DRAIN_MAX;
        while self.progress.ends != produced.lines {
            if self.now() > deadline {
                let text = format!(
                    "{DRAIN_MAX:?} after the last line not all is counted: produced {:?}, counted {:?} of each partition",
                    produced.lines, self.progress.ends
                );
                return Err(self.job().failed(&text));
            }
            self.step()?;
        }
        Ok(produced)
    }

    /// Tells the job to stop and waits for its end, which must be a good one.
    pub(super) fn stop_job(mut self) -> Result<Tally, Failure> {
        self.job().tell_to_stop()?;
        let deadline = self.now() + END_MAX;
        while self.now() < deadline {
            self.signal.check()?;
            match self.job().next(TICK) {
                Told::Batch(batch) => drop(self.progress.committed(&batch, self.started.elapsed())),
                Told::Nothing => {}
                Told::Ended => break,
            }
        }
        let length = self.now();
        self.job.take().expect("runs until it is stopped").wait(END_MAX)?;
        Ok(Tally { batches: self.progress.batches, recoveries: self.progress.recoveries, length })
    }

    /// Hears what is new and shows it.
    fn step(&mut self) -> Result<(), Failure> {
        self.signal.check()?;
        if let Some(feed) = self.feed.take_if(|feed| feed.has_failed()) {
            feed.finish()?;
        }
        match self.job().next(TICK) {
            Told::Batch(batch) => {
                let recovery = self.progress.committed(&batch, self.started.elapsed());
                self.levels.committed(self.progress.ends);
                if let Some(recovery) = recovery {
                    self.screen.say(&format!(
                        "      process {} committed its first batch, {}, {} ms after the kill",
                        self.job.as_ref().map_or(0, JobProcess::id),
                        batch.batch,
                        recovery.as_millis()
                    ))?;
                }
            }
            Told::Nothing if self.now() > self.progress.heard_at + SILENCE_MAX => {
                return Err(self
                    .job()
                    .failed(&format!("the job process committed no batch in {SILENCE_MAX:?}")));
            }
            Told::Nothing => {}
            Told::Ended => return Err(self.job.take().expect("it has just ended").ended(END_MAX)),
        }
        let status = self.status();
        self.screen.show(&status, &mut self.words)
    }

    /// Kills the job process, in the middle of a batch if it can be, and starts the next one.
    fn kill(&mut self) -> Result<(), Failure> {
        let job = self.job.take().expect("runs between start and stop");
        let id = job.id();
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        std::thread::sleep(killing::into_batch(clock, BATCH_INTERVAL, &mut self.chance));
        let killed_at = self.now();
        let left = job.kill()?;
        self.job = Some(JobProcess::start(&self.launch)?);
        self.progress.killed(killed_at, &left);
        self.levels.committed(self.progress.ends);
        let second = killed_at.as_secs_f64();
        self.screen.say(&format!(
            "SIGKILL at {second:.2} s: process {id} is gone after batch {}",
            self.progress.batches
        ))
    }

    fn status(&mut self) -> Status {
        let at = self.now();
        Status {
            at,
            job: self.progress.job,
            batches: self.progress.batches,
            records_per_second: self.progress.records_per_second(at),
            delay_ms: self.progress.delay_ms,
            lag: self.levels.unread().iter().sum(),
            kills_survived: self.progress.recoveries.len(),
        }
    }

    fn job(&mut self) -> &mut JobProcess {
        self.job.as_mut().expect("runs between start and stop")
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}
