//! One process holds a directory at a time; who holds it can be read.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use tidegate_core::{Error, Result};

/// The lock on a directory, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock of `directory`, which is made if it is missing. `holder` is what a second process is told.
    ///
    /// # Errors
    /// `Reconfigure` with the holder's words when another process has it.
    pub fn take(directory: &Path, holder: &str) -> Result<DirectoryLock> {
        let path = directory.join("LOCK");
        let failed =
            |e: std::io::Error| Error::reconfigure(format!("{}: can't be locked", path.display())).because(e);
        fs::create_dir_all(directory).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut other = String::new();
                // A lock that can't be read still refuses: the name of the holder is only help.
                let _ = file.read_to_string(&mut other);
                return Err(Error::reconfigure(format!(
                    "{} is in use by {}; stop that job first, or give this one a directory of its own",
                    directory.display(),
                    if other.trim().is_empty() { "another process" } else { other.trim() }
                )));
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(holder.as_bytes())
        };
        write(&mut file).map_err(failed)?;
        Ok(DirectoryLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(dir.path(), "process 42 (counts)").unwrap();
        let error = DirectoryLock::take(dir.path(), "process 43").unwrap_err();
        let expected =
            format!("{} is in use by process 42 (counts); stop that job first", dir.path().display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        drop(first);
        DirectoryLock::take(dir.path(), "process 43").unwrap();
    }
}
