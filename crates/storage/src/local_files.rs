//! A user's files in a directory of this machine: read, never written.

use crate::failure;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;
use tidegate_core::{Error, FileSystem, OpenFile, Result, UserFile};

/// Folders in folders that are looked into at most: links to folders may go in a circle.
const DEPTH_MAX: usize = 64;

/// A [`FileSystem`] in a directory of this machine, or one that is mounted there.
///
/// A file is known by its inode and, where the file system keeps it, the time at which that was made: an inode's number is given
/// again to another file. Links are followed. A file whose name is not UTF-8 is left out, with one warning.
#[derive(Debug)]
pub struct LocalFiles {
    root: PathBuf,
    warned: AtomicBool,
}

impl LocalFiles {
    /// The files below `directory`. It is looked at by the first call, not now.
    pub fn new(directory: impl Into<PathBuf>) -> LocalFiles {
        LocalFiles { root: directory.into(), warned: AtomicBool::new(false) }
    }

    fn collect(
        &self,
        folder: &Path,
        prefix: &str,
        depth: usize,
        found: &mut Vec<UserFile>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.warn_of_name(&name);
                continue;
            };
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
            let is_folder = entry.file_type()?.is_dir();
            if is_folder && depth <= 1 {
                continue;
            }
            // It may have been removed since it was seen.
            let Some(is) = gone_is_none(fs::metadata(entry.path()))? else { continue };
            if is.is_dir() && depth > 1 {
                gone_is_none(self.collect(&entry.path(), &path, depth - 1, found))?;
            } else if is.is_file() {
                found.push(user_file(path, &is));
            }
        }
        Ok(())
    }

    fn warn_of_name(&self, name: &OsStr) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{}: {} is left out, its name is not UTF-8; there may be more like it",
                self.root.display(),
                name.display()
            );
        }
    }
}

impl FileSystem for LocalFiles {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn list(&self, depth: usize) -> Result<Vec<UserFile>> {
        let mut found = Vec::new();
        let listed = self.collect(&self.root, "", depth.clamp(1, DEPTH_MAX), &mut found);
        listed.map_err(|e| failed(&self.root, "can't be listed", e))?;
        Ok(found)
    }

    fn status(&self, path: &str) -> Result<Option<UserFile>> {
        let file = self.root.join(path);
        let is = gone_is_none(fs::metadata(&file)).map_err(|e| failed(&file, "can't be looked at", e))?;
        Ok(is.filter(Metadata::is_file).map(|is| user_file(path.to_owned(), &is)))
    }

    fn open(&self, file: &UserFile) -> Result<Box<dyn OpenFile>> {
        let path = self.root.join(&file.path);
        match gone_is_none(File::open(&path)).map_err(|e| failed(&path, "can't be opened", e))? {
            Some(file) => Ok(Box::new(LocalFile { file, path })),
            None => Err(Error::retry(format!("{}: is gone", path.display()))),
        }
    }

    fn appears_whole(&self) -> bool {
        false
    }
}

struct LocalFile {
    file: File,
    path: PathBuf,
}

impl OpenFile for LocalFile {
    fn read(&mut self, from: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(&mut bytes[filled..], from + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(&self.path, "can't be read", e)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn user_file(path: String, is: &Metadata) -> UserFile {
    let since = |time: io::Result<std::time::SystemTime>| time.ok()?.duration_since(UNIX_EPOCH).ok();
    let inode = is.ino();
    let identity = match since(is.created()) {
        Some(made) => format!("{inode}-{}", made.as_nanos()),
        None => inode.to_string(),
    };
    let modified_ms = since(is.modified()).map_or(0, |time| time.as_millis() as u64);
    UserFile { path, bytes: is.len(), modified_ms, identity }
}

fn gone_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        other => other.map(Some),
    }
}

/// The error about `file`, with what helps where that is known.
fn failed(file: &Path, what: &str, e: io::Error) -> Error {
    let help = match e.kind() {
        ErrorKind::NotFound => "; make it, or name another (is its file system mounted?)",
        ErrorKind::NotADirectory => "; a folder is wanted there, and it is none",
        ErrorKind::PermissionDenied => "; give this user the right to read there",
        _ => "",
    };
    failure::of(file, what, help, e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::time::Duration;

    fn paths(files: &LocalFiles, depth: usize) -> Vec<String> {
        let mut paths: Vec<String> = files.list(depth).unwrap().into_iter().map(|file| file.path).collect();
        paths.sort_unstable();
        paths
    }

    #[test]
    fn files_are_listed_down_to_a_depth_whatever_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir_all(root.join("sub folder/ä")).unwrap();
        for name in ["a b%20?#.txt", "sub folder/x", "sub folder/ä/y"] {
            fs::write(root.join(name), name).unwrap();
        }
        fs::write(root.join(OsStr::from_bytes(b"not-\xff-text")), "x").unwrap();
        std::os::unix::fs::symlink(root.join("sub folder"), root.join("link")).unwrap();
        let files = LocalFiles::new(root);
        assert_eq!(paths(&files, 1), ["a b%20?#.txt"]);
        assert_eq!(paths(&files, 2), ["a b%20?#.txt", "link/x", "sub folder/x"]);
        assert_eq!(paths(&files, usize::MAX).len(), 5);
        for file in files.list(3).unwrap() {
            assert_eq!(files.status(&file.path).unwrap().as_ref(), Some(&file));
            let text = files.open(&file).unwrap().read(0, 100).unwrap();
            assert_eq!(text, file.path.replace("link", "sub folder").as_bytes());
            assert_eq!(file.bytes, text.len() as u64);
        }
    }

    #[test]
    fn a_range_ends_with_the_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x"), "0123456789").unwrap();
        let files = LocalFiles::new(directory.path());
        let listed = files.list(1).unwrap();
        let mut file = files.open(&listed[0]).unwrap();
        for (from, length, expected) in [(0, 10, "0123456789"), (3, 2, "34"), (8, 9, "89"), (20, 1, "")] {
            assert_eq!(file.read(from, length).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn a_file_is_told_from_another_of_its_path_and_not_from_itself_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let (path, files) = (directory.path().join("x"), LocalFiles::new(directory.path()));
        fs::write(&path, "old").unwrap();
        let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        let before = files.status("x").unwrap().unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        let grown = files.status("x").unwrap().unwrap();
        assert_eq!((&grown.identity, grown.bytes), (&before.identity, 7));
        assert!(grown.modified_ms > before.modified_ms);
        // Made while the old one is there, so it has another inode.
        fs::write(directory.path().join("y"), "old").unwrap();
        fs::rename(directory.path().join("y"), &path).unwrap();
        assert_ne!(files.status("x").unwrap().unwrap().identity, before.identity);
    }

    #[test]
    fn what_is_not_there_is_none_and_a_missing_folder_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let files = LocalFiles::new(directory.path());
        fs::create_dir(directory.path().join("folder")).unwrap();
        assert_eq!(files.status("x").unwrap(), None);
        assert_eq!(files.status("folder").unwrap(), None);
        fs::write(directory.path().join("x"), "x").unwrap();
        let gone = files.status("x").unwrap().unwrap();
        fs::remove_file(directory.path().join("x")).unwrap();
        assert_eq!(files.open(&gone).map(drop).unwrap_err().kind(), tidegate_core::ErrorKind::Retry);
        let error = LocalFiles::new(directory.path().join("nothing")).list(1).unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
        assert!(error.to_string().contains("nothing: can't be listed; make it"), "{error}");
    }
}
