//! Lines of JSON.

use super::FileFormat;
use super::lines::each_line;
use crate::file::InputFile;
use serde::de::DeserializeOwned;
use tidegate_core::Result;

/// A JSON value a line, as the type of the stream reads it by serde. Lines of white space are passed over.
#[derive(Clone, Copy, Debug)]
pub struct JsonLines;

impl<T: DeserializeOwned> FileFormat<T> for JsonLines {
    fn describe(&self) -> String {
        "lines of JSON".to_owned()
    }

    fn read(&self, file: &InputFile, each: &mut dyn FnMut(T) -> Result<()>) -> Result<()> {
        each_line(file, &mut |number, line| {
            if line.trim_ascii().is_empty() {
                return Ok(());
            }
            each(serde_json::from_slice(line).map_err(|e| file.refused(Some(number), e))?)
        })
    }
}
