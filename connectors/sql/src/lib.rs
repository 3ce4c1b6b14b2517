//! Transactional database outputs: results, batch number and offset ranges in one transaction.

mod hash;
mod memory;
mod row;
mod shape;
#[cfg(feature = "sqlite")]
mod sqlite;
mod staging;
mod table;

pub use row::{SqlKind, SqlRef, SqlRow, SqlType, SqlValue};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOutput, sqlite_offsets};
pub use table::Table;
