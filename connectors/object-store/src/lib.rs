//! S3-compatible stores, HDFS and Alluxio: [`storage`] opens a place for checkpoints by its URL, [`files`] a folder of a user's files.
//!
//! Each store is a feature (`s3`, `hdfs`, `alluxio`), all on unless turned off. All keep the promises of [`Storage`], which its
//! conformance tests check on real servers, and of [`FileSystem`]. Calls block, from any thread, also from one that belongs to a tokio runtime. A
//! call that gets no answer gives up after [`ANSWER_LIMIT`].
//!
//! May talk to stores; must never know what a checkpoint is made of. No credential is ever printed.

#[cfg(feature = "alluxio")]
mod alluxio;
#[cfg(any(feature = "s3", feature = "hdfs"))]
mod blocking;
#[cfg(feature = "hdfs")]
mod hdfs;
mod location;
#[cfg(any(feature = "s3", feature = "hdfs", feature = "alluxio"))]
mod probe;
#[cfg(feature = "s3")]
mod s3;

use location::{Location, Store};
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Error, FileSystem, Result, Storage};
use tidegate_storage::{LocalFiles, LocalStorage};

/// How long a call waits for a store that does not answer, retries included, before it gives
/// [`Retry`](tidegate_core::ErrorKind::Retry). Sending and receiving get another second for each MiB.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long a listing of a user's files may take in all. It is many requests, each with a limit of its own.
#[cfg(any(feature = "s3", feature = "hdfs", feature = "alluxio"))]
const LISTING_LIMIT: Duration = Duration::from_secs(600);

/// How long a part of an object may wait for its turn, and for its end when it has that. Each one on its way gives up by itself, and
/// gives room to the next.
#[cfg(feature = "s3")]
const WAITING_LIMIT: Duration = Duration::from_secs(600);

/// Opens the place that `url` names, with what is set in the environment.
///
/// | URL | place |
/// | --- | --- |
/// | `/path`, `path`, `file:///path` | a directory of this machine, made if it is missing |
/// | `s3://bucket/prefix` (or `s3a:`) | a bucket, which must be there; settings are the usual `AWS_...` variables |
/// | `hdfs://host:port/path` | a NameNode, or a name service of the files in `HADOOP_CONF_DIR`; the user is `HADOOP_USER_NAME` |
/// | `alluxio://host:port/path` | Alluxio by its **proxy**: port 39999 unless given, not the master's 19998 |
///
/// Opening one that is not local writes and removes a small object: so a wrong address, a missing bucket or right is found
/// now, and so is whether the store keeps [its promise](Storage::is_exclusive) to let one of several writers win.
///
/// # Errors
/// `Reconfigure` for a URL that names nothing, a store that is not built in, or one that refuses; `Retry` when it is away.
pub fn storage(url: &str) -> Result<Arc<dyn Storage>> {
    storage_with(url, &[])
}

/// As [`storage`], with `settings` in the place of variables of the same name: `AWS_...` for S3, and for HDFS Hadoop's own
/// (`dfs.client...`, `dfs.replication` and `dfs.blocksize`) and `HADOOP_USER_NAME`. This is the way to two buckets with different credentials in one process.
///
/// # Errors
/// As [`storage`]. An `AWS_...` name that does not exist is refused; a variable that does not is left alone.
pub fn storage_with(url: &str, settings: &[(&str, &str)]) -> Result<Arc<dyn Storage>> {
    match Location::parse(url)? {
        Location::Local(directory) => Ok(Arc::new(LocalStorage::open(directory)?)),
        Location::Remote { store, authority, root } => open(store, &authority, &root, settings),
    }
}

#[allow(unused_variables, reason = "each feature uses them all")]
fn open(store: Store, authority: &str, root: &str, settings: &[(&str, &str)]) -> Result<Arc<dyn Storage>> {
    match store {
        #[cfg(feature = "s3")]
        Store::S3 => Ok(Arc::new(s3::S3Storage::open(authority, root, settings)?)),
        #[cfg(feature = "hdfs")]
        Store::Hdfs => Ok(Arc::new(hdfs::HdfsStorage::open(authority, root, settings)?)),
        #[cfg(feature = "alluxio")]
        Store::Alluxio => Ok(Arc::new(alluxio::AlluxioStorage::open(authority, root)?)),
        #[cfg(not(all(feature = "s3", feature = "hdfs", feature = "alluxio")))]
        absent => Err(not_built_in(absent)),
    }
}

/// The folder of a user's files that `url` names, with what is set in the environment. URLs and settings are those of
/// [`storage`]; the folder may have any name. Nothing is written there, and nothing asked before the first call.
///
/// # Errors
/// `Reconfigure` for a URL that names nothing, a store that is not built in, or settings that make no client.
pub fn files(url: &str) -> Result<Arc<dyn FileSystem>> {
    files_with(url, &[])
}

/// As [`files`], with settings as [`storage_with`] takes them.
///
/// # Errors
/// As [`files`]. An `AWS_...` name that does not exist is refused; a variable that does not is left alone.
pub fn files_with(url: &str, settings: &[(&str, &str)]) -> Result<Arc<dyn FileSystem>> {
    match Location::parse_folder(url)? {
        Location::Local(directory) => Ok(Arc::new(LocalFiles::new(directory))),
        Location::Remote { store, authority, root } => open_files(store, &authority, &root, settings),
    }
}

#[allow(unused_variables, reason = "each feature uses them all")]
fn open_files(
    store: Store,
    authority: &str,
    root: &str,
    settings: &[(&str, &str)],
) -> Result<Arc<dyn FileSystem>> {
    match store {
        #[cfg(feature = "s3")]
        Store::S3 => Ok(Arc::new(s3::S3Files::open(authority, root, settings)?)),
        #[cfg(feature = "hdfs")]
        Store::Hdfs => Ok(Arc::new(hdfs::HdfsFiles::open(authority, root, settings)?)),
        #[cfg(feature = "alluxio")]
        Store::Alluxio => Ok(Arc::new(alluxio::AlluxioFiles::open(authority, root))),
        #[cfg(not(all(feature = "s3", feature = "hdfs", feature = "alluxio")))]
        absent => Err(not_built_in(absent)),
    }
}

#[cfg(not(all(feature = "s3", feature = "hdfs", feature = "alluxio")))]
fn not_built_in(absent: Store) -> Error {
    Error::reconfigure(format!(
        "{} is not built into this program; turn on the feature `{}` of tidegate-object-store",
        absent.name(),
        absent.feature()
    ))
}

/// [`ANSWER_LIMIT`], and the time that `bytes` may take on their way.
#[cfg(any(feature = "s3", feature = "hdfs", feature = "alluxio"))]
fn limit(bytes: u64) -> Duration {
    ANSWER_LIMIT + Duration::from_secs(bytes / (1024 * 1024))
}

/// The error about what the URL `place` names.
#[cfg(any(feature = "s3", feature = "hdfs", feature = "alluxio"))]
fn refused(place: &str, what: &str, help: &str) -> Error {
    let mark = if help.is_empty() { "" } else { "; " };
    Error::reconfigure(format!("{place}: {what}{mark}{help}"))
}
