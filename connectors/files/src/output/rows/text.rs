//! Lines of text.

use super::packing::Packing;
use super::{Encoder, FileBytes, FileCompression, RowFormat};
use std::sync::Arc;
use tidegate_core::{Result, StableHash};

type ToText<T> = Arc<dyn Fn(&T) -> String + Send + Sync>;

/// A line for each row.
pub(crate) struct TextFiles<T>(ToText<T>);

impl<T> TextFiles<T> {
    pub(crate) fn by(text: impl Fn(&T) -> String + Send + Sync + 'static) -> TextFiles<T> {
        TextFiles(Arc::new(text))
    }
}

impl<T: 'static> RowFormat<T> for TextFiles<T> {
    fn name(&self) -> &'static str {
        "text"
    }

    fn ending(&self, packed: FileCompression) -> Result<String> {
        Ok(format!("txt{}", Packing::ending(packed)?))
    }

    fn kind(&self) -> Result<String> {
        Ok("text".to_owned())
    }

    fn encoder(&self) -> Result<Box<dyn Encoder<T>>> {
        Ok(Box::new(Lines { bytes: Vec::new(), text: self.0.clone() }))
    }

    fn segment(&self, packed: FileCompression, _: bool) -> Result<Box<dyn FileBytes>> {
        Ok(Box::new(Packing::new(packed)?))
    }

    fn join(&self, _: FileCompression, segments: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        Ok(segments.concat())
    }

    fn hash(&self, row: &T) -> u64 {
        StableHash::of((self.0)(row).as_bytes())
    }
}

struct Lines<T> {
    bytes: Vec<u8>,
    text: ToText<T>,
}

impl<T> Encoder<T> for Lines<T> {
    fn push(&mut self, row: &T) -> Result<(), String> {
        let line = (self.text)(row);
        if line.contains(['\n', '\r']) {
            return Err("the text has a line break in it, and would be read as several rows: write JSON, or escape it".to_owned());
        }
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self) -> Result<Vec<u8>, String> {
        let next = Vec::with_capacity(self.bytes.len());
        Ok(std::mem::replace(&mut self.bytes, next))
    }
}
