//! What is in a file: bytes into records. A record that is none is an error with its file and its line, never passed over.

mod binary;
mod csv;
mod json;
mod lines;
#[cfg(feature = "parquet")]
mod parquet;

pub use self::csv::CsvRows;
#[cfg(feature = "parquet")]
pub use self::parquet::ParquetRows;
pub use binary::BinaryRecords;
pub use json::JsonLines;
pub use lines::TextLines;

use crate::file::InputFile;
use tidegate_core::Result;

/// Longest line or record: it is in memory as a whole.
const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is wrong with a record that is longer, and begins at a byte of what is unpacked.
fn too_long(begins: u64) -> String {
    format!(
        "what begins at its byte {begins} has more than {RECORD_BYTES_MAX} bytes and would be in memory as a whole; read such files \
         by a FileFormat of your own"
    )
}

/// A format of files, for [`FileOptions::of`](crate::FileOptions::of).
///
/// ```
/// use std::io::BufRead;
/// use tidegate_files::{FileFormat, FileOptions, InputFile};
///
/// /// A number a line.
/// struct Numbers;
///
/// impl FileFormat<i64> for Numbers {
///     fn describe(&self) -> String {
///         "numbers".to_owned()
///     }
///
///     fn read(&self, file: &InputFile, each: &mut dyn FnMut(i64) -> tidegate::Result<()>) -> tidegate::Result<()> {
///         for (line, text) in (1..).zip(file.unpacked()?.lines()) {
///             let text = text.map_err(|e| file.failed(Some(line), e))?;
///             each(text.trim().parse().map_err(|e| file.refused(Some(line), e))?)?;
///         }
///         Ok(())
///     }
/// }
///
/// let options = FileOptions::of(Numbers);
/// ```
pub trait FileFormat<T>: Send + Sync + 'static {
    /// What records are, for messages: `lines of text`.
    fn describe(&self) -> String;

    /// Gives each record of the file to `each`, in the same order each time. Memory must not grow with the file.
    ///
    /// # Errors
    /// What `each` or reading the file gave; [`InputFile::refused`] for what is no record.
    fn read(&self, file: &InputFile, each: &mut dyn FnMut(T) -> Result<()>) -> Result<()>;
}
