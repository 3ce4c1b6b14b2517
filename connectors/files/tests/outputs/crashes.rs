//! Killed at every call to the store, and run again: the rows that are seen are each there once.

use crate::driven::{Epoch, INTERVAL, Row, files, is_sound, is_visible, partition_and_last};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Result, Storage, StoredObject};
use tidegate_files::FilesOutput;
use tidegate_storage::{FailingStorage, Fault, MemoryStorage};

/// Writes fail as planned; reads are those of the store, whose promises they rest on.
#[derive(Clone, Debug)]
struct Writes {
    failing: FailingStorage,
    inner: MemoryStorage,
}

impl Writes {
    fn new(inner: &MemoryStorage) -> Writes {
        Writes { failing: FailingStorage::new(Arc::new(inner.clone())), inner: inner.clone() }
    }
}

impl Storage for Writes {
    fn describe(&self) -> String {
        "memory".to_owned()
    }
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.failing.put(path, bytes)
    }
    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.failing.put_new(path, bytes)
    }
    fn is_exclusive(&self) -> bool {
        true
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.inner.get(path)
    }
    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        self.inner.list(prefix)
    }
    fn delete(&self, path: &str) -> Result<()> {
        self.failing.delete(path)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.failing.rename(from, to)
    }
    fn local_directory(&self) -> Option<&Path> {
        None
    }
}

/// How an output is made.
#[derive(Clone, Copy, Debug)]
struct Shape {
    partitions: u32,
    workers: usize,
    target: u64,
    /// Batches of an interval; 0: each batch is seen at once.
    roll: u64,
    folders: bool,
}

impl Shape {
    fn output(self, storage: Arc<dyn Storage>) -> FilesOutput<Row> {
        let mut output = FilesOutput::json(storage).partitions(self.partitions).target_bytes(self.target);
        if self.roll > 0 {
            output = output.roll_every(Duration::from_millis(INTERVAL * self.roll));
        }
        if self.folders { output.partition_by(|row: &Row| [("day", row.2.clone())]) } else { output }
    }
}

/// Runs all batches that are not held. An error ends the epoch: in order, or as a crash.
fn run(shape: Shape, storage: Arc<dyn Storage>, rows: &[u64], dies: bool) -> Result<()> {
    let mut epoch = Epoch::open(shape.output(storage), shape.workers)?;
    for batch in epoch.next(rows)..=rows.len() as u64 {
        let done = epoch.run(batch, rows[batch as usize - 1]);
        if done.is_err() {
            if !dies {
                epoch.abort();
            }
            return done;
        }
    }
    Ok(())
}

/// Batches that have rows, and two at the end that complete what is open.
fn with_an_end(rows: &[u64], roll: u64) -> Vec<u64> {
    let mut rows = rows.to_vec();
    rows.extend(std::iter::repeat_n(1, if roll == 0 { 1 } else { 2 * roll as usize }));
    while roll > 0 && !(1_000_000 + rows.len() as u64).is_multiple_of(roll) {
        rows.push(1);
    }
    rows
}

/// Runs, fails at each write in each way, runs again on a store that works: all is there once, and nothing is left hidden but what
/// is needed.
fn survives_each_fault(shape: Shape, rows: &[u64]) {
    let rows = with_an_end(rows, shape.roll);
    for (fault, dies) in [
        (Fault::Away, true),
        (Fault::AnswerLost, true),
        (Fault::Torn, true),
        (Fault::Away, false),
        (Fault::AnswerLost, false),
        (Fault::Torn, false),
        (Fault::Refused, false),
    ] {
        for call in 1.. {
            let inner = MemoryStorage::new();
            let writes = Writes::new(&inner);
            writes.failing.fail(call, fault);
            if dies {
                writes.failing.fail_from(call + 1, Fault::Away);
            }
            let when = format!("{shape:?}, {fault:?} at write {call}, dies: {dies}");
            let first = run(shape, Arc::new(writes.clone()), &rows, dies);
            is_sound(&inner, &rows, &when);
            what_is_seen_is_held(&inner, shape, &when);
            let mut tries = 0;
            while let Err(error) = run(shape, Arc::new(inner.clone()), &rows, false) {
                assert!(tries < 2, "{when}: {error}");
                tries += 1;
            }
            is_visible(&inner, &rows, &when);
            nothing_is_left(&inner, shape, &when);
            if first.is_ok() && writes.failing.calls() < call {
                assert!(call > 10, "{when}: no more calls");
                break;
            }
        }
    }
}

