//! A storage in memory, and one way to write and read all rows.

use crate::format::StateFormat;
use crate::row::{Row, StateKey, StateValue};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tidegate_core::{Result, StateFile, Storage, StoredObject};

#[derive(Debug, Default)]
pub(super) struct MemoryStorage(Mutex<BTreeMap<String, Vec<u8>>>);

impl Storage for MemoryStorage {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.lock().unwrap().insert(path.to_owned(), bytes);
        Ok(())
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        let mut objects = self.0.lock().unwrap();
        let is_new = !objects.contains_key(path);
        objects.entry(path.to_owned()).or_insert(bytes);
        Ok(is_new)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(path).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        let objects = self.0.lock().unwrap();
        let below =
            objects.iter().filter(|(path, _)| prefix.is_empty() || path.starts_with(&format!("{prefix}/")));
        Ok(below
            .map(|(path, bytes)| StoredObject { path: path.clone(), bytes: bytes.len() as u64 })
            .collect())
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.0.lock().unwrap().remove(path);
        Ok(())
    }
}

/// All rows of `files`, in the order of their application.
pub(super) fn rows_of<K: StateKey, V: StateValue>(
    format: &StateFormat<K, V>,
    storage: &dyn Storage,
    files: &[StateFile],
) -> Result<Vec<Row<K, V>>> {
    let mut rows = Vec::new();
    for file in files {
        format.read(storage, file, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
    }
    Ok(rows)
}
