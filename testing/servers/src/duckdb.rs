//! DuckDB, to read what Tidegate wrote with a program that knows nothing of it.

use crate::ServerError;
use crate::error::{Tried, last_lines};
use crate::fetch::{cache_dir, duckdb_class_path};
use crate::needs::java;
use std::fs;
use std::process::Command;

/// The small program around it; Java runs it from its source.
const QUERY: &str = include_str!("../Query.java");

/// The rows of one query, by column.
pub fn duckdb(query: &str) -> Result<Vec<Vec<String>>, ServerError> {
    let jars = duckdb_class_path()?;
    let directory = cache_dir().join(format!("duckdb-query-{}", std::process::id()));
    fs::create_dir_all(&directory).tried(|| format!("cannot create {}", directory.display()))?;
    let source = directory.join("Query.java");
    fs::write(&source, QUERY).tried(|| format!("cannot write {}", source.display()))?;
    let output = Command::new(java()).arg("-cp").arg(jars).arg(&source).arg(query).output();
    let output = output.tried(|| "cannot start java".to_owned())?;
    // Costs nothing if it stays.
    let _ = fs::remove_dir_all(&directory);
    if !output.status.success() {
        return Err(ServerError::Client {
            what: format!("DuckDB: {query}"),
            cause: last_lines(&String::from_utf8_lossy(&output.stderr)),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}
