//! The fake's storage: objects in the world, which outlive a process. Each call is a step, and what writes is two: before it is
//! done, and done with nobody told.

use crate::fake::{Life, lock};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tidegate_core::{Result, Storage, StoredObject};

pub(crate) struct FakeStorage {
    life: Arc<Life>,
}

impl FakeStorage {
    pub(crate) fn new(life: Arc<Life>) -> FakeStorage {
        FakeStorage { life }
    }
}

impl fmt::Debug for FakeStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeStorage")
    }
}

impl Storage for FakeStorage {
    fn describe(&self) -> String {
        "the fake storage".to_owned()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.life.step()?;
        lock(&self.life.world.objects).insert(path.to_owned(), bytes);
        self.life.step()
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.life.step()?;
        let mut objects = lock(&self.life.world.objects);
        let new = !objects.contains_key(path);
        if new {
            objects.insert(path.to_owned(), bytes);
        }
        drop(objects);
        self.life.step()?;
        Ok(new)
    }

    fn is_exclusive(&self) -> bool {
        !self.life.shape.weak
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.life.step()?;
        Ok(lock(&self.life.world.objects).get(path).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        self.life.step()?;
        let objects = lock(&self.life.world.objects);
        let below = objects.iter().filter(|(path, _)| path.starts_with(&format!("{prefix}/")));
        Ok(below
            .map(|(path, bytes)| StoredObject { path: path.clone(), bytes: bytes.len() as u64 })
            .collect())
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.life.step()?;
        lock(&self.life.world.objects).remove(path);
        self.life.step()
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.life.step()?;
        let mut objects = lock(&self.life.world.objects);
        if let Some(object) = objects.remove(from) {
            objects.insert(to.to_owned(), object);
        } else if !objects.contains_key(to) {
            return Err(tidegate_core::Error::data_lost(format!("neither {from} nor {to} is there")));
        }
        drop(objects);
        self.life.step()
    }

    fn local_directory(&self) -> Option<&Path> {
        self.life.checkpoint.as_deref().filter(|_| !self.life.shape.objects)
    }
}
