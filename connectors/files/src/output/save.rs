//! `save_as_parquet` and its kind on a stream of rows.

use super::FilesOutput;
use std::fmt::Display;
use std::sync::Arc;
use tidegate::{DStream, ExchangeData};
use tidegate_core::{OutputId, Result, Storage};

/// Output operations that write a stream of rows into files of a folder, each batch once.
///
/// `name` is the output's, by which it is found again after a restart. The folder is its own: the root of `storage`, which
/// `tidegate_object_store::storage` opens by URL. [`DStream::output`] with a [`FilesOutput`] has more to choose.
///
/// ```
/// use tidegate::DStream;
/// use tidegate_files::SaveAsFiles;
///
/// # fn job(words: DStream<(String, i64)>, folder: &str) -> tidegate::Result<()> {
/// words.save_as_json("counts", tidegate_object_store::storage(folder)?)?;
/// # Ok(()) }
/// ```
pub trait SaveAsFiles<T> {
    /// Output: writes files of Parquet; see [`FilesOutput::parquet`].
    ///
    /// # Errors
    /// `Reconfigure` when the name is taken or the context was started. What is wrong with the folder or the type is told at start.
    #[cfg(feature = "parquet")]
    fn save_as_parquet(&self, name: &str, storage: Arc<dyn Storage>) -> Result<OutputId>;

    /// Output: writes files with a JSON value a line; see [`FilesOutput::json`].
    ///
    /// # Errors
    /// `Reconfigure` when the name is taken or the context was started. What is wrong with the folder is told at start.
    fn save_as_json(&self, name: &str, storage: Arc<dyn Storage>) -> Result<OutputId>;

    /// Output: writes files of CSV; see [`FilesOutput::csv`].
    ///
    /// # Errors
    /// As [`save_as_json`](SaveAsFiles::save_as_json).
    fn save_as_csv(&self, name: &str, storage: Arc<dyn Storage>) -> Result<OutputId>;

    /// Output: writes files of lines; see [`FilesOutput::text`].
    ///
    /// # Errors
    /// As [`save_as_json`](SaveAsFiles::save_as_json).
    fn save_as_text(&self, name: &str, storage: Arc<dyn Storage>) -> Result<OutputId>
    where
        T: Display;
}

impl<T: ExchangeData + Sync> SaveAsFiles<T> for DStream<T> {
    #[cfg(feature = "parquet")]
    fn save_as_parquet(&self, name: &str, storage: Arc<dyn Storage>) -> Result<OutputId> {
        self.output(name, FilesOutput::parquet(storage))
    }

    fn save_as_json(&self, name: &str, storage: Arc<dyn Storage>) -> Result<OutputId> {
        self.output(name, FilesOutput::json(storage))
    }

    fn save_as_csv(&self, name: &str, storage: Arc<dyn Storage>) -> Result<OutputId> {
        self.output(name, FilesOutput::csv(storage))
    }

    fn save_as_text(&self, name: &str, storage: Arc<dyn Storage>) -> Result<OutputId>
    where
        T: Display,
    {
        self.output(name, FilesOutput::text(storage))
    }
}
