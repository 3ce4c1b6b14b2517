//! Records of any type in SequenceFiles, ten together: the format of object files, written and read.
//!
//! Described in `docs/formats.md`. What is written once is read by later versions.

use crate::sequence::{Compression, Header, SequenceReader, SequenceRecords, SequenceWriter};
use crate::sync_marker;
use crate::writable::Writable;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::type_name;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Read};
use std::marker::PhantomData;
use std::vec;
use tidegate::{Batch, Part, PartFormat, PartitionId};
use tidegate_core::{Error, Result};

/// What the value of each record begins with; the last byte is the version.
const MAGIC: &[u8; 4] = b"TGo\x01";
/// Objects of one record, as in Spark.
const OBJECTS: usize = 10;
/// The type of the objects, for people: its name may differ from one compiler to the next, so nothing depends on it.
const TYPE: &str = "tidegate.type";
const FORMAT: &str = "tidegate.format";

/// Records of any type that is `serde`, with the names of their fields: each SequenceFile has a `NullWritable` for a key and a
/// `BytesWritable` of ten objects for a value, as Spark's `saveAsObjectFiles` has; the objects are MessagePack instead of Java's.
///
/// Fields are found by name: a type that has lost a field, or got one with `#[serde(default)]`, reads the old files. A value
/// that MessagePack can't tell from another, `Some(None)` or `Some(())`, is refused when it is written.
///
/// With the feature `streams` it is a format of `tidegate_files` too: `FileOptions::of(ObjectFormat::default())` reads such files as they
/// come into a folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObjectFormat {
    compression: Compression,
}

impl ObjectFormat {
    /// Files that are compressed so.
    pub fn compressed(compression: Compression) -> ObjectFormat {
        ObjectFormat { compression }
    }
}

impl<T: Serialize + DeserializeOwned + 'static> PartFormat<T> for ObjectFormat {
    fn describe(&self) -> String {
        "object".to_owned()
    }

    fn part(&self, batch: &Batch, partition: PartitionId) -> Result<Box<dyn Part<T>>> {
        let metadata = [(FORMAT, "objects 1"), (TYPE, type_name::<T>())];
        let header = Header {
            key_class: <()>::CLASS.to_owned(),
            value_class: Vec::<u8>::CLASS.to_owned(),
            compression: self.compression,
            metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
        let file = SequenceWriter::new(&header, sync_marker(batch, partition));
        Ok(Box::new(ObjectPart { file, objects: Vec::new(), count: 0 }))
    }
}

struct ObjectPart {
    file: SequenceWriter,
    /// Of the record that is being filled.
    objects: Vec<u8>,
    count: usize,
}

impl ObjectPart {
    fn end_record(&mut self) -> Result<()> {
        if self.count == 0 {
            return Ok(());
        }
        let mut value = MAGIC.to_vec();
        // MessagePack's array of up to fifteen.
        value.push(0x90 | self.count as u8);
        value.append(&mut self.objects);
        self.count = 0;
        self.file.append(&(), &value)
    }
}

