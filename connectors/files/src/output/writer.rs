//! Writes the rows of batches: staged while they come, recorded at the commit, and then given their names.

use super::layout;
use super::memory::Opened;
use super::packer::{FilesPacker, Piece};
use super::record::{Commit, OpenFile, Part, Publish, Segment};
use super::rows::{FileBytes, FileCompression, RowFormat};
use crate::sealed;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tidegate_core::{Batch, Error, Packed, Packer, PartitionId, Result, StagedObject, Storage, Writer};

/// Records of a partition that are kept, for readers who want whole batches.
const RECORDS_KEPT: usize = 16;
/// So many pieces of an open file, of one level, become one piece of the next.
const SEGMENTS_OF_A_LEVEL: usize = 16;
/// Rows from one look at the memory that all files take to the next.
const ROWS_BETWEEN_LOOKS: u64 = 256;
/// Bytes of a file that are handed to the store at a time, where it takes pieces; of small files, a quarter.
const PIECE_BYTES: u64 = 1024 * 1024;
/// Files of a partition that are on their way piece by piece, each with a file or a connection of its own. Others are made in memory.
const STAGED_MAX: usize = 16;

pub(super) type FolderOf<T> = Arc<dyn Fn(&T) -> Result<String> + Send + Sync>;

/// How rows are written.
pub(super) struct Settings<T> {
    pub(super) format: Arc<dyn RowFormat<T>>,
    pub(super) folder_of: Option<FolderOf<T>>,
    pub(super) packed: FileCompression,
    pub(super) target_bytes: u64,
    /// Milliseconds; `None`: a file is complete with its batch.
    pub(super) roll_every: Option<u64>,
}

impl<T> Clone for Settings<T> {
    fn clone(&self) -> Self {
        Settings { format: self.format.clone(), folder_of: self.folder_of.clone(), ..*self }
    }
}

/// The writer of some partitions.
pub(super) struct FilesWriter<T> {
    to: To<T>,
    parts: BTreeMap<u32, PartWriter>,
}

/// Where and how.
struct To<T> {
    opened: Opened,
    settings: Settings<T>,
    kind: String,
    ending: String,
}

struct PartWriter {
    id: u32,
    /// What is committed.
    part: Part,
    /// The batch at hand.
    next: Option<Next>,
    /// Batches whose records are there, the oldest first.
    records: VecDeque<u64>,
}

/// A batch on its way into a partition.
struct Next {
    /// What the partition will hold.
    part: Part,
    /// By folder, where rows have one.
    building: BTreeMap<Option<String>, Building>,
    /// Files begun by this batch.
    begun: u32,
    /// Objects that were staged.
    staged: Vec<String>,
    /// Objects that nobody needs once the batch is committed.
    garbage: Vec<String>,
    rows: u64,
    is_prepared: bool,
}

/// A file that gets rows of this batch.
struct Building {
    file: OpenFile,
    rows: Box<dyn FileBytes>,
    /// What is with the store already.
    growing: Option<Growing>,
}

impl Building {
    fn bytes(&self) -> u64 {
        self.file.bytes() + self.growing.as_ref().map_or(0, |growing| growing.bytes) + self.rows.bytes()
    }
}

/// An object that is staged piece by piece.
struct Growing {
    path: String,
    object: Box<dyn StagedObject>,
    bytes: u64,
}

impl Growing {
    fn add(&mut self, piece: &[u8]) -> Result<()> {
        self.bytes += piece.len() as u64;
        self.object.write(piece)
    }

    /// With `tail` behind it, the object is there, durably: its path and its length.
    fn finish(mut self, tail: &[u8], storage: &dyn Storage) -> Result<(String, u64)> {
        self.add(tail)?;
        self.object.close()?;
        self.object.publish()?;
        let (folder, _) = self.path.rsplit_once('/').expect("what is staged lies in a folder");
        storage.settle(folder)?;
        Ok((self.path, self.bytes))
    }
}

