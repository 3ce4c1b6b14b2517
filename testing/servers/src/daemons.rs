//! Several Java processes that are one server: started together, ready together, ended together.

use crate::ServerError;
use crate::needs;
use crate::process::Process;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks whether a server is ready: a look costs it something while it has enough to do.
const LOOK: Duration = Duration::from_millis(100);

/// One Java process of a server.
#[derive(Debug)]
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    pub(crate) command: Command,
    pub(crate) log: PathBuf,
}

/// A server's processes; none when it is stopped.
#[derive(Debug, Default)]
pub(crate) struct Daemons {
    processes: Vec<Process>,
}

impl Daemons {
    /// Starts all of them and returns when `ready` says so. An error if one ends first, or they are not ready in `limit`; then
    /// none is left.
    pub(crate) fn start(
        daemons: Vec<Daemon>,
        limit: Duration,
        ready: impl FnMut() -> bool,
    ) -> Result<Daemons, ServerError> {
        Daemons::default().complete(daemons, limit, ready)
    }

    /// As [`Daemons::start`], of the `daemons` after the last that is there: those before it are left alone.
    pub(crate) fn complete(
        mut self,
        daemons: Vec<Daemon>,
        limit: Duration,
        ready: impl FnMut() -> bool,
    ) -> Result<Daemons, ServerError> {
        let gone = self.processes.iter_mut().position(|process| !process.is_running());
        let there = gone.unwrap_or(self.processes.len());
        self.processes.truncate(there);
        for daemon in daemons.into_iter().skip(there) {
            self.processes.push(Process::spawn(daemon.name, daemon.command, &daemon.log)?);
        }
        self.wait_ready(limit, ready)?;
        Ok(self)
    }

    fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<(), ServerError> {
        let (first, others) = self.processes.split_first_mut().expect("a server has a process");
        let mut ended = None;
        first.wait_ready(limit, |_| {
            ended = others.iter_mut().position(|other| !other.is_running());
            let settled = ended.is_some() || ready();
            if !settled {
                thread::sleep(LOOK);
            }
            settled
        })?;
        // What the ended one says of itself.
        ended.map_or(Ok(()), |ended| others[ended].wait_ready(Duration::ZERO, |_| false))
    }

    /// Whether all of them are there.
    pub(crate) fn are_running(&mut self) -> bool {
        !self.processes.is_empty() && self.processes.iter_mut().all(Process::is_running)
    }

    /// Ends them in order (SIGTERM), the last that was started first, and waits. Does nothing if they are stopped.
    pub(crate) fn stop(&mut self) -> Result<(), ServerError> {
        while let Some(process) = self.processes.pop() {
            process.stop(Signal::TERM, STOP_LIMIT)?;
        }
        Ok(())
    }

    /// Ends the one that was started last as a crash would (SIGKILL).
    pub(crate) fn kill_last(&mut self) {
        if let Some(last) = self.processes.last_mut() {
            last.kill();
        }
    }

    /// Ends all of them as a crash would (SIGKILL).
    pub(crate) fn kill(&mut self) {
        self.processes.clear();
    }
}

/// A Java that starts quickly and stays small, in `dir`. Main class and arguments are to follow.
pub(crate) fn java(class_path: &str, dir: &Path, heap_mib: u32) -> Command {
    let mut java = Command::new(needs::java());
    // The class path goes by environment: as an argument it fills every process listing.
    java.env("CLASSPATH", class_path).current_dir(dir);
    java.arg(format!("-Xmx{heap_mib}m"));
    java.args([
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Djava.net.preferIPv4Stack=true",
    ]);
    for package in OPENED {
        java.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
    }
    java
}

/// Packages of Java's own that servers written for Java 8 look into.
const OPENED: [&str; 7] = [
    "java.lang",
    "java.nio",
    "java.util",
    "java.util.concurrent",
    "jdk.internal.misc",
    "jdk.internal.ref",
    "sun.nio.ch",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_early_fails_the_start_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let daemon = |name, script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Daemon { name, command, log: dir.path().join(name) }
        };
        let daemons = vec![daemon("one", "sleep 1000"), daemon("two", "echo no such disk; exit 4")];
        let error = Daemons::start(daemons, Duration::from_secs(20), || false).unwrap_err().to_string();
        assert!(error.contains("two ended while it started, exit status: 4"), "{error}");
        assert!(error.contains("no such disk"), "{error}");
    }
}
