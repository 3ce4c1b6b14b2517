//! The job as a process: started, killed, told to stop. It never outlives the value that stands for it.

use super::job::{Batch, STOP};
use super::workplace::Workplace;
use crate::exit::Failure;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Batches told of and not looked at yet, at most; beyond, the job's listener waits (its batches do not).
const BATCHES_WAITING_MAX: usize = 1024;
/// Lines of standard error that are kept, the newest.
const STDERR_LINES_MAX: usize = 40;
/// Pause between two looks whether the process is gone.
const PAUSE: Duration = Duration::from_millis(5);

/// How to start the job.
pub(super) struct Launch {
    /// Found once: the file may be built anew while the demo runs.
    program: PathBuf,
    arguments: Vec<std::ffi::OsString>,
}

impl Launch {
    pub(super) fn new(brokers: &str, workplace: &Workplace, master: &str) -> Result<Launch, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::of("can't find the program's own file", error))?;
        let arguments = vec![
            "demo-job".into(),
            "--brokers".into(),
            brokers.into(),
            "--checkpoint".into(),
            workplace.checkpoint().into(),
            "--database".into(),
            workplace.database().into(),
            "--master".into(),
            master.into(),
        ];
        Ok(Launch { program, arguments })
    }
}

/// What comes from the process.
pub(super) enum Told {
    /// It committed a batch.
    Batch(Batch),
    /// It has closed its standard output: it is gone, or about to be.
    Ended,
    /// Nothing, for as long as was waited.
    Nothing,
}

/// A running job process. Dropped, it is killed.
pub(super) struct JobProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    batches: Receiver<Batch>,
    stderr: Option<JoinHandle<VecDeque<String>>>,
}

impl JobProcess {
    pub(super) fn start(launch: &Launch) -> Result<JobProcess, Failure> {
        let failed = |error: std::io::Error| Failure::of("can't start the job process", error);
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for the demo alone, which then ends the job.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (told, batches) = sync_channel(BATCHES_WAITING_MAX);
        // From here on an early return kills the process.
        let mut job = JobProcess { child, stdin, batches, stderr: None };
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(Failure::of("can't start the job process", "no pipes to it"));
        };
        thread("demo-batches", move || tell_batches(stdout, &told)).map_err(failed)?;
        job.stderr = Some(thread("demo-stderr", move || newest_lines(stderr)).map_err(failed)?);
        Ok(job)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next thing told, waiting for at most `most`.
    pub(super) fn next(&self, most: Duration) -> Told {
        match self.batches.recv_timeout(most) {
            Ok(batch) => Told::Batch(batch),
            Err(RecvTimeoutError::Timeout) => Told::Nothing,
            Err(RecvTimeoutError::Disconnected) => Told::Ended,
        }
    }

    /// SIGKILL. Gives what it had told and nobody had looked at.
    pub(super) fn kill(mut self) -> Result<Vec<Batch>, Failure> {
        let failed = |error: std::io::Error| Failure::of("can't kill the job process", error);
        if let Some(status) = self.child.try_wait().map_err(failed)? {
            return Err(self.ended_by_itself(Some(status)));
        }
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(self.batches.iter().collect())
    }

    /// Tells it to end after what is planned.
    pub(super) fn tell_to_stop(&mut self) -> Result<(), Failure> {
        let told = self.stdin.as_mut().map_or(Ok(()), |stdin| writeln!(stdin, "{STOP}"));
        told.map_err(|error| self.failed(&format!("the job process can't be told to stop: {error}")))
    }

    /// Waits for the end of a process that was told to stop and has said its last.
    pub(super) fn wait(mut self, most: Duration) -> Result<(), Failure> {
        match self.status(most) {
            Some(status) if status.success() => Ok(()),
            Some(status) => {
                Err(self.failed(&format!("the job process was told to stop and failed ({status})")))
            }
            None => Err(self.failed("the job process was told to stop and did not end")),
        }
    }

    /// What there is to say of a process that ended and was not asked to.
    pub(super) fn ended(mut self, most: Duration) -> Failure {
        let status = self.status(most);
        self.ended_by_itself(status)
    }

    /// `what` is wrong with the process: kills it, and says so with its last words.
    pub(super) fn failed(&mut self, what: &str) -> Failure {
        self.end();
        let lines = self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let mut text = format!("{what}; ");
        text.push_str(if lines.is_empty() { "it wrote no error" } else { "the last it wrote:" });
        for line in lines {
            text.push_str("\n  ");
            text.push_str(&line);
        }
        Failure::Failed(text)
    }

    fn ended_by_itself(&mut self, status: Option<ExitStatus>) -> Failure {
        let how = status.map_or_else(|| "its output is closed".to_owned(), |status| status.to_string());
        self.failed(&format!("the job process ended by itself ({how})"))
    }

    fn status(&mut self, most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + most;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                status => return status.ok().flatten(),
            }
        }
    }

    fn end(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for JobProcess {
    fn drop(&mut self) {
        self.end();
    }
}

fn thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn tell_batches(stdout: impl Read, told: &SyncSender<Batch>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        // A process that is killed may leave half a line behind.
        let Ok(batch) = serde_json::from_str(&line) else { continue };
        if told.send(batch).is_err() {
            return;
        }
    }
}

fn newest_lines(stderr: impl Read) -> VecDeque<String> {
    let mut newest = VecDeque::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if newest.len() == STDERR_LINES_MAX {
            newest.pop_front();
        }
        newest.push_back(line);
    }
    newest
}
