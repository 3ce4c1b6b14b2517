//! A folder as a [`Source`].

use crate::lister::List;
use crate::options::FileOptions;
use crate::planner::FilePlanner;
use crate::reader::FileReader;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tidegate::Data;
use tidegate_core::{
    FileSystem, InputContext, InputGuarantee, Planner, Reader, Result, Source, SourceRange, StreamId,
};

/// Files that a worker reads at once, unless set.
const LOCAL_READERS: usize = 1;
const REMOTE_READERS: usize = 8;

/// The files of a folder, each of which is taken once. [`FileStreams`](crate::FileStreams) makes streams of it. Copies are the
/// same source.
pub struct FileSource<T> {
    inner: Arc<Inner<T>>,
}

pub(crate) struct Inner<T> {
    pub(crate) files: Arc<dyn FileSystem>,
    pub(crate) options: FileOptions<T>,
    pub(crate) readers: usize,
    name: String,
    pub(crate) counts: Arc<Counts>,
}

/// What readers count: how long records are, for the planner, and what was left out.
#[derive(Default)]
pub(crate) struct Counts {
    bytes: AtomicU64,
    records: AtomicU64,
    skipped: AtomicU64,
}

impl Counts {
    pub(crate) fn read(&self, bytes: u64, records: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    /// Says how many were left out by now.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Bytes of a file to a record, over all that was read; none before anything was.
    pub(crate) fn bytes_per_record(&self) -> Option<f64> {
        let (bytes, records) = (self.bytes.load(Ordering::Relaxed), self.records.load(Ordering::Relaxed));
        (records > 0).then(|| bytes as f64 / records as f64)
    }
}

impl<T> Clone for FileSource<T> {
    fn clone(&self) -> Self {
        FileSource { inner: self.inner.clone() }
    }
}

impl<T: Data> FileSource<T> {
    /// The folder that `url` names. It is looked at when the job starts.
    ///
    /// # Errors
    /// `Reconfigure`: the URL names no folder, its store is not built in, or a setting of it makes no sense.
    pub fn new(url: &str, options: FileOptions<T>) -> Result<FileSource<T>> {
        let settings: Vec<(&str, &str)> =
            options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let files = tidegate_object_store::files_with(url, &settings)?;
        let is_local = !url.contains("://") || url.starts_with("file://");
        let readers = options.readers.unwrap_or(if is_local { LOCAL_READERS } else { REMOTE_READERS });
        Ok(FileSource::on(files, readers, options))
    }

    pub(crate) fn on(files: Arc<dyn FileSystem>, readers: usize, options: FileOptions<T>) -> FileSource<T> {
        let name = options.name.clone().unwrap_or_else(|| name_of(&files.describe()));
        FileSource { inner: Arc::new(Inner { files, options, readers, name, counts: Arc::default() }) }
    }

    /// The name of a stream of it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Files that were left out because they were deleted or changed before their batch was run; see
    /// [`OnMissing::Skip`](crate::OnMissing::Skip). A batch that is run again counts again.
    pub fn files_skipped(&self) -> u64 {
        self.inner.counts.skipped.load(Ordering::Relaxed)
    }
}

/// The last part of the folder's path: it is the same wherever the folder is mounted.
fn name_of(folder: &str) -> String {
    let last = folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    format!("files-{last}")
}

impl<T: Data> Source<T> for FileSource<T> {
    fn describe(&self) -> String {
        format!("files of {}: {}", self.inner.files.describe(), self.inner.options.format.describe())
    }

    fn guarantee(&self) -> InputGuarantee {
        InputGuarantee::exactly_once(
            "each file is taken once, by path and identity, and which were taken is kept beside the checkpoints; \
             without a checkpoint directory a start takes the files again that are still there",
        )
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        let Inner { files, options, .. } = &*self.inner;
        let list = List { files: files.clone(), selection: options.selection.clone(), depth: options.depth };
        Ok(Box::new(FilePlanner::open(context, list, &options.planning(), self.inner.counts.clone())?))
    }

    fn reader(&self, stream: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<T>>> {
        Ok(Box::new(FileReader::new(self.inner.clone(), stream)))
    }

    /// By place: a file is read once, so there is nothing to keep for it.
    fn worker_of(&self, index: usize, _: &SourceRange, workers: usize) -> usize {
        index % workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_named_after_its_folder() {
        for (folder, name) in [
            ("/var/incoming", "files-incoming"),
            ("/var/incoming/", "files-incoming"),
            ("s3://bucket/a/b", "files-b"),
            ("incoming", "files-incoming"),
        ] {
            assert_eq!(name_of(folder), name);
        }
    }

    #[test]
    fn a_folder_elsewhere_is_refused_while_its_store_is_not_built_in() {
        if cfg!(feature = "s3") {
            return;
        }
        let error = FileSource::new("s3://bucket/x", FileOptions::text()).map(drop).unwrap_err();
        assert!(error.to_string().contains("S3 is not built into this program"), "{error}");
    }
}
