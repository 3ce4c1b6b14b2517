//! The real servers of a test run, and `cargo xtask servers`.

use crate::{Outcome, TaskResult};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, process, thread};
use tidegate_servers::needs::{Need, install_command};
use tidegate_servers::{
    KAFKA_ENV, KAFKA_SASL_ENV, Kafka, POSTGRES_ENV, Postgres, SASL_PASSWORD, SASL_USER, cache_dir,
};

const RUN_PREFIX: &str = "run-";

/// Checks that everything needed besides Rust is here; otherwise one error that names all that is not.
pub(crate) fn check_needs() -> Result<(), Box<dyn Error>> {
    let lacking: Vec<(Need, String)> =
        Need::ALL.into_iter().filter_map(|need| Some((need, need.check().err()?.to_string()))).collect();
    match lacking.as_slice() {
        [] => Ok(()),
        [(_, only)] => Err(only.clone().into()),
        several => {
            let texts: Vec<&str> = several.iter().map(|(_, text)| text.as_str()).collect();
            let needs: Vec<Need> = several.iter().map(|&(need, _)| need).collect();
            Err(format!("{}\nAll of it: {}", texts.join("\n"), install_command(&needs)).into())
        }
    }
}

/// One Kafka and one PostgreSQL, and the directory they run in.
pub(crate) struct Servers {
    kafka: Kafka,
    postgres: Postgres,
    dir: PathBuf,
}

impl Servers {
    /// Starts both in a directory of this process, after removing those of processes that are no more.
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        remove_old_runs(&cache_dir());
        let dir = cache_dir().join(format!("{RUN_PREFIX}{}", process::id()));
        // A process with our number may have been here before a reboot.
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let start = Instant::now();
        println!("\n==> starting Kafka and PostgreSQL in {}", dir.display());
        let postgres = Postgres::start(&dir.join("postgres"))?;
        let kafka = Kafka::options().sasl(SASL_USER, SASL_PASSWORD).start(&dir.join("kafka"))?;
        println!("<== {:.1} s: both are ready", start.elapsed().as_secs_f64());
        Ok(Self { kafka, postgres, dir })
    }

    /// Where Kafka listens.
    pub(crate) fn kafka(&self) -> String {
        self.kafka.bootstrap()
    }

    /// What tests read; see `tidegate_servers::Shared`.
    pub(crate) fn environment(&self) -> [(&'static str, String); 3] {
        let sasl = self.kafka.sasl_bootstrap().expect("start() asked for it");
        [(KAFKA_ENV, self.kafka.bootstrap()), (KAFKA_SASL_ENV, sasl), (POSTGRES_ENV, self.postgres.url())]
    }

    /// Stops both. Their directory is kept after a failure: their logs may say why.
    pub(crate) fn stop(mut self, outcome: Outcome) -> Result<(), Box<dyn Error>> {
        self.kafka.stop()?;
        self.postgres.stop()?;
        match outcome {
            Outcome::Passed => fs::remove_dir_all(&self.dir)?,
            Outcome::Failed => println!("the servers' logs are in {}", self.dir.display()),
        }
        Ok(())
    }
}

/// Fetches both servers.
pub(crate) fn fetch() -> TaskResult {
    check_needs()?;
    tidegate_servers::fetch()?;
    println!("Kafka and PostgreSQL are in {}", cache_dir().display());
    Ok(Outcome::Passed)
}

/// Starts both servers and stays until Ctrl-C, which ends them too: they never outlive this process.
pub(crate) fn up() -> TaskResult {
    check_needs()?;
    let mut servers = Servers::start()?;
    for (name, value) in servers.environment() {
        println!("export {name}='{value}'");
    }
    println!("# user {SASL_USER}, password {SASL_PASSWORD}; Ctrl-C ends both");
    loop {
        thread::sleep(Duration::from_secs(1));
        if !servers.kafka.is_running() {
            return Err(format!("Kafka ended by itself; see {}", servers.kafka.log().display()).into());
        }
        if !servers.postgres.is_running() {
            return Err(
                format!("PostgreSQL ended by itself; see {}", servers.postgres.log().display()).into()
            );
        }
    }
}

/// Best effort: a directory that stays costs space only.
fn remove_old_runs(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(Ok(pid)) = name.strip_prefix(RUN_PREFIX).map(str::parse::<u32>) else { continue };
        if Path::new("/proc/self").exists() && !Path::new(&format!("/proc/{pid}")).exists() {
            let _ = fs::remove_dir_all(&path);
        }
    }
}
