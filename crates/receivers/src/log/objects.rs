//! Segments on a storage that can't be appended to: each append is an object of its own.

use super::Medium;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_core::{Error, Result, Storage, crash_point};

pub(crate) struct ObjectMedium {
    storage: Arc<dyn Storage>,
    folder: String,
    /// The newest segment, and how many objects it has.
    newest: Mutex<(u64, u64)>,
}

impl ObjectMedium {
    pub(crate) fn new(storage: Arc<dyn Storage>, folder: &str) -> ObjectMedium {
        ObjectMedium { storage, folder: folder.to_owned(), newest: Mutex::default() }
    }

    fn path(&self, segment: u64, part: u64) -> String {
        format!("{}/{segment:012}/{part:08}", self.folder)
    }

    /// Paths of the objects of a segment, in order.
    fn parts(&self, segment: u64) -> Result<Vec<String>> {
        let objects = self.storage.list(&format!("{}/{segment:012}", self.folder))?;
        Ok(objects.into_iter().map(|object| object.path).collect())
    }

    /// Writes where nothing is. What is there already with the same bytes was written by a try whose answer was lost.
    fn put(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.storage.put_new(path, bytes.to_vec())? || self.storage.get(path)?.as_deref() == Some(bytes) {
            return Ok(());
        }
        Err(Error::reconfigure(format!(
            "{} of {} was written by another process; another process runs this job: stop one of them",
            path,
            self.storage.describe()
        )))
    }
}

impl Medium for ObjectMedium {
    fn describe(&self, segment: u64) -> String {
        format!("{}, {}/{segment:012}", self.storage.describe(), self.folder)
    }

    fn segments(&self) -> Result<Vec<u64>> {
        let objects = self.storage.list(&self.folder)?;
        let number = |path: &str| path.strip_prefix(&self.folder)?.split('/').nth(1)?.parse::<u64>().ok();
        let begun = |number: &u64| objects.iter().any(|object| object.path == self.path(*number, 0));
        let numbers: BTreeSet<u64> = objects.iter().filter_map(|object| number(&object.path)).collect();
        let (whole, rest): (Vec<u64>, Vec<u64>) = numbers.into_iter().partition(begun);
        // A crash while they were deleted.
        rest.into_iter().try_for_each(|number| self.delete(number))?;
        Ok(whole)
    }

    fn read(&self, segment: u64) -> Result<Vec<u8>> {
        let parts = self.parts(segment)?;
        let mut bytes = Vec::new();
        for (number, path) in parts.iter().enumerate() {
            let part =
                if *path == self.path(segment, number as u64) { self.storage.get(path)? } else { None };
            bytes.extend(part.ok_or_else(|| {
                Error::data_lost(format!(
                    "{}: object {number} is missing, with records of the write-ahead log; restore it from a copy, or begin \
                     with an empty checkpoint directory",
                    self.describe(segment)
                ))
            })?);
        }
        Ok(bytes)
    }

    fn cut(&self, segment: u64, _: u64) -> Result<()> {
        // Objects are there whole or not at all.
        Err(Error::data_lost(format!("{}: the last object is damaged", self.describe(segment))))
    }

    fn begin(&self, segment: u64, bytes: &[u8]) -> Result<()> {
        self.put(&self.path(segment, 0), bytes)?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = (segment, 1);
        Ok(())
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        crash_point("block-written");
        self.put(&self.path(newest.0, newest.1), bytes)?;
        newest.1 += 1;
        Ok(())
    }

    fn go_on(&self, segment: u64) -> Result<()> {
        let parts = self.parts(segment)?.len() as u64;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = (segment, parts);
        Ok(())
    }

    fn delete(&self, segment: u64) -> Result<()> {
        // The first object goes first: what a crash leaves is no segment.
        self.parts(segment)?.iter().try_for_each(|path| self.storage.delete(path))
    }
}
