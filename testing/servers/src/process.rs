//! One server process that cannot outlive the process that started it.
//!
//! A plain child lives on when its parent is killed by SIGKILL. So each server has a watchdog: a shell that leads a process
//! group of its own and reads a pipe whose other end only we hold. The server joins that group. When we end, in whatever
//! way, the pipe closes and the shell kills its group, itself included. The watchdog is there before the server is, so no
//! moment is unguarded, and since it leads the group the group's number cannot come to mean another process.

use crate::ServerError;
use crate::error::Tried;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const WATCHDOG: &str = "read _; kill -KILL 0";
const POLL: Duration = Duration::from_millis(20);

/// A running server and its watchdog. Dropping it kills both at once; [`Process::stop`] asks first.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    server: Child,
    watchdog: Child,
    log: PathBuf,
    /// Where this start's part of the log begins: what an earlier start wrote says nothing about this one.
    log_start: u64,
}

impl Process {
    /// Starts `command` with both its outputs appended to `log`.
    pub(crate) fn spawn(name: &'static str, mut command: Command, log: &Path) -> Result<Self, ServerError> {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().tried(|| format!("cannot open the log {}", log.display()))?;
        let err = open().tried(|| format!("cannot open the log {}", log.display()))?;
        let log_start = out.metadata().tried(|| format!("cannot read {}", log.display()))?.len();
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .tried(|| format!("cannot start `sh` to watch over {name}"))?;
        let group = i32::try_from(watchdog.id()).expect("a process id fits into i32");
        let server = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(group).spawn();
        match server.tried(|| format!("cannot start {name} with {}", command.get_program().display())) {
            Ok(server) => Ok(Self { name, server, watchdog, log: log.to_owned(), log_start }),
            Err(error) => {
                end_watchdog(&mut watchdog);
                Err(error)
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.server.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.server.try_wait(), Ok(None))
    }

    /// What was logged since this start.
    pub(crate) fn logged(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_start))?;
            file.read_to_end(&mut text)
        });
        // A log that cannot be read is an empty one: the caller then waits to its deadline and names the log.
        if read.is_err() { String::new() } else { String::from_utf8_lossy(&text).into_owned() }
    }

    /// Returns as soon as `ready` says so. An error if the server ends first, or is not ready within `limit`.
    pub(crate) fn wait_ready(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut(&Self) -> bool,
    ) -> Result<(), ServerError> {
        let deadline = Instant::now() + limit;
        loop {
            if ready(self) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.server.try_wait() {
                return Err(self.failed(format!("{} ended while it started, {status}", self.name)));
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("{} was not ready in {} s", self.name, limit.as_secs())));
            }
            thread::sleep(POLL);
        }
    }

    /// Asks the server by `signal` to end and waits for it. After `limit` it is killed and this is an error: what a test
    /// took for an orderly stop was none.
    pub(crate) fn stop(mut self, signal: Signal, limit: Duration) -> Result<ExitStatus, ServerError> {
        if self.is_running() {
            let pid = Pid::from_child(&self.server);
            kill_process(pid, signal)
                .map_err(std::io::Error::from)
                .tried(|| format!("cannot send a signal to {}", self.name))?;
        }
        let deadline = Instant::now() + limit;
        loop {
            match self.server.try_wait().tried(|| format!("cannot wait for {}", self.name))? {
                Some(status) => return Ok(status),
                None if Instant::now() > deadline => {
                    return Err(self.failed(format!("{} did not stop in {} s", self.name, limit.as_secs())));
                }
                None => thread::sleep(POLL),
            }
        }
    }

    /// Ends the server as a crash would (SIGKILL), and what it started when this is dropped.
    pub(crate) fn kill(&mut self) {
        // Failures are left alone: it is gone already, which is what is wanted.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }

    fn failed(&self, what: String) -> ServerError {
        ServerError::server(what, &self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Failures are left alone: the processes are gone already, which is what is wanted.
        let _ = kill_process_group(Pid::from_child(&self.watchdog), Signal::KILL);
        let _ = self.server.wait();
        end_watchdog(&mut self.watchdog);
    }
}

fn end_watchdog(watchdog: &mut Child) {
    drop(watchdog.stdin.take());
    let _ = watchdog.wait();
}

/// Runs `command` to its end with both outputs appended to `log`; an error that shows the log's end if it fails.
pub(crate) fn run_logged(what: &str, mut command: Command, log: &Path) -> Result<(), ServerError> {
    let output = command.output().tried(|| format!("cannot start {}", command.get_program().display()))?;
    let mut text = fs::read(log).unwrap_or_default();
    text.extend([output.stdout, output.stderr].concat());
    fs::write(log, text).tried(|| format!("cannot write the log {}", log.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ServerError::server(format!("{what} failed, {}", output.status), log))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn server_that_ends_at_start_is_reported_with_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::spawn("the server", sh("echo no such option; exit 3"), &log).unwrap();
        let error = process.wait_ready(LIMIT, |_| false).unwrap_err().to_string();
        assert!(error.contains("the server ended while it started, exit status: 3"), "{error}");
        assert!(error.contains(&log.display().to_string()) && error.contains("no such option"), "{error}");
    }

    #[test]
    fn what_an_earlier_start_logged_does_not_make_this_one_ready() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "started\n").unwrap();
        let mut process = Process::spawn("the server", sh("exit 0"), &log).unwrap();
        assert!(process.wait_ready(LIMIT, |process| process.logged().contains("started")).is_err());
    }

    #[test]
    fn stop_lets_the_server_end_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap 'echo bye; exit 7' TERM; echo started; while :; do sleep 0.05; done";
        let mut process = Process::spawn("the server", sh(script), &dir.path().join("log")).unwrap();
        process.wait_ready(LIMIT, |process| process.logged().contains("started")).unwrap();
        assert_eq!(process.stop(Signal::TERM, LIMIT).unwrap().code(), Some(7));
        assert_eq!(fs::read_to_string(dir.path().join("log")).unwrap(), "started\nbye\n");
    }

    #[test]
    fn drop_kills_what_the_server_started_too() {
        let dir = tempfile::tempdir().unwrap();
        let script = "sleep 1000 & echo $!; wait";
        let mut process = Process::spawn("the server", sh(script), &dir.path().join("log")).unwrap();
        process.wait_ready(LIMIT, |process| process.logged().ends_with('\n')).unwrap();
        let child: i32 = process.logged().trim().parse().unwrap();
        drop(process);
        assert_gone(child);
    }

    /// The watchdog as it is used, under a holder of the pipe that is killed by SIGKILL.
    #[test]
    fn watchdog_kills_its_group_when_the_holder_of_the_pipe_is_killed() {
        let script = format!("(sleep 1000 & echo $!; {WATCHDOG})");
        let mut holder = Command::new("sleep").arg("1000").stdout(Stdio::piped()).spawn().unwrap();
        let pipe = holder.stdout.take().unwrap();
        let mut watchdog = sh(&script).stdin(pipe).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(watchdog.stdout.take().unwrap()).read_line(&mut line).unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(!watchdog.wait().unwrap().success());
        assert_gone(line.trim().parse().unwrap());
    }

    /// A killed process stays visible until its parent, or whoever inherits it, has waited for it.
    fn assert_gone(pid: i32) {
        let deadline = Instant::now() + LIMIT;
        while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "process {pid} lives on");
            thread::yield_now();
        }
    }
}
