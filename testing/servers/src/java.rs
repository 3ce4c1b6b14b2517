//! Small Java programs, run from their source: clients of the servers that know nothing of Tidegate.

use crate::ServerError;
use crate::error::{Tried, last_lines};
use crate::fetch::{cache_dir, duckdb_class_path, kafka_class_path};
use crate::needs::java;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const QUERY: (&str, &str) = ("Query.java", include_str!("../Query.java"));
const COMMITTED: (&str, &str) = ("Committed.java", include_str!("../Committed.java"));

/// The rows of one query of DuckDB, by column.
pub fn duckdb(query: &str) -> Result<Vec<Vec<String>>, ServerError> {
    run(&format!("DuckDB: {query}"), QUERY, &duckdb_class_path()?, &[query])
}

/// Key and value of each record of `topic` that Kafka's own consumer reads with `read_committed`, as text.
pub fn java_read_committed(bootstrap: &str, topic: &str) -> Result<Vec<(String, String)>, ServerError> {
    let what = format!("Kafka's Java consumer, topic {topic}");
    let rows = run(&what, COMMITTED, &kafka_class_path()?, &[bootstrap, topic])?;
    let pair = |row: Vec<String>| {
        let mut columns = row.into_iter();
        (columns.next().unwrap_or_default(), columns.next().unwrap_or_default())
    };
    Ok(rows.into_iter().map(pair).collect())
}

/// The lines that a program prints, by column.
fn run(
    what: &str,
    (file, source): (&str, &str),
    jars: &str,
    arguments: &[&str],
) -> Result<Vec<Vec<String>>, ServerError> {
    // One for each call: calls at the same time would find each other's folder gone.
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let directory = cache_dir().join(format!("java-{}-{call}", std::process::id()));
    fs::create_dir_all(&directory).tried(|| format!("cannot create {}", directory.display()))?;
    let path = directory.join(file);
    fs::write(&path, source).tried(|| format!("cannot write {}", path.display()))?;
    let output = Command::new(java()).arg("-cp").arg(jars).arg(&path).args(arguments).output();
    let output = output.tried(|| "cannot start java".to_owned())?;
    // Costs nothing if it stays.
    let _ = fs::remove_dir_all(&directory);
    if !output.status.success() {
        return Err(ServerError::Client {
            what: what.to_owned(),
            cause: last_lines(&String::from_utf8_lossy(&output.stderr)),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}
