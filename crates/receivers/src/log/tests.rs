//! The log against torn tails, damage, and what a crash leaves, on either medium.

use super::*;
use tidegate_core::ErrorKind;
use tidegate_storage::{LocalStorage, MemoryStorage};

const FOLDER: &str = "inputs/words/log";
const SEGMENT: usize = 400;

/// Storages of both kinds; the directory lives as long as it is held.
fn storages() -> (tempfile::TempDir, [Arc<dyn Storage>; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let local = LocalStorage::open(directory.path()).unwrap();
    (directory, [Arc::new(local), Arc::new(MemoryStorage::new())])
}

fn open(storage: &Arc<dyn Storage>) -> Result<(BlockLog, Found)> {
    BlockLog::open(medium(storage, FOLDER)?, SEGMENT)
}

fn mark(number: u64) -> Vec<Mark> {
    vec![Mark::Until("p".to_owned(), number)]
}

/// Blocks of one record each: `numbers`, as bytes.
fn write(log: &mut BlockLog, numbers: std::ops::Range<u64>) {
    for number in numbers {
        log.append(number, 1, mark(number + 1), format!("record {number}").as_bytes()).unwrap();
    }
}

fn records(log: &BlockLog, found: &Found) -> Vec<String> {
    let mut segments: Vec<u64> = found.blocks.iter().map(|block| block.segment).collect();
    segments.dedup();
    let read = segments.into_iter().flat_map(|segment| log.reader().segment(segment).unwrap());
    read.map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect()
}

fn expected(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("record {number}")).collect()
}

#[test]
fn what_was_appended_is_found_again_with_its_marks_over_many_segments() {
    let (_directory, storages) = storages();
    for storage in storages {
        let (mut log, found) = open(&storage).unwrap();
        assert_eq!((found.next, found.blocks.len()), (None, 0));
        write(&mut log, 0..50);
        drop(log);
        let (mut log, found) = open(&storage).unwrap();
        assert_eq!(records(&log, &found), expected(0..50));
        assert_eq!(found.next, Some(50));
        assert!(log.segments.len() > 3, "{} segments", log.segments.len());
        assert!(found.remembered.marks().eq(mark(50)));
        write(&mut log, 50..60);
        drop(log);
        let (log, found) = open(&storage).unwrap();
        assert_eq!(records(&log, &found), expected(0..60));
    }
}

#[test]
fn what_no_batch_needs_is_deleted_by_segments_and_marks_stay() {
    let (_directory, storages) = storages();
    for storage in storages {
        let (mut log, _) = open(&storage).unwrap();
        write(&mut log, 0..50);
        let before = log.segments.len();
        log.release(30).unwrap();
        assert!(log.segments.len() < before);
        assert!(log.segments[0].1 <= 30, "record 30 may still be read");
        log.release(50).unwrap();
        assert_eq!(log.segments.len(), 1);
        drop(log);
        let (log, found) = open(&storage).unwrap();
        assert_eq!(found.next, Some(50));
        assert!(found.remembered.marks().eq(mark(50)), "of blocks that are gone too");
        assert_eq!(records(&log, &found).last().unwrap(), "record 49");
    }
}

#[test]
fn every_torn_tail_is_cut_and_the_log_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(directory.path()).unwrap());
    let (mut log, _) = open(&storage).unwrap();
    write(&mut log, 0..2);
    drop(log);
    let path = directory.path().join(FOLDER).join("000000000001.wal");
    let two = std::fs::read(&path).unwrap();
    let (mut log, _) = open(&storage).unwrap();
    write(&mut log, 2..3);
    drop(log);
    let three = std::fs::read(&path).unwrap();
    assert!(three.starts_with(&two));
    for length in two.len()..three.len() {
        std::fs::write(&path, &three[..length]).unwrap();
        let (mut log, found) = open(&storage).unwrap();
        assert_eq!(records(&log, &found), expected(0..2), "cut at {length}");
        assert!(found.remembered.marks().eq(mark(2)), "a block that is not whole is not stored");
        log.append(2, 1, Vec::new(), b"another").unwrap();
        drop(log);
        let (log, found) = open(&storage).unwrap();
        assert_eq!(records(&log, &found)[2], "another");
    }
}

#[test]
fn damage_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(directory.path()).unwrap());
    let (mut log, _) = open(&storage).unwrap();
    write(&mut log, 0..50);
    drop(log);
    let path = |segment: u64| directory.path().join(FOLDER).join(format!("{segment:012}.wal"));
    let refused = |what: &str| {
        let error = open(&storage).err().unwrap_or_else(|| panic!("{what} was taken"));
        assert_eq!(error.kind(), ErrorKind::DataLost, "{what}: {error}");
        error.to_string()
    };
    let whole = std::fs::read(path(1)).unwrap();
    // In an older segment also a torn tail is damage.
    std::fs::write(path(1), &whole[..whole.len() - 3]).unwrap();
    assert!(refused("a torn old segment").contains("000000000001.wal: corrupt at byte "));
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 1;
    std::fs::write(path(1), bent).unwrap();
    assert!(refused("a changed byte").contains("000000000001.wal: corrupt at byte "));
    std::fs::write(path(1), "something else").unwrap();
    assert!(refused("another file").contains("no write-ahead log of this version"));
    std::fs::write(path(1), whole).unwrap();
    std::fs::remove_file(path(2)).unwrap();
    assert!(refused("a missing segment").contains("a segment of the write-ahead log is missing"));
}

#[test]
fn two_processes_do_not_share_a_log() {
    let (_directory, [local, memory]) = storages();
    let (_log, _) = open(&local).unwrap();
    assert!(open(&local).err().unwrap().to_string().contains("is in use by process"));
    let (mut one, _) = open(&memory).unwrap();
    write(&mut one, 0..1);
    let (mut other, _) = open(&memory).unwrap();
    write(&mut one, 1..2);
    let refusal = other.append(1, 1, Vec::new(), b"another").unwrap_err().to_string();
    assert!(refusal.contains("another process runs this job"), "{refusal}");
}

#[test]
fn an_object_written_by_a_try_whose_answer_was_lost_is_the_same_object() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let (mut log, _) = open(&storage).unwrap();
    write(&mut log, 0..1);
    let (mut again, _) = open(&storage).unwrap();
    write(&mut log, 1..2);
    write(&mut again, 1..3);
    drop(log);
    let (log, found) = open(&storage).unwrap();
    assert_eq!(records(&log, &found), expected(0..3));
}

#[test]
fn a_crash_while_objects_are_deleted_leaves_a_log_that_opens() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let (mut log, _) = open(&storage).unwrap();
    write(&mut log, 0..20);
    drop(log);
    storage.delete(&format!("{FOLDER}/000000000001/00000000")).unwrap();
    let (log, found) = open(&storage).unwrap();
    let left = records(&log, &found);
    assert!(left.len() < 20 && left.last().unwrap() == "record 19", "{left:?}");
    assert_eq!(storage.list(&format!("{FOLDER}/000000000001")).unwrap(), []);
}
