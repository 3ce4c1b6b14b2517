//! The header of a SequenceFile: what is in it, and its bytes.

use super::{Codec, SYNC_BYTES};
use crate::wire::put_text;
use std::collections::BTreeMap;

/// The version that is written and read. Hadoop writes no other since 2005.
pub(crate) const VERSION: u8 = 6;
pub(crate) const MAGIC: &[u8; 3] = b"SEQ";

/// What of a SequenceFile is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    #[default]
    None,
    /// Each value by itself (Hadoop's `RECORD`).
    Record(Codec),
    /// Keys and values of about a megabyte of records together (Hadoop's `BLOCK`): the smallest files.
    Block(Codec),
}

impl Compression {
    pub(crate) fn codec(self) -> Option<Codec> {
        match self {
            Compression::None => None,
            Compression::Record(codec) | Compression::Block(codec) => Some(codec),
        }
    }
}

/// What the header of a SequenceFile says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The Java class of the keys.
    pub key_class: String,
    /// The Java class of the values.
    pub value_class: String,
    /// What is compressed, and how.
    pub compression: Compression,
    /// The file's own keys and values. Hadoop's sort them, as is done here.
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// The bytes, with the sync marker that ends them.
    pub(crate) fn bytes(&self, sync: [u8; SYNC_BYTES]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        put_text(&mut out, &self.key_class);
        put_text(&mut out, &self.value_class);
        out.push(u8::from(self.compression != Compression::None));
        out.push(u8::from(matches!(self.compression, Compression::Block(_))));
        if let Some(codec) = self.compression.codec() {
            put_text(&mut out, codec.class());
        }
        out.extend_from_slice(&(self.metadata.len() as u32).to_be_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut out, key);
            put_text(&mut out, value);
        }
        out.extend_from_slice(&sync);
        out
    }
}