/// No file is seen of a batch that its partition does not hold.
fn what_is_seen_is_held(inner: &MemoryStorage, shape: Shape, when: &str) {
    let seen: Vec<String> = files(inner).into_keys().collect();
    // A store that is torn may take a second opening.
    let open = || Epoch::open(shape.output(Arc::new(inner.clone())), 1);
    let epoch = open().or_else(|_| open()).unwrap();
    for path in seen {
        let (partition, last) = partition_and_last(&path);
        assert!(epoch.holds(partition, last), "{when}: {path} is seen, and batch {last} is not held");
    }
}

/// After an opening with all rows visible no staged object is there.
fn nothing_is_left(inner: &MemoryStorage, shape: Shape, when: &str) {
    Epoch::open(shape.output(Arc::new(inner.clone())), 1).unwrap();
    let hidden: Vec<String> =
        inner.list("_tidegate").unwrap().into_iter().map(|object| object.path).collect();
    assert_eq!(hidden.len(), 2, "{when}: a claim and a base are left, and {hidden:?}");
}

#[test]
fn killed_at_any_write_each_batch_is_seen_once() {
    let shape = Shape { partitions: 1, workers: 1, target: 1 << 20, roll: 0, folders: false };
    survives_each_fault(shape, &[7, 0, 12, 1]);
}

#[test]
fn killed_at_any_write_small_files_of_several_partitions_have_each_row_once() {
    let shape = Shape { partitions: 3, workers: 2, target: 60, roll: 0, folders: false };
    survives_each_fault(shape, &[9, 20, 3]);
}

#[test]
fn killed_at_any_write_folders_have_each_row_once() {
    let shape = Shape { partitions: 2, workers: 2, target: 1 << 20, roll: 0, folders: true };
    survives_each_fault(shape, &[9, 2, 6]);
}

#[test]
fn killed_at_any_write_files_of_many_batches_have_each_row_once() {
    let shape = Shape { partitions: 1, workers: 1, target: 1 << 20, roll: 4, folders: false };
    survives_each_fault(shape, &[5, 0, 3, 3, 1, 0, 7]);
}

#[test]
fn killed_at_any_write_small_files_of_many_batches_in_folders_have_each_row_once() {
    let shape = Shape { partitions: 2, workers: 2, target: 100, roll: 3, folders: true };
    survives_each_fault(shape, &[9, 4, 6, 12]);
}

#[test]
fn many_batches_in_one_file_are_put_together_in_steps() {
    let shape = Shape { partitions: 1, workers: 1, target: 1 << 20, roll: 1_000, folders: false };
    let inner = MemoryStorage::new();
    let mut most = 0;
    let mut rows = Vec::new();
    let mut epoch = Epoch::open(shape.output(Arc::new(inner.clone())), 1).unwrap();
    for batch in 1..=600u64 {
        epoch.run(batch, 2).unwrap();
        rows.push(2);
        if batch == 300 {
            epoch = Epoch::open(shape.output(Arc::new(inner.clone())), 1).unwrap();
        }
        most = most.max(inner.list("_tidegate/staged").unwrap().len());
    }
    assert!((30..=48).contains(&most), "{most} segments");
    assert_eq!(crate::driven::files(&inner).len(), 0, "the file is not complete");
    // The time of batch 1,000 ends the interval.
    for batch in 601..=1_000 {
        epoch.run(batch, 0).unwrap();
        rows.push(0);
    }
    is_visible(&inner, &rows, "after the interval");
    let files: Vec<String> = crate::driven::files(&inner).into_keys().collect();
    assert_eq!(files, ["part-00000-0000000001-0000000600-0.jsonl"]);
    assert_eq!(inner.list("_tidegate/staged").unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_the_rows_that_are_seen_are_each_there_once(
        partitions in 1u32..4,
        workers in prop::collection::vec(1usize..4, 12),
        target in prop_oneof![Just(40u64), Just(150), Just(1 << 20)],
        roll in prop_oneof![Just(0u64), 1u64..5],
        folders in any::<bool>(),
        rows in prop::collection::vec(0u64..15, 1..10),
        faults in prop::collection::vec((1u64..60, 0usize..3, any::<bool>()), 0..8),
    ) {
        let rows = with_an_end(&rows, roll);
        let inner = MemoryStorage::new();
        let mut shape = Shape { partitions, workers: 1, target, roll, folders };
        for (round, (call, fault, dies)) in faults.into_iter().enumerate() {
            shape.workers = workers[round];
            let fault = [Fault::Away, Fault::AnswerLost, Fault::Torn][fault];
            let writes = Writes::new(&inner);
            writes.failing.fail(call, fault);
            if dies {
                writes.failing.fail_from(call + 1, Fault::Away);
            }
            let _ = run(shape, Arc::new(writes), &rows, dies);
            is_sound(&inner, &rows, "after a fault");
        }
        run(shape, Arc::new(inner.clone()), &rows, false).unwrap();
        is_visible(&inner, &rows, "in the end");
    }
}
