//! What a place of a user's files must promise: they are listed, looked at and read in pieces, and tell when they are others.

use crate::Result;
use std::fmt;

/// A folder of a user's files: of a local disk, in HDFS, in an S3-compatible store, in Alluxio.
///
/// Unlike a [`Storage`](crate::Storage), whose objects Tidegate writes and names itself, it is filled by others while it is read, and
/// a name may hold any characters. A path is relative to the folder, its names joined by `/`. Calls block; they give
/// [`Retry`](crate::ErrorKind::Retry) when the outer system is away and [`Reconfigure`](crate::ErrorKind::Reconfigure) when it
/// refuses.
pub trait FileSystem: Send + Sync + fmt::Debug + 'static {
    /// What and where it is, for messages: `hdfs://host:8020/incoming`. Never a secret.
    fn describe(&self) -> String;

    /// The files below the folder in any order: with a depth of 1 those in it, with 2 those in its folders too, and so on. A
    /// file that comes or goes meanwhile may be there or not.
    ///
    /// # Errors
    /// `Retry` or `Reconfigure`, naming the folder; `Reconfigure` where folders are real and this one is not there.
    fn list(&self, depth: usize) -> Result<Vec<UserFile>>;

    /// The file at `path` as it is now; `None` when there is none.
    ///
    /// # Errors
    /// `Retry` or `Reconfigure`, naming the file.
    fn status(&self, path: &str) -> Result<Option<UserFile>>;

    /// Opens a file that [`status`](FileSystem::status) or [`list`](FileSystem::list) told of.
    ///
    /// # Errors
    /// `Retry` or `Reconfigure`, naming the file. `Retry` too when it is gone since: whoever looks at it again is told.
    fn open(&self, file: &UserFile) -> Result<Box<dyn OpenFile>>;

    /// Whether a file is seen only when it is complete, so that nobody has to wait for its writer.
    fn appears_whole(&self) -> bool;
}

/// A file that is being read.
pub trait OpenFile: Send {
    /// The bytes from `from` on: `length` of them, and fewer only where the file ended when it was opened. Of a file that is
    /// written to meanwhile they may be old or new.
    ///
    /// # Errors
    /// As [`FileSystem::open`].
    fn read(&mut self, from: u64, length: usize) -> Result<Vec<u8>>;
}

/// A file of a [`FileSystem`], as it was at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFile {
    /// Its path, relative to the folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// When it was last written to: milliseconds since 1970, UTC, by the clock of its system.
    pub modified_ms: u64,
    /// What tells it from another file of the same path, before or after it: the inode locally, the entity tag in S3, the
    /// modification time and the length where the system shows nothing better.
    pub identity: String,
}
