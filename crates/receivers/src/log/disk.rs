//! Segments as files of a local directory, which one process has at a time.

use super::Medium;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tidegate_core::{Error, Result, crash_point};
use tidegate_storage::{DirectoryLock, publish};

pub(crate) struct DiskMedium {
    directory: PathBuf,
    newest: Mutex<Option<(PathBuf, File)>>,
    lock: Mutex<Option<DirectoryLock>>,
}

impl DiskMedium {
    pub(crate) fn open(directory: &Path) -> Result<DiskMedium> {
        let lock = DirectoryLock::take(directory, &format!("process {}", std::process::id()))?;
        Ok(DiskMedium {
            directory: directory.to_owned(),
            newest: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        })
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.directory.join(format!("{segment:012}.wal"))
    }
}

impl Medium for DiskMedium {
    fn describe(&self, segment: u64) -> String {
        self.path(segment).display().to_string()
    }

    fn segments(&self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let unreadable = |e| failed(&self.directory, "can't be read", e);
        for entry in fs::read_dir(&self.directory).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".wal"));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&self, segment: u64) -> Result<Vec<u8>> {
        let path = self.path(segment);
        fs::read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::data_lost(format!(
                "{}: a segment of the write-ahead log is gone, with records that a batch takes",
                path.display()
            )),
            _ => failed(&path, "can't be read", e),
        })
    }

    fn cut(&self, segment: u64, bytes: u64) -> Result<()> {
        let path = self.path(segment);
        let cut = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(bytes)?;
            file.sync_all()
        };
        cut().map_err(|e| failed(&path, "can't be cut", e))
    }

    fn begin(&self, segment: u64, bytes: &[u8]) -> Result<()> {
        let path = self.path(segment);
        let file = publish(&path, bytes).map_err(|e| failed(&path, "can't be written", e))?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((path, file));
        Ok(())
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (path, file) = newest.as_mut().ok_or_else(|| Error::bug("a block before its segment"))?;
        file.write_all(bytes).map_err(|e| failed(path, "can't be written", e))?;
        crash_point("block-written");
        file.sync_data().map_err(|e| failed(path, "can't be written", e))
    }

    fn go_on(&self, segment: u64) -> Result<()> {
        let path = self.path(segment);
        let file =
            OpenOptions::new().append(true).open(&path).map_err(|e| failed(&path, "can't be opened", e))?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((path, file));
        Ok(())
    }

    fn close(&self) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn delete(&self, segment: u64) -> Result<()> {
        let path = self.path(segment);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(&path, "can't be deleted", e)),
            _ => Ok(()),
        }
    }
}

fn failed(path: &Path, what: &str, source: io::Error) -> Error {
    let way_out = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space and start again, nothing that was acknowledged is lost"
        }
        io::ErrorKind::PermissionDenied => "; check who owns the directory",
        _ => "",
    };
    Error::reconfigure(format!("write-ahead log {}: {what}{way_out}", path.display())).because(source)
}
