//! A user's files in HDFS: read, never written.
//!
//! The client does not show a file's number, so a file is known by its modification time and its length: one that is appended to
//! is another file. One that is being written is listed, with the length of what its writer has made seen.

use super::{Folder, failed, is_missing};
use crate::blocking::Blocking;
use crate::{ANSWER_LIMIT, LISTING_LIMIT, limit, refused};
use futures_util::TryStreamExt;
use hdfs_native::HdfsError;
use hdfs_native::client::FileStatus;
use hdfs_native::file::FileReader;
use std::fmt;
use std::sync::Arc;
use tidegate_core::{Error, FileSystem, OpenFile, Result, UserFile};

/// See [`crate::files`].
pub(crate) struct HdfsFiles {
    folder: Folder,
    blocking: Arc<Blocking>,
}

impl fmt::Debug for HdfsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HdfsFiles({})", self.folder.url)
    }
}

impl HdfsFiles {
    pub(crate) fn open(authority: &str, root: &str, given: &[(&str, &str)]) -> Result<HdfsFiles> {
        let blocking = Blocking::new()?;
        let folder = Folder::open(authority, root, given, &blocking)?;
        Ok(HdfsFiles { folder, blocking: Arc::new(blocking) })
    }
}

impl Folder {
    fn user_file(&self, file: &FileStatus, path: &str) -> UserFile {
        let (modified_ms, bytes) = (file.modification_time, file.length as u64);
        UserFile { path: path.to_owned(), bytes, modified_ms, identity: format!("{modified_ms}-{bytes}") }
    }

    async fn list_to(&self, depth: usize) -> Result<Vec<UserFile>, HdfsError> {
        let start = format!("{}/", self.root);
        let (mut folders, mut found) = (vec![self.file("")], Vec::new());
        for level in 1..=depth {
            let mut below = Vec::new();
            for folder in folders {
                let listed = match self.client.list_status(&folder, false).await {
                    // One below was removed since it was seen.
                    Err(e) if is_missing(&e) && level > 1 => continue,
                    other => other?,
                };
                for file in listed {
                    if file.isdir {
                        below.push(file.path);
                    } else if let Some(path) = file.path.strip_prefix(&start) {
                        found.push(self.user_file(&file, path));
                    }
                }
            }
            if below.is_empty() {
                break;
            }
            folders = below;
        }
        Ok(found)
    }
}

impl FileSystem for HdfsFiles {
    fn describe(&self) -> String {
        self.folder.url.clone()
    }

    fn list(&self, depth: usize) -> Result<Vec<UserFile>> {
        let folder = self.folder.clone();
        self.blocking.run(&self.folder.url, LISTING_LIMIT, async move {
            folder.list_to(depth.max(1)).await.map_err(|e| {
                if is_missing(&e) {
                    refused(
                        &folder.url,
                        "can't be listed",
                        "there is no such folder: make it, or name another",
                    )
                } else {
                    failed(&folder.url, "can't be listed", e)
                }
            })
        })
    }

    fn status(&self, path: &str) -> Result<Option<UserFile>> {
        let (folder, path) = (self.folder.clone(), path.to_owned());
        self.blocking.run(&self.folder.place(&path), ANSWER_LIMIT, async move {
            let status = folder.status(&folder.file(&path)).await;
            let status = status.map_err(|e| failed(&folder.place(&path), "can't be looked at", e))?;
            Ok(status.filter(|file| !file.isdir).map(|file| folder.user_file(&file, &path)))
        })
    }

    fn open(&self, file: &UserFile) -> Result<Box<dyn OpenFile>> {
        let (folder, path) = (self.folder.clone(), file.path.clone());
        let place = self.folder.place(&path);
        let reader = self.blocking.run(&place, ANSWER_LIMIT, async move {
            folder.client.read(&folder.file(&path)).await.map_err(|e| {
                let place = folder.place(&path);
                if is_missing(&e) {
                    Error::retry(format!("{place}: is gone")).because(e)
                } else {
                    failed(&place, "can't be opened", e)
                }
            })
        })?;
        let bytes = file.bytes.min(reader.file_length() as u64);
        Ok(Box::new(HdfsFile { reader, blocking: self.blocking.clone(), place, bytes }))
    }

    fn appears_whole(&self) -> bool {
        false
    }
}

struct HdfsFile {
    reader: FileReader,
    blocking: Arc<Blocking>,
    place: String,
    bytes: u64,
}

impl OpenFile for HdfsFile {
    fn read(&mut self, from: u64, length: usize) -> Result<Vec<u8>> {
        let until = self.bytes.min(from.saturating_add(length as u64));
        if until <= from {
            return Ok(Vec::new());
        }
        let wanted = (until - from) as usize;
        let stream = self.reader.read_range_stream(from as usize, wanted);
        let place = self.place.clone();
        self.blocking.run(&self.place, limit(length as u64), async move {
            let bytes = stream.try_fold(Vec::with_capacity(wanted), async |mut all, bytes| {
                all.extend_from_slice(&bytes);
                Ok(all)
            });
            let bytes = bytes.await.map_err(|e| failed(&place, "can't be read", e))?;
            if bytes.len() == wanted {
                Ok(bytes)
            } else {
                Err(Error::retry(format!("{place}: {} of {wanted} bytes came", bytes.len())))
            }
        })
    }
}
