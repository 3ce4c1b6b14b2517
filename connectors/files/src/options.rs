//! How a file stream reads its folder, and what its files are.

use crate::format::{BinaryRecords, CsvRows, FileFormat, JsonLines, TextLines};
use crate::selection::Selection;
use glob::Pattern;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tidegate::Data;
use tidegate_core::{Error, Result, UserFile};

/// Files that a batch takes at most, unless set.
const FILES_PER_BATCH: usize = 1000;
const FORGET_AFTER: Duration = Duration::from_secs(10 * 60);

/// What becomes of a batch when one of its files was deleted or changed before the batch was run, or run again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// The job ends with an error that names the file.
    #[default]
    Fail,
    /// The file is left out, with a warning, and counted.
    Skip,
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// By the ending of its name: `.gz` is gzip, `.zst` and `.zstd` are Zstandard, others are not compressed.
    #[default]
    ByName,
    /// Not at all, whatever its name.
    None,
    /// Gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// What the files of a [`file_stream`](crate::FileStreams::file_stream) are, which of them are taken, and when.
///
/// ```
/// use serde::Deserialize;
/// use tidegate_files::FileOptions;
///
/// #[derive(Clone, Debug, Deserialize)]
/// struct Reading { station: String, level: f64 }
///
/// # fn main() -> tidegate::Result<()> {
/// let options = FileOptions::<Reading>::csv().glob("*.csv.gz")?.depth(2).max_files_per_batch(100);
/// # Ok(()) }
/// ```
pub struct FileOptions<T> {
    pub(crate) format: Arc<dyn FileFormat<T>>,
    pub(crate) name: Option<String>,
    pub(crate) selection: Selection,
    pub(crate) depth: usize,
    pub(crate) new_files_only: bool,
    pub(crate) files_per_batch: usize,
    pub(crate) settle: Option<Duration>,
    pub(crate) poll_interval: Option<Duration>,
    pub(crate) forget_after: Duration,
    pub(crate) on_missing: OnMissing,
    pub(crate) compression: Compression,
    pub(crate) readers: Option<usize>,
    pub(crate) settings: Vec<(String, String)>,
}

impl<T> Clone for FileOptions<T> {
    fn clone(&self) -> Self {
        FileOptions {
            format: self.format.clone(),
            name: self.name.clone(),
            selection: self.selection.clone(),
            settings: self.settings.clone(),
            ..*self
        }
    }
}

impl FileOptions<String> {
    /// Lines of UTF-8 text; see [`TextLines`].
    pub fn text() -> FileOptions<String> {
        FileOptions::of(TextLines)
    }
}

impl FileOptions<Vec<u8>> {
    /// Records of `length` bytes; see [`BinaryRecords`].
    ///
    /// # Errors
    /// `Reconfigure` for a length of 0, or over 16 MiB.
    pub fn binary_records(length: usize) -> Result<FileOptions<Vec<u8>>> {
        Ok(FileOptions::of(BinaryRecords::new(length)?))
    }
}

impl<T: Data + DeserializeOwned> FileOptions<T> {
    /// Lines of JSON; see [`JsonLines`].
    pub fn json_lines() -> FileOptions<T> {
        FileOptions::of(JsonLines)
    }

    /// Rows of CSV below a line with the names of the fields; see [`CsvRows`] for other kinds, used by [`of`](FileOptions::of).
    pub fn csv() -> FileOptions<T> {
        FileOptions::of(CsvRows::new())
    }

    /// Rows of Parquet; see [`ParquetRows`](crate::ParquetRows).
    #[cfg(feature = "parquet")]
    pub fn parquet() -> FileOptions<T> {
        FileOptions::of(crate::format::ParquetRows)
    }
}

