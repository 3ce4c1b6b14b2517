//! Rows of CSV.

use super::{FileFormat, RECORD_BYTES_MAX, too_long};
use crate::file::InputFile;
use csv::{ErrorKind, Position, ReaderBuilder, Trim};
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;
use tidegate_core::Result;

/// Rows of CSV, as the type of the stream reads them by serde: fields by the names in the first line, or in order without one. A row
/// has at most 16 MiB.
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
        let row_bytes = Rc::<Cell<usize>>::default();
        let mut reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(self.header)
            .trim(if self.trim { Trim::All } else { Trim::None })
            .from_reader(Bounded { bytes: file.unpacked()?, of_row: row_bytes.clone() });
        let failed = |begins: &Position, e| match row_bytes.get() > RECORD_BYTES_MAX {
            true => {
                let why = format!("{} (is a quote not closed?)", too_long(begins.byte()));
                file.refused(Some(begins.line()), why)
            }
            false => failed(file, begins, e),
        };
        if self.header {
            reader.headers().map_err(|e| failed(&Position::new(), e))?;
        }
        let mut rows = reader.deserialize();
        loop {
            let begins = rows.reader().position().clone();
            row_bytes.set(0);
            match rows.next() {
                None => return Ok(()),
                Some(row) => each(row.map_err(|e| failed(&begins, e))?)?,
            }
        }
    }
}

/// Bytes of which a row can't take more than its bound, beside what is in the buffer of the reader of rows.
struct Bounded<R> {
    bytes: R,
    /// How much was read since the row began.
    of_row: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.of_row.get() > RECORD_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.bytes.read(into)?;
        self.of_row.set(self.of_row.get() + read);
        Ok(read)
    }
}

fn failed(file: &InputFile, begins: &Position, e: csv::Error) -> tidegate_core::Error {
    let line = Some(e.position().unwrap_or(begins).line());
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