impl<T> FilesWriter<T> {
    pub(super) fn new(opened: Opened, settings: Settings<T>) -> Result<FilesWriter<T>> {
        let (kind, ending) = (settings.format.kind()?, settings.format.ending(settings.packed)?);
        let kind = format!("{kind}; {}", settings.packed.word());
        Ok(FilesWriter { to: To { opened, settings, kind, ending }, parts: BTreeMap::new() })
    }

    fn part(&mut self, id: PartitionId) -> (&To<T>, &mut PartWriter) {
        let part = self.parts.entry(id.0).or_insert_with(|| PartWriter {
            id: id.0,
            part: self.to.opened.parts.get(&id.0).cloned().unwrap_or_default(),
            next: None,
            records: VecDeque::new(),
        });
        (&self.to, part)
    }
}

impl<T> Writer<T> for FilesWriter<T> {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<T>) -> Result<()> {
        let packed = FilesPacker::new(self.to.settings.clone()).pack(rows);
        let packed =
            packed.map_err(|e| e.context(format!("partition {partition}")).context(self.to.place(batch)))?;
        packed.into_iter().try_for_each(|rows| self.write_packed(batch, partition, rows))
    }

    fn write_packed(&mut self, batch: &Batch, partition: PartitionId, rows: Packed) -> Result<()> {
        let (to, part) = self.part(partition);
        part.write(to, batch, rows)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        for partition in partitions {
            let (to, part) = self.part(*partition);
            part.prepare(to, batch)?;
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let to = &self.to;
        let mut prepared: Vec<(&mut PartWriter, Next)> =
            self.parts.values_mut().filter_map(|part| part.next.take().map(|next| (part, next))).collect();
        if prepared.is_empty() {
            return Ok(());
        }
        for (part, next) in &prepared {
            to.record(part.id, batch, &next.part)?;
        }
        // After the records, or an opening between the two would not see them, and we not it.
        to.opened.check_fence()?;
        for (_, next) in &prepared {
            next.part.publish.iter().try_for_each(|file| to.opened.storage.rename(&file.from, &file.to))?;
        }
        for (part, next) in &mut prepared {
            part.committed(to, batch, next);
        }
        Ok(())
    }

    fn abort(&mut self) {
        // A commit that was begun has taken its batch: what that staged may be in a record.
        for part in self.parts.values_mut() {
            let staged = part.next.take().map_or_else(Vec::new, |next| next.staged);
            self.to.forget(&staged);
        }
    }
}

impl<T> To<T> {
    /// The point of no return of a batch in a partition.
    fn record(&self, partition: u32, batch: &Batch, part: &Part) -> Result<()> {
        let opened = &self.opened;
        let commit = Commit {
            job: opened.job.clone(),
            output: opened.output.clone(),
            partition,
            plan: (**batch.plan()).clone(),
            part: part.clone(),
        };
        opened.storage.put(&opened.epoch.record(partition, batch.id().0), sealed::write(&commit))
    }

    /// Removes what nobody needs. What can't be removed now is when the output is opened.
    fn forget<'p>(&self, paths: impl IntoIterator<Item = &'p String>) {
        for path in paths {
            if let Err(e) = self.opened.storage.delete(path) {
                log::warn!(
                    "output {}: {path} stays until the output is opened again: {e}",
                    self.opened.output
                );
            }
        }
    }

    /// The interval that a batch is of, and whether it is the last one of it.
    fn interval(&self, batch: &Batch) -> (u64, bool) {
        match self.settings.roll_every {
            // A batch holds what came before its time.
            Some(length) => {
                (batch.time().0.saturating_sub(1) / length, batch.time().0.is_multiple_of(length))
            }
            None => (0, true),
        }
    }

    /// For errors.
    fn place(&self, batch: &Batch) -> String {
        format!("output {}, batch {}, {}", self.opened.output, batch.id(), self.opened.storage.describe())
    }

    fn refused(&self, batch: &Batch, why: impl std::fmt::Display) -> Error {
        Error::reconfigure(format!("{}: {why}", self.place(batch)))
    }
}

