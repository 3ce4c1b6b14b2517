//! How rows become the bytes of files: pieces of rows first, then segments of files, of which whole files are put together. When and
//! where is not decided here.

mod csv;
mod hash;
mod json;
mod packing;
#[cfg(feature = "parquet")]
mod parquet;
mod text;

pub(super) use self::csv::CsvFiles;
#[cfg(feature = "parquet")]
pub(super) use self::parquet::ParquetFiles;
pub(super) use json::JsonFiles;
pub(super) use text::TextFiles;

use tidegate_core::{Error, Result};

/// How the bytes of files are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileCompression {
    /// Not at all.
    None,
    /// Snappy; for Parquet alone.
    Snappy,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl FileCompression {
    pub(super) fn word(self) -> &'static str {
        match self {
            FileCompression::None => "none",
            FileCompression::Snappy => "snappy",
            FileCompression::Gzip => "gzip",
            FileCompression::Zstd => "zstd",
        }
    }
}

/// A format that files are written in.
pub(super) trait RowFormat<T>: Send + Sync {
    /// A word for it that never changes: the output remembers it.
    fn name(&self) -> &'static str;

    /// What the names of files end in.
    fn ending(&self, packed: FileCompression) -> Result<String>;

    /// What must be the same for rows to come into one file.
    ///
    /// # Errors
    /// `Reconfigure`: the type of the rows has no place in this format.
    fn kind(&self) -> Result<String>;

    /// Makes bytes of rows, on the worker where they are.
    fn encoder(&self) -> Result<Box<dyn Encoder<T>>>;

    /// Begins a segment of a file: its first one, or one that comes behind another.
    fn segment(&self, packed: FileCompression, first: bool) -> Result<Box<dyn FileBytes>>;

    /// Makes one segment, or a whole file, of segments that follow each other.
    ///
    /// # Errors
    /// What is wrong with a segment.
    fn join(&self, packed: FileCompression, segments: Vec<Vec<u8>>) -> Result<Vec<u8>, String>;

    /// The hash of a row, the same on every machine and in every version.
    fn hash(&self, row: &T) -> u64;
}

/// Makes pieces of rows.
pub(super) trait Encoder<T> {
    /// Adds a row behind the others.
    ///
    /// # Errors
    /// What is wrong with the row.
    fn push(&mut self, row: &T) -> Result<(), String>;

    /// Bytes since the last piece; an estimate where they are packed with it.
    fn bytes(&self) -> usize;

    /// The rows since the last piece, which are some, as one: for [`FileBytes`] of the same format.
    ///
    /// # Errors
    /// What is wrong with a row.
    fn take(&mut self) -> Result<Vec<u8>, String>;
}

/// A segment of a file that is being made of pieces of rows.
pub(super) trait FileBytes {
    /// Adds rows behind the others.
    ///
    /// # Errors
    /// What is wrong with the piece.
    fn push(&mut self, piece: &[u8]) -> Result<(), String>;

    /// Bytes in memory; an estimate where they are packed later.
    fn bytes(&self) -> u64;

    /// Of these, those that will not change any more.
    fn ready(&self) -> u64;

    /// Takes what is ready out of it.
    fn take(&mut self) -> Vec<u8>;

    /// The whole segment, or what was not taken of it.
    ///
    /// # Errors
    /// What is wrong with a piece.
    fn finish(self: Box<Self>) -> Result<Vec<u8>, String>;
}

fn only_in_parquet(packed: FileCompression) -> Error {
    Error::reconfigure(format!(
        "{} is for Parquet: choose gzip, zstd or none for files of lines",
        packed.word()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::io::Read;
    use tidegate_core::StableHash;

    #[derive(Clone, Debug, Serialize, Deserialize)]
    struct Row {
        word: String,
        count: u64,
    }

    fn row(count: u64) -> Row {
        Row { word: format!("w{count}"), count }
    }

    fn piece<T>(format: &dyn RowFormat<T>, packed: FileCompression, first: bool, rows: Vec<T>) -> Vec<u8> {
        let (mut encoder, mut segment) = (format.encoder().unwrap(), format.segment(packed, first).unwrap());
        let mut bytes = Vec::new();
        for row in rows {
            encoder.push(&row).unwrap();
            segment.push(&encoder.take().unwrap()).unwrap();
            bytes.extend(segment.take());
        }
        bytes.extend(segment.finish().unwrap());
        bytes
    }

    fn unpacked(packed: FileCompression, bytes: &[u8]) -> String {
        let mut text = String::new();
        match packed {
            FileCompression::Gzip => {
                flate2::read::MultiGzDecoder::new(bytes).read_to_string(&mut text).unwrap()
            }
            FileCompression::Zstd => {
                zstd::stream::read::Decoder::new(bytes).unwrap().read_to_string(&mut text).unwrap()
            }
            _ => (&bytes[..]).read_to_string(&mut text).unwrap(),
        };
        text
    }

    #[test]
    fn pieces_make_one_file_in_their_order_however_they_are_packed() {
        for packed in [FileCompression::None, FileCompression::Gzip, FileCompression::Zstd] {
            let whole = |format: &dyn RowFormat<Row>| {
                let pieces = vec![
                    piece(format, packed, true, vec![row(1), row(2)]),
                    piece(format, packed, false, vec![row(3)]),
                ];
                unpacked(packed, &format.join(packed, pieces).unwrap())
            };
            assert_eq!(whole(&CsvFiles), "word,count\nw1,1\nw2,2\nw3,3\n");
            assert_eq!(
                whole(&JsonFiles),
                "{\"word\":\"w1\",\"count\":1}\n{\"word\":\"w2\",\"count\":2}\n{\"word\":\"w3\",\"count\":3}\n"
            );
            assert_eq!(whole(&TextFiles::by(|row: &Row| row.word.clone())), "w1\nw2\nw3\n");
        }
    }

    #[test]
    fn a_row_that_would_not_read_back_is_refused() {
        let text = TextFiles::by(|row: &String| row.clone());
        let mut encoder = text.encoder().unwrap();
        assert!(encoder.push(&"a\nb".to_owned()).unwrap_err().contains("line break"));
        let mut encoder = CsvFiles.encoder().unwrap();
        let nested = std::collections::BTreeMap::from([(1, 2)]);
        assert!(encoder.push(&nested).unwrap_err().contains("map"));
        let keyed = std::collections::BTreeMap::from([((1, 2), 3)]);
        let mut encoder = JsonFiles.encoder().unwrap();
        assert!(encoder.push(&keyed).unwrap_err().contains("key must be a string"));
        assert!(RowFormat::<Row>::ending(&JsonFiles, FileCompression::Snappy).is_err());
    }

    #[test]
    fn the_hash_of_a_row_is_of_its_values_and_that_of_text_of_its_line() {
        let by_values = 0xA402_0D41_1987_E90F;
        assert_eq!(RowFormat::<Row>::hash(&JsonFiles, &row(1)), by_values);
        assert_eq!(RowFormat::<Row>::hash(&CsvFiles, &row(1)), by_values);
        let text = TextFiles::by(|row: &Row| row.word.clone());
        assert_eq!(text.hash(&row(1)), StableHash::of(b"w1"));
    }
}
