//! Where rows go, in which files, and when they are seen.

use crate::driven::{Epoch, INTERVAL, Row, files, is_visible};
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::Storage;
use tidegate_files::FilesOutput;
use tidegate_storage::{LocalStorage, MemoryStorage};

fn names(storage: &dyn Storage) -> Vec<String> {
    files(storage).into_keys().collect()
}

#[test]
fn a_file_of_many_batches_is_seen_when_its_interval_ends() {
    let inner = MemoryStorage::new();
    let output =
        || FilesOutput::json(Arc::new(inner.clone())).roll_every(Duration::from_millis(4 * INTERVAL));
    // Batch 4 ends an interval: 1,000,000 intervals were before the first batch.
    let mut epoch = Epoch::open(output(), 1).unwrap();
    for (id, seen) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1), (6, 1)] {
        epoch.run(id, 3).unwrap();
        assert_eq!(names(&inner).len(), seen, "after batch {id}");
    }
    // Started again, and no rows come: the interval ends all the same.
    let mut epoch = Epoch::open(output(), 1).unwrap();
    let before = inner.list("").unwrap();
    epoch.run(7, 0).unwrap();
    assert_eq!(
        inner.list("").unwrap(),
        before,
        "a batch that takes nothing and completes nothing costs nothing"
    );
    epoch.run(9, 2).unwrap();
    assert_eq!(
        names(&inner),
        ["part-00000-0000000001-0000000004-0.jsonl", "part-00000-0000000005-0000000006-0.jsonl"]
    );
    epoch.run(12, 1).unwrap();
    is_visible(&inner, &[3, 3, 3, 3, 3, 3, 0, 0, 2, 0, 0, 1], "after the third interval");
}

#[test]
fn a_large_batch_makes_several_files_and_a_small_one_of_many_folders_is_bounded() {
    let inner = MemoryStorage::new();
    let by = |row: &Row| [("number", row.1 % 50)];
    let output = |target| FilesOutput::json(Arc::new(inner.clone())).target_bytes(target).partition_by(by);
    let mut epoch = Epoch::open(output(1 << 20), 1).unwrap();
    epoch.run(1, 500).unwrap();
    assert_eq!(names(&inner).len(), 50);
    let mut epoch = Epoch::open(output(400), 1).unwrap();
    epoch.run(2, 600).unwrap();
    is_visible(&inner, &[500, 600], "in many folders");
    let longest = files(&inner).into_iter().filter(|(path, _)| path.contains("-0000000002-"));
    assert!(longest.map(|(_, rows)| rows.len()).max().unwrap() < 12 + 50);
    let plain = MemoryStorage::new();
    let output = FilesOutput::json(Arc::new(plain.clone())).target_bytes(1_000);
    Epoch::open(output, 1).unwrap().run(1, 600).unwrap();
    assert!((7..=9).contains(&names(&plain).len()), "{:?}", names(&plain));
    is_visible(&plain, &[600], "in files of 1,000 bytes");
}

#[test]
fn names_do_not_depend_on_how_often_a_batch_is_run() {
    let listing = |crash: bool| {
        let inner = MemoryStorage::new();
        let output = || FilesOutput::json(Arc::new(inner.clone())).partitions(3).target_bytes(100);
        if crash {
            let mut epoch = Epoch::open(output(), 2).unwrap();
            epoch.run(1, 20).unwrap();
            epoch.prepare(2, 20).unwrap();
        }
        let mut epoch = Epoch::open(output(), 1).unwrap();
        for id in epoch.next(&[20, 20])..=2 {
            epoch.run(id, 20).unwrap();
        }
        files(&inner)
    };
    assert_eq!(listing(true), listing(false));
}

#[test]
fn the_newest_records_tell_a_reader_what_is_in_a_batch() {
    let inner = MemoryStorage::new();
    let mut epoch = Epoch::open(FilesOutput::json(Arc::new(inner.clone())), 1).unwrap();
    for id in 1..=40 {
        epoch.run(id, 2).unwrap();
    }
    let records: Vec<String> =
        inner.list("_tidegate/epochs").unwrap().into_iter().map(|object| object.path).collect();
    assert_eq!(records.len(), 16 + 1, "the newest records and a base: {records:?}");
    let bytes = inner.get(&records[15]).unwrap().unwrap();
    let record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(record["commit"]["plan"]["id"], 40);
    let file = &record["commit"]["part"]["publish"][0];
    assert_eq!(
        (file["to"].as_str(), &file["rows"]),
        (Some("part-00000-0000000040-0000000040-0.jsonl"), &2.into())
    );
}

#[test]
fn a_folder_that_can_not_be_written_is_named_with_what_helps() {
    let directory = tempfile::tempdir().unwrap();
    let storage = LocalStorage::open(directory.path()).unwrap();
    std::fs::write(directory.path().join("day=1"), "a file where a folder is to be").unwrap();
    let output = FilesOutput::json(Arc::new(storage)).partition_by(|_: &Row| [("day", 1)]);
    let mut epoch = Epoch::open(output, 1).unwrap();
    let error = epoch.run(1, 1).unwrap_err().to_string();
    assert!(error.contains("day=1") && error.contains("a file where a folder is needed"), "{error}");
}

#[test]
fn a_row_that_can_not_be_written_is_named_with_its_batch() {
    let output = FilesOutput::csv(Arc::new(MemoryStorage::new()));
    let mut epoch = Epoch::open(output.partition_by(|row: &Row| [("_x", row.1)]), 1).unwrap();
    let error = epoch.run(3, 1).unwrap_err().to_string();
    assert!(error.contains("partition column \"_x\": its folder would be hidden"), "{error}");
}