impl PartWriter {
    /// The batch at hand, begun if need be: files that its time completes are complete without it.
    fn begin<T>(&mut self, to: &To<T>, batch: &Batch) -> Result<&mut Next> {
        if self.next.is_none() {
            let (interval, _) = to.interval(batch);
            let mut part = Part { batch: batch.id().0, publish: Vec::new(), open: Vec::new() };
            let (complete, open) = self.part.open.iter().cloned().partition(|file| {
                file.interval != interval || file.kind != to.kind || to.settings.roll_every.is_none()
            });
            part.open = open;
            let next = self.next.insert(Next {
                part,
                building: BTreeMap::new(),
                begun: 0,
                staged: Vec::new(),
                garbage: Vec::new(),
                rows: 0,
                is_prepared: false,
            });
            let complete: Vec<OpenFile> = complete;
            for file in complete {
                next.close(to, batch, self.id, file, None)?;
            }
        }
        let next = self.next.as_mut().expect("it was just begun");
        if next.part.batch != batch.id().0 || next.is_prepared {
            return Err(Error::bug(format!(
                "batch {} is written while batch {} is prepared",
                batch.id(),
                next.part.batch
            )));
        }
        Ok(next)
    }

    fn write<T>(&mut self, to: &To<T>, batch: &Batch, rows: Packed) -> Result<()> {
        let (id, count) = (self.id, rows.rows);
        let piece = Piece::of(rows)?;
        let next = self.begin(to, batch)?;
        let looked = next.rows / ROWS_BETWEEN_LOOKS;
        next.add(to, batch, id, piece, count)?;
        if next.rows / ROWS_BETWEEN_LOOKS > looked { next.bound(to, batch, id) } else { Ok(()) }
    }

    fn prepare<T>(&mut self, to: &To<T>, batch: &Batch) -> Result<()> {
        let (id, is_idle) = (self.id, batch.plan().is_empty());
        let (_, is_last) = to.interval(batch);
        let next = self.begin(to, batch)?;
        let building: Vec<Option<String>> = next.building.keys().cloned().collect();
        for folder in building {
            let is_full = next.building[&folder].bytes() >= to.settings.target_bytes;
            if is_last || is_full {
                next.complete(to, batch, id, &folder)?;
            } else {
                next.keep_open(to, batch, id, &folder)?;
            }
        }
        if is_last {
            for file in std::mem::take(&mut next.part.open) {
                // Those with rows of this batch were completed above.
                next.close(to, batch, id, file, None)?;
            }
        }
        next.is_prepared = true;
        // An idle stream costs nothing. Run again, the batch gives nothing again.
        if is_idle && next.rows == 0 && next.part.publish.is_empty() {
            self.next = None;
        }
        Ok(())
    }

    fn committed<T>(&mut self, to: &To<T>, batch: &Batch, next: &mut Next) {
        self.part = std::mem::take(&mut next.part);
        to.forget(&next.garbage);
        self.records.push_back(batch.id().0);
        if self.records.len() > RECORDS_KEPT
            && let Some(old) = self.records.pop_front()
        {
            to.forget([&to.opened.epoch.record(self.id, old)]);
        }
    }
}

impl Next {
    /// The file that rows of `folder` go to: one that is open, or a new one.
    fn start<T>(&mut self, to: &To<T>, batch: &Batch, folder: Option<String>) -> Result<Building> {
        let folder = folder.unwrap_or_default();
        let file = match self.part.open.iter().position(|file| file.folder == folder) {
            Some(place) => self.part.open.remove(place),
            None => {
                let number = self.begun;
                self.begun += 1;
                OpenFile {
                    folder,
                    first: batch.id().0,
                    last: batch.id().0,
                    number,
                    interval: to.interval(batch).0,
                    kind: to.kind.clone(),
                    ending: to.ending.clone(),
                    rows: 0,
                    segments: Vec::new(),
                }
            }
        };
        let rows = to.settings.format.segment(to.settings.packed, file.segments.is_empty())?;
        Ok(Building { file: OpenFile { last: batch.id().0, ..file }, rows, growing: None })
    }

