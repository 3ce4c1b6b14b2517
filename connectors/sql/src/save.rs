//! `save_to_sqlite` and `save_to_postgres` on a stream of rows.

#[cfg(feature = "postgres")]
use crate::PostgresOutput;
#[cfg(feature = "sqlite")]
use crate::SqliteOutput;
use crate::row::SqlRow;
use crate::table::Table;
#[cfg(feature = "sqlite")]
use std::path::Path;
use tidegate::{DStream, ExchangeData};
use tidegate_core::{OutputId, Result};

/// Output operations that write a stream of rows into a table, each batch once.
///
/// The output takes the table's name for its own, by which it is found again after a restart: two outputs to one table need
/// [`DStream::output`] and a name each.
pub trait SaveToSql<T> {
    /// Output: writes each batch into `table` of the SQLite file `file`, together with its number and offset ranges.
    ///
    /// ```
    /// use tidegate::DStream;
    /// use tidegate_sql::{SaveToSql, Table};
    ///
    /// # fn job(words: DStream<(String, i64)>) -> tidegate::Result<()> {
    /// words.save_to_sqlite("counts.db", Table::add("word_counts", ["word"], ["count"]))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when the name is taken or the context was started. What is wrong with file or table is told at start.
    #[cfg(feature = "sqlite")]
    fn save_to_sqlite(&self, file: impl AsRef<Path>, table: Table) -> Result<OutputId>;

    /// Output: writes each batch into `table` of the PostgreSQL database at `url`, together with its number and offset
    /// ranges; each worker in a transaction of its own.
    ///
    /// # Errors
    /// As [`save_to_sqlite`](SaveToSql::save_to_sqlite), and when the URL can't be read or asks for TLS.
    #[cfg(feature = "postgres")]
    fn save_to_postgres(&self, url: &str, table: Table) -> Result<OutputId>;
}

impl<T: ExchangeData + SqlRow> SaveToSql<T> for DStream<T> {
    #[cfg(feature = "sqlite")]
    fn save_to_sqlite(&self, file: impl AsRef<Path>, table: Table) -> Result<OutputId> {
        let name = table.name().to_owned();
        self.output(&name, SqliteOutput::new(file, table))
    }

    #[cfg(feature = "postgres")]
    fn save_to_postgres(&self, url: &str, table: Table) -> Result<OutputId> {
        let name = table.name().to_owned();
        self.output(&name, PostgresOutput::new(url, table)?)
    }
}
