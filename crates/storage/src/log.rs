//! An append-only log in numbered segment files. Each segment begins with a head frame that sums up all before it, and with
//! the frames that are kept from it, so a reader needs the newest segment only.

use crate::frame::{self, WholePart};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tidegate_core::{Error, Result};

const HEADER: [u8; 16] = *b"TIDEGATE LOG 01\n";

/// Bounds of a log on disk.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// A segment that has grown by this much is followed by a new one.
    pub segment_bytes: u64,
    /// Older segments kept beside the newest one.
    pub segments_kept: usize,
}

impl Default for LogLimits {
    /// Segments of 4 MiB beside what they begin with, 16 older ones kept.
    fn default() -> Self {
        LogLimits { segment_bytes: 4 * 1024 * 1024, segments_kept: 16 }
    }
}

/// The open log, positioned at its end.
pub struct Log {
    directory: PathBuf,
    limits: LogLimits,
    segment: u64,
    path: PathBuf,
    file: File,
    bytes: u64,
    /// How many of them the segment began with.
    begun_with: u64,
    sequence: u64,
    frame: Vec<u8>,
}

impl Log {
    /// Opens the newest segment in `directory` and reads its frames, the head first; `None` when there is no log yet.
    ///
    /// A torn tail (a crash while appending) is cut off and logged. It was never acknowledged.
    ///
    /// # Errors
    /// `DataLost` for a corrupt middle, with file and offset: something after it is whole, so this was no crash.
    /// `Reconfigure` when the file can't be read or is no log.
    pub fn open(directory: &Path, limits: LogLimits) -> Result<Option<(Log, Vec<Vec<u8>>)>> {
        let Some(segment) = segments(directory)?.pop() else { return Ok(None) };
        let path = segment_path(directory, segment);
        let bytes = fs::read(&path).map_err(|e| unreadable(&path, e))?;
        if bytes.get(..HEADER.len()) != Some(&HEADER[..]) {
            return Err(Error::data_lost(format!(
                "{}: not a log of this version of Tidegate (its first bytes are not \"TIDEGATE LOG 01\")",
                path.display()
            )));
        }
        let (frames, end, sequence) = read_frames(&path, &bytes)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| unreadable(&path, e))?;
        if end < bytes.len() {
            file.set_len(end as u64).and_then(|()| file.sync_all()).map_err(|e| unreadable(&path, e))?;
        }
        let mut log = Log {
            directory: directory.to_owned(),
            limits,
            segment,
            path,
            file,
            bytes: end as u64,
            begun_with: 0,
            sequence,
            frame: Vec::new(),
        };
        log.begins_with(&frames[..1]);
        Ok(Some((log, frames)))
    }

    /// Begins a log in `directory`, which is made if it is missing. `head` is durable on return.
    ///
    /// # Errors
    /// `Reconfigure` when it can't be written.
    pub fn create(directory: &Path, limits: LogLimits, head: &[u8]) -> Result<Log> {
        fs::create_dir_all(directory).map_err(|e| unwritable(directory, e))?;
        let (path, file, bytes) = publish_segment(directory, 1, 0, &[head])?;
        Ok(Log {
            directory: directory.to_owned(),
            limits,
            segment: 1,
            path,
            file,
            bytes,
            begun_with: bytes,
            sequence: 1,
            frame: Vec::new(),
        })
    }

    /// Of a log that was opened: these frames, the first of its segment, were written by [`Log::roll`], so they do not count
    /// to what fills it. Without this only the very first is taken for one of them.
    pub fn begins_with(&mut self, frames: &[Vec<u8>]) {
        let bytes = frames.iter().map(|frame| frame::FRAME_HEAD_BYTES + frame.len()).sum::<usize>();
        self.begun_with = (HEADER.len() + bytes) as u64;
    }

    /// Appends a frame. It is durable after the next [`Log::sync`].
    ///
    /// # Errors
    /// `Reconfigure` when it can't be written (disk full). The log must then be opened again: its tail is torn.
    pub fn append(&mut self, payload: &[u8]) -> Result<()> {
        self.frame.clear();
        frame::encode(self.sequence, payload, &mut self.frame);
        self.file.write_all(&self.frame).map_err(|e| unwritable(&self.path, e))?;
        self.bytes += self.frame.len() as u64;
        self.sequence += 1;
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// `Reconfigure`: nothing appended since the last sync may be relied on.
    pub fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| unwritable(&self.path, e))
    }

    /// Whether the segment is full; then [`Log::roll`] is due. Only what was appended fills it, and that must be as much as
    /// the segment began with: else a log that keeps much would be written anew all the time.
    pub fn is_full(&self) -> bool {
        self.bytes - self.begun_with >= self.limits.segment_bytes.max(self.begun_with)
    }

    /// Begins a new segment with `head` and, behind it, the frames that are `kept`, and deletes the oldest segments beyond
    /// the number kept. Durable on return.
    ///
    /// # Errors
    /// `Reconfigure` when it can't be written; the old segment is then still the newest.
    pub fn roll(&mut self, head: &[u8], kept: &[Vec<u8>]) -> Result<()> {
        self.sync()?;
        let next = self.segment + 1;
        let frames: Vec<&[u8]> = std::iter::once(head).chain(kept.iter().map(Vec::as_slice)).collect();
        let (path, file, bytes) = publish_segment(&self.directory, next, self.sequence, &frames)?;
        (self.segment, self.path, self.file, self.bytes) = (next, path, file, bytes);
        self.begun_with = bytes;
        self.sequence += frames.len() as u64;
        let mut old = segments(&self.directory)?;
        old.pop();
        for segment in old.iter().rev().skip(self.limits.segments_kept) {
            let path = segment_path(&self.directory, *segment);
            fs::remove_file(&path).map_err(|e| unwritable(&path, e))?;
        }
        Ok(())
    }

    /// Path of the newest segment, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The frames of a segment, where its whole part ends, and the next sequence number.
