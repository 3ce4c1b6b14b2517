//! What a segment is made of: a head, the marks of all that came before, then blocks. `docs/formats.md` has the bytes.

use super::LoggedBlock;
use crate::marks::{Mark, Remembered};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tidegate_core::{Error, Result};
use tidegate_storage::frame;

const HEADER: [u8; 16] = *b"TIDEGATE WAL 01\n";
/// Marks in one frame at most.
const MARKS_A_FRAME: usize = 10_000;

/// What a frame begins with; the records of a block follow.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// The first frame of a segment: the record it begins with, and how many frames of marks follow.
    Head { first: u64, mark_frames: u32 },
    /// What is remembered of origins from before.
    Marks(Vec<Mark>),
    /// Records.
    Block { first: u64, records: u32, marks: Vec<Mark> },
}

pub(crate) fn encode(sequence: u64, entry: &Entry, records: &[u8], out: &mut Vec<u8>) {
    let mut payload = postcard::to_stdvec(entry).expect("an entry has nothing that can't be written");
    payload.extend_from_slice(records);
    frame::encode(sequence, &payload, out);
}

/// The bytes that a segment begins with, and the number of the next frame.
pub(crate) fn beginning(sequence: u64, first: u64, remembered: &Remembered) -> (Vec<u8>, u64) {
    let marks: Vec<Mark> = remembered.marks().collect();
    let frames = marks.chunks(MARKS_A_FRAME);
    let mut bytes = HEADER.to_vec();
    encode(sequence, &Entry::Head { first, mark_frames: frames.len() as u32 }, &[], &mut bytes);
    let mut next = sequence + 1;
    for marks in frames {
        encode(next, &Entry::Marks(marks.to_vec()), &[], &mut bytes);
        next += 1;
    }
    (bytes, next)
}

/// What is in a segment, without the records.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The record it begins with, and the one behind its end.
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) blocks: Vec<LoggedBlock>,
    /// All that is remembered at its end, the oldest first.
    pub(crate) marks: Vec<Mark>,
    pub(crate) begun_with: usize,
    /// Bytes that are whole, of how many.
    pub(crate) whole: usize,
    pub(crate) length: usize,
    pub(crate) next_sequence: u64,
}

impl Scan {
    pub(crate) fn is_torn(&self) -> bool {
        self.whole < self.length
    }

    pub(crate) fn damage(&self, place: &str) -> Error {
        damage(place, self.whole)
    }
}

fn damage(place: &str, at: usize) -> Error {
    Error::data_lost(format!(
        "{place}: corrupt at byte {at}; this was no crash but damage to the write-ahead log. Restore the segment from a copy, or \
         begin with an empty checkpoint directory"
    ))
}

/// Reads all but the records.
///
/// # Errors
/// `DataLost` for what no crash leaves behind.
pub(crate) fn scan(bytes: &[u8], place: &str) -> Result<Scan> {
    let mut scan: Option<Scan> = None;
    let (whole, next_sequence) = walk(bytes, place, |entry, records, end| {
        match (entry, &mut scan) {
            (Entry::Head { first, .. }, None) => {
                let (blocks, marks) = (Vec::new(), Vec::new());
                scan = Some(Scan {
                    first,
                    next: first,
                    blocks,
                    marks,
                    begun_with: end,
                    whole: 0,
                    length: bytes.len(),
                    next_sequence: 0,
                });
            }
            (Entry::Marks(marks), Some(scan)) => {
                scan.marks.extend(marks);
                scan.begun_with = end;
            }
            (Entry::Block { first, records: count, marks }, Some(scan)) if first == scan.next => {
                scan.next += u64::from(count);
                scan.marks.extend(marks);
                scan.blocks.push(LoggedBlock { first, records: count, bytes: records.len(), segment: 0 });
            }
            _ => return false,
        }
        true
    })?;
    match scan {
        Some(scan) => Ok(Scan { whole, next_sequence, ..scan }),
        // A segment is published with its head.
        None => Err(damage(place, HEADER.len())),
    }
}

/// The records of each block, by the number of the first.
///
/// # Errors
/// As [`scan`].
pub(crate) fn payloads(bytes: &[u8], place: &str) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut found = Vec::new();
    walk(bytes, place, |entry, records, _| {
        if let Entry::Block { first, .. } = entry {
            found.push((first, records.to_vec()));
        }
        true
    })?;
    Ok(found)
}

/// Gives each whole entry to `each`, which says whether it can be right; then where the whole part ends and the number of the
/// next frame.
fn walk(
    bytes: &[u8],
    place: &str,
    mut each: impl FnMut(Entry, &[u8], usize) -> bool,
) -> Result<(usize, u64)> {
    if bytes.get(..HEADER.len()) != Some(&HEADER[..]) {
        return Err(Error::data_lost(format!(
            "{place}: no write-ahead log of this version of Tidegate (its first bytes are not \"TIDEGATE WAL 01\")"
        )));
    }
    let entry = |payload: Range<usize>| {
        let end = payload.end;
        postcard::take_from_bytes(&bytes[payload]).is_ok_and(|(entry, records)| each(entry, records, end))
    };
    let whole = frame::walk(bytes, HEADER.len(), entry).map_err(|at| damage(place, at))?;
    Ok((whole.end, whole.next_sequence.unwrap_or(0)))
}
