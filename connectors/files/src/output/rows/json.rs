//! Lines of JSON.

use super::hash::hash_row;
use super::packing::Packing;
use super::{Encoder, FileBytes, FileCompression, RowFormat};
use serde::Serialize;
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

    fn encoder(&self) -> Result<Box<dyn Encoder<T>>> {
        Ok(Box::new(Lines(Vec::new())))
    }

    fn segment(&self, packed: FileCompression, _: bool) -> Result<Box<dyn FileBytes>> {
        Ok(Box::new(Packing::new(packed)?))
    }

    fn join(&self, _: FileCompression, segments: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        Ok(segments.concat())
    }

    fn hash(&self, row: &T) -> u64 {
        hash_row(row)
    }
}

struct Lines(Vec<u8>);

impl<T: Serialize> Encoder<T> for Lines {
    fn push(&mut self, row: &T) -> Result<(), String> {
        serde_json::to_writer(&mut self.0, row).map_err(|e| e.to_string())?;
        self.0.push(b'\n');
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self) -> Result<Vec<u8>, String> {
        let next = Vec::with_capacity(self.0.len());
        Ok(std::mem::replace(&mut self.0, next))
    }
}
