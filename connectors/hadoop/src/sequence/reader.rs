//! Reads a SequenceFile. No length in it is believed: what is asked for is read piece by piece, up to a limit, and what does not
//! fit is an error that names the file and the byte.

use super::header::{Compression, Header, MAGIC, VERSION};
use super::{Codec, SYNC_BYTES, SYNC_ESCAPE};
use crate::wire::{take, take_vlong, vlong, vlong_more};
use crate::writable::Writable;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::iter::FusedIterator;
use std::marker::PhantomData;
use tidegate_core::{Error, Result};

/// Bytes that a record, or a block of records, may have at most, decompressed.
const RECORD_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Bytes of a name or a text in a header at most.
const HEADER_TEXT_MAX: usize = 64 * 1024;
/// Pairs of metadata at most.
const METADATA_MAX: usize = 10_000;

/// A SequenceFile that is being read, from front to end. It reads version 6, which is what Hadoop has written since 2005.
///
/// A file that was cut off right between two records reads as a shorter one: the format has no end mark.
pub struct SequenceReader<R> {
    input: Input<R>,
    header: Header,
    sync: [u8; SYNC_BYTES],
    key: Vec<u8>,
    value: Vec<u8>,
    block: Block,
}

impl<R> fmt::Debug for SequenceReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequenceReader({}, byte {})", self.input.name, self.input.at)
    }
}

/// A block that is being read: what is left of it.
#[derive(Default)]
struct Block {
    records: u64,
    key_lengths: Part,
    keys: Part,
    value_lengths: Part,
    values: Part,
}

#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    taken: usize,
}

impl<R: Read> SequenceReader<R> {
    /// Reads the header of the file `name`, which `input` gives the bytes of. A buffer before it is of use: it is asked for a
    /// few bytes at a time.
    ///
    /// # Errors
    /// `DataLost` when it is no SequenceFile that can be read; what `input` failed with.
    pub fn new(name: impl Into<String>, input: R) -> Result<SequenceReader<R>> {
        let mut input = Input { name: name.into(), from: input, at: 0, limit: RECORD_BYTES_MAX };
        let (header, sync) = read_header(&mut input)?;
        Ok(SequenceReader {
            input,
            header,
            sync,
            key: Vec::new(),
            value: Vec::new(),
            block: Block::default(),
        })
    }

