//! Durable bytes: a framed, checksummed, rolled log, and the lock on a directory.
//!
//! May write and sync bytes and know the order in which a crash can lose them; must never know what a batch, a key or
//! Kafka is. The bytes are described in `docs/formats.md`.

mod frame;
mod lock;
mod log;

pub use frame::{FRAME_HEAD_BYTES, PAYLOAD_BYTES_MAX};
pub use lock::DirectoryLock;
pub use log::{Log, LogLimits};
