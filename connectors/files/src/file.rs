//! A file as what formats read: bytes in order, unpacked, or any range of them as they are.

use crate::options::Compression;
use flate2::bufread::MultiGzDecoder;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_core::{Error, FileSystem, OpenFile, Result, UserFile};

/// Bytes that are asked for at a time.
const PIECE: usize = 1024 * 1024;

/// A file that is being read, for a [`FileFormat`](crate::FileFormat).
#[derive(Clone)]
pub struct InputFile {
    place: Arc<str>,
    bytes: u64,
    compression: Compression,
    open: Arc<Mutex<Box<dyn OpenFile>>>,
}

impl fmt::Debug for InputFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InputFile({})", self.place)
    }
}

impl InputFile {
    pub(crate) fn open(
        files: &dyn FileSystem,
        file: &UserFile,
        compression: Compression,
    ) -> Result<InputFile> {
        let compression = match compression {
            Compression::ByName => by_name(&file.path),
            given => given,
        };
        Ok(InputFile {
            place: format!("{}/{}", files.describe().trim_end_matches('/'), file.path).into(),
            bytes: file.bytes,
            compression,
            open: Arc::new(Mutex::new(files.open(file)?)),
        })
    }

    /// What and where it is, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Its length as it is stored.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// `length` bytes from `from` on as they are stored, and fewer only at its end. At most 1 MiB is asked for at a time.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read_at(&self, from: u64, length: usize) -> Result<Vec<u8>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let length = length.min(usize::try_from(self.bytes.saturating_sub(from)).unwrap_or(usize::MAX));
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let piece = open.read(from + bytes.len() as u64, PIECE.min(length - bytes.len()))?;
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// All its bytes in order, unpacked. What reading fails with, [`failed`](InputFile::failed) makes an error of.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn unpacked(&self) -> Result<Box<dyn BufRead>> {
        let stored = BufReader::with_capacity(64 * 1024, self.stored_from(0));
        Ok(match self.compression {
            Compression::ByName | Compression::None => Box::new(stored),
            Compression::Gzip => Box::new(BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(stored))),
            Compression::Zstd => {
                let decoder = zstd::Decoder::with_buffer(stored).map_err(|e| self.failed(None, e))?;
                Box::new(BufReader::with_capacity(64 * 1024, decoder))
            }
        })
    }

    /// The bytes from `from` on, as they are stored.
    pub(crate) fn stored_from(&self, from: u64) -> StoredBytes {
        StoredBytes { file: self.clone(), at: from, piece: Vec::new(), read: 0 }
    }

    /// The error about something in the file that is no record, in its `line` or at its end: going on would lose it.
    pub fn refused(&self, line: Option<u64>, what: impl fmt::Display) -> Error {
        let line = line.map_or_else(String::new, |line| format!(", line {line}"));
        Error::data_lost(format!(
            "{}{line}: {what}; mend the file, or move it away and let the stream skip it (on_missing)",
            self.place
        ))
    }

    /// The error that reading the file gave, at `line`.
    pub fn failed(&self, line: Option<u64>, e: io::Error) -> Error {
        match e.downcast::<Error>() {
            Ok(error) => error,
            Err(e) => self.refused(line, format!("can't be unpacked or read ({e})")),
        }
    }
}

fn by_name(path: &str) -> Compression {
    match path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).as_deref() {
        Some("gz") => Compression::Gzip,
        Some("zst" | "zstd") => Compression::Zstd,
        _ => Compression::None,
    }
}

/// The stored bytes of a file in order.
pub(crate) struct StoredBytes {
    file: InputFile,
    at: u64,
    piece: Vec<u8>,
    /// How much of the piece was read.
    read: usize,
}

impl Read for StoredBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.piece.len() {
            self.piece = self.file.read_at(self.at, PIECE).map_err(io::Error::other)?;
            self.read = 0;
            self.at += self.piece.len() as u64;
        }
        let count = buffer.len().min(self.piece.len() - self.read);
        buffer[..count].copy_from_slice(&self.piece[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_how_a_file_is_packed() {
        for (path, expected) in [
            ("a.gz", Compression::Gzip),
            ("a.csv.GZ", Compression::Gzip),
            ("a.zst", Compression::Zstd),
            ("a.zstd", Compression::Zstd),
            ("a", Compression::None),
            ("a.gz/b.txt", Compression::None),
        ] {
            assert_eq!(by_name(path), expected, "{path}");
        }
    }
}