impl<T: Serialize + DeserializeOwned> Part<T> for ObjectPart {
    fn write(&mut self, row: T) -> Result<()> {
        let begin = self.objects.len();
        let mut serializer = rmp_serde::Serializer::new(&mut self.objects).with_struct_map();
        row.serialize(&mut serializer).map_err(|e| cannot::<T>("be serialised", e))?;
        check_back(&row, &self.objects[begin..])?;
        self.count += 1;
        if self.count == OBJECTS {
            self.end_record()?;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.file.bytes() + self.objects.len()
    }

    fn take(&mut self) -> Result<Vec<u8>> {
        Ok(self.file.take())
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>> {
        self.end_record()?;
        Ok(self.file.finish())
    }
}

/// Refuses a value that would come back as another one. In MessagePack `Some` of nothing is nothing; so what has a nothing (its byte
/// is 0xc0) is read back and compared, by bytes of a format that tells the two apart.
fn check_back<T: Serialize + DeserializeOwned>(value: &T, bytes: &[u8]) -> Result<()> {
    if !bytes.contains(&0xc0) {
        return Ok(());
    }
    // What has no such bytes (flattened fields) has no way to be compared either.
    let Some(is) = weight(value) else { return Ok(()) };
    let back: T = rmp_serde::from_slice(bytes).map_err(|e| cannot::<T>("be read back", e))?;
    if weight(&back) == Some(is) {
        return Ok(());
    }
    Err(Error::user_code(format!(
        "a `{}` has `Some` of nothing in it (`Some(None)`, `Some(())`), which object files can't tell from `None`; use an enum",
        type_name::<T>()
    )))
}

/// The sum of the bytes in Postcard. A `Some` that has become `None` makes it less; the order in a map does not matter.
fn weight<T: Serialize>(value: &T) -> Option<u64> {
    let bytes = postcard::to_stdvec(value).ok()?;
    Some(bytes.into_iter().map(u64::from).sum())
}

fn cannot<T>(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let name = type_name::<T>();
    Error::user_code(format!(
        "a `{name}` in an object file can't {what}; its `Serialize` and `Deserialize` must fit each other"
    ))
    .because(error)
}

/// The objects of one file, in order. Ends after an error.
///
/// Of a type that differs from the one that was written, what fits by the names of fields is read.
pub struct ObjectReader<T, R> {
    name: String,
    written: String,
    records: SequenceRecords<(), Vec<u8>, R>,
    number: u64,
    objects: vec::IntoIter<T>,
    failed: bool,
    object: PhantomData<fn() -> T>,
}

impl<T, R> fmt::Debug for ObjectReader<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectReader({}, record {})", self.name, self.number)
    }
}

impl<T: DeserializeOwned, R: Read> ObjectReader<T, R> {
    /// Reads the file `name`, which `input` gives the bytes of.
    ///
    /// # Errors
    /// As [`SequenceReader::new`], and `Reconfigure` when the file has no objects, or those of a later version.
    pub fn new(name: impl Into<String>, input: R) -> Result<ObjectReader<T, R>> {
        let name = name.into();
        let reader = SequenceReader::new(name.clone(), input)?;
        let metadata: &BTreeMap<String, String> = &reader.header().metadata;
        match metadata.get(FORMAT).map(String::as_str) {
            Some("objects 1") => {}
            Some(other) => {
                return Err(Error::reconfigure(format!(
                    "{name}: has {other:?}, and \"objects 1\" is read; a later version wrote it"
                )));
            }
            None => {
                return Err(Error::reconfigure(format!(
                    "{name}: has no objects of Tidegate; SequenceReader reads other SequenceFiles, and Java's objects (Spark's \
                     saveAsObjectFile) are read by nobody but Java"
                )));
            }
        }
        let written = metadata.get(TYPE).cloned().unwrap_or_default();
        let records = reader.records()?;
        Ok(ObjectReader {
            name,
            written,
            records,
            number: 0,
            objects: Vec::new().into_iter(),
            failed: false,
            object: PhantomData,
        })
    }

    fn next_object(&mut self) -> Result<Option<T>> {
        loop {
            if let Some(object) = self.objects.next() {
                return Ok(Some(object));
            }
            let Some(record) = self.records.next() else { return Ok(None) };
            let ((), value) = record?;
            self.number += 1;
            self.objects = self.objects_of(&value)?.into_iter();
        }
    }

    fn objects_of(&self, value: &[u8]) -> Result<Vec<T>> {
        let place = format!("{}: record {}", self.name, self.number);
        let Some(objects) = value.strip_prefix(MAGIC) else {
            return Err(Error::data_lost(format!("{place} has no objects; the file is damaged")));
        };
        let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(objects));
        let read = Vec::deserialize(&mut deserializer).map_err(|e| {
            let text = format!(
                "{place}: its objects, written as `{}`, can't be read as `{}`; give new fields a `#[serde(default)]`, and \
                 renamed ones a `#[serde(alias)]`",
                self.written,
                type_name::<T>()
            );
            Error::reconfigure(text).because(e)
        })?;
        if deserializer.position() < objects.len() as u64 {
            return Err(Error::data_lost(format!("{place} has more than its objects; the file is damaged")));
        }
        Ok(read)
    }
}

impl<T: DeserializeOwned, R: Read> Iterator for ObjectReader<T, R> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_object().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests;
