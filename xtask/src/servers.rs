//! The real servers of a test run, and `cargo xtask servers`.

use crate::{Outcome, TaskResult};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, process, thread};
use tidegate_servers::needs::{Need, install_command};
use tidegate_servers::{
    ALLUXIO_ENV, Alluxio, ELASTICSEARCH_ENV, Elasticsearch, HBASE_ENV, HDFS_ENV, Hbase, Hdfs, KAFKA_ENV,
    KAFKA_SASL_ENV, Kafka, POSTGRES_ENV, Postgres, S3, S3_ENV, SASL_PASSWORD, SASL_USER, ServerError,
    cache_dir,
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

/// A server that this program can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kafka,
    Postgres,
    Hdfs,
    S3,
    Alluxio,
    Elasticsearch,
    Hbase,
}

impl Kind {
    pub(crate) const ALL: [Kind; 7] =
        [Kind::Kafka, Kind::Postgres, Kind::Hdfs, Kind::S3, Kind::Alluxio, Kind::Elasticsearch, Kind::Hbase];
    /// What jobs read and write. Quick to start, which the storages for checkpoints are not.
    pub(crate) const USUAL: [Kind; 2] = [Kind::Kafka, Kind::Postgres];

    /// The usual ones, and those that `names` speak of: a test that needs another one has it in its name.
    pub(crate) fn for_tests_named(names: &[&str]) -> Vec<Kind> {
        let speaks_of = |kind: Kind| names.iter().any(|name| name.split('_').any(|part| part == kind.name()));
        Kind::ALL.into_iter().filter(|kind| Kind::USUAL.contains(kind) || speaks_of(*kind)).collect()
    }

    /// Its name on the command line, and that of its directory.
    fn name(self) -> &'static str {
        match self {
            Kind::Kafka => "kafka",
            Kind::Postgres => "postgres",
            Kind::Hdfs => "hdfs",
            Kind::S3 => "s3",
            Kind::Alluxio => "alluxio",
            Kind::Elasticsearch => "elasticsearch",
            Kind::Hbase => "hbase",
        }
    }

    fn start(self, dir: &Path) -> Result<Running, ServerError> {
        let dir = dir.join(self.name());
        Ok(match self {
            Kind::Kafka => Running::Kafka(Kafka::options().sasl(SASL_USER, SASL_PASSWORD).start(&dir)?),
            Kind::Postgres => Running::Postgres(Postgres::start(&dir)?),
            Kind::Hdfs => Running::Hdfs(Hdfs::start(&dir)?),
            Kind::S3 => Running::S3(S3::start(&dir)?),
            Kind::Alluxio => Running::Alluxio(Alluxio::start(&dir)?),
            Kind::Elasticsearch => Running::Elasticsearch(Elasticsearch::start(&dir)?),
            Kind::Hbase => Running::Hbase(Hbase::start(&dir)?),
        })
    }
}

/// The servers that `names` name; the usual ones for none.
fn kinds(names: &[&str]) -> Result<Vec<Kind>, String> {
    if names.is_empty() {
        return Ok(Kind::USUAL.to_vec());
    }
    let all = Kind::ALL.map(Kind::name);
    let kind = |name: &str| {
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("no such server: {name}; there are {}", all.join(", ")))
    };
    let mut kinds = Vec::new();
    for name in names {
        let kind = kind(name)?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// A server that was started.
enum Running {
    Kafka(Kafka),
    Postgres(Postgres),
    Hdfs(Hdfs),
    S3(S3),
    Alluxio(Alluxio),
    Elasticsearch(Elasticsearch),
    Hbase(Hbase),
}

impl Running {
    /// What tests read; see `tidegate_servers::Shared`.
    fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Running::Kafka(kafka) => {
                let sasl = kafka.sasl_bootstrap().expect("start() asked for it");
                vec![(KAFKA_ENV, kafka.bootstrap()), (KAFKA_SASL_ENV, sasl)]
            }
            Running::Postgres(postgres) => vec![(POSTGRES_ENV, postgres.url())],
            Running::Hdfs(hdfs) => vec![(HDFS_ENV, hdfs.url())],
            Running::S3(s3) => vec![(S3_ENV, s3.endpoint())],
            Running::Alluxio(alluxio) => vec![(ALLUXIO_ENV, alluxio.rest())],
            Running::Elasticsearch(elasticsearch) => vec![(ELASTICSEARCH_ENV, elasticsearch.url())],
            Running::Hbase(hbase) => vec![(HBASE_ENV, hbase.thrift())],
        }
    }

    /// What a person who tries things must know beside the address.
    fn hint(&self) -> Option<String> {
        match self {
            Running::Kafka(_) => Some(format!("SASL user {SASL_USER}, password {SASL_PASSWORD}")),
            Running::S3(s3) => Some(format!(
                "s3://{}/PREFIX with AWS_ENDPOINT_URL={} AWS_ALLOW_HTTP=true AWS_ACCESS_KEY_ID={} \
                 AWS_SECRET_ACCESS_KEY={}",
                S3::BUCKET,
                s3.endpoint(),
                S3::ACCESS_KEY_ID,
                S3::SECRET_ACCESS_KEY
            )),
            Running::Postgres(_)
            | Running::Hdfs(_)
            | Running::Alluxio(_)
            | Running::Elasticsearch(_)
            | Running::Hbase(_) => None,
        }
    }

    fn is_running(&mut self) -> bool {
        match self {
            Running::Kafka(kafka) => kafka.is_running(),
            Running::Postgres(postgres) => postgres.is_running(),
            Running::Hdfs(hdfs) => hdfs.is_running(),
            Running::S3(s3) => s3.is_running(),
            Running::Alluxio(alluxio) => alluxio.is_running(),
            Running::Elasticsearch(elasticsearch) => elasticsearch.is_running(),
            Running::Hbase(hbase) => hbase.is_running(),
        }
    }

    fn log(&self) -> PathBuf {
        match self {
            Running::Kafka(kafka) => kafka.log(),
            Running::Postgres(postgres) => postgres.log(),
            Running::Hdfs(hdfs) => hdfs.log(),
            Running::S3(s3) => s3.log(),
            Running::Alluxio(alluxio) => alluxio.log(),
            Running::Elasticsearch(elasticsearch) => elasticsearch.log(),
            Running::Hbase(hbase) => hbase.log(),
        }
    }

    fn stop(&mut self) -> Result<(), ServerError> {
        match self {
            Running::Kafka(kafka) => kafka.stop(),
            Running::Postgres(postgres) => postgres.stop(),
            Running::Hdfs(hdfs) => hdfs.stop(),
            Running::S3(s3) => s3.stop(),
            Running::Alluxio(alluxio) => alluxio.stop(),
            Running::Elasticsearch(elasticsearch) => elasticsearch.stop(),
            Running::Hbase(hbase) => hbase.stop(),
        }
    }
}

