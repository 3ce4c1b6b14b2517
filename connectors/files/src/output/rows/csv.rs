//! Rows of CSV.

use super::hash::hash_row;
use super::packing::Packing;
use super::{Encoder, FileCompression, RowFormat};
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

    fn encoder(&self, packed: FileCompression, first: bool) -> Result<Box<dyn Encoder<T>>> {
        let writer = WriterBuilder::new().has_headers(first).from_writer(Packing::new(packed)?);
        Ok(Box::new(Rows(writer)))
    }

    fn join(&self, _: FileCompression, pieces: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        Ok(pieces.concat())
    }

    fn hash(&self, row: &T) -> u64 {
        hash_row(row)
    }
}

struct Rows(Writer<Packing>);

impl<T: Serialize> Encoder<T> for Rows {
    fn push(&mut self, row: T) -> Result<(), String> {
        self.0.serialize(&row).map_err(|e| e.to_string())
    }

    fn bytes(&self) -> u64 {
        self.0.get_ref().bytes()
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, String> {
        let packing = self.0.into_inner().map_err(|e| e.to_string())?;
        packing.finish().map_err(|e| e.to_string())
    }
}