    /// Adds rows to the file of their folder.
    fn add<T>(&mut self, to: &To<T>, batch: &Batch, partition: u32, piece: Piece, count: u64) -> Result<()> {
        let Piece { folder, bytes } = piece;
        if !self.building.contains_key(&folder) {
            let building = self.start(to, batch, folder.clone())?;
            self.building.insert(folder.clone(), building);
        }
        let building = self.building.get_mut(&folder).expect("it was just put there");
        building.rows.push(&bytes).map_err(|why| to.refused(batch, why))?;
        building.file.rows += count;
        self.rows += count;
        if building.bytes() >= to.settings.target_bytes {
            self.complete(to, batch, partition, &folder)
        } else if building.rows.ready() >= PIECE_BYTES.min(to.settings.target_bytes / 4) {
            self.hand_over(to, batch, partition, &folder)
        } else {
            Ok(())
        }
    }

    /// Gives what is ready of a file to the store, if that takes pieces. A file that has segments is put together at its end.
    fn hand_over<T>(
        &mut self,
        to: &To<T>,
        batch: &Batch,
        partition: u32,
        folder: &Option<String>,
    ) -> Result<()> {
        let growing = self.building.values().filter(|building| building.growing.is_some()).count();
        let Some(building) = self.building.get_mut(folder) else { return Ok(()) };
        if building.growing.is_none() && building.file.segments.is_empty() && growing < STAGED_MAX {
            let path = to.opened.epoch.staged(partition, batch.id().0, self.staged.len());
            if let Some(object) = to.opened.storage.stage(&path)? {
                self.staged.push(path.clone());
                building.growing = Some(Growing { path, object, bytes: 0 });
            }
        }
        match &mut building.growing {
            Some(growing) => {
                let piece = building.rows.take();
                growing.add(&piece)
            }
            None => Ok(()),
        }
    }

    /// The file of `folder` gets no more rows.
    fn complete<T>(
        &mut self,
        to: &To<T>,
        batch: &Batch,
        partition: u32,
        folder: &Option<String>,
    ) -> Result<()> {
        let Some(Building { file, rows, growing }) = self.building.remove(folder) else { return Ok(()) };
        let tail = rows.finish().map_err(|why| to.refused(batch, why))?;
        let Some(growing) = growing else { return self.close(to, batch, partition, file, Some(tail)) };
        let (from, bytes) = growing.finish(&tail, &*to.opened.storage)?;
        self.publish(partition, file, from, bytes);
        Ok(())
    }

    /// Stages a whole file, of its segments and what comes behind them.
    fn close<T>(
        &mut self,
        to: &To<T>,
        batch: &Batch,
        partition: u32,
        file: OpenFile,
        tail: Option<Vec<u8>>,
    ) -> Result<()> {
        let (from, bytes) = match (&file.segments[..], tail) {
            // It is a whole file as it is.
            ([only], None) => (only.path.clone(), only.bytes),
            (segments, tail) => {
                let bytes = to.joined(batch, segments, tail)?;
                self.garbage.extend(segments.iter().map(|segment| segment.path.clone()));
                let length = bytes.len() as u64;
                (self.stage(to, batch, partition, bytes)?, length)
            }
        };
        self.publish(partition, file, from, bytes);
        Ok(())
    }

    /// Has the commit give a whole file its name.
    fn publish(&mut self, partition: u32, file: OpenFile, from: String, bytes: u64) {
        let to = layout::visible(&file.folder, partition, (file.first, file.last), file.number, &file.ending);
        self.part.publish.push(Publish { from, to, rows: file.rows, bytes });
    }

