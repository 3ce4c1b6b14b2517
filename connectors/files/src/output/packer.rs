//! Packs rows on the worker where they are: a piece for each folder, with the folder's name behind its bytes.
//!
//! A piece goes to a writer of the same version, maybe in another process; it is never stored.

use super::rows::Encoder;
use super::writer::Settings;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use tidegate_core::{Error, Packed, Packer, Result};

/// Rows that a packer has at most.
const ROWS_MAX: u64 = 4096;
/// Bytes of rows from which on they are handed on.
const BYTES_MAX: u64 = 128 * 1024;
/// A file ends between two pieces: there are so many in one at least.
const PIECES_OF_A_FILE: u64 = 16;
/// Folders whose encoder is kept from one piece to the next.
const ENCODERS_KEPT: usize = 16;
/// Stands for the length of a folder's name where rows have none.
const NO_FOLDER: u32 = u32::MAX;

pub(super) struct FilesPacker<T> {
    settings: Settings<T>,
    bytes_max: u64,
    /// Of rows without a folder.
    plain: Option<Rows<T>>,
    encoders: BTreeMap<String, Rows<T>>,
    rows: u64,
}

/// Rows of one folder.
struct Rows<T> {
    encoder: Box<dyn Encoder<T>>,
    rows: u64,
}

impl<T> FilesPacker<T> {
    pub(super) fn new(settings: Settings<T>) -> FilesPacker<T> {
        let bytes_max = BYTES_MAX.min(settings.target_bytes / PIECES_OF_A_FILE);
        FilesPacker { settings, bytes_max, plain: None, encoders: BTreeMap::new(), rows: 0 }
    }
}

impl<T> Packer<T> for FilesPacker<T> {
    fn add(&mut self, row: &T) -> Result<bool> {
        let begun = || Ok::<_, Error>(Rows { encoder: self.settings.format.encoder()?, rows: 0 });
        let rows = match &self.settings.folder_of {
            None => match &mut self.plain {
                Some(rows) => rows,
                none => none.insert(begun()?),
            },
            Some(folder_of) => match self.encoders.entry(folder_of(row)?) {
                Entry::Occupied(rows) => rows.into_mut(),
                Entry::Vacant(none) => none.insert(begun()?),
            },
        };
        rows.encoder.push(row).map_err(refused)?;
        rows.rows += 1;
        self.rows += 1;
        Ok(self.rows >= ROWS_MAX || rows.encoder.bytes() as u64 >= self.bytes_max)
    }

    fn take(&mut self) -> Result<Vec<Packed>> {
        self.rows = 0;
        let mut pieces = Vec::new();
        let in_folders = self.encoders.iter_mut().map(|(folder, rows)| (Some(folder), rows));
        let all = self.plain.iter_mut().map(|rows| (None, rows)).chain(in_folders);
        for (folder, rows) in all.filter(|(_, rows)| rows.rows > 0) {
            let bytes = rows.encoder.take().map_err(refused)?;
            let piece = Piece { folder: folder.cloned(), bytes };
            pieces.push(Packed { rows: std::mem::take(&mut rows.rows), bytes: piece.into_bytes() });
        }
        if self.encoders.len() > ENCODERS_KEPT {
            self.encoders.clear();
        }
        Ok(pieces)
    }
}

fn refused(why: String) -> Error {
    Error::reconfigure(format!("a row can't be written: {why}"))
}

/// Bytes of rows, and the folder they go to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) folder: Option<String>,
    pub(super) bytes: Vec<u8>,
}

impl Piece {
    fn into_bytes(self) -> Vec<u8> {
        let Piece { folder, mut bytes } = self;
        let length = folder.as_ref().map_or(NO_FOLDER, |folder| folder.len() as u32);
        bytes.extend_from_slice(folder.unwrap_or_default().as_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes
    }

    /// What [`FilesPacker`] made.
    pub(super) fn of(packed: Packed) -> Result<Piece> {
        let mut bytes = packed.bytes;
        let folder = Piece::folder_of(&mut bytes).ok_or_else(|| Error::bug("a piece of rows is cut off"))?;
        Ok(Piece { folder, bytes })
    }

    /// Takes the folder off the end.
    fn folder_of(bytes: &mut Vec<u8>) -> Option<Option<String>> {
        let (rest, length) = bytes.split_last_chunk()?;
        let (length, end) = (u32::from_le_bytes(*length), rest.len());
        if length == NO_FOLDER {
            bytes.truncate(end);
            return Some(None);
        }
        let start = end.checked_sub(length as usize)?;
        let folder = String::from_utf8(rest[start..].to_vec()).ok()?;
        bytes.truncate(start);
        Some(Some(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_the_same_after_its_way() {
        for folder in [None, Some(String::new()), Some("day=1".to_owned())] {
            let bytes = Piece { folder: folder.clone(), bytes: b"row\n".to_vec() }.into_bytes();
            let piece = Piece::of(Packed { rows: 1, bytes: bytes.clone() }).unwrap();
            assert_eq!(piece, Piece { folder: folder.clone(), bytes: b"row\n".to_vec() });
            assert!(Piece::of(Packed { rows: 1, bytes: bytes[bytes.len() - 3..].to_vec() }).is_err());
        }
    }
}
