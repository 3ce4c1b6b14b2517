//! Rows of CSV.

use super::hash::hash_row;
use super::packing::Packing;
use super::{Encoder, FileBytes, FileCompression, RowFormat};
use csv::{Writer, WriterBuilder};
use serde::Serialize;
use tidegate_core::Result;

/// Rows of CSV below a line with the names of the fields, where the rows have names.
pub(crate) struct CsvFiles;

impl<T: Serialize> RowFormat<T> for CsvFiles {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn ending(&self, packed: FileCompression) -> Result<String> {
        Ok(format!("csv{}", Packing::ending(packed)?))
    }

    fn kind(&self) -> Result<String> {
        Ok("csv".to_owned())
    }

    fn encoder(&self) -> Result<Box<dyn Encoder<T>>> {
        Ok(Box::new(Rows { header: None, rows: writer(Vec::new(), false) }))
    }

    fn segment(&self, packed: FileCompression, first: bool) -> Result<Box<dyn FileBytes>> {
        Ok(Box::new(Segment { needs_header: first, packing: Packing::new(packed)? }))
    }

    fn join(&self, _: FileCompression, segments: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        Ok(segments.concat())
    }

    fn hash(&self, row: &T) -> u64 {
        hash_row(row)
    }
}

/// A piece is the length of the line of names, as 4 bytes, that line, which is empty where rows have no names, and the rows.
struct Rows {
    /// What a piece begins with, from the first row on.
    header: Option<Vec<u8>>,
    rows: Writer<Vec<u8>>,
}

fn writer(bytes: Vec<u8>, has_headers: bool) -> Writer<Vec<u8>> {
    WriterBuilder::new().has_headers(has_headers).from_writer(bytes)
}

/// The line of names that comes before `row`, with its length before it.
fn header(row: &impl Serialize) -> Result<Vec<u8>, String> {
    let bytes = |has_headers| {
        let mut one = writer(Vec::new(), has_headers);
        one.serialize(row).map_err(|e| e.to_string())?;
        one.into_inner().map_err(|e| e.to_string())
    };
    let (with, without) = (bytes(true)?, bytes(false)?);
    let names = &with[..with.len() - without.len()];
    let length = u32::try_from(names.len()).map_err(|_| "the names of its fields are too long")?;
    Ok([&length.to_le_bytes(), names].concat())
}

impl<T: Serialize> Encoder<T> for Rows {
    fn push(&mut self, row: &T) -> Result<(), String> {
        if self.header.is_none() {
            let header = header(row)?;
            self.rows = writer(header.clone(), false);
            self.header = Some(header);
        }
        self.rows.serialize(row).map_err(|e| e.to_string())
    }

    fn bytes(&self) -> usize {
        self.rows.get_ref().len()
    }

    fn take(&mut self) -> Result<Vec<u8>, String> {
        let mut next = Vec::with_capacity(self.rows.get_ref().len());
        next.extend_from_slice(self.header.as_deref().unwrap_or_default());
        let full = std::mem::replace(&mut self.rows, writer(next, false));
        full.into_inner().map_err(|e| e.to_string())
    }
}

struct Segment {
    needs_header: bool,
    packing: Packing,
}

impl FileBytes for Segment {
    fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        let cut = || {
            let (length, rest) = piece.split_first_chunk()?;
            rest.split_at_checked(u32::from_le_bytes(*length) as usize)
        };
        let (names, rows) = cut().ok_or("a piece of rows is cut off")?;
        if std::mem::take(&mut self.needs_header) {
            self.packing.push(names)?;
        }
        self.packing.push(rows)
    }

    fn bytes(&self) -> u64 {
        self.packing.bytes()
    }

    fn ready(&self) -> u64 {
        self.packing.ready()
    }

    fn take(&mut self) -> Vec<u8> {
        self.packing.take()
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, String> {
        Box::new(self.packing).finish()
    }
}
