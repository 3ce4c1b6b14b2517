//! Brings the servers' files from Maven Central into `target/servers`, once for all processes.
//!
//! A file lock makes the first use by several processes safe; a finished directory appears by rename, so that a fetch that
//! was killed half way is done again and never taken for whole.

use crate::ServerError;
use crate::error::{Tried, last_lines};
use crate::needs::Need;
use std::env;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const KAFKA_VERSION: &str = "4.1.0";
pub(crate) const POSTGRES_VERSION: &str = "17.5.0";
const HDFS_VERSION: &str = "3.4.3";
const S3_VERSION: &str = "4.1.0";
const ALLUXIO_VERSION: &str = "2.9.6";
const ELASTICSEARCH_VERSION: &str = "8.19.21";
const HBASE_VERSION: &str = "2.6.1";
const DUCKDB_VERSION: &str = "1.1.3";
const KAFKA_POM: &str = include_str!("../kafka-pom.xml");
const HDFS_POM: &str = include_str!("../hdfs-pom.xml");
const S3_POM: &str = include_str!("../s3-pom.xml");
const ALLUXIO_POM: &str = include_str!("../alluxio-pom.xml");
const HBASE_POM: &str = include_str!("../hbase-pom.xml");
const DUCKDB_POM: &str = include_str!("../duckdb-pom.xml");
/// A fixed version: the newest one would be looked up at every run, and may ask for a newer Maven.
const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// Fetches every server, so that later starts need no network.
pub fn fetch() -> Result<(), ServerError> {
    kafka_class_path()?;
    postgres_home()?;
    hdfs_class_path()?;
    s3_class_path()?;
    alluxio_class_path()?;
    elasticsearch_home()?;
    hbase_class_path()?;
    duckdb_class_path()?;
    Ok(())
}

/// Where fetched files are kept: `servers` in the workspace's target directory, of `CARGO_TARGET_DIR` if that is set.
pub fn cache_dir() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = workspace.canonicalize().unwrap_or(workspace);
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    workspace.join(target).join("servers")
}

/// The class path of a Kafka node.
pub(crate) fn kafka_class_path() -> Result<String, ServerError> {
    class_path("kafka", &format!("Apache Kafka {KAFKA_VERSION}"), KAFKA_VERSION, KAFKA_POM)
}

/// The class path of HDFS's servers.
pub(crate) fn hdfs_class_path() -> Result<String, ServerError> {
    class_path("hdfs", &format!("HDFS {HDFS_VERSION}"), HDFS_VERSION, HDFS_POM)
}

/// The class path of the S3-compatible server.
pub(crate) fn s3_class_path() -> Result<String, ServerError> {
    class_path("s3proxy", &format!("S3Proxy {S3_VERSION}"), S3_VERSION, S3_POM)
}

/// The class path of Alluxio's servers.
pub(crate) fn alluxio_class_path() -> Result<String, ServerError> {
    class_path("alluxio", &format!("Alluxio {ALLUXIO_VERSION}"), ALLUXIO_VERSION, ALLUXIO_POM)
}

/// The class path of HBase's servers.
pub(crate) fn hbase_class_path() -> Result<String, ServerError> {
    class_path("hbase", &format!("HBase {HBASE_VERSION}"), HBASE_VERSION, HBASE_POM)
}

/// The class path of DuckDB.
pub(crate) fn duckdb_class_path() -> Result<String, ServerError> {
    class_path("duckdb", &format!("DuckDB {DUCKDB_VERSION}"), DUCKDB_VERSION, DUCKDB_POM)
}