fn read_frames(path: &Path, bytes: &[u8]) -> Result<(Vec<Vec<u8>>, usize, u64)> {
    let mut frames = Vec::new();
    let whole = frame::walk(bytes, HEADER.len(), |payload| {
        frames.push(bytes[payload].to_vec());
        true
    });
    match whole {
        Ok(WholePart { end, next_sequence: Some(next) }) => Ok((frames, end, next)),
        // A segment is published whole, head included.
        Ok(WholePart { end, next_sequence: None }) => {
            Err(Error::data_lost(format!("{}: corrupt at byte {end}: the head is not whole", path.display())))
        }
        Err(at) => Err(Error::data_lost(format!(
            "{}: corrupt at byte {at}, with whole records after it; this was no crash but damage to the file. Restore \
             the file from a copy, or move the directory away and start from what the outputs hold",
            path.display()
        ))),
    }
}

/// Makes a file of `bytes` that is there whole or not at all: written aside as `*.new`, synced, renamed, its directory synced. Gives it
/// open at its end.
///
/// # Errors
/// As the file system gives them.
pub fn publish(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let aside = path.with_extension("new");
    fs::write(&aside, bytes)?;
    let file = OpenOptions::new().append(true).open(&aside)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

fn publish_segment(
    directory: &Path,
    segment: u64,
    sequence: u64,
    frames: &[&[u8]],
) -> Result<(PathBuf, File, u64)> {
    let path = segment_path(directory, segment);
    let mut bytes = HEADER.to_vec();
    for (frame, sequence) in frames.iter().zip(sequence..) {
        frame::encode(sequence, frame, &mut bytes);
    }
    let file = publish(&path, &bytes).map_err(|e| unwritable(&path, e))?;
    Ok((path, file, bytes.len() as u64))
}

/// The numbers of the segments in `directory`, oldest first. Files by other names are left alone.
fn segments(directory: &Path) -> Result<Vec<u64>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unreadable(directory, e)),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| unreadable(directory, e))?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|number| number.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn segment_path(directory: &Path, segment: u64) -> PathBuf {
    directory.join(format!("{segment:012}.log"))
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::reconfigure(format!("{}: can't be read", path.display())).because(source)
}

