//! Small Java programs, compiled at their first use: clients of the servers, and readers of files, that know nothing of Tidegate.

use crate::ServerError;
use crate::daemons::java;
use crate::error::{Tried, last_lines};
use crate::fetch::{cache_dir, duckdb_class_path, hbase_class_path, hdfs_class_path, kafka_class_path};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

const HEAP_MIB: u32 = 256;
/// Files that are named in one call at most: a command line has a bound.
const FILES_MAX: usize = 2_000;

/// A program: the name of its file, and its source.
type Program = (&'static str, &'static str);

const QUERY: Program = ("Query.java", include_str!("../Query.java"));
const COMMITTED: Program = ("Committed.java", include_str!("../Committed.java"));
const ROWS: Program = ("Rows.java", include_str!("../Rows.java"));
const PEM: Program = ("Pem.java", include_str!("../Pem.java"));
const SEQUENCE_FILES: Program = ("SequenceFiles.java", include_str!("../SequenceFiles.java"));

/// The rows of one query of DuckDB, by column.
pub fn duckdb(query: &str) -> Result<Vec<Vec<String>>, ServerError> {
    let lines = run(&format!("DuckDB: {query}"), QUERY, &duckdb_class_path()?, &[query])?;
    Ok(lines.iter().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

/// Key and value of each record of `topic` that Kafka's own consumer reads with `read_committed`, as text.
pub fn java_read_committed(bootstrap: &str, topic: &str) -> Result<Vec<(String, String)>, ServerError> {
    let what = format!("Kafka's Java consumer, topic {topic}");
    Ok(pairs(&run(&what, COMMITTED, &kafka_class_path()?, &[bootstrap, topic])?))
}

/// Makes a table with one family through the Thrift gateway at `HOST:PORT`, by HBase's own client.
pub fn make_hbase_table(gateway: &str, table: &str, family: &str) -> Result<(), ServerError> {
    let (host, port) = gateway.rsplit_once(':').unwrap_or((gateway, "9090"));
    let arguments = ["make", host, port, table, family];
    run(&format!("HBase's Java client, table {table}"), ROWS, &hbase_class_path()?, &arguments).map(drop)
}

/// Key and first cell of each row of a table, as text, as HBase's own client reads them through the gateway at `HOST:PORT`.
pub fn hbase_rows(gateway: &str, table: &str) -> Result<Vec<(String, String)>, ServerError> {
    let (host, port) = gateway.rsplit_once(':').unwrap_or((gateway, "9090"));
    let arguments = ["rows", host, port, table];
    let rows = run(&format!("HBase's Java client, table {table}"), ROWS, &hbase_class_path()?, &arguments)?;
    Ok(pairs(&rows))
}

/// The lines of a key in a PKCS12 file, and of the certificates that go with it, in PEM.
pub(crate) fn pem_of(file: &Path, password: &str, name: &str) -> Result<Vec<String>, ServerError> {
    let file = file.display().to_string();
    run(&format!("the key {name} of {file}"), PEM, "", &[&file, password, name])
}

/// What Hadoop's own SequenceFile says, as lines. The arguments are `read FILE...`, or `write FOLDER`; what they do is said in the
/// program's source.
pub fn hadoop_sequence_files(arguments: &[&str]) -> Result<Vec<String>, ServerError> {
    let what = format!("Hadoop's SequenceFile: {}", arguments.first().unwrap_or(&"nothing to do"));
    run(&what, SEQUENCE_FILES, &hdfs_class_path()?, arguments)
}

/// Key and value of each record of these SequenceFiles, as text, in the order of the files, as Hadoop reads them.
pub fn hadoop_records(files: &[impl AsRef<Path>]) -> Result<Vec<(String, String)>, ServerError> {
    let mut records = Vec::new();
    for files in files.chunks(FILES_MAX) {
        let paths: Vec<_> = files.iter().map(|file| file.as_ref().display().to_string()).collect();
        let arguments: Vec<_> = std::iter::once("read").chain(paths.iter().map(String::as_str)).collect();
        let lines = hadoop_sequence_files(&arguments)?;
        // Before the records of a file stands a line about it, and after them another.
        records.extend(lines.iter().filter(|line| line.contains('\t')).cloned());
    }
    Ok(pairs(&records))
}

/// Lets the folder `path` of the HDFS at `url` hold so many files and folders at most, itself included; `None`: any number.
pub fn set_hdfs_quota(url: &str, path: &str, names: Option<u64>) -> Result<(), ServerError> {
    let mut admin = java(&hdfs_class_path()?, &cache_dir(), HEAP_MIB);
    admin.args(["org.apache.hadoop.hdfs.tools.DFSAdmin", "-fs", url]);
    match names {
        Some(names) => admin.args(["-setQuota", &names.to_string(), path]),
        None => admin.args(["-clrQuota", path]),
    };
    let output = admin.output().tried(|| "cannot start java".to_owned())?;
    if output.status.success() { Ok(()) } else { Err(failed(&format!("HDFS, quota of {path}"), &output)) }
}

/// Lines of two columns.
fn pairs(lines: &[String]) -> Vec<(String, String)> {
    let pair = |line: &String| {
        let (key, value) = line.split_once('\t').unwrap_or((line, ""));
        (key.to_owned(), value.to_owned())
    };
    lines.iter().map(pair).collect()
}

/// The lines that a program prints.
fn run(what: &str, program: Program, jars: &str, arguments: &[&str]) -> Result<Vec<String>, ServerError> {
    let classes = classes(program, jars)?;
    let (main, _) = program.0.split_once('.').expect("a file of Java has an ending");
    let jars = format!("{}:{jars}", classes.display());
    let output = java(&jars, &classes, HEAP_MIB).arg(main).args(arguments).output();
    let output = output.tried(|| "cannot start java".to_owned())?;
    if !output.status.success() {
        return Err(failed(what, &output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

/// Where a program is compiled, which takes longer than most of its runs: once, whoever asks first. Another source, or other
/// jars, have another directory.
fn classes((file, source): Program, jars: &str) -> Result<PathBuf, ServerError> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let mut hasher = DefaultHasher::new();
    (source, jars).hash(&mut hasher);
    let directory = cache_dir().join(format!("{file}-{:016x}", hasher.finish()));
    if directory.exists() {
        return Ok(directory);
    }
    // One for each call: whoever is done first names it, and a process that was killed leaves nothing that looks whole.
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let part = cache_dir().join(format!("{file}-{}-{call}.part", std::process::id()));
    fs::create_dir_all(&part).tried(|| format!("cannot create {}", part.display()))?;
    let path = part.join(file);
    fs::write(&path, source).tried(|| format!("cannot write {}", path.display()))?;
    // As a module of java: there may be no link to javac.
    let compile = ["-m", "jdk.compiler/com.sun.tools.javac.Main", "-d", "."];
    let output = java(jars, &part, HEAP_MIB).args(compile).arg(file).output();
    let output = output.tried(|| "cannot start java".to_owned())?;
    if !output.status.success() {
        return Err(failed(&format!("compiling {}", path.display()), &output));
    }
    match fs::rename(&part, &directory) {
        Err(_) if directory.exists() => {
            // Another call was quicker. Costs nothing if it stays.
            let _ = fs::remove_dir_all(&part);
        }
        named => named.tried(|| format!("cannot name {}", directory.display()))?,
    }
    Ok(directory)
}

fn failed(what: &str, output: &Output) -> ServerError {
    ServerError::Client { what: what.to_owned(), cause: last_lines(&String::from_utf8_lossy(&output.stderr)) }
}
