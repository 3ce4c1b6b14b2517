//! Durable bytes: a framed, checksummed, rolled log, the lock on a directory, and storages: places for whole objects.
//!
//! May write and sync bytes and know the order in which a crash can lose them; must never know what a batch, a key or
//! Kafka is. The bytes are described in `docs/formats.md`.
//!
//! [`LocalStorage`] and [`MemoryStorage`] are the storages that need no server. Whoever writes another has
//! [`conformance`] to run on it, and [`FailingStorage`] tests what is built on top. [`LocalFiles`] are a user's files, to be read.

pub mod conformance;
mod failing;
mod failure;
pub mod frame;
mod local;
mod local_files;
mod lock;
mod log;
mod memory;
mod paths;

pub use failing::{FailingStorage, Fault};
pub use frame::{FRAME_HEAD_BYTES, PAYLOAD_BYTES_MAX};
pub use local::LocalStorage;
pub use local_files::LocalFiles;
pub use lock::DirectoryLock;
pub use log::{Log, LogLimits, publish};
pub use memory::MemoryStorage;
pub use paths::{check_folder, check_path, check_rename, nothing_to_rename};
