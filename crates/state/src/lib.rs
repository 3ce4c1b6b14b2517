//! Keyed state of one partition of one operator: in memory, or in an embedded store on disk; and its typed Parquet files.
//!
//! [`KeyedState`] holds the newest value of each key with the time of its last update, and knows what changed since it was
//! last asked, so that a checkpoint costs what changed and not what exists. [`StateFormat`] writes such changes as Parquet
//! files with the user's types as columns, reads them back, and merges them.
//!
//! May write through a [`Storage`](tidegate_core::Storage). Must never decide when: it knows no batch, only a time in
//! milliseconds that comes in by argument. What it gives depends on the contents of a state alone: not on the order in which
//! they came, not on which store holds them.

mod changes;
mod columns;
mod disk;
mod encoding;
mod fingerprint;
mod format;
mod keyed;
mod measure;
mod memory;
mod merge;
mod order;
mod read;
mod row;
mod slot;
mod stores;
mod times;
mod write;

pub use changes::{Changes, Rows};
pub use format::StateFormat;
pub use keyed::{Kept, KeyedState};
pub use order::in_key_order;
pub use row::{Row, StateKey, StateValue};
pub use slot::Slot;
pub use stores::{DiskStores, Stores};

#[cfg(test)]
mod tests;
