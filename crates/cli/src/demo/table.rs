//! What the table of counts holds, read as anybody else would read it.

use super::TABLE;
use crate::exit::Failure;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a reader waits while a killed job's file is put in order again.
const LOCK_MAX: Duration = Duration::from_secs(5);

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(LOCK_MAX)?;
    Ok(connection)
}

fn rows(connection: &Connection, rest: &str) -> rusqlite::Result<Vec<(String, i64)>> {
    let mut statement = connection.prepare_cached(&format!("SELECT word, count FROM {TABLE} {rest}"))?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Every word and its count.
pub(super) fn all(file: &Path) -> Result<BTreeMap<String, i64>, Failure> {
    let rows = open(file).and_then(|connection| rows(&connection, ""));
    rows.map(|rows| rows.into_iter().collect())
        .map_err(|error| Failure::of(&format!("can't read {}", file.display()), error))
}

/// The words that were counted most, for people to look at: what can't be read now is read another time.
pub(super) struct TopWords {
    file: PathBuf,
    connection: Option<Connection>,
    newest: Vec<(String, i64)>,
}

impl TopWords {
    pub(super) fn of(file: PathBuf) -> TopWords {
        TopWords { file, connection: None, newest: Vec::new() }
    }

    /// The newest that could be read.
    pub(super) fn read(&mut self) -> &[(String, i64)] {
        if self.connection.is_none() {
            self.connection = open(&self.file).ok();
        }
        if let Some(Ok(rows)) =
            self.connection.as_ref().map(|connection| rows(connection, "ORDER BY count DESC, word LIMIT 8"))
        {
            self.newest = rows;
        }
        &self.newest
    }
}
