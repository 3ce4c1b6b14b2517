//! Rows into a table of SQLite: one prepared statement, one transaction a batch, as durable as the job's.

use crate::row::{Row, Rows as Share};
use crate::sink::{Client, Sink};
use rusqlite::Connection;
use std::path::PathBuf;
use tidegate::{DStream, Result};
use tidegate_benches::Failure;
use tidegate_sql::{SaveToSql, Table};

const TABLE: &str = "CREATE TABLE points (id INTEGER NOT NULL, word TEXT NOT NULL, level REAL NOT NULL)";

pub(crate) struct Rows {
    pub(crate) file: PathBuf,
}

impl Rows {
    fn connect(&self) -> std::result::Result<Connection, Failure> {
        let connection = Connection::open(&self.file)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    }
}

impl Sink for Rows {
    fn make(&self) -> std::result::Result<(), Failure> {
        self.connect()?.execute(TABLE, [])?;
        Ok(())
    }

    fn save(&self, rows: &DStream<Row>) -> Result<()> {
        let table = Table::insert("points", ["id", "word", "level"]);
        rows.map(|row| (row.id, row.word, row.level)).save_to_sqlite(&self.file, table).map(drop)
    }

    fn client(&self, _: u64) -> std::result::Result<Box<dyn Client>, Failure> {
        Ok(Box::new(Inserting(self.connect()?)))
    }

    fn rows(&self) -> std::result::Result<Option<u64>, Failure> {
        let count: i64 = self.connect()?.query_row("SELECT count(*) FROM points", [], |row| row.get(0))?;
        Ok(Some(count.cast_unsigned()))
    }
}

struct Inserting(Connection);

impl Client for Inserting {
    fn write(&mut self, _: u64, rows: Share) -> std::result::Result<(), Failure> {
        let transaction = self.0.transaction()?;
        let mut insert =
            transaction.prepare_cached("INSERT INTO points (id, word, level) VALUES (?1, ?2, ?3)")?;
        for row in rows {
            insert.execute((row.id, &row.word, row.level))?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }
}