/// The servers of a run, and the directory they run in.
pub(crate) struct Servers {
    running: Vec<(Kind, Running)>,
    dir: PathBuf,
}

impl Servers {
    /// Starts `kinds` at the same time in a directory of this process, after removing those of processes that are no more.
    pub(crate) fn start(kinds: &[Kind]) -> Result<Self, Box<dyn Error>> {
        remove_old_runs(&cache_dir());
        let dir = cache_dir().join(format!("{RUN_PREFIX}{}", process::id()));
        // A process with our number may have been here before a reboot.
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let start = Instant::now();
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        println!("\n==> starting {} in {}", names.join(", "), dir.display());
        let started: Vec<Result<Running, ServerError>> = thread::scope(|scope| {
            let dir = &dir;
            let threads: Vec<_> = kinds.iter().map(|kind| scope.spawn(move || kind.start(dir))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a start gives errors, no panics"))
                .collect()
        });
        let running = started.into_iter().collect::<Result<Vec<_>, _>>()?;
        println!("<== {:.1} s: all are ready", start.elapsed().as_secs_f64());
        Ok(Self { running: kinds.iter().copied().zip(running).collect(), dir })
    }

    /// Where Kafka listens.
    pub(crate) fn kafka(&self) -> String {
        let environment = self.environment().into_iter();
        let kafka = environment.filter(|(name, _)| *name == KAFKA_ENV).map(|(_, address)| address).next();
        kafka.expect("every run of tests has a Kafka")
    }

    /// What tests read; see `tidegate_servers::Shared`.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        self.running.iter().flat_map(|(_, running)| running.environment()).collect()
    }

    /// Where they run. Whatever else is put there stays or goes with their logs.
    pub(crate) fn directory(&self) -> &Path {
        &self.dir
    }

    /// Stops all. Their directory is kept after a failure: their logs may say why.
    pub(crate) fn stop(mut self, outcome: Outcome) -> Result<(), Box<dyn Error>> {
        for (_, running) in &mut self.running {
            running.stop()?;
        }
        match outcome {
            Outcome::Passed => fs::remove_dir_all(&self.dir)?,
            Outcome::Failed => println!("what the servers and the tests said is in {}", self.dir.display()),
        }
        Ok(())
    }
}

/// Fetches every server.
pub(crate) fn fetch() -> TaskResult {
    check_needs()?;
    tidegate_servers::fetch()?;
    println!("{} are in {}", Kind::ALL.map(Kind::name).join(", "), cache_dir().display());
    Ok(Outcome::Passed)
}

/// Starts the servers of those names and stays until Ctrl-C, which ends them too: they never outlive this process.
pub(crate) fn up(names: &[&str]) -> TaskResult {
    let kinds = kinds(names)?;
    check_needs()?;
    let mut servers = Servers::start(&kinds)?;
    for (name, value) in servers.environment() {
        println!("export {name}='{value}'");
    }
    for hint in servers.running.iter().filter_map(|(_, running)| running.hint()) {
        println!("# {hint}");
    }
    println!("# Ctrl-C ends them");
    loop {
        thread::sleep(Duration::from_secs(1));
        for (kind, running) in &mut servers.running {
            if !running.is_running() {
                let (name, log) = (kind.name(), running.log());
                return Err(format!("{name} ended by itself; see {}", log.display()).into());
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_get_the_servers_that_are_in_their_names_beside_the_usual_ones() {
        assert_eq!(Kind::for_tests_named(&["kills", "checkpoints"]), Kind::USUAL);
        let expected = [Kind::Kafka, Kind::Postgres, Kind::Hdfs, Kind::S3];
        assert_eq!(Kind::for_tests_named(&["checkpoints_in_s3", "hdfs"]), expected);
    }

    #[test]
    fn servers_are_chosen_by_name_and_the_quick_ones_without() {
        assert_eq!(kinds(&[]), Ok(vec![Kind::Kafka, Kind::Postgres]));
        assert_eq!(kinds(&["s3", "hdfs", "s3"]), Ok(vec![Kind::S3, Kind::Hdfs]));
        let expected =
            "no such server: mysql; there are kafka, postgres, hdfs, s3, alluxio, elasticsearch, hbase";
        assert_eq!(kinds(&["s3", "mysql"]), Err(expected.to_owned()));
    }
}
