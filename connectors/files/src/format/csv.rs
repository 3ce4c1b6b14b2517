//! Rows of CSV.

use super::FileFormat;
use crate::file::InputFile;
use csv::{ErrorKind, ReaderBuilder, Trim};
use serde::de::DeserializeOwned;
use tidegate_core::Result;

/// Rows of CSV, as the type of the stream reads them by serde: fields by the names in the first line, or in order without one.
///
/// ```
/// use tidegate_files::{CsvRows, FileOptions};
///
/// let options = FileOptions::<(String, f64)>::of(CsvRows::new().delimiter(b';').header(false));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CsvRows {
    delimiter: u8,
    header: bool,
    trim: bool,
}

impl Default for CsvRows {
    fn default() -> Self {
        CsvRows::new()
    }
}

impl CsvRows {
    /// Fields separated by commas below a line with their names.
    pub fn new() -> CsvRows {
        CsvRows { delimiter: b',', header: true, trim: false }
    }

    /// Another byte between fields.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> CsvRows {
        self.delimiter = delimiter;
        self
    }

    /// Whether the first line has the names of the fields.
    #[must_use]
    pub fn header(mut self, header: bool) -> CsvRows {
        self.header = header;
        self
    }

    /// Whether white space around fields is left out.
    #[must_use]
    pub fn trim(mut self, trim: bool) -> CsvRows {
        self.trim = trim;
        self
    }
}

impl<T: DeserializeOwned> FileFormat<T> for CsvRows {
    fn describe(&self) -> String {
        "rows of CSV".to_owned()
    }

    fn read(&self, file: &InputFile, each: &mut dyn FnMut(T) -> Result<()>) -> Result<()> {
        let mut reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(self.header)
            .trim(if self.trim { Trim::All } else { Trim::None })
            .from_reader(file.unpacked()?);
        for row in reader.deserialize() {
            each(row.map_err(|e: csv::Error| failed(file, e))?)?;
        }
        Ok(())
    }
}

fn failed(file: &InputFile, e: csv::Error) -> tidegate_core::Error {
    let line = e.position().map(csv::Position::line);
    let text = match e.kind() {
        // Without its own count of lines and bytes, of which the error has the line already.
        ErrorKind::Deserialize { err, .. } => err.to_string(),
        _ => e.to_string(),
    };
    match e.into_kind() {
        ErrorKind::Io(e) => file.failed(line, e),
        _ => file.refused(line, text),
    }
}
