//! Files. Streams: each file of a folder is taken once, whatever happens, from a local disk, HDFS, S3 and its kind, or Alluxio.
//!
//! [`FileStreams`] is where a job begins: Spark's `text_file_stream`, `binary_records_stream`, `file_stream`. The driver's side is
//! `planner` (what a batch takes), with `lister` (the background thread that lists the folder), `pool` (which files are to be
//! taken, pure) and `ledger` (which were, durably). The worker's side is `reader`, with `file` (a file as a stream of bytes) and
//! [`format`](FileFormat) (bytes into records).
//!
//! [`SaveAsFiles`] and [`FilesOutput`] are the other way: a job writes files, each batch once (`output`).
//!
//! What must not be here: how a store is talked to, a byte written beside the files that are read, a file that is left out and not
//! spoken of.

mod file;
mod format;
mod ledger;
mod lister;
mod mark;
mod options;
mod output;
mod planner;
mod pool;
mod reader;
mod sealed;
mod selection;
mod source;
mod stream;

pub use file::InputFile;
#[cfg(feature = "parquet")]
pub use format::ParquetRows;
pub use format::{BinaryRecords, CsvRows, FileFormat, JsonLines, TextLines};
pub use options::{Compression, FileOptions, OnMissing};
pub use output::{FileCompression, FilesOutput, SaveAsFiles};
pub use source::FileSource;
pub use stream::FileStreams;
