//! The word count over sources that are no topic: what such a job is started with, and a client that repeats until it is heard.

use crate::database::{Database, Kind};
use crate::kills::Killed;
use crate::patience::wait_for;
use crate::program::{Ended, Job, Run};
use crate::truth::{Totals, compare, totals_of};
use rustix::process::Signal;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// An address of this machine that nobody listens on.
///
/// # Panics
/// When there is none.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}

/// A job over a source, with its directory and its SQLite database. Copies are the same job.
#[derive(Clone)]
pub struct SourceJob {
    directory: Arc<TempDir>,
    database: Arc<Database>,
    job: Job,
}

impl SourceJob {
    /// Counts the lines of `source`, with a checkpoint directory.
    ///
    /// # Panics
    /// When no directory can be made.
    pub fn new(source: &str) -> SourceJob {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let database = Database::new(Kind::Sqlite, directory.path(), "");
        let job =
            Job::of(source).checkpoint(&directory.path().join("checkpoint")).with("--out", database.out());
        SourceJob { directory: Arc::new(directory), database: Arc::new(database), job }
    }

    /// With a write-ahead log on the disk.
    #[must_use]
    pub fn logged(mut self) -> SourceJob {
        let log = self.directory.path().join("log");
        self.job = self.job.with("--wal", log.display());
        self
    }

    /// With a setting of the job.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> SourceJob {
        self.job = self.job.with("--conf", format!("{key}={value}"));
        self
    }

    /// With more of its own.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(Job) -> Job) -> SourceJob {
        self.job = change(self.job);
        self
    }

    /// The directory that is the job's own.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it.
    pub fn start(&self) -> Run {
        self.job.start()
    }

    /// Starts it to be killed at a crash point, and waits for that.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub fn crash(&self, at: &str) {
        let ended = self.job.clone().env("TIDEGATE_CRASH_AT", at).run();
        assert!(ended.was_killed(), "{at}: {}; it printed:\n{}", ended.status, ended.output);
    }

    /// What the database holds.
    pub fn totals(&self) -> Totals {
        self.database.try_read().map(|found| found.totals).unwrap_or_default()
    }

    /// Waits until `run` has counted as many words as `expected` has, has it stop, and checks that it has counted these.
    ///
    /// # Errors
    /// What it has counted otherwise.
    ///
    /// # Panics
    /// When it does not come to as many.
    pub fn finish(&self, mut run: Run, expected: &Totals) -> Result<Ended, String> {
        let words: i64 = expected.values().sum();
        run.wait_until("all words are counted", || {
            (self.totals().values().sum::<i64>() >= words).then_some(())
        });
        self.stop(run, expected)
    }

    /// Has `run` stop, which counts all that its source has taken, and checks that these are the words of `expected` and nothing else.
    ///
    /// # Errors
    /// What it has counted otherwise.
    pub fn stop(&self, mut run: Run, expected: &Totals) -> Result<Ended, String> {
        run.wait_for_output("\" started: ");
        run.signal(Signal::TERM);
        let ended = run.wait();
        ended.succeeded()?;
        compare(&self.totals(), expected)?;
        Ok(ended)
    }
}

impl Killed for SourceJob {
    fn start(&mut self, _: u64) -> Run {
        SourceJob::start(self)
    }

    fn committed(&self) -> u64 {
        self.totals().values().sum::<i64>().unsigned_abs()
    }
}

/// A client that posts lines one request after the other, numbers them, and repeats each until it is answered.
pub struct Client {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64, String>>>,
}

/// Lines in one request.
const LINES: u64 = 3;

impl Client {
    /// Begins to post to `http://ADDRESS/lines`.
    pub fn start(address: &str) -> Client {
        let (stop, url) = (Arc::new(AtomicBool::new(false)), format!("http://{address}/lines"));
        let stopped = stop.clone();
        let post = move || {
            let config = ureq::Agent::config_builder()
                .timeout_global(Some(Duration::from_secs(10)))
                .http_status_as_error(false);
            let agent: ureq::Agent = config.build().into();
            let mut request = 0;
            while !stopped.load(Ordering::Relaxed) {
                wait_for("an answer", || is_stored(&agent, &url, request).transpose())?;
                request += 1;
            }
            Ok(request)
        };
        Client { stop, thread: Some(std::thread::spawn(post)) }
    }

    /// Lets the request that is under way be answered; gives the words of all.
    ///
    /// # Errors
    /// An answer that the client could not expect.
    ///
    /// # Panics
    /// When the client did not get an answer in time.
    pub fn stop(mut self) -> Result<Totals, String> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        let requests = thread.join().expect("every request is answered")?;
        Ok(totals_of((0..requests).flat_map(lines)))
    }
}

fn lines(request: u64) -> impl Iterator<Item = String> {
    (0..LINES).map(move |line| format!("line-{line} request-{}", request % 500))
}

/// Posts a request: `None` when it is not known whether its lines are stored.
fn is_stored(agent: &ureq::Agent, url: &str, request: u64) -> Result<Option<()>, String> {
    let body = lines(request).fold(String::new(), |body, line| body + &line + "\n");
    let post = agent.post(url).header("content-type", "text/plain");
    let post = post.header("tidegate-producer", "client").header("tidegate-sequence", request.to_string());
    match post.send(body) {
        // The job is down, or was killed before it could answer.
        Err(_) => Ok(None),
        Ok(answer) => match answer.status().as_u16() {
            200 => Ok(Some(())),
            429 | 503 => Ok(None),
            other => Err(format!("request {request} was answered with {other}")),
        },
    }
}
