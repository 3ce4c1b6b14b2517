//! Hadoop's SequenceFiles: pairs of bytes behind a header that names their classes. Knows bytes; not batches, not stores.

mod codec;
mod format;
mod header;
mod reader;
mod writer;

pub use codec::Codec;
pub use format::SequenceFormat;
pub use header::{Compression, Header};
pub use reader::{SequenceReader, SequenceRecords};
pub use writer::SequenceWriter;

/// Bytes of a sync marker.
pub(crate) const SYNC_BYTES: usize = 16;
/// What stands where a record's length would be, and says that a sync marker follows.
pub(crate) const SYNC_ESCAPE: i32 = -1;

#[cfg(test)]
mod tests;