/// The jars of `pom`, fetched unless they are here.
fn class_path(name: &str, what: &str, version: &str, pom: &str) -> Result<String, ServerError> {
    let dir = cache_dir().join(format!("{name}-{version}"));
    let _lock = locked(&cache_dir())?;
    let (pom_file, list) = (dir.join("pom.xml"), dir.join("classpath"));
    let same_pom = fs::read_to_string(&pom_file).is_ok_and(|text| text == pom);
    // The jars lie in Maven's own repository, which may have been cleaned since.
    match fs::read_to_string(&list) {
        Ok(jars) if same_pom && jars.split(':').all(|jar| Path::new(jar).exists()) => return Ok(jars),
        _ => {}
    }
    fs::create_dir_all(&dir).tried(|| format!("cannot create {}", dir.display()))?;
    remove_file_if_there(&list)?;
    fs::write(&pom_file, pom).tried(|| format!("cannot write {}", pom_file.display()))?;
    let part = dir.join("classpath.part");
    maven(
        what,
        &dir,
        &[
            "-f".to_owned(),
            pom_file.display().to_string(),
            format!("{DEPENDENCY_PLUGIN}:build-classpath"),
            "-Dmdep.includeScope=runtime".to_owned(),
            format!("-Dmdep.outputFile={}", part.display()),
        ],
    )?;
    let jars = fs::read_to_string(&part).tried(|| format!("cannot read {}", part.display()))?;
    fs::rename(&part, &list).tried(|| format!("cannot name {}", list.display()))?;
    Ok(jars)
}

/// The directory that holds PostgreSQL's `bin`, `lib` and `share`.
pub(crate) fn postgres_home() -> Result<PathBuf, ServerError> {
    let root = reachable_cache()?;
    let home = root.join(format!("postgresql-{POSTGRES_VERSION}"));
    let _lock = locked(&root)?;
    if home.exists() {
        return Ok(home);
    }
    let part = root.join(format!("postgresql-{POSTGRES_VERSION}.part"));
    if part.exists() {
        fs::remove_dir_all(&part).tried(|| format!("cannot remove {}", part.display()))?;
    }
    let (jar, unpacked) = (part.join("jar"), part.join("home"));
    create_open_dir(&jar)?;
    create_open_dir(&unpacked)?;
    maven(
        &format!("PostgreSQL {POSTGRES_VERSION}"),
        &jar,
        &[
            format!("{DEPENDENCY_PLUGIN}:unpack"),
            format!("-Dartifact={}", postgres_artifact()),
            format!("-DoutputDirectory={}", jar.display()),
        ],
    )?;
    let archive = archive_in(&jar)?;
    unpack_txz(&archive, &unpacked).tried(|| format!("cannot unpack {}", archive.display()))?;
    open_all_dirs(&unpacked)?;
    fs::rename(&unpacked, &home).tried(|| format!("cannot name {}", home.display()))?;
    fs::remove_dir_all(&part).tried(|| format!("cannot remove {}", part.display()))?;
    Ok(home)
}

/// The directory that holds Elasticsearch's `bin`, `config` and `lib`: the small distribution that its own tests use.
pub(crate) fn elasticsearch_home() -> Result<PathBuf, ServerError> {
    let root = reachable_cache()?;
    let name = format!("elasticsearch-{ELASTICSEARCH_VERSION}");
    let home = root.join(&name);
    let _lock = locked(&root)?;
    if home.exists() {
        return Ok(home);
    }
    let part = root.join(format!("{name}.part"));
    if part.exists() {
        fs::remove_dir_all(&part).tried(|| format!("cannot remove {}", part.display()))?;
    }
    create_open_dir(&part)?;
    maven(
        &format!("Elasticsearch {ELASTICSEARCH_VERSION}"),
        &part,
        &[
            format!("{DEPENDENCY_PLUGIN}:unpack"),
            format!(
                "-Dartifact=org.elasticsearch.distribution.integ-test-zip:elasticsearch:{ELASTICSEARCH_VERSION}:zip"
            ),
            format!("-DoutputDirectory={}", part.display()),
        ],
    )?;
    let unpacked = part.join(&name);
    open_all_dirs(&unpacked)?;
    fs::rename(&unpacked, &home).tried(|| format!("cannot name {}", home.display()))?;
    fs::remove_dir_all(&part).tried(|| format!("cannot remove {}", part.display()))?;
    Ok(home)
}

/// Whether the user that root drops to can open files under `path`: every directory above lets others pass.
pub(crate) fn others_can_reach(path: &Path) -> bool {
    path.ancestors().skip(1).all(|dir| fs::metadata(dir).map_or(true, |dir| dir.mode() & 0o001 != 0))
}

