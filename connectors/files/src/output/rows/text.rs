//! Lines of text.

use super::packing::Packing;
use super::{Encoder, FileCompression, RowFormat};
use std::io::Write;
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

    fn encoder(&self, packed: FileCompression, _: bool) -> Result<Box<dyn Encoder<T>>> {
        Ok(Box::new(Lines { packing: Packing::new(packed)?, text: self.0.clone() }))
    }

    fn join(&self, _: FileCompression, pieces: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        Ok(pieces.concat())
    }

    fn hash(&self, row: &T) -> u64 {
        StableHash::of((self.0)(row).as_bytes())
    }
}

struct Lines<T> {
    packing: Packing,
    text: ToText<T>,
}

impl<T> Encoder<T> for Lines<T> {
    fn push(&mut self, row: T) -> Result<(), String> {
        let mut line = (self.text)(&row);
        if line.contains(['\n', '\r']) {
            return Err("the text has a line break in it, and would be read as several rows: write JSON, or escape it".to_owned());
        }
        line.push('\n');
        self.packing.write_all(line.as_bytes()).map_err(|e| e.to_string())
    }

    fn bytes(&self) -> u64 {
        self.packing.bytes()
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, String> {
        self.packing.finish().map_err(|e| e.to_string())
    }
}
