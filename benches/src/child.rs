//! A program that is measured: started, watched, ended, and never left behind.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tidegate_benches::peak_rss_mib;

const POLL: Duration = Duration::from_millis(5);
const TAIL_LINES: usize = 15;

/// A program that runs. Dropping it kills it.
pub(crate) struct Running {
    what: String,
    child: Child,
    started: Instant,
    out: PathBuf,
    log: PathBuf,
    peak_rss_mib: f64,
}

/// A program that has ended well.
pub(crate) struct Ended {
    /// What it printed to standard output.
    pub(crate) out: String,
    pub(crate) wall: Duration,
    /// As seen from outside, up to some milliseconds before its end.
    pub(crate) peak_rss_mib: f64,
}

impl Ended {
    /// The JSON line that the peers print last.
    pub(crate) fn json(&self) -> Result<Value, Box<dyn Error>> {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(|error| format!("no figures in `{line}`: {error}").into())
    }
}

impl Running {
    /// Starts `command`; its output and its log go to files in `dir`, named after `what`.
    pub(crate) fn start(what: &str, mut command: Command, dir: &Path) -> Result<Self, Box<dyn Error>> {
        let file = what.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let (out, log) = (dir.join(format!("{file}.out")), dir.join(format!("{file}.log")));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&log)?)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        Ok(Self { what: what.to_owned(), child, started: Instant::now(), out, log, peak_rss_mib: 0.0 })
    }

    /// Waits for it to end by itself, and well.
    pub(crate) fn wait(mut self, limit: Duration) -> Result<Ended, Box<dyn Error>> {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.poll()? {
                break status;
            }
            if Instant::now() > deadline {
                return Err(self.failed(&format!("did not end in {} s", limit.as_secs())));
            }
            thread::sleep(POLL);
        };
        let wall = self.started.elapsed();
        if !status.success() {
            return Err(self.failed(&status.to_string()));
        }
        Ok(Ended { out: fs::read_to_string(&self.out)?, wall, peak_rss_mib: self.peak_rss_mib })
    }

    /// Asks it to end (SIGTERM) and waits.
    pub(crate) fn terminate(mut self, limit: Duration) -> Result<Ended, Box<dyn Error>> {
        if self.poll()?.is_some() {
            return Err(self.failed("ended before it was asked to"));
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.wait(limit)
    }

    /// Ends it as a crash would (SIGKILL) when it has run for `age`. False if it had ended by then.
    pub(crate) fn kill_at(mut self, age: Duration) -> Result<bool, Box<dyn Error>> {
        while self.started.elapsed() < age {
            if self.poll()?.is_some() {
                return Ok(false);
            }
            thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(true)
    }

    fn poll(&mut self) -> Result<Option<ExitStatus>, Box<dyn Error>> {
        if let Some(peak) = peak_rss_mib(&self.child.id().to_string()) {
            self.peak_rss_mib = peak;
        }
        Ok(self.child.try_wait()?)
    }

    fn failed(&self, why: &str) -> Box<dyn Error> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        format!("{}: {why}; the last lines of {}:\n{tail}", self.what, self.log.display()).into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
