//! Publishes the files of each batch: staged under `_temporary`, given their names at the commit, `_SUCCESS` last.
//!
//! A crash at any point leaves what the same batch, run again, writes over or takes away. `_SUCCESS` is there only while the
//! directory is whole.

use super::{BatchDirectories, Part, PartFormat};
use crate::{Batch, Data, Error, ErrorKind, PartitionId, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_core::{Delivery, Held, Output, OutputContext, Seat, Storage, Writer, Writers};

/// Bytes of a batch's parts that are in memory at most.
const BATCH_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Where parts lie until they are published. Hadoop's programs pass over names that begin with `_`.
const STAGED: &str = "_temporary";
const SUCCESS: &str = "_SUCCESS";
const PART: &str = "part-";

/// An [`Output`] that writes a directory of files for each batch; see [`DStream::save_as_files`](crate::DStream::save_as_files).
///
/// It does not remember batches: a batch that is run again writes the same names. One writer has all of a batch, whose parts
/// are in memory until they are staged: up to 1 GiB of them as they are stored. More than that ends the job.
pub struct BatchFiles<T> {
    directories: BatchDirectories,
    format: Arc<dyn PartFormat<T>>,
}

impl<T> BatchFiles<T> {
    /// Files of `format` in `directories`.
    pub fn new(directories: BatchDirectories, format: impl PartFormat<T>) -> BatchFiles<T> {
        BatchFiles { directories, format: Arc::new(format) }
    }
}

impl<T: Data> Output<T> for BatchFiles<T> {
    fn describe(&self) -> String {
        format!("{} files {}", self.format.describe(), self.directories.describe())
    }

    fn delivery(&self) -> Delivery {
        Delivery::Idempotent
    }

    /// `_SUCCESS` is for the whole directory, so somebody has to know of all of it.
    fn writers(&self) -> Writers {
        Writers::One
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        // What can't be made or reached is told before anything is processed.
        self.directories.storage().map(|_| Held::default())
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(FilesWriter {
            directories: self.directories.clone(),
            format: self.format.clone(),
            storage: self.directories.storage()?,
            parts: BTreeMap::new(),
            bytes: 0,
            bytes_max: BATCH_BYTES_MAX,
            staged: None,
        }))
    }
}

struct FilesWriter<T> {
    directories: BatchDirectories,
    format: Arc<dyn PartFormat<T>>,
    storage: Arc<dyn Storage>,
    parts: BTreeMap<PartitionId, Box<dyn Part<T>>>,
    bytes: usize,
    bytes_max: usize,
    staged: Option<Staged>,
}

/// What is prepared of a batch.
struct Staged {
    directory: String,
    /// Names of parts that lie in `_temporary`.
    parts: Vec<String>,
    /// Paths of what an earlier try left and this one does not write.
    left: Vec<String>,
    /// Names of this try's parts that an earlier one has published.
    there: BTreeSet<String>,
    /// An earlier try came to its end.
    had_success: bool,
}

impl Staged {
    fn staged(&self, name: &str) -> String {
        format!("{}/{STAGED}/{name}", self.directory)
    }

    fn published(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    /// Whether the directory is as it is to be: an earlier try wrote all of it.
    fn is_done(&self) -> bool {
        self.had_success && self.parts.is_empty() && self.left.is_empty()
    }
}

impl<T: 'static> FilesWriter<T> {
    fn part(&mut self, batch: &Batch, partition: PartitionId) -> Result<&mut Box<dyn Part<T>>> {
        use std::collections::btree_map::Entry;
        match self.parts.entry(partition) {
            Entry::Occupied(part) => Ok(part.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(self.format.part(batch, partition)?)),
        }
    }

    /// Looks what is in the directory from an earlier try, given the names that this one writes.
    fn look(&self, directory: String, names: &BTreeSet<String>) -> Result<Staged> {
        let mut staged = Staged {
            directory,
            parts: Vec::new(),
            left: Vec::new(),
            there: BTreeSet::new(),
            had_success: false,
        };
        for object in self.storage.list(&staged.directory)? {
            let Some(name) = object.path.get(staged.directory.len() + 1..) else { continue };
            match name.split_once('/') {
                None if name == SUCCESS => staged.had_success = true,
                None if names.contains(name) => drop(staged.there.insert(name.to_owned())),
                // What is of somebody else's making is left alone.
                None if !name.starts_with(PART) => {}
                Some((folder, _)) if folder != STAGED => {}
                _ => staged.left.push(object.path),
            }
        }
        Ok(staged)
    }

