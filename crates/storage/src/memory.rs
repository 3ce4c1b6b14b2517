//! Objects in memory: for tests, and for jobs that may forget everything when their process ends.

use crate::paths::{check_folder, check_path, check_rename, nothing_to_rename};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use tidegate_core::{Result, StagedObject, Storage, StoredObject};

/// A [`Storage`] in the memory of this process. Copies share what is in it, so a copy that is kept while a job ends hands its
/// checkpoints to the next one.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    objects: Arc<Mutex<BTreeMap<String, Arc<[u8]>>>>,
}

impl MemoryStorage {
    /// An empty one.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[u8]>>> {
        self.objects.lock().expect("nothing panics while it holds the objects")
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryStorage({} objects)", self.objects().len())
    }
}

impl Storage for MemoryStorage {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        check_path(path)?;
        self.objects().insert(path.to_owned(), bytes.into());
        Ok(())
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        check_path(path)?;
        let mut objects = self.objects();
        let is_new = !objects.contains_key(path);
        if is_new {
            objects.insert(path.to_owned(), bytes.into());
        }
        Ok(is_new)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        check_path(path)?;
        // The copy is made after the lock is released.
        let object = self.objects().get(path).cloned();
        Ok(object.map(|bytes| bytes.to_vec()))
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        check_folder(prefix)?;
        let start = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let objects = self.objects();
        let below = objects.range(start.clone()..).take_while(|(path, _)| path.starts_with(&start));
        Ok(below.map(|(path, b)| StoredObject { path: path.clone(), bytes: b.len() as u64 }).collect())
    }

    fn delete(&self, path: &str) -> Result<()> {
        check_path(path)?;
        self.objects().remove(path);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_rename(from, to)?;
        let mut objects = self.objects();
        match objects.remove(from) {
            Some(object) => objects.insert(to.to_owned(), object),
            None if objects.contains_key(to) => None,
            None => return Err(nothing_to_rename(from, to)),
        };
        Ok(())
    }

    fn stage(&self, path: &str) -> Result<Option<Box<dyn StagedObject>>> {
        check_path(path)?;
        Ok(Some(Box::new(MemoryStaged { storage: self.clone(), path: path.to_owned(), bytes: Vec::new() })))
    }
}

/// Bytes that wait to be an object.
struct MemoryStaged {
    storage: MemoryStorage,
    path: String,
    bytes: Vec<u8>,
}

impl StagedObject for MemoryStaged {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }

    fn publish(&mut self) -> Result<()> {
        self.storage.put(&self.path, std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn memory_keeps_what_a_storage_promises() {
        conformance::all(&MemoryStorage::new(), "here");
        conformance::below_an_object_is_nothing(&MemoryStorage::new(), "here");
    }

    #[test]
    fn a_copy_sees_what_the_other_wrote() {
        let storage = MemoryStorage::new();
        storage.clone().put("a/b", vec![1, 2]).unwrap();
        assert_eq!(storage.get("a/b").unwrap(), Some(vec![1, 2]));
        assert_eq!(format!("{storage:?}"), "MemoryStorage(1 objects)");
    }
}
