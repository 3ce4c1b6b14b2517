//! What a place for checkpoints must promise: whole objects, published at once, found again by their path.

use crate::Result;
use std::fmt;
use std::path::Path;

/// A place that checkpoints live in: a local directory, memory, HDFS, an S3-compatible store, Alluxio.
///
/// A path is one or more names joined by `/`; a name is made of ASCII letters, digits, `.`, `_`, `-`, `=` and `%` (which stands for
/// itself: no store decodes it), and neither is `.` nor `..`. Everything is relative to the storage's own root. Calls block; an implementation retries what its client
/// library retries, and gives the rest as [`Retry`](crate::ErrorKind::Retry) when the outer system is away and
/// [`Reconfigure`](crate::ErrorKind::Reconfigure) when it refuses (no such bucket, no permission, disk full).
///
/// The meaning of each method is written down as tests in `tidegate_storage::conformance`, which every implementation runs on
/// its real server.
pub trait Storage: Send + Sync + fmt::Debug + 'static {
    /// What and where it is, for messages: `s3://bucket/jobs/counts`. Never a secret.
    fn describe(&self) -> String;

    /// Publishes a whole object, in the place of one that is there. Durable on return; a reader sees the old object or the
    /// new one, never a part, also when this process dies meanwhile.
    ///
    /// # Errors
    /// `Retry` or `Reconfigure`, naming the object: it is not known whether the new one is there.
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()>;

    /// As [`put`](Storage::put), unless an object is there: then `false`, and it stays as it is.
    ///
    /// # Errors
    /// As [`put`](Storage::put).
    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool>;

    /// Whether of several writers that race for one path with [`put_new`](Storage::put_new) exactly one wins. Found out, not
    /// assumed: some stores take the condition and ignore it.
    fn is_exclusive(&self) -> bool;

    /// The object at `path`; `None` when there is none.
    ///
    /// # Errors
    /// `Retry` or `Reconfigure`, naming the object.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// Every object below the folder `prefix` (all of them for the empty prefix), at any depth, by path in ascending order. What
    /// a crash left half written is not listed.
    ///
    /// # Errors
    /// `Retry` or `Reconfigure`, naming the folder.
    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>>;

    /// Removes the object; one that is not there is no error.
    ///
    /// # Errors
    /// `Retry` or `Reconfigure`, naming the object.
    fn delete(&self, path: &str) -> Result<()>;

    /// Gives the object at `from` the path `to`, in the place of one that is there. Durable on return. A reader of `to` sees what was
    /// there before or the whole of this object. Where only `to` is there it was done before, which is no error: so it may be called
    /// again after an error, for as long as nobody else writes either path.
    ///
    /// Whether both are there for a moment depends on the store: in S3 it is a copy, after which `from` is removed; elsewhere it is one
    /// step.
    ///
    /// # Errors
    /// `DataLost` when there is neither; `Bug` when the paths are the same. Else as [`put`](Storage::put): it is not known whether it was
    /// done.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// The directory it is, where it is one of this machine: then the journal of batches is a log that is appended to, instead
    /// of one object a batch.
    fn local_directory(&self) -> Option<&Path> {
        None
    }
}

/// One object of a [`Storage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// Whether `path` is one that a [`Storage`] takes.
pub fn is_storage_path(path: &str) -> bool {
    let name = |name: &str| {
        !matches!(name, "" | "." | "..")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-=%".contains(&byte))
    };
    path.split('/').all(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_leave_the_root_in_no_way() {
        for good in ["a", "a/b.json", "state/totals/000-1_2.parquet", "p=1/x", "day=2026%2F11/x"] {
            assert!(is_storage_path(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", "a/./b", "a b", "a\\b", "a\0b", "ä"] {
            assert!(!is_storage_path(bad), "{bad}");
        }
    }
}
