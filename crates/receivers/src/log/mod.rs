//! The write-ahead log: blocks with the marks of their origins, in segments that are deleted whole.
//!
//! Each segment begins with what was remembered of all origins before it, so the newest alone is enough for that. What a
//! segment is made of is in `entry`; where segments are is a [`Medium`]: files of a disk (`disk`), or objects of any
//! storage (`objects`).

mod disk;
mod entry;
mod objects;

use crate::marks::{Mark, Remembered};
use entry::Entry;
use std::collections::VecDeque;
use std::sync::Arc;
use tidegate_core::{Error, Result, Storage};

/// Segments that are read at the same time when a log is opened.
const READERS: usize = 4;

/// Where segments are. Segments and what is appended to them come in order, from one thread; they are read by any.
pub(crate) trait Medium: Send + Sync {
    /// What and where it is, for messages.
    fn describe(&self, segment: u64) -> String;
    /// Numbers of the segments that are there, ascending.
    fn segments(&self) -> Result<Vec<u64>>;
    fn read(&self, segment: u64) -> Result<Vec<u8>>;
    /// Cuts off what a crash left half written behind the first `bytes` of the newest segment.
    fn cut(&self, segment: u64, bytes: u64) -> Result<()>;
    /// Begins a segment that holds `bytes`: durable on return, there whole or not at all.
    fn begin(&self, segment: u64, bytes: &[u8]) -> Result<()>;
    /// Appends to the segment begun last, or opened last by [`Medium::go_on`]. Durable on return.
    fn append(&self, bytes: &[u8]) -> Result<()>;
    /// What is appended goes to this segment, the newest.
    fn go_on(&self, segment: u64) -> Result<()>;
    fn delete(&self, segment: u64) -> Result<()>;
    /// Nothing more is written: another process may have it.
    fn close(&self) {}
}

/// A block as the log knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedBlock {
    pub(crate) first: u64,
    pub(crate) records: u32,
    pub(crate) bytes: usize,
    pub(crate) segment: u64,
}

/// A log that is open for writing.
pub(crate) struct BlockLog {
    medium: Arc<dyn Medium>,
    /// Segments that are there, with the first record of each.
    segments: VecDeque<(u64, u64)>,
    /// Bytes in the newest, and how many of them it began with.
    bytes: usize,
    begun_with: usize,
    sequence: u64,
    segment_bytes: usize,
    /// What is remembered of all that is durable.
    remembered: Remembered,
}

/// What was found in a log.
pub(crate) struct Found {
    pub(crate) blocks: Vec<LoggedBlock>,
    pub(crate) remembered: Remembered,
    /// Number of the record that the next block begins with; `None`: there was no log.
    pub(crate) next: Option<u64>,
}

/// Reads blocks of a log that another thread may append to.
#[derive(Clone)]
pub(crate) struct LogReader {
    medium: Arc<dyn Medium>,
}

/// The medium for a log below `folder` of `storage`.
///
/// # Errors
/// `Reconfigure`: another process has it.
pub(crate) fn medium(storage: &Arc<dyn Storage>, folder: &str) -> Result<Arc<dyn Medium>> {
    match storage.local_directory() {
        Some(directory) => Ok(Arc::new(disk::DiskMedium::open(&directory.join(folder))?)),
        None => Ok(Arc::new(objects::ObjectMedium::new(storage.clone(), folder))),
    }
}

