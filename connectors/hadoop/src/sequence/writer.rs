//! Writes a SequenceFile into memory, from which it may be taken piece by piece. The same records, header and sync marker give the same bytes.

use super::header::{Compression, Header};
use super::{Codec, SYNC_BYTES, SYNC_ESCAPE};
use crate::wire::put_vlong;
use crate::writable::Writable;
use tidegate_core::{Error, Result};

/// Bytes after which there is a sync marker before the next record, as in Hadoop.
const SYNC_INTERVAL: usize = 5 * 1024 * 20;
/// Bytes of keys and values after which a block is full, as in Hadoop.
const BLOCK_BYTES: usize = 1_000_000;

/// A SequenceFile that is being written, in memory.
///
/// ```
/// use tidegate_hadoop::{Codec, Compression, Header, SequenceReader, SequenceWriter, Writable};
///
/// # fn main() -> tidegate::Result<()> {
/// let header = Header {
///     key_class: String::CLASS.to_owned(),
///     value_class: i64::CLASS.to_owned(),
///     compression: Compression::Block(Codec::Default),
///     metadata: Default::default(),
/// };
/// let mut file = SequenceWriter::new(&header, *b"a marker of ours");
/// file.append(&"ebb".to_owned(), &2i64)?;
/// file.append(&"flow".to_owned(), &1i64)?;
/// let bytes = file.finish();
///
/// let read = SequenceReader::new("a file", bytes.as_slice())?.records::<String, i64>()?;
/// assert_eq!(read.collect::<tidegate::Result<Vec<_>>>()?, [("ebb".to_owned(), 2), ("flow".to_owned(), 1)]);
/// # Ok(()) }
/// ```
pub struct SequenceWriter {
    out: Vec<u8>,
    sync: [u8; SYNC_BYTES],
    /// Bytes since the last sync marker, or since the header; some may have been taken.
    since_sync: usize,
    layout: Layout,
    key: Vec<u8>,
    value: Vec<u8>,
}

enum Layout {
    /// A record after the other; values compressed if there is a codec.
    Records(Option<Codec>),
    Blocks(Codec, Block),
}

/// Records that wait for their block to be full.
#[derive(Default)]
struct Block {
    records: usize,
    key_lengths: Vec<u8>,
    keys: Vec<u8>,
    value_lengths: Vec<u8>,
    values: Vec<u8>,
}

impl SequenceWriter {
    /// A file that begins with `header`. `sync` marks places between records, from which a reader may begin: sixteen bytes that no
    /// record has.
    pub fn new(header: &Header, sync: [u8; 16]) -> SequenceWriter {
        let out = header.bytes(sync);
        let layout = match header.compression {
            Compression::None => Layout::Records(None),
            Compression::Record(codec) => Layout::Records(Some(codec)),
            Compression::Block(codec) => Layout::Blocks(codec, Block::default()),
        };
        SequenceWriter { since_sync: 0, out, sync, layout, key: Vec::new(), value: Vec::new() }
    }

    /// Adds a record. It is of the classes that the header names, or readers are misled.
    ///
    /// # Errors
    /// `Reconfigure` for a record of more than 2 GiB, whose length the format can't hold.
    pub fn append<K: Writable, V: Writable>(&mut self, key: &K, value: &V) -> Result<()> {
        let (mut key_bytes, mut value_bytes) =
            (std::mem::take(&mut self.key), std::mem::take(&mut self.value));
        key_bytes.clear();
        value_bytes.clear();
        key.write(&mut key_bytes);
        value.write(&mut value_bytes);
        let appended = self.append_bytes(&key_bytes, &value_bytes);
        (self.key, self.value) = (key_bytes, value_bytes);
        appended
    }

    /// Adds a record of these bytes.
    ///
    /// # Errors
    /// As [`append`](SequenceWriter::append).
    pub fn append_bytes(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if key.len().saturating_add(value.len()) > i32::MAX as usize {
            return Err(Error::reconfigure(format!(
                "a record of {} bytes is too long for a SequenceFile, which takes 2 GiB",
                key.len() + value.len()
            )));
        }
        match &mut self.layout {
            Layout::Records(codec) => {
                let codec = *codec;
                self.record(codec, key, value)
            }
            Layout::Blocks(_, block) => {
                block.add(key, value);
                if block.keys.len() + block.values.len() >= BLOCK_BYTES {
                    self.end_block();
                }
                Ok(())
            }
        }
    }

    /// The file so far, without what is not settled yet, such as a block that is not full. It holds that no longer:
    /// [`finish`](SequenceWriter::finish) gives the rest.
    pub fn take(&mut self) -> Vec<u8> {
        let room = Vec::with_capacity(self.out.len());
        std::mem::replace(&mut self.out, room)
    }

    /// How many bytes it holds, those of an unfinished block among them.
    pub fn bytes(&self) -> usize {
        let waiting = match &self.layout {
            Layout::Records(_) => 0,
            Layout::Blocks(_, block) => block.keys.len() + block.values.len(),
        };
        self.out.len() + waiting
    }

    /// The file, as far as it was not [taken](SequenceWriter::take).
    pub fn finish(mut self) -> Vec<u8> {
        self.end_block();
        self.out
    }

    fn record(&mut self, codec: Option<Codec>, key: &[u8], value: &[u8]) -> Result<()> {
        if self.since_sync >= SYNC_INTERVAL {
            self.mark();
        }
        let head = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(&(key.len() as u32).to_be_bytes());
        self.out.extend_from_slice(key);
        match codec {
            None => self.out.extend_from_slice(value),
            Some(codec) => codec.compress(value, &mut self.out),
        }
        // Compressed it may be a little longer.
        let length = i32::try_from(self.out.len() - head - 8)
            .map_err(|_| Error::reconfigure("a record is too long for a SequenceFile, which takes 2 GiB"))?;
        self.out[head..head + 4].copy_from_slice(&length.to_be_bytes());
        self.since_sync += self.out.len() - head;
        Ok(())
    }

    fn mark(&mut self) {
        self.out.extend_from_slice(&SYNC_ESCAPE.to_be_bytes());
        self.out.extend_from_slice(&self.sync);
        self.since_sync = 0;
    }

    fn end_block(&mut self) {
        let Layout::Blocks(codec, block) = &mut self.layout else { return };
        if block.records == 0 {
            return;
        }
        let (codec, block) = (*codec, std::mem::take(block));
        self.mark();
        put_vlong(&mut self.out, block.records as i64);
        let mut packed = Vec::new();
        for part in [&block.key_lengths, &block.keys, &block.value_lengths, &block.values] {
            packed.clear();
            codec.compress(part, &mut packed);
            put_vlong(&mut self.out, packed.len() as i64);
            self.out.extend_from_slice(&packed);
        }
    }
}

impl Block {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        put_vlong(&mut self.key_lengths, key.len() as i64);
        self.keys.extend_from_slice(key);
        put_vlong(&mut self.value_lengths, value.len() as i64);
        self.values.extend_from_slice(value);
        self.records += 1;
    }
}
