//! Transactional database outputs: results, batch number and offset ranges in one transaction.
//!
//! A batch that is run again after a crash finds its number beside the data and is left out, so each batch is in the table
//! once. That holds for [`Table::add`] too, where writing a batch twice would count twice.
//!
//! ```
//! use tidegate::testkit::{MemoryInput, TestJob};
//! use tidegate::{Conf, Stop};
//! use tidegate_sql::{SaveToSql, Table, sqlite_offsets};
//!
//! # fn main() -> tidegate::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let file = directory.path().join("counts.db");
//! let lines = MemoryInput::new(1);
//! let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
//!     ssc.input_stream("lines", lines.clone())?
//!         .map(|word: String| (word, 1i64))
//!         .reduce_by_key(|a, b| a + b)
//!         .save_to_sqlite(&file, Table::add("word_counts", ["word"], ["count"]))
//! })?;
//! lines.push(0, ["ebb".to_owned(), "flow".to_owned(), "ebb".to_owned()]);
//! job.next_batch()?;
//! job.ssc.stop(Stop::Gracefully)?;
//!
//! let newest = sqlite_offsets(&file, "word_counts")?.expect("a batch was committed");
//! assert_eq!(newest.sources[0].ranges[0].to_string(), "memory-0 [0, 3)");
//! # Ok(()) }
//! ```
//!
//! # Tables
//!
//! Two tables beside the data are the memory of the outputs. The crate's README describes them column by column:
//! `tidegate_outputs` (job, epoch and number of partitions of each output) and `tidegate_batches` (the newest batch of each
//! partition, with its plan).
//!
//! # Rules
//!
//! - **SQLite**: one writer, one partition. Outputs of one job to one file share a transaction a batch. The file is in WAL mode with
//!   `synchronous = FULL`, so a committed batch survives a power failure.
//! - **PostgreSQL**: a writer and a connection for each worker. Two outputs of one job must not write the same rows of one
//!   table: each would wait for the other to commit, and give up at the lock timeout. The crate sends passwords nowhere but to
//!   the server, and speaks no TLS. A pooler between must keep sessions (no transaction pooling).
//! - A table takes rows that delete, too: [`Change`]. What the user's table must be is checked before the first row.
//! - A floating-point counter depends on the order of its additions, which is not the same in each run.
#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, unused_imports, reason = "no database, no use")
)]

mod change;
mod hash;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod save;
mod shape;
#[cfg(feature = "sqlite")]
mod sqlite;
mod staging;
mod table;

pub use change::Change;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOutput, postgres_offsets};
pub use row::{SqlKind, SqlRef, SqlRow, SqlType, SqlValue};
pub use save::SaveToSql;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOutput, sqlite_offsets};
pub use table::Table;

/// The recipes of the page about outputs by hand compile and run.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../../../docs/outputs/foreach.md")]
struct ForeachPage;
