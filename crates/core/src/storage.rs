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

    /// Begins an object that comes in pieces and is published later, in one step: for what is too large to be held in memory, or has to
    /// wait until others are ready. `None`: this storage takes whole objects alone, by [`put`](Storage::put).
    ///
    /// Each may keep a file, a connection or some MiB in memory until it is published or dropped, so whoever has many of them bounds their
    /// number.
    ///
    /// # Errors
    /// As [`put`](Storage::put).
    fn stage(&self, _path: &str) -> Result<Option<Box<dyn StagedObject>>> {
        Ok(None)
    }

    /// Makes durable that objects of `folder` were [published](StagedObject::publish): once for all of them, where each for itself would
    /// cost a sync.
    ///
    /// # Errors
    /// As [`put`](Storage::put).
    fn settle(&self, _folder: &str) -> Result<()> {
        Ok(())
    }

    /// The directory it is, where it is one of this machine: then the journal of batches is a log that is appended to, instead
    /// of one object a batch.
    fn local_directory(&self) -> Option<&Path> {
        None
    }
}

/// An object on its way: written and seen by nobody, not listed either. Dropped before it is published, it is taken away; and what a
/// crash leaves of it is never seen.
pub trait StagedObject: Send {
    /// Adds bytes at its end.
    ///
    /// # Errors
    /// As [`Storage::put`]; the object is of no use any more.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// All bytes were given: they are durable on return, so that nothing but the store's absence keeps it from being published.
    ///
    /// # Errors
    /// As [`Storage::put`].
    fn close(&mut self) -> Result<()>;

    /// Gives the closed object its path, in the place of one that is there: a reader sees the old one or the whole new one. Durable
    /// once the folder is [settled](Storage::settle).
    ///
    /// # Errors
    /// As [`Storage::put`]: it is not known whether it is there. `Retry` also when what was staged is gone.
    fn publish(&mut self) -> Result<()>;
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