impl BlockLog {
    /// Opens what there is, reading segments on several threads.
    ///
    /// # Errors
    /// `DataLost` for damage that no crash leaves, with segment and byte; the storage's own.
    pub(crate) fn open(medium: Arc<dyn Medium>, segment_bytes: usize) -> Result<(BlockLog, Found)> {
        let numbers = medium.segments()?;
        let scanned = scan_all(&*medium, &numbers)?;
        let mut log = BlockLog {
            medium,
            segments: VecDeque::new(),
            bytes: 0,
            begun_with: 0,
            sequence: 0,
            segment_bytes,
            remembered: Remembered::default(),
        };
        let mut found = Found { blocks: Vec::new(), remembered: Remembered::default(), next: None };
        let newest = numbers.last().copied();
        for (number, scan) in numbers.into_iter().zip(scanned) {
            if found.next.is_some_and(|next| next != scan.first) {
                return Err(Error::data_lost(format!(
                    "{}: begins with record {}, the segment before ends at {}; a segment of the write-ahead log is missing. \
                     Restore it from a copy, or begin with an empty checkpoint directory",
                    log.medium.describe(number),
                    scan.first,
                    found.next.unwrap_or_default()
                )));
            }
            if scan.is_torn() {
                if newest != Some(number) {
                    return Err(scan.damage(&log.medium.describe(number)));
                }
                ::log::info!(
                    "{}: a crash left {} bytes half written; they were not acknowledged and are cut off",
                    log.medium.describe(number),
                    scan.length - scan.whole
                );
                log.medium.cut(number, scan.whole as u64)?;
            }
            log.segments.push_back((number, scan.first));
            (log.bytes, log.begun_with, log.sequence) = (scan.whole, scan.begun_with, scan.next_sequence);
            found.next = Some(scan.next);
            found
                .blocks
                .extend(scan.blocks.into_iter().map(|block| LoggedBlock { segment: number, ..block }));
            // Each segment says all over again.
            found.remembered = Remembered::default();
            scan.marks.into_iter().for_each(|mark| found.remembered.add(mark));
        }
        if let Some(newest) = newest {
            log.medium.go_on(newest)?;
        }
        log.remembered = found.remembered.clone();
        Ok((log, found))
    }

    pub(crate) fn reader(&self) -> LogReader {
        LogReader { medium: self.medium.clone() }
    }

    /// Appends a block. It is durable on return; gives its segment.
    ///
    /// # Errors
    /// The storage's; nothing may be appended after one.
    pub(crate) fn append(
        &mut self,
        first: u64,
        records: u32,
        marks: Vec<Mark>,
        payload: &[u8],
    ) -> Result<u64> {
        let full = self.bytes >= self.begun_with + self.segment_bytes.max(self.begun_with);
        if self.segments.is_empty() || full {
            self.roll(first)?;
        }
        let mut bytes = Vec::with_capacity(payload.len() + 256);
        entry::encode(
            self.sequence,
            &Entry::Block { first, records, marks: marks.clone() },
            payload,
            &mut bytes,
        );
        self.medium.append(&bytes)?;
        self.sequence += 1;
        self.bytes += bytes.len();
        marks.into_iter().for_each(|mark| self.remembered.add(mark));
        Ok(self.newest())
    }

    fn newest(&self) -> u64 {
        self.segments.back().map_or(0, |(number, _)| *number)
    }

    fn roll(&mut self, first: u64) -> Result<()> {
        let number = self.newest() + 1;
        let (bytes, next) = entry::beginning(self.sequence, first, &self.remembered);
        self.medium.begin(number, &bytes)?;
        self.segments.push_back((number, first));
        (self.bytes, self.begun_with, self.sequence) = (bytes.len(), bytes.len(), next);
        Ok(())
    }

    /// Deletes segments with records below `first` only. The newest stays: it says what is remembered.
    ///
    /// # Errors
    /// The storage's; what is left is deleted by a later call.
    pub(crate) fn release(&mut self, first: u64) -> Result<()> {
        while self.segments.get(1).is_some_and(|(_, begins)| *begins <= first) {
            let (number, _) = self.segments[0];
            self.medium.delete(number)?;
            self.segments.pop_front();
        }
        Ok(())
    }
}

impl Drop for BlockLog {
    fn drop(&mut self) {
        self.medium.close();
    }
}

impl LogReader {
    /// All blocks of a segment, with what is in them.
    ///
    /// # Errors
    /// `DataLost` when it is damaged or gone.
    pub(crate) fn segment(&self, segment: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        let bytes = self.medium.read(segment)?;
        entry::payloads(&bytes, &self.medium.describe(segment))
    }
}

fn scan_all(medium: &dyn Medium, numbers: &[u64]) -> Result<Vec<entry::Scan>> {
    let read = |number: &u64| entry::scan(&medium.read(*number)?, &medium.describe(*number));
    let share = numbers.len().div_ceil(READERS).max(1);
    std::thread::scope(|scope| {
        let shares: Vec<_> = numbers
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(read).collect::<Result<Vec<_>>>()))
            .collect();
        let mut all = Vec::with_capacity(numbers.len());
        for share in shares {
            all.extend(share.join().map_err(|_| Error::bug("reading a segment panicked"))??);
        }
        Ok(all)
    })
}

#[cfg(test)]
mod tests;
