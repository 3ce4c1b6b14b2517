//! Publishes the files of each batch: each worker writes those of the partitions that it has, unseen until the commit, and `_SUCCESS`
//! comes when all of them are there.
//!
//! A crash at any point leaves what the same batch, run again, writes over or takes away. `_SUCCESS` is there only while the
//! directory is whole.

use super::staging::{Growing, HIDDEN, Staging};
use super::{BatchDirectories, PartFormat};
use crate::{Batch, BatchId, Data, Error, PartitionId, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_core::{Delivery, Held, Output, OutputContext, Seat, Storage, Writer};

/// Bytes of a batch's parts that are in memory at most, over all workers.
const BATCH_BYTES_MAX: usize = 1024 * 1024 * 1024;
const SUCCESS: &str = "_SUCCESS";
const PART: &str = "part-";

/// An [`Output`] that writes a directory of files for each batch; see [`DStream::save_as_files`](crate::DStream::save_as_files).
///
/// It does not remember batches: a batch that is run again writes the same names. Each worker writes the parts of the partitions that
/// it has. Where the storage takes [pieces](Storage::stage), about a MiB of a part is in memory (in S3 six), for up to 64 parts of a worker;
/// any others are in memory until all rows are there, up to 1 GiB of them over all workers. More than that ends the job.
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

    /// `_SUCCESS` is for the whole directory, so it has to wait for all writers.
    fn completes(&self) -> bool {
        true
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        // What can't be made or reached is told before anything is processed.
        self.directories.storage().map(|_| Held::default())
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(FilesWriter {
            directories: self.directories.clone(),
            format: self.format.clone(),
            storage: self.directories.storage()?,
            open: None,
            bytes_max: BATCH_BYTES_MAX / seat.workers.max(1),
        }))
    }
}

struct FilesWriter<T> {
    directories: BatchDirectories,
    format: Arc<dyn PartFormat<T>>,
    storage: Arc<dyn Storage>,
    open: Option<OpenBatch<T>>,
    bytes_max: usize,
}

/// A batch that is not committed.
struct OpenBatch<T> {
    id: BatchId,
    parts: BTreeMap<PartitionId, Growing<T>>,
    /// Bytes of them in memory.
    bytes: usize,
    staging: Staging,
    /// Parts that an earlier try has published, with their length.
    there: BTreeMap<String, u64>,
    /// An earlier try came to its end.
    had_success: bool,
}

impl<T> OpenBatch<T> {
    /// Looks what is in the directory from an earlier try.
    fn look(batch: &Batch, storage: &Arc<dyn Storage>, directory: String) -> Result<OpenBatch<T>> {
        let (mut there, mut had_success) = (BTreeMap::new(), false);
        for object in storage.list(&directory)? {
            match object.path.get(directory.len() + 1..) {
                Some(SUCCESS) => had_success = true,
                Some(name) if is_part(name) => drop(there.insert(name.to_owned(), object.bytes)),
                _ => {}
            }
        }
        let staging = Staging::new(storage.clone(), directory);
        Ok(OpenBatch { id: batch.id(), parts: BTreeMap::new(), bytes: 0, staging, there, had_success })
    }
}

impl<T: 'static> FilesWriter<T> {
    fn open(&mut self, batch: &Batch) -> Result<&mut OpenBatch<T>> {
        if self.open.as_ref().is_none_or(|open| open.id != batch.id()) {
            let directory = self.directories.of(batch.time());
            self.open = Some(OpenBatch::look(batch, &self.storage, directory)?);
        }
        Ok(self.open.as_mut().expect("just opened"))
    }

    /// The batch with the part of `partition`, which is begun if it is not there.
    fn part(&mut self, batch: &Batch, partition: PartitionId) -> Result<&mut OpenBatch<T>> {
        let format = self.format.clone();
        let open = self.open(batch)?;
        if !open.parts.contains_key(&partition) {
            let name = name(partition.0, format.ending());
            let there = open.there.get(&name).copied();
            open.parts.insert(partition, Growing::new(name, format.part(batch, partition)?, there));
        }
        Ok(open)
    }
}

