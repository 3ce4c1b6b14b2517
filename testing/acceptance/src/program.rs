//! The word count as a process: started, watched, signalled, killed.

use crate::patience::{PATIENCE, look_for, wait_for};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Which build is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// The program as users get it.
    Plain,
    /// The one that breaks a guarantee when `TIDEGATE_SABOTAGE` says so.
    Sabotaged,
}

impl Build {
    /// Where the program is: beside the directory of the test's own executable.
    ///
    /// # Panics
    /// When it was not built, with the command that does.
    pub fn path(self) -> PathBuf {
        let (name, flags) = match self {
            Build::Plain => ("word_count", ""),
            Build::Sabotaged => ("word_count_sabotaged", " --features tidegate-cli/sabotage"),
        };
        let test = std::env::current_exe().expect("a process knows its executable");
        let target = test.ancestors().nth(2).expect("cargo puts tests into target/PROFILE/deps");
        let path = target.join("examples").join(name);
        let profile = if target.ends_with("release") { " --release" } else { "" };
        assert!(
            path.exists(),
            "{} is not there; build it with: cargo build{profile} -p tidegate-cli --example {name}{flags}",
            path.display()
        );
        path
    }
}

/// How a job keeps its totals, if it does not add to those in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// By a function of all new values of a word, which gives all words out in each batch.
    Update,
    /// By a function of one value, which gives out the words of the batch.
    Map,
}

/// Where a job holds its state while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In memory.
    Memory,
    /// On the local disk.
    Disk,
}

/// A word count with its command line. Without more it has no database, no checkpoint and no end.
#[derive(Clone, Debug)]
pub struct Job {
    build: Build,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    file_blocks_max: Option<u32>,
}

impl Job {
    /// Counts `topic` at `brokers`, in batches of 50 ms, on two workers.
    pub fn new(brokers: &str, topic: &str) -> Job {
        Job::of("kafka-direct").with("--brokers", brokers).with("--topic", topic)
    }

    /// Counts the lines of another source, likewise.
    pub fn of(source: &str) -> Job {
        let job = Job {
            build: Build::Plain,
            arguments: Vec::new(),
            environment: Vec::new(),
            file_blocks_max: None,
        };
        job.with("--source", source).with("--master", "local[2]").with("--batch-interval", "50ms")
    }

    /// With another build.
    #[must_use]
    pub fn build(mut self, build: Build) -> Job {
        self.build = build;
        self
    }

    /// With `name value` on the command line.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Job {
        self.arguments.extend([name.to_owned(), value.to_string()]);
        self
    }

    /// With its journal in `directory`.
    #[must_use]
    pub fn checkpoint(self, directory: &Path) -> Job {
        self.with("--checkpoint", directory.display())
    }

    /// With its totals as state.
    #[must_use]
    pub fn state(self, state: State, store: Store) -> Job {
        let state = match state {
            State::Update => "update",
            State::Map => "map",
        };
        let store = match store {
            Store::Memory => "memory",
            Store::Disk => "disk",
        };
        self.with("--state", state).with("--state-store", store)
    }

    /// Takes so many records a second of each partition.
    #[must_use]
    pub fn rate(self, records_per_second: u32) -> Job {
        self.with("--max-rate-per-partition", records_per_second)
    }

    /// With a setting of the Kafka client.
    #[must_use]
    pub fn kafka(self, key: &str, value: &str) -> Job {
        self.with("--kafka", format!("{key}={value}"))
    }

    /// Ends once all that is in the topic at its start is counted.
    #[must_use]
    pub fn until_caught_up(mut self) -> Job {
        self.arguments.push("--until-caught-up".to_owned());
        self
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Job {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With files of at most so many blocks of 512 bytes: what a full disk looks like, without one.
    #[must_use]
    pub fn file_blocks_max(mut self, blocks: u32) -> Job {
        self.file_blocks_max = Some(blocks);
        self
    }

    /// Starts it.
    pub fn start(&self) -> Run {
        let program = self.build.path();
        let mut command = match self.file_blocks_max {
            None => Command::new(program),
            Some(blocks) => {
                // Ignored, the signal becomes an error of the write; an ignored signal stays so over `exec`.
                let mut sh = Command::new("sh");
                sh.args(["-c", &format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"")])
                    .arg(program);
                sh
            }
        };
        let output = tempfile::tempfile().expect("a temporary file can be made");
        let copy = || output.try_clone().expect("a file can be opened twice");
        command.args(&self.arguments).stdin(Stdio::null()).stdout(copy()).stderr(copy());
        command.env_remove("TIDEGATE_CRASH_AT").env_remove("TIDEGATE_SABOTAGE").env("RUST_LOG", "info");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().expect("the word count can be started");
        Run { child, output }
    }

    /// Starts it and waits for its end.
    pub fn run(&self) -> Ended {
        self.start().wait()
    }
}