    /// Takes records, and blocks of them, of up to so many bytes when decompressed. 1 GiB unless set.
    #[must_use]
    pub fn record_bytes_max(mut self, bytes: usize) -> SequenceReader<R> {
        self.input.limit = bytes;
        self
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes of the next key and value, decompressed; `None` at the end of the file.
    ///
    /// # Errors
    /// `DataLost` for what is damaged, naming the file and the byte; what the file's bytes failed with.
    #[allow(clippy::type_complexity, reason = "a pair of byte strings")]
    pub fn next_bytes(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        match self.header.compression {
            Compression::None => self.record(None),
            Compression::Record(codec) => self.record(Some(codec)),
            Compression::Block(codec) => self.of_block(codec),
        }
    }

    /// The records, read as `K` and `V`.
    ///
    /// # Errors
    /// `Reconfigure` when the file's classes are others.
    pub fn records<K: Writable, V: Writable>(self) -> Result<SequenceRecords<K, V, R>> {
        let classes =
            [(&self.header.key_class, K::CLASS, "keys"), (&self.header.value_class, V::CLASS, "values")];
        for (is, wanted, what) in classes {
            if is != wanted {
                return Err(Error::reconfigure(format!(
                    "{}: its {what} are {is:?}, and {wanted:?} is wanted; read it with the types it has",
                    self.input.name
                )));
            }
        }
        Ok(SequenceRecords { reader: self, failed: false, types: PhantomData })
    }

    fn record(&mut self, codec: Option<Codec>) -> Result<Option<(&[u8], &[u8])>> {
        let length = loop {
            match self.input.int_or_end()? {
                None => return Ok(None),
                Some(SYNC_ESCAPE) => self.input.sync(&self.sync)?,
                Some(length) => break self.input.length(length.into(), "a record")?,
            }
        };
        let begins = self.input.at;
        let key_length = self.input.int()?;
        let key_length = self.input.length(key_length.into(), "a key")?;
        if key_length > length {
            let text = format!("a key of {key_length} bytes in a record of {length}");
            return Err(self.input.damaged(begins, text));
        }
        self.key = self.input.bytes(key_length)?;
        self.value = self.input.bytes(length - key_length)?;
        if let Some(codec) = codec {
            let value = codec.decompress(&self.value, self.input.limit);
            self.value =
                value.map_err(|e| self.input.damaged(begins, "a value can't be decompressed").because(e))?;
        }
        Ok(Some((&self.key, &self.value)))
    }

    fn of_block(&mut self, codec: Codec) -> Result<Option<(&[u8], &[u8])>> {
        while self.block.records == 0 {
            if !self.read_block(codec)? {
                return Ok(None);
            }
        }
        let at = self.input.at;
        let block = &mut self.block;
        block.records -= 1;
        let record = block.key_lengths.number().and_then(|length| {
            let key = block.keys.take(length)?;
            let length = block.value_lengths.number()?;
            Ok((key, block.values.take(length)?))
        });
        match record {
            Ok(record) => {
                if block.records == 0 && block.has_more() {
                    return Err(damaged(
                        &self.input.name,
                        at,
                        "the block that ends here holds more than its records",
                    ));
                }
                let (key, value) = record;
                Ok(Some((&block.keys.bytes[key], &block.values.bytes[value])))
            }
            Err(error) => {
                Err(error.context(format!("{}: the block that ends at byte {at}", self.input.name)))
            }
        }
    }

    /// Reads the next block that is there. False: the file ends.
    fn read_block(&mut self, codec: Codec) -> Result<bool> {
        match self.input.int_or_end()? {
            None => return Ok(false),
            Some(SYNC_ESCAPE) => self.input.sync(&self.sync)?,
            Some(_) => {
                return Err(self.input.damaged(self.input.at, "a block begins without its sync marker"));
            }
        }
        let begins = self.input.at;
        let records = self.input.vlong()?;
        // Each has a length of at least one byte for its key, and another for its value.
        let records = self.input.length(records, "the number of records of a block")? as u64;
        let mut left = self.input.limit;
        let mut part = || -> Result<Part> {
            let at = self.input.at;
            let length = self.input.vlong()?;
            let length = self.input.length(length, "a part of a block")?;
            let packed = self.input.bytes(length)?;
            let bytes = codec
                .decompress(&packed, left)
                .map_err(|e| self.input.damaged(at, "a part of a block can't be decompressed").because(e))?;
            left -= bytes.len();
            Ok(Part { bytes, taken: 0 })
        };
        let (key_lengths, keys, value_lengths, values) = (part()?, part()?, part()?, part()?);
        let enough = |lengths: &Part| lengths.bytes.len() as u64 >= records;
        if !enough(&key_lengths) || !enough(&value_lengths) {
            let text = format!("a block that says it has {records} records has fewer lengths");
            return Err(self.input.damaged(begins, text));
        }
        self.block = Block { records, key_lengths, keys, value_lengths, values };
        Ok(true)
    }
}

impl Block {
    fn has_more(&self) -> bool {
        let parts = [&self.key_lengths, &self.keys, &self.value_lengths, &self.values];
        parts.iter().any(|part| part.taken < part.bytes.len())
    }
}

impl Part {
    fn number(&mut self) -> Result<usize> {
        let mut rest = &self.bytes[self.taken..];
        let number = take_vlong(&mut rest)?;
        self.taken = self.bytes.len() - rest.len();
        usize::try_from(number)
            .map_err(|_| Error::data_lost(format!("a record says that it has {number} bytes")))
    }

    fn take(&mut self, length: usize) -> Result<std::ops::Range<usize>> {
        take(&mut &self.bytes[self.taken..], length)?;
        let begin = self.taken;
        self.taken += length;
        Ok(begin..self.taken)
    }
}

/// The records of a file, for [`SequenceReader::records`]. Ends after an error.
pub struct SequenceRecords<K, V, R> {
    reader: SequenceReader<R>,
    failed: bool,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Writable, V: Writable, R: Read> SequenceRecords<K, V, R> {
    /// What the file's header says.
    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    fn next_record(&mut self) -> Result<Option<(K, V)>> {
        let Some((mut key_bytes, mut value_bytes)) = self.reader.next_bytes()? else { return Ok(None) };
        let read = whole::<K>(&mut key_bytes).and_then(|key| Ok((key, whole::<V>(&mut value_bytes)?)));
        let (at, name) = (self.reader.input.at, &self.reader.input.name);
        read.map(Some)
            .map_err(|error| error.context(format!("{name}: in the record or block that ends at byte {at}")))
    }
}

fn whole<T: Writable>(bytes: &mut &[u8]) -> Result<T> {
    let value = T::read(bytes)?;
    match bytes.len() {
        0 => Ok(value),
        left => Err(Error::data_lost(format!("{left} bytes are left behind a {}", T::CLASS))),
    }
}

impl<K: Writable, V: Writable, R: Read> Iterator for SequenceRecords<K, V, R> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_record().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<K: Writable, V: Writable, R: Read> FusedIterator for SequenceRecords<K, V, R> {}

/// Bytes that are counted.
struct Input<R> {
    name: String,
    from: R,
    at: u64,
    limit: usize,
}

impl<R: Read> Input<R> {
    /// `length` bytes. What is allocated follows what is there, not what is asked for.
    fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(length as u64).read_to_end(&mut bytes);
        read.map_err(|e| self.failed(e))?;
        self.at += bytes.len() as u64;
        if bytes.len() < length {
            let text = format!("it ends {} bytes early", length - bytes.len());
            return Err(self.damaged(self.at, text));
        }
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.array_or_end()? {
            Some(bytes) => Ok(bytes),
            None => Err(self.damaged(self.at, format!("it ends {N} bytes early"))),
        }
    }