fn name(partition: u32, ending: &str) -> String {
    format!("{PART}{partition:05}{ending}")
}

/// Whether it is the name of a part, of this try or an earlier one. What is of somebody else's making is left alone.
fn is_part(name: &str) -> bool {
    name.starts_with(PART) && !name.contains('/')
}

impl<T: 'static> Writer<T> for FilesWriter<T> {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<T>) -> Result<()> {
        let bytes_max = self.bytes_max;
        let OpenBatch { parts, staging, bytes, .. } = self.part(batch, partition)?;
        let part = parts.get_mut(&partition).expect("it was just begun");
        let before = part.bytes();
        part.add(rows, staging)?;
        // It may hold less than before: what was waiting is compressed now, or given to the store.
        *bytes = bytes.saturating_sub(before) + part.bytes();
        if *bytes > bytes_max {
            return Err(Error::reconfigure(format!(
                "batch {} has more than {} MiB of files on a worker that are in memory until they are written; limit the rate of \
                 the inputs, or make batches shorter",
                batch.id(),
                bytes_max / (1024 * 1024)
            )));
        }
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        for partition in partitions {
            self.part(batch, *partition)?;
        }
        let open = self.open(batch)?;
        for (_, part) in std::mem::take(&mut open.parts) {
            part.finish(&mut open.staging)?;
        }
        open.staging.close()
    }

    /// A crash after any line leaves a directory without `_SUCCESS`, or one that is whole.
    fn commit(&mut self, _: &Batch) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if !open.staging.is_empty() {
            if open.had_success {
                // What is there is of another kind: the job was changed, and its last batch is run again.
                self.storage.delete(&open.staging.published(SUCCESS))?;
            }
            open.staging.publish()?;
        }
        self.open = None;
        Ok(())
    }

    /// All parts of all workers are published: takes away what an earlier try left, and says that the directory is whole.
    fn complete(&mut self, batch: &Batch, partitions: u32) -> Result<()> {
        let directory = self.directories.of(batch.time());
        let ending = self.format.ending();
        // A dataset without a partition has one file all the same.
        let mut missing: BTreeSet<String> =
            (0..partitions.max(1)).map(|partition| name(partition, ending)).collect();
        let (mut left, mut hidden, mut has_success) = (Vec::new(), Vec::new(), false);
        for object in self.storage.list(&directory)? {
            match object.path.get(directory.len() + 1..) {
                Some(SUCCESS) => has_success = true,
                Some(name) if missing.remove(name) => {}
                Some(name) if is_part(name) => left.push(object.path),
                Some(name) if name.split('/').next() == Some(HIDDEN) => hidden.push(object.path),
                _ => {}
            }
        }
        if let Some(part) = missing.first() {
            return Err(Error::retry(format!(
                "{directory}/{part} was published and is not there; is the job run twice?"
            )));
        }
        let success = format!("{directory}/{SUCCESS}");
        if has_success && !left.is_empty() {
            self.storage.delete(&success)?;
            has_success = false;
        }
        left.iter().chain(&hidden).try_for_each(|path| self.storage.delete(path))?;
        if has_success { Ok(()) } else { self.storage.put(&success, Vec::new()) }
    }

    fn abort(&mut self) {
        if let Some(open) = self.open.take() {
            open.staging.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::TextFormat;
    use super::*;
    use crate::ErrorKind;
    use crate::testkit::batch_at;
    use tidegate_storage::{FailingStorage, MemoryStorage};

    #[test]
    fn a_batch_that_is_too_large_is_refused_with_the_way_out_and_the_next_has_all_the_room() {
        let storage = FailingStorage::new(Arc::new(MemoryStorage::new())).of_whole_objects();
        let directories = BatchDirectories::on(Arc::new(storage), "words", "").unwrap();
        let mut writer = FilesWriter {
            storage: directories.storage().unwrap(),
            directories,
            format: Arc::new(TextFormat),
            open: None,
            bytes_max: 10,
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