/// A job that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Run {
    child: Child,
    output: File,
}

impl Run {
    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far, to both outputs.
    pub fn output(&self) -> String {
        let mut text = vec![0; self.output.metadata().map_or(0, |file| file.len()) as usize];
        let read = self.output.read_at(&mut text, 0).unwrap_or(0);
        String::from_utf8_lossy(&text[..read]).into_owned()
    }

    /// Waits for its end, for at most `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        look_for(limit, || self.child.try_wait().expect("a child can be waited for"))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end, with what it printed.
    pub fn wait(mut self) -> Ended {
        match self.ended_within(PATIENCE) {
            Some(status) => Ended { status, output: self.output() },
            None => panic!("the job did not end within {PATIENCE:?}; it printed:\n{}", self.output()),
        }
    }

    /// Waits until it has printed `text`.
    pub fn wait_for_output(&mut self, text: &str) {
        wait_for(&format!("{text:?} in the output"), || {
            let printed = self.output();
            self.assert_running();
            printed.contains(text).then_some(())
        });
    }

    /// Waits until `look` sees something.
    pub fn wait_until<T>(&mut self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        wait_for(what, || {
            let seen = look();
            if seen.is_none() {
                self.assert_running();
            }
            seen
        })
    }

    /// # Panics
    /// When it has ended, with what it printed.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            panic!("the job has ended, {status}; it printed:\n{}", self.output());
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the job runs");
    }

    /// Takes the bound of [`Job::file_blocks_max`] away: there is room on the disk again.
    pub fn make_room(&self) {
        let unlimited = Rlimit { current: None, maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, unlimited).expect("the job runs");
    }

    /// Kills it by SIGKILL; the end says whether that is what it died of.
    pub fn kill(mut self) -> Ended {
        self.child.kill().expect("a child can be killed");
        self.wait()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // A failed test leaves nothing behind; one that ended already is left alone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a job ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code or the signal.
    pub status: ExitStatus,
    /// All it printed.
    pub output: String,
}

impl Ended {
    /// The signal it died of.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Whether it was killed by SIGKILL.
    pub fn was_killed(&self) -> bool {
        self.signal() == Some(Signal::KILL.as_raw())
    }

    /// # Errors
    /// It ended otherwise than with exit code 0.
    pub fn succeeded(&self) -> Result<(), String> {
        if self.status.success() {
            Ok(())
        } else {
            Err(format!("{}; it printed:\n{}", self.status, self.output))
        }
    }

    /// What it said when it failed with exit code 1: the line that begins with `word_count: `.
    ///
    /// # Panics
    /// When it ended otherwise, or said nothing.
    pub fn refusal(&self) -> &str {
        assert_eq!(self.status.code(), Some(1), "{}; it printed:\n{}", self.status, self.output);
        let line = self.output.lines().find_map(|line| line.strip_prefix("word_count: "));
        line.unwrap_or_else(|| panic!("no line says why it failed:\n{}", self.output))
    }
}
