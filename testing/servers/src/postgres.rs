//! One PostgreSQL server, as tests want it: one user `test`, trusted on loopback, with a database `test`.
//!
//! PostgreSQL refuses to run as root. When we are root it runs as `nobody`, which needs no new user; its data then belong to
//! `nobody`, and where that user cannot reach the given directory they lie in the system's temporary directory instead.

use crate::error::Tried;
use crate::nobody::{Scratch, owned_dir, run_as_nobody};
use crate::ports::Port;
use crate::process::{Process, run_logged};
use crate::{ServerError, fetch};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

const READY_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// After a SIGKILL of the server its sessions take a moment to notice; until then a start is refused with this.
const STILL_ENDING: &str = "pre-existing shared memory block";

/// How a [`Postgres`] is to be; made by [`Postgres::options`].
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    settings: BTreeMap<String, String>,
}

impl PostgresOptions {
    /// Sets a server parameter, over what this module would set.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Starts a server whose log is in `dir`, and its data too unless we are root and `nobody` cannot get there.
    ///
    /// Data of an earlier server there is kept and served.
    pub fn start(self, dir: &Path) -> Result<Postgres, ServerError> {
        fetch::create_open_dir(dir)?;
        let dir = dir.canonicalize().tried(|| format!("cannot find {}", dir.display()))?;
        let home = fetch::postgres_home()?;
        let (data, scratch) = owned_dir(&dir, "postgres", "data")?;
        let mut postgres = Postgres {
            options: self,
            home,
            data,
            log: dir.join("postgres.log"),
            port: Port::free()?,
            process: None,
            _scratch: scratch,
        };
        if !postgres.data.join("PG_VERSION").exists() {
            postgres.create_cluster()?;
        }
        postgres.start_again()?;
        Ok(postgres)
    }
}

/// A PostgreSQL server on loopback that lives as long as this value at most.
#[derive(Debug)]
pub struct Postgres {
    // The process before the scratch directory: the server must be gone when its data are removed.
    process: Option<Process>,
    options: PostgresOptions,
    home: PathBuf,
    data: PathBuf,
    log: PathBuf,
    port: Port,
    _scratch: Option<Scratch>,
}

impl Postgres {
    /// The settings of [`Postgres::start`], to be changed.
    pub fn options() -> PostgresOptions {
        PostgresOptions::default()
    }

    /// Starts a server in `dir` and returns when it takes connections. `fsync` is on: a commit survives as it would in use.
    pub fn start(dir: &Path) -> Result<Self, ServerError> {
        Self::options().start(dir)
    }

    /// The address for clients, `postgres://test@127.0.0.1:PORT/test`. It stays the same over stops and starts of this value.
    pub fn url(&self) -> String {
        format!("postgres://test@127.0.0.1:{}/test", self.port.number())
    }

    /// The file that all starts of this server log to.
    pub fn log(&self) -> PathBuf {
        self.log.clone()
    }

    /// Whether the server's process is there. False also when it ended by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Ends the server in order and waits. Open sessions are cut and their transactions rolled back (PostgreSQL's "fast"
    /// shutdown). Does nothing if it is stopped.
    pub fn stop(&mut self) -> Result<(), ServerError> {
        self.process.take().map_or(Ok(()), |process| process.stop(Signal::INT, STOP_LIMIT).map(drop))
    }

    /// Ends the server as a crash would (SIGKILL). What was committed survives.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the server after [`Postgres::stop`] or [`Postgres::kill`]: same port, same data. A running one is left alone.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        if self.is_running() {
            return Ok(());
        }
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let mut process = Process::spawn("PostgreSQL", self.server_command(), &self.log)?;
            let status = self.data.join("postmaster.pid");
            match process.wait_ready(READY_LIMIT, |process| says_ready(&status, process.id())) {
                Ok(()) => {
                    self.process = Some(process);
                    return Ok(());
                }
                Err(_) if process.logged().contains(STILL_ENDING) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Stops the server in order and starts it again.
    pub fn restart(&mut self) -> Result<(), ServerError> {
        self.stop()?;
        self.start_again()
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.home.join("bin").join(name));
        // The locale of the person who runs the tests must not decide how text sorts.
        command.env("LC_ALL", "C").env("TZ", "UTC").current_dir("/");
        run_as_nobody(&mut command);
        command
    }

    fn server_command(&self) -> Command {
        let mut settings: BTreeMap<&str, &str> = SETTINGS.iter().copied().collect();
        settings.extend(self.options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut command = self.program("postgres");
        command.arg("-D").arg(&self.data).arg("-p").arg(self.port.number().to_string());
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
    }

    fn create_cluster(&self) -> Result<(), ServerError> {
        let mut initdb = self.program("initdb");
        initdb.args([
            "-U",
            "test",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
            "-D",
        ]);
        initdb.arg(&self.data);
        run_logged("creating PostgreSQL's data directory", initdb, &self.log)?;
        self.create_database()
    }

    /// By the server's single-user mode: the fetched files have no client program.
    fn create_database(&self) -> Result<(), ServerError> {
        let what = || "cannot create the database test".to_owned();
        let mut single = self.program("postgres");
        single.args([
            OsStr::new("--single"),
            OsStr::new("-D"),
            self.data.as_os_str(),
            OsStr::new("postgres"),
        ]);
        single.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = single.spawn().tried(what)?;
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(b"CREATE DATABASE test\n").tried(what)?;
        drop(stdin);
        let output = child.wait_with_output().tried(what)?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        // Single-user mode ends with success whatever the statement did.
        if output.status.success() && !text.contains("ERROR") {
            return Ok(());
        }
        fs::write(&self.log, text).tried(|| format!("cannot write the log {}", self.log.display()))?;
        Err(ServerError::server("creating the database test failed", &self.log))
    }
}

const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    // No socket file: its usual directory may not be there, and its path may not be longer than 107 bytes.
    ("unix_socket_directories", ""),
    ("max_connections", "100"),
    // Two-phase commit is off without it.
    ("max_prepared_transactions", "16"),
    ("shared_buffers", "32MB"),
];

/// What `pg_ctl -w` looks at: the server's own number first, its state on the eighth line. A killed server leaves its file.
fn says_ready(status_file: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(status_file).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.next() == Some(&pid.to_string()) && lines.nth(6).is_some_and(|state| state == "ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_state_that_this_process_wrote_counts_as_ready() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postmaster.pid");
        let ready = "42\n/data\n1700000000\n5432\n\n127.0.0.1\n  1 2\nready   \n";
        for (text, expected) in [
            (ready.to_owned(), true),
            (ready.replace("42\n", "41\n"), false),
            (ready.replace("ready", "starting"), false),
            (String::new(), false),
        ] {
            fs::write(&file, &text).unwrap();
            assert_eq!(says_ready(&file, 42), expected, "{text}");
        }
    }
}
