//! A user's files in Alluxio: read, never written.
//!
//! Alluxio's files never change once they are complete, and only complete ones are listed; so one is known by its modification
//! time and its length. (Its number changes when Alluxio loads it anew from the store below.) The proxy reads a file as a
//! whole, so it is in memory as a whole while it is open.

use super::rest::{Entry, Rest};
use super::{failed, with_port};
use crate::{LISTING_LIMIT, refused};
use std::fmt;
use tidegate_core::{Error, FileSystem, OpenFile, Result, UserFile};

/// Largest file that is read.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// See [`crate::files`].
pub(crate) struct AlluxioFiles {
    rest: Rest,
    /// `alluxio://host:port/path`.
    url: String,
    /// The path in Alluxio, without a slash at the end; empty for the root.
    root: String,
}

impl fmt::Debug for AlluxioFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlluxioFiles({})", self.url)
    }
}

impl AlluxioFiles {
    pub(crate) fn open(authority: &str, root: &str) -> AlluxioFiles {
        let authority = with_port(authority);
        let root = if root.is_empty() { String::new() } else { format!("/{root}") };
        AlluxioFiles { rest: Rest::new(&authority), url: format!("alluxio://{authority}{root}"), root }
    }

    fn file(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    fn place(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    fn user_file(&self, entry: &Entry) -> Option<UserFile> {
        let path = entry.path.strip_prefix(&self.root)?.strip_prefix('/')?.to_owned();
        let (modified_ms, bytes) = (entry.modified, entry.bytes);
        let identity = format!("{modified_ms}-{bytes}");
        let is_seen = !entry.is_folder && entry.is_complete;
        is_seen.then_some(UserFile { path, bytes, modified_ms, identity })
    }
}

impl FileSystem for AlluxioFiles {
    fn describe(&self) -> String {
        self.url.clone()
    }

    fn list(&self, depth: usize) -> Result<Vec<UserFile>> {
        let root = if self.root.is_empty() { "/" } else { &self.root };
        let everything = depth == usize::MAX;
        let (mut folders, mut found) = (vec![root.to_owned()], Vec::new());
        for level in 1..=depth.max(1) {
            let mut below = Vec::new();
            for folder in folders {
                let entries = match self.rest.list(&folder, everything, LISTING_LIMIT) {
                    // One below was removed since it was seen.
                    Err(e) if e.is_missing() && level > 1 => continue,
                    Err(e) if e.is_missing() => {
                        let help = "there is no such folder: make it, or name another";
                        return Err(refused(&self.url, "can't be listed", help).because(e));
                    }
                    other => other.map_err(|e| failed(&self.url, "can't be listed", e))?,
                };
                found.extend(entries.iter().filter_map(|entry| self.user_file(entry)));
                below.extend(entries.into_iter().filter(|entry| entry.is_folder).map(|entry| entry.path));
            }
            if below.is_empty() || everything {
                break;
            }
            folders = below;
        }
        Ok(found)
    }

    fn status(&self, path: &str) -> Result<Option<UserFile>> {
        match self.rest.entry(&self.file(path)) {
            Ok(entry) => Ok(self.user_file(&entry)),
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(failed(&self.place(path), "can't be looked at", e)),
        }
    }

    fn open(&self, file: &UserFile) -> Result<Box<dyn OpenFile>> {
        let place = self.place(&file.path);
        if file.bytes > BYTES_MAX {
            let what = format!("has {} bytes; a file of Alluxio can be read up to {BYTES_MAX}", file.bytes);
            return Err(refused(
                &place,
                &what,
                "read it from the store below Alluxio, or write shorter files",
            ));
        }
        match self.rest.read(&self.file(&file.path), file.bytes) {
            Ok(bytes) if bytes.len() as u64 == file.bytes => Ok(Box::new(AlluxioFile { bytes })),
            Ok(bytes) => Err(Error::retry(format!("{place}: {} of {} bytes came", bytes.len(), file.bytes))),
            Err(e) if e.is_missing() => Err(Error::retry(format!("{place}: is gone")).because(e)),
            Err(e) => Err(failed(&place, "can't be read", e)),
        }
    }

    fn appears_whole(&self) -> bool {
        true
    }
}

struct AlluxioFile {
    bytes: Vec<u8>,
}

impl OpenFile for AlluxioFile {
    fn read(&mut self, from: u64, length: usize) -> Result<Vec<u8>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.bytes.len());
        let until = self.bytes.len().min(from.saturating_add(length));
        Ok(self.bytes[from..until].to_vec())
    }
}