/// Creates a directory that everybody may read, whatever the umask. One that is there already stays as it is.
pub(crate) fn create_open_dir(dir: &Path) -> Result<(), ServerError> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(dir).tried(|| format!("cannot create {}", dir.display()))?;
    open_dir(dir)
}

fn open_dir(dir: &Path) -> Result<(), ServerError> {
    fs::set_permissions(dir, Permissions::from_mode(0o755))
        .tried(|| format!("cannot open {} to all", dir.display()))
}

/// As [`open_dir`], for all below too: the archive does not name every directory that it has files in.
fn open_all_dirs(dir: &Path) -> Result<(), ServerError> {
    open_dir(dir)?;
    for entry in fs::read_dir(dir).tried(|| format!("cannot list {}", dir.display()))? {
        let entry = entry.tried(|| format!("cannot list {}", dir.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_all_dirs(&entry.path())?;
        }
    }
    Ok(())
}

/// Root's PostgreSQL and Elasticsearch run as another user, who cannot see a checkout below, say, `/root`. Then its files lie in the
/// system's temporary directory.
fn reachable_cache() -> Result<PathBuf, ServerError> {
    let cache = cache_dir();
    fs::create_dir_all(&cache).tried(|| format!("cannot create {}", cache.display()))?;
    if !rustix::process::geteuid().is_root() || others_can_reach(&cache.join("postgresql")) {
        return Ok(cache);
    }
    let shared = env::temp_dir().join("tidegate-servers");
    create_open_dir(&shared)?;
    let owner = fs::symlink_metadata(&shared).tried(|| format!("cannot read {}", shared.display()))?;
    // Another user's directory could hold anything, and root would run it.
    if owner.uid() != 0 || !owner.is_dir() {
        return Err(ServerError::Io {
            what: format!("{} must be a directory of root's own; remove it", shared.display()),
            source: io::ErrorKind::PermissionDenied.into(),
        });
    }
    open_dir(&shared)?;
    Ok(shared)
}

fn locked(dir: &Path) -> Result<File, ServerError> {
    fs::create_dir_all(dir).tried(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join("fetch.lock");
    let file = File::create(&path).tried(|| format!("cannot create {}", path.display()))?;
    file.lock().tried(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn postgres_artifact() -> String {
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let machine = match env::consts::ARCH {
        "aarch64" => "arm64v8",
        _ => "amd64",
    };
    format!("io.zonky.test.postgres:embedded-postgres-binaries-{system}-{machine}:{POSTGRES_VERSION}")
}

/// Runs Maven in `dir`, which is to be there for this alone: Maven takes a `pom.xml` it finds for the project, and `unpack`
/// leaves markers in `target` by which it would skip the same artifact the next time, wherever that is to go.
fn maven(what: &str, dir: &Path, arguments: &[String]) -> Result<(), ServerError> {
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "-Dstyle.color=never"]).args(arguments).current_dir(dir);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Need::Maven.missing(format!("Maven is needed to fetch {what}")));
        }
        Err(source) => return Err(ServerError::Io { what: "cannot start mvn".to_owned(), source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(ServerError::Fetch { what: what.to_owned(), output: last_lines(&String::from_utf8_lossy(&text)) })
}

fn archive_in(dir: &Path) -> Result<PathBuf, ServerError> {
    let entries = fs::read_dir(dir).tried(|| format!("cannot list {}", dir.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "txz"))
        .ok_or_else(|| ServerError::Io {
            what: format!("the artifact unpacked into {} holds no .txz", dir.display()),
            source: io::ErrorKind::NotFound.into(),
        })
}

fn unpack_txz(archive: &Path, into: &Path) -> io::Result<()> {
    let tar_path = archive.with_extension("tar");
    let mut packed = BufReader::new(File::open(archive)?);
    let mut unpacked = io::BufWriter::new(File::create(&tar_path)?);
    lzma_rs::xz_decompress(&mut packed, &mut unpacked)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{error:?}")))?;
    unpacked.into_inner()?;
    tar::Archive::new(BufReader::new(File::open(&tar_path)?)).unpack(into)?;
    fs::remove_file(&tar_path)
}

fn remove_file_if_there(path: &Path) -> Result<(), ServerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.tried(|| format!("cannot remove {}", path.display())),
    }
}
