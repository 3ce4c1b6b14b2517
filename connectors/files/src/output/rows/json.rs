//! Lines of JSON.

use super::hash::hash_row;
use super::packing::Packing;
use super::{Encoder, FileCompression, RowFormat};
use serde::Serialize;
use std::io::Write;
use tidegate_core::Result;

/// A JSON value a line.
pub(crate) struct JsonFiles;

impl<T: Serialize> RowFormat<T> for JsonFiles {
    fn name(&self) -> &'static str {
        "json"
    }

    fn ending(&self, packed: FileCompression) -> Result<String> {
        Ok(format!("jsonl{}", Packing::ending(packed)?))
    }

    fn kind(&self) -> Result<String> {
        Ok("json".to_owned())
    }

    fn encoder(&self, packed: FileCompression, _: bool) -> Result<Box<dyn Encoder<T>>> {
        Ok(Box::new(Lines { packing: Packing::new(packed)?, line: Vec::new() }))
    }

    fn join(&self, _: FileCompression, pieces: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        Ok(pieces.concat())
    }

    fn hash(&self, row: &T) -> u64 {
        hash_row(row)
    }
}

struct Lines {
    packing: Packing,
    line: Vec<u8>,
}

impl<T: Serialize> Encoder<T> for Lines {
    fn push(&mut self, row: T) -> Result<(), String> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, &row).map_err(|e| e.to_string())?;
        self.line.push(b'\n');
        self.packing.write_all(&self.line).map_err(|e| e.to_string())
    }

    fn bytes(&self) -> u64 {
        self.packing.bytes()
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, String> {
        self.packing.finish().map_err(|e| e.to_string())
    }
}
