//! A record that could not be decoded, as a record.

use super::{DecodeError, Payload};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A record that could not be decoded: where it is from, what is wrong with it, and all of its bytes.
///
/// Given by [`decode_or_dead_letter`](crate::DStream::decode_or_dead_letter); saved like any other record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeadLetter {
    /// What it was read of (a topic), if the record knew.
    pub source: Option<String>,
    /// Number of its partition there, if the record knew.
    pub partition: Option<u32>,
    /// Its place in the partition, if the record knew.
    pub offset: Option<u64>,
    /// What the decoder said.
    pub error: String,
    /// What the decoder was given.
    pub bytes: Vec<u8>,
}

impl DeadLetter {
    pub(super) fn new(record: &impl Payload, error: &DecodeError) -> DeadLetter {
        let origin = record.origin();
        DeadLetter {
            source: origin.source,
            partition: origin.partition,
            offset: origin.offset,
            error: error.to_string(),
            bytes: record.bytes().to_vec(),
        }
    }
}

impl fmt::Debug for DeadLetter {
    /// Without its bytes, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("source", &self.source)
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("error", &self.error)
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .finish()
    }
}
