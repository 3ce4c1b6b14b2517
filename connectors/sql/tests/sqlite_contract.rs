//! The contract of outputs, held against SQLite tables of every kind.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use rusqlite::Connection;
use std::path::PathBuf;
use tempfile::TempDir;
use tidegate::Result;
use tidegate::testkit::outputs::{self, Subject};
use tidegate_sql::{Change, SqliteOutput, Table};

/// A file with one table.
struct File {
    directory: TempDir,
    table: Table,
}

impl File {
    fn new(table: Table) -> File {
        let file = File { directory: TempDir::new().unwrap(), table };
        let key = if file.table == inserts() { "" } else { "PRIMARY KEY" };
        // By hand, so that it can refuse a row.
        Connection::open(file.path())
            .unwrap()
            .execute_batch(&format!(
                "CREATE TABLE numbers (word TEXT {key}, number INTEGER NOT NULL CHECK (number >= 0)) STRICT"
            ))
            .unwrap();
        file
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("numbers.db")
    }

    fn rows(&self) -> Vec<(String, i64)> {
        let connection = Connection::open(self.path()).unwrap();
        let mut statement = connection.prepare("SELECT word, number FROM numbers").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }
}

fn inserts() -> Table {
    Table::insert("numbers", ["word", "number"])
}

fn upserts() -> Table {
    Table::upsert("numbers", ["word"], ["number"])
}

fn adds() -> Table {
    Table::add("numbers", ["word"], ["number"])
}

fn row(number: u64) -> (String, i64) {
    (format!("n{number}"), number as i64)
}

impl Subject for File {
    type Row = (String, i64);
    type Output = SqliteOutput;

    fn output(&self) -> Result<SqliteOutput> {
        Ok(SqliteOutput::new(self.path(), self.table.clone()))
    }

    fn row(&self, number: u64) -> (String, i64) {
        row(number)
    }

    fn visible(&self) -> Vec<(String, i64)> {
        self.rows()
    }

    fn refused(&self) -> Option<(String, i64)> {
        Some(("no".to_owned(), -1))
    }
}

/// As [`File`], with rows that may delete.
struct Changes(File);

impl Subject for Changes {
    type Row = Change<(String, i64)>;
    type Output = SqliteOutput;

    fn output(&self) -> Result<SqliteOutput> {
        self.0.output()
    }

    fn row(&self, number: u64) -> Self::Row {
        Change::Put(row(number))
    }

    fn visible(&self) -> Vec<Self::Row> {
        self.0.rows().into_iter().map(Change::Put).collect()
    }

    fn refused(&self) -> Option<Self::Row> {
        Some(Change::Put(("no".to_owned(), -1)))
    }
}

#[test]
fn an_insert_table_holds_it() {
    outputs::all(|| File::new(inserts()));
}

#[test]
fn an_upsert_table_holds_it() {
    outputs::all(|| File::new(upserts()));
}

#[test]
fn an_add_table_holds_it() {
    outputs::all(|| File::new(adds()));
}

#[test]
fn an_upsert_table_of_changes_holds_it() {
    outputs::all(|| Changes(File::new(upserts())));
}