    /// Makes `parts` durable under `_temporary`, but for those that are published already: one that a reader may have seen is not
    /// replaced by the same again, which looks like another file to whoever goes by more than names.
    fn stage(&mut self, parts: Vec<(String, Box<dyn Part<T>>)>) -> Result<()> {
        let staged = self.staged.as_mut().expect("the caller has looked");
        for (name, part) in parts {
            let bytes = part.finish()?;
            let published = staged.published(&name);
            if staged.there.contains(&name)
                && self.storage.get(&published)?.is_some_and(|there| there == bytes)
            {
                continue;
            }
            let path = staged.staged(&name);
            staged.left.retain(|left| *left != path);
            // Noted first: what is half done is taken back too.
            staged.parts.push(name);
            self.storage.put(&path, bytes)?;
        }
        Ok(())
    }
}

impl<T: 'static> Writer<T> for FilesWriter<T> {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<T>) -> Result<()> {
        let part = self.part(batch, partition)?;
        let before = part.bytes();
        rows.into_iter().try_for_each(|row| part.write(row))?;
        let after = part.bytes();
        // It may have shrunk too: what was waiting is compressed now.
        self.bytes = self.bytes.saturating_sub(before) + after;
        if self.bytes > self.bytes_max {
            return Err(Error::reconfigure(format!(
                "batch {} has more than {} MiB of files, which are in memory until they are written; limit the rate of the \
                 inputs, or make batches shorter",
                batch.id(),
                self.bytes_max / (1024 * 1024)
            )));
        }
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        for partition in partitions {
            self.part(batch, *partition)?;
        }
        self.bytes = 0;
        let ending = self.format.ending().to_owned();
        let name = |partition: PartitionId| format!("{PART}{:05}{ending}", partition.0);
        let parts: Vec<_> = std::mem::take(&mut self.parts)
            .into_iter()
            .map(|(partition, part)| (name(partition), part))
            .collect();
        let names = parts.iter().map(|(name, _)| name.clone()).collect();
        self.staged = Some(self.look(self.directories.of(batch.time()), &names)?);
        self.stage(parts)
    }

    /// A crash after any line leaves a directory without `_SUCCESS`, or one that is whole.
    fn commit(&mut self, _: &Batch) -> Result<()> {
        let Some(staged) = &self.staged else { return Ok(()) };
        if !staged.is_done() {
            let success = staged.published(SUCCESS);
            if staged.had_success {
                // What is there is of another kind: the job was changed, and its last batch is run again.
                self.storage.delete(&success)?;
            }
            for name in staged.parts.iter().filter(|name| staged.there.contains(*name)) {
                // Else a rename that finds nothing staged would take the old one for its own work, done before.
                self.storage.delete(&staged.published(name))?;
            }
            for name in &staged.parts {
                self.storage.rename(&staged.staged(name), &staged.published(name)).map_err(taken_away)?;
            }
            for path in &staged.left {
                self.storage.delete(path)?;
            }
            self.storage.put(&success, Vec::new())?;
        }
        self.staged = None;
        Ok(())
    }

    fn abort(&mut self) {
        self.parts.clear();
        self.bytes = 0;
        let Some(staged) = self.staged.take() else { return };
        for name in &staged.parts {
            if let Err(error) = self.storage.delete(&staged.staged(name)) {
                // It is under a hidden name, and goes when the batch is run again.
                log::info!("what was staged of a batch stays, under a hidden name: {error}");
                return;
            }
        }
    }
}

/// What was staged is gone: an earlier run of the job, that had not yet ended, took its own back. It is staged anew.
fn taken_away(error: Error) -> Error {
    match error.kind() {
        ErrorKind::DataLost => Error::retry("what was staged is gone; is the job run twice?").because(error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::super::TextFormat;
    use super::*;
    use crate::testkit::batch_at;
    use tidegate_storage::MemoryStorage;

    #[test]
    fn a_batch_that_is_too_large_is_refused_with_the_way_out_and_the_next_has_all_the_room() {
        let directories = BatchDirectories::on(Arc::new(MemoryStorage::new()), "words", "").unwrap();
        let mut writer = FilesWriter {
            storage: directories.storage().unwrap(),
            directories,
            format: Arc::new(TextFormat),
            parts: BTreeMap::new(),
            bytes: 0,
            bytes_max: 10,
            staged: None,
        };
        let (batch, partitions) = (batch_at(1000), [PartitionId(0), PartitionId(1)]);
        for _ in 0..3 {
            for partition in partitions {
                writer.write(&batch, partition, vec!["four"]).unwrap();
            }
            writer.prepare(&batch, &partitions).unwrap();
            writer.commit(&batch).unwrap();
        }
        writer.write(&batch, partitions[0], vec!["four"; 2]).unwrap();
        let error = writer.write(&batch, partitions[1], vec!["x"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("limit the rate"), "{error}");
    }
}