    /// `None` where the file ends before the first of them.
    fn array_or_end<const N: usize>(&mut self) -> Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            match self.from.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.damaged(self.at, format!("it ends {} bytes early", N - filled))),
                Ok(read) => {
                    filled += read;
                    self.at += read as u64;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        Ok(Some(bytes))
    }

    fn int(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn int_or_end(&mut self) -> Result<Option<i32>> {
        Ok(self.array_or_end()?.map(i32::from_be_bytes))
    }

    fn vlong(&mut self) -> Result<i64> {
        let [first] = self.array()?;
        let more = self.bytes(vlong_more(first as i8))?;
        Ok(vlong(first as i8, &more))
    }

    fn text(&mut self, what: &str) -> Result<String> {
        let begins = self.at;
        let length = self.vlong()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= HEADER_TEXT_MAX);
        let Some(length) = length else {
            return Err(self.damaged(begins, format!("{what} has no length that can be")));
        };
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes).map_err(|e| self.damaged(begins, format!("{what} is no UTF-8")).because(e))
    }

    fn flag(&mut self, what: &str) -> Result<bool> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(self.damaged(self.at - 1, format!("{what} is {other} instead of 0 or 1"))),
        }
    }

    /// A length that the file names, if it is one that is taken.
    fn length(&self, length: i64, what: &str) -> Result<usize> {
        match usize::try_from(length) {
            Ok(length) if length <= self.limit => Ok(length),
            _ => {
                let limit = self.limit;
                let text = format!("{what} is {length}, where at most {limit} are taken (record_bytes_max)");
                Err(self.damaged(self.at, text))
            }
        }
    }

    fn sync(&mut self, sync: &[u8; SYNC_BYTES]) -> Result<()> {
        let begins = self.at;
        match self.array::<SYNC_BYTES>()? == *sync {
            true => Ok(()),
            false => Err(self.damaged(begins, "another sync marker than in the header")),
        }
    }

    fn damaged(&self, at: u64, what: impl fmt::Display) -> Error {
        damaged(&self.name, at, what)
    }

    fn failed(&self, e: io::Error) -> Error {
        match e.downcast::<Error>() {
            Ok(error) => error,
            Err(e) => {
                Error::reconfigure(format!("{}: can't be read at byte {}", self.name, self.at)).because(e)
            }
        }
    }
}

fn damaged(name: &str, at: u64, what: impl fmt::Display) -> Error {
    Error::data_lost(format!("{name}: byte {at}: {what}; the file is damaged, or no SequenceFile"))
}

fn read_header<R: Read>(input: &mut Input<R>) -> Result<(Header, [u8; SYNC_BYTES])> {
    let [s, e, q, version] = input.array::<4>()?;
    if [s, e, q] != *MAGIC {
        return Err(input.damaged(0, "it does not begin with \"SEQ\""));
    }
    if version != VERSION {
        return Err(Error::reconfigure(format!(
            "{}: is a SequenceFile of version {version}, and {VERSION} is read; have Hadoop write it anew",
            input.name
        )));
    }
    let key_class = input.text("the class of the keys")?;
    let value_class = input.text("the class of the values")?;
    let (is_compressed, in_blocks) = (input.flag("compression")?, input.flag("block compression")?);
    let compression = match (is_compressed, in_blocks) {
        (false, false) => Compression::None,
        (false, true) => return Err(input.damaged(input.at, "it has blocks that are not compressed")),
        (true, in_blocks) => {
            let class = input.text("the class of the codec")?;
            let codec = Codec::of_class(&class).ok_or_else(|| {
                Error::reconfigure(format!(
                    "{}: is compressed with {class:?}, which can't be read here; DefaultCodec and GzipCodec can",
                    input.name
                ))
            })?;
            if in_blocks { Compression::Block(codec) } else { Compression::Record(codec) }
        }
    };
    let begins = input.at;
    let pairs = input.int()?;
    let Some(pairs) = usize::try_from(pairs).ok().filter(|pairs| *pairs <= METADATA_MAX) else {
        return Err(input.damaged(begins, format!("{pairs} pairs of metadata")));
    };
    let mut metadata = BTreeMap::new();
    for _ in 0..pairs {
        metadata.insert(input.text("a key of the metadata")?, input.text("a value of the metadata")?);
    }
    let sync = input.array::<SYNC_BYTES>()?;
    Ok((Header { key_class, value_class, compression, metadata }, sync))
}