    /// Stages the rows of this batch as a segment of a file that stays open.
    fn keep_open<T>(
        &mut self,
        to: &To<T>,
        batch: &Batch,
        partition: u32,
        folder: &Option<String>,
    ) -> Result<()> {
        let Some(Building { mut file, rows, growing }) = self.building.remove(folder) else {
            return Ok(());
        };
        let tail = rows.finish().map_err(|why| to.refused(batch, why))?;
        let segment = match growing {
            // It is the first segment, and so none of its level are to be put together with it.
            Some(growing) => {
                let (path, bytes) = growing.finish(&tail, &*to.opened.storage)?;
                Segment { path, bytes, level: 0 }
            }
            None => self.segment(to, batch, partition, &mut file, tail)?,
        };
        file.segments.push(segment);
        self.part.open.push(file);
        Ok(())
    }

    /// Stages what comes behind the segments of `file`, together with the last of them where there are enough of one level.
    fn segment<T>(
        &mut self,
        to: &To<T>,
        batch: &Batch,
        partition: u32,
        file: &mut OpenFile,
        mut bytes: Vec<u8>,
    ) -> Result<Segment> {
        let mut level = 0;
        loop {
            let alike = file.segments.iter().rev().take_while(|segment| segment.level == level).count();
            if alike + 1 < SEGMENTS_OF_A_LEVEL {
                break;
            }
            let segments = file.segments.split_off(file.segments.len() - alike);
            bytes = to.joined(batch, &segments, Some(bytes))?;
            self.garbage.extend(segments.into_iter().map(|segment| segment.path));
            level += 1;
        }
        let length = bytes.len() as u64;
        let path = self.stage(to, batch, partition, bytes)?;
        Ok(Segment { path, bytes: length, level })
    }

    fn stage<T>(&mut self, to: &To<T>, batch: &Batch, partition: u32, bytes: Vec<u8>) -> Result<String> {
        let path = to.opened.epoch.staged(partition, batch.id().0, self.staged.len());
        // Before it is there: what is not known to be there may be.
        self.staged.push(path.clone());
        to.opened.storage.put(&path, bytes)?;
        Ok(path)
    }

    /// Completes the largest file while all that are being made take more than two of the size they are to have.
    fn bound<T>(&mut self, to: &To<T>, batch: &Batch, partition: u32) -> Result<()> {
        let total = |next: &Next| next.building.values().map(|building| building.rows.bytes()).sum::<u64>();
        while self.building.len() > 1 && total(self) > to.settings.target_bytes.saturating_mul(2) {
            let largest = self.building.iter().max_by_key(|(_, building)| building.rows.bytes());
            let Some(folder) = largest.map(|(folder, _)| folder.clone()) else { return Ok(()) };
            self.complete(to, batch, partition, &folder)?;
        }
        Ok(())
    }
}

impl<T> To<T> {
    /// Segments and what comes behind them, in one.
    fn joined(&self, batch: &Batch, segments: &[Segment], tail: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let mut pieces = Vec::with_capacity(segments.len() + 1);
        for segment in segments {
            let place = || format!("{}: {}", self.opened.storage.describe(), segment.path);
            let bytes = self.opened.storage.get(&segment.path)?.ok_or_else(|| {
                Error::data_lost(format!(
                    "{}: rows of a committed batch are gone; were they removed?",
                    place()
                ))
            })?;
            if bytes.len() as u64 != segment.bytes {
                return Err(Error::data_lost(format!(
                    "{}: {} bytes are there, where {} were written",
                    place(),
                    bytes.len(),
                    segment.bytes
                )));
            }
            pieces.push(bytes);
        }
        match (pieces.is_empty(), tail) {
            (true, Some(tail)) => Ok(tail),
            (_, tail) => {
                pieces.extend(tail);
                let joined = self.settings.format.join(self.settings.packed, pieces);
                joined
                    .map_err(|why| self.refused(batch, format!("an open file can't be put together: {why}")))
            }
        }
    }
}