impl<T> FileOptions<T> {
    /// Files of any format.
    pub fn of(format: impl FileFormat<T>) -> FileOptions<T> {
        FileOptions {
            format: Arc::new(format),
            name: None,
            selection: Selection::default(),
            depth: 1,
            new_files_only: false,
            files_per_batch: FILES_PER_BATCH,
            settle: None,
            poll_interval: None,
            forget_after: FORGET_AFTER,
            on_missing: OnMissing::Fail,
            compression: Compression::ByName,
            readers: None,
            settings: Vec::new(),
        }
    }

    /// The stream's name, under which it is known which files it took: it must stay the same. Unless given, it is made of the
    /// last part of the folder's path: `files-incoming`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Takes only files for which `filter` is true, which must answer the same each time. Hidden ones are not shown to it.
    #[must_use]
    pub fn filter(mut self, filter: impl Fn(&UserFile) -> bool + Send + Sync + 'static) -> Self {
        self.selection.filter = Some(Arc::new(filter));
        self
    }

    /// Takes only files that match `pattern`, or another of the patterns given: `*`, `?`, `[a-z]`. One without a slash is about a
    /// file's name, one with a slash about its path below the folder, where `**` is any number of folders.
    ///
    /// # Errors
    /// `Reconfigure` when it is no pattern.
    pub fn glob(mut self, pattern: &str) -> Result<Self> {
        let glob = Pattern::new(pattern)
            .map_err(|e| Error::reconfigure(format!("{pattern:?} is no pattern for files")).because(e))?;
        self.selection.globs.push(glob);
        Ok(self)
    }

    /// Takes files in folders too: 1 (as usual) is the folder itself, 2 the folders in it, and so on; `usize::MAX` all.
    #[must_use]
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth.max(1);
        self
    }

    /// Takes files too that are, or lie in a folder that is, named with `.` or `_` in front, and those that end in `.tmp` or
    /// `._COPYING_`.
    #[must_use]
    pub fn hidden_files(mut self, taken: bool) -> Self {
        self.selection.hidden = taken;
        self
    }

    /// Leaves out the files that are there when the job starts for the first time. Otherwise they are taken, as usual.
    ///
    /// It goes by what is there and not by a file's time, so one that is moved in later is taken, however old it is. What comes
    /// while the job is stopped is taken when it goes on, if it has a checkpoint directory.
    #[must_use]
    pub fn new_files_only(mut self, only: bool) -> Self {
        self.new_files_only = only;
        self
    }

    /// Takes at most so many files in a batch, and at least one: 1,000 unless set.
    #[must_use]
    pub fn max_files_per_batch(mut self, files: usize) -> Self {
        self.files_per_batch = files.max(1);
        self
    }

    /// Takes a file when it has looked the same for so long. Unless set, on a local disk and in HDFS when two listings show it the
    /// same, elsewhere at once: there files appear whole.
    #[must_use]
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = Some(settle);
        self
    }

    /// Lists the folder so often, and at most half of the time. Unless set, as often as there are batches, within 50 ms and
    /// 10 s.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = Some(interval);
        self
    }

    /// Forgets that a file was taken when it has been gone for so long: 10 minutes unless set. One that comes back later is
    /// taken as new.
    #[must_use]
    pub fn forget_after(mut self, gone: Duration) -> Self {
        self.forget_after = gone;
        self
    }

    /// What becomes of a batch one of whose files was deleted or changed.
    #[must_use]
    pub fn on_missing(mut self, on_missing: OnMissing) -> Self {
        self.on_missing = on_missing;
        self
    }

    /// How files are packed. Parquet packs inside of a file, and does not ask for this.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How many files each worker reads at once: 1 on a local disk and 8 elsewhere unless set; at most 64.
    #[must_use]
    pub fn readers_per_worker(mut self, readers: usize) -> Self {
        self.readers = Some(readers.clamp(1, 64));
        self
    }

    /// A setting of the store for this stream alone, as `tidegate_object_store::files_with` takes them: `AWS_REGION`. Never
    /// printed.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}
