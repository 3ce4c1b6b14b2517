//! Transactional database outputs: results, batch number and offset ranges in one transaction.
#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres")),
    allow(dead_code, reason = "no database, no use")
)]

mod hash;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod shape;
#[cfg(feature = "sqlite")]
mod sqlite;
mod staging;
mod table;

#[cfg(feature = "postgres")]
pub use postgres::{PostgresOutput, postgres_offsets};
pub use row::{SqlKind, SqlRef, SqlRow, SqlType, SqlValue};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteOutput, sqlite_offsets};
pub use table::Table;