fn unwritable(path: &Path, source: io::Error) -> Error {
    let way_out = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space and start again",
        io::ErrorKind::PermissionDenied => "; check who owns the directory",
        _ => "",
    };
    Error::reconfigure(format!(
        "{}: can't be written, nothing after the last durable record counts{way_out}",
        path.display()
    ))
    .because(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ErrorKind;

    const SMALL: LogLimits = LogLimits { segment_bytes: 100, segments_kept: 1 };

    fn written(directory: &Path, payloads: &[&str]) {
        let mut log = Log::create(directory, LogLimits::default(), b"head").unwrap();
        for payload in payloads {
            log.append(payload.as_bytes()).unwrap();
        }
        log.sync().unwrap();
    }

    fn read(directory: &Path) -> Vec<String> {
        let (_, frames) = Log::open(directory, LogLimits::default()).unwrap().unwrap();
        frames.into_iter().map(|frame| String::from_utf8(frame).unwrap()).collect()
    }

    #[test]
    fn what_was_synced_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), &["one", "two"]);
        assert_eq!(read(dir.path()), ["head", "one", "two"]);
    }

    #[test]
    fn every_torn_tail_is_cut_and_the_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), &["one", "two"]);
        let path = segment_path(dir.path(), 1);
        let whole = fs::read(&path).unwrap();
        let second = whole.len() - FRAME_BYTES_OF_THREE;
        for length in second..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (mut log, frames) = Log::open(dir.path(), LogLimits::default()).unwrap().unwrap();
            assert_eq!(frames, [b"head".to_vec(), b"one".to_vec()], "cut at {length}");
            log.append(b"three").unwrap();
            log.sync().unwrap();
            assert_eq!(read(dir.path()), ["head", "one", "three"]);
        }
    }

    const FRAME_BYTES_OF_THREE: usize = crate::FRAME_HEAD_BYTES + 3;

    #[test]
    fn a_corrupt_middle_is_refused_with_file_and_offset() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), &["one", "two"]);
        let path = segment_path(dir.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        let first = bytes.len() - 2 * FRAME_BYTES_OF_THREE;
        bytes[first + crate::FRAME_HEAD_BYTES] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = Log::open(dir.path(), LogLimits::default()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::DataLost);
        let expected = format!("{}: corrupt at byte {first}, with whole records after it", path.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "a refused log is left as it is");
    }

    #[test]
    fn a_rolled_log_reads_from_its_newest_head_and_keeps_a_bounded_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), SMALL, b"head 1").unwrap();
        for round in 2..=5 {
            while !log.is_full() {
                log.append(b"some payload").unwrap();
            }
            log.roll(format!("head {round}").as_bytes(), &[]).unwrap();
        }
        log.append(b"last").unwrap();
        log.sync().unwrap();
        assert_eq!(read(dir.path()), ["head 5", "last"]);
        assert_eq!(segments(dir.path()).unwrap(), [4, 5]);
    }

    #[test]
    fn frames_that_are_kept_stand_behind_the_head_and_do_not_fill_the_segment() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::create(dir.path(), SMALL, b"head 1").unwrap();
        let kept = [vec![b'a'; 150], vec![b'b'; 150]];
        log.roll(b"head 2", &kept).unwrap();
        let appended = |log: &mut Log| {
            let mut appended = 0;
            while !log.is_full() {
                log.append(&[b'c'; 30]).unwrap();
                appended += 1;
            }
            appended
        };
        // As much as the segment began with: 16 + 26 + 2 x 170 bytes.
        assert_eq!(appended(&mut log), 8);
        drop(log);
        let (mut log, frames) = Log::open(dir.path(), SMALL).unwrap().unwrap();
        assert_eq!((frames[1..3].to_vec(), frames.len()), (kept.to_vec(), 11));
        assert!(log.is_full());
        log.begins_with(&frames[..3]);
        assert!(log.is_full(), "eight frames fill it, as before");
        log.roll(b"head 3", &kept[..1]).unwrap();
        log.append(b"next").unwrap();
        log.sync().unwrap();
        let expected = ["head 3".to_owned(), "a".repeat(150), "next".to_owned()];
        assert_eq!(read(dir.path()), expected);
    }

    #[test]
    fn a_file_that_is_no_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(segment_path(dir.path(), 1), "something else entirely").unwrap();
        let error = Log::open(dir.path(), LogLimits::default()).err().unwrap();
        assert!(error.to_string().contains("not a log of this version of Tidegate"), "{error}");
    }

    #[test]
    fn no_log_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Log::open(&dir.path().join("missing"), LogLimits::default()).unwrap().is_none());
    }
}
