//! When the driver asks for a snapshot, when it has it published, and that no batch waits for that.

use crate::fake_runtime::sums_shape;
use crate::scripted::{Opening, Order, Script, Told};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use tidegate_core::{
    Error, ErrorKind, PartitionId, Result, StateCheckpoint, StateFile, Storage, StoredObject,
};
use tidegate_engine::{Publishing, Stop};
use tidegate_storage::MemoryStorage;

fn states(batch: u64) -> Vec<StateCheckpoint> {
    let path = format!("state/sums/{batch:020}-1-0.json");
    let partition = PartitionId(0);
    let file = StateFile { path, partition, rows: 2, bytes: 10, crc32c: 7, newest_ms: 0 };
    vec![StateCheckpoint { shape: sums_shape(), files: vec![file] }]
}

fn opening(storage: &Arc<dyn Storage>) -> Opening<'static> {
    Opening { storage: Some(storage.clone()), states: vec![sums_shape()], in_flight: 2, ..Opening::default() }
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

fn started(opening: &Opening<'_>, first: u64) -> Script {
    let script = Script::start(opening).unwrap();
    assert_eq!(script.order(), Order::Epoch(1, first));
    script
}

fn manifests(storage: &Arc<dyn Storage>) -> Vec<String> {
    storage.list("checkpoints").unwrap().into_iter().map(|object| object.path).collect()
}

fn path(batch: u64) -> String {
    format!("checkpoints/{batch:020}.json")
}

/// The next checkpoint that listeners are told of.
fn told_checkpoint(script: &Script) -> u64 {
    loop {
        if let Told::Checkpoint(info) = script.told() {
            assert_eq!((info.files, info.rows, info.bytes), (1, 2, 10));
            return info.batch.0;
        }
    }
}

#[test]
fn a_snapshot_is_asked_for_before_the_next_batch_and_published_when_its_batch_is_committed() {
    let storage = memory();
    let script = started(&opening(&storage), 1);
    script.advance(2);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.processed(1, 1);
    assert_eq!([script.order(), script.order()], [Order::Snapshot(1), Order::Run(2, 102)]);
    script.snapshot_taken(1, 1, states(1));
    // No second one while the first is on its way.
    script.processed(1, 2);
    script.prepared(1, 1);
    assert_eq!(script.order(), Order::Commit(1));
    assert_eq!(manifests(&storage), [""; 0]);
    script.committed(1, 1);
    assert_eq!(told_checkpoint(&script), 1);
    assert_eq!(manifests(&storage), [path(1)]);
}

#[test]
fn a_snapshot_that_is_written_after_its_batch_is_committed_is_published_then() {
    let storage = memory();
    let script = started(&opening(&storage), 1);
    script.advance(1);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.processed(1, 1);
    assert_eq!(script.order(), Order::Snapshot(1));
    script.prepared(1, 1);
    assert_eq!(script.order(), Order::Commit(1));
    script.committed(1, 1);
    assert_eq!(script.told(), Told::Completed(1, false));
    assert_eq!(manifests(&storage), [""; 0]);
    script.snapshot_taken(1, 1, states(1));
    assert_eq!(told_checkpoint(&script), 1);
}

#[test]
fn a_snapshot_is_due_an_interval_after_the_last_checkpoint() {
    let storage = memory();
    let script = started(&Opening { every: 2, in_flight: 1, ..opening(&storage) }, 1);
    script.advance(3);
    for batch in 1..=3 {
        assert_eq!(script.order(), Order::Run(batch, 100 + batch));
        script.processed(1, batch);
        if batch == 2 {
            assert_eq!(script.order(), Order::Snapshot(2));
            script.snapshot_taken(1, 2, states(2));
        }
        script.prepared(1, batch);
        assert_eq!(script.order(), Order::Commit(batch));
        script.committed(1, batch);
    }
    assert_eq!(told_checkpoint(&script), 2);
    script.advance(1);
    assert_eq!(script.order(), Order::Run(4, 104));
    script.processed(1, 4);
    assert_eq!(script.order(), Order::Snapshot(4));
}

#[test]
fn a_graceful_stop_takes_a_last_checkpoint_and_the_next_start_goes_on_from_it() {
    let storage = memory();
    let opening = Opening { every: 100, ..opening(&storage) };
    let script = started(&opening, 1);
    script.advance(1);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.engine.stop(Stop::Gracefully);
    script.through(1, 1);
    assert_eq!(script.order(), Order::Snapshot(1));
    script.snapshot_taken(1, 1, states(1));
    script.end().unwrap();
    assert_eq!(manifests(&storage), [path(1)]);
    let again = started(&Opening { second: 900, ..opening }, 2);
    let start = again.start_of_epoch();
    assert_eq!((start.restored, start.committed, start.careful), (Some(1), 1, false));
    again.engine.stop(Stop::Gracefully);
    again.end().unwrap();
    assert_eq!(again.orders_left(), [Order::Over(1)], "nothing was processed, so nothing is saved");
}

#[test]
fn a_stop_at_once_waits_for_no_snapshot() {
    let script = started(&opening(&memory()), 1);
    script.advance(1);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.processed(1, 1);
    assert_eq!(script.order(), Order::Snapshot(1));
    script.engine.stop(Stop::Now);
    script.end().unwrap();
}

#[test]
fn batches_that_are_committed_are_run_again_for_state_and_committed_no_second_time() {
    let storage = memory();
    let opening = Opening { every: 100, in_flight: 1, ..opening(&storage) };
    let script = started(&opening, 1);
    script.advance(3);
    for batch in 1..=2 {
        assert_eq!(script.order(), Order::Run(batch, 100 + batch));
        script.through(1, batch);
    }
    assert_eq!(script.order(), Order::Run(3, 103));
    script.failed(1, Error::retry("the broker is away"));
    assert_eq!([script.order(), script.order()], [Order::Over(1), Order::Epoch(2, 1)]);
    let start = script.start_of_epoch();
    assert_eq!((start.restored, start.committed), (None, 2));
    for batch in 1..=2 {
        assert_eq!(script.order(), Order::Run(batch, 100 + batch));
        script.processed(2, batch);
        script.prepared(2, batch);
    }
    assert_eq!(script.order(), Order::Run(3, 103));
    script.through(2, 3);
    let told: Vec<_> = (0..4).map(|_| script.told()).collect();
    assert_eq!(told[3], Told::Completed(3, true), "{told:?}");
}

#[test]
fn a_snapshot_that_was_not_asked_for_is_a_bug() {
    let script = started(&opening(&memory()), 1);
    script.snapshot_taken(1, 1, states(1));
    let error = script.end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug);
    assert_eq!(error.to_string(), "a snapshot of batch 1 was not asked for");
}

#[test]
fn a_job_with_state_does_not_start_without_a_place_for_checkpoints() {
    let error = Script::start(&Opening { states: vec![sums_shape()], ..Opening::default() }).err().unwrap();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (
            ErrorKind::Reconfigure,
            "the job has state (sums (running_sum, 2 partitions)) and no checkpoint to keep it in; call checkpoint(directory) \
             before start()"
        )
    );
}

#[test]
fn the_checkpoints_of_another_application_are_refused() {
    let storage = memory();
    storage.put(&path(7), include_bytes!("../fixtures/checkpoint-format-1.json").to_vec()).unwrap();
    let error = Script::start(&opening(&storage)).err().unwrap();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (
            ErrorKind::Reconfigure,
            "memory holds a checkpoint of the job \"word count\", not of \"scripted\"; give this job a place of its own, or its \
             old name back"
        )
    );
}

/// Holds up the writing of manifests until told how it goes on.
#[derive(Debug)]
struct Slow {
    memory: MemoryStorage,
    at: Mutex<Sender<String>>,
    go_on: Mutex<Receiver<Result<()>>>,
}

impl Storage for Slow {
    fn describe(&self) -> String {
        self.memory.describe()
    }
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        if path.starts_with("checkpoints/") {
            let _ = self.at.lock().unwrap().send(path.to_owned());
            self.go_on.lock().unwrap().recv().unwrap()?;
        }
        self.memory.put(path, bytes)
    }
    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.memory.put_new(path, bytes)
    }
    fn is_exclusive(&self) -> bool {
        true
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.memory.get(path)
    }
    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        self.memory.list(prefix)
    }
    fn delete(&self, path: &str) -> Result<()> {
        self.memory.delete(path)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.memory.rename(from, to)
    }
}

/// A storage whose manifests are written as the test says, and where it sees that one is being written.
fn slow() -> (Arc<dyn Storage>, Receiver<String>, Sender<Result<()>>) {
    let ((at, writing), (go_on, told_how)) = (channel(), channel());
    let slow = Slow { memory: MemoryStorage::new(), at: Mutex::new(at), go_on: Mutex::new(told_how) };
    (Arc::new(slow), writing, go_on)
}

/// Plays a batch with a snapshot, up to its commit.
fn saved(script: &Script, batch: u64) {
    assert_eq!(script.order(), Order::Run(batch, 100 + batch));
    script.processed(1, batch);
    assert_eq!(script.order(), Order::Snapshot(batch));
    script.snapshot_taken(1, batch, states(batch));
    script.prepared(1, batch);
    assert_eq!(script.order(), Order::Commit(batch));
    script.committed(1, batch);
}

#[test]
fn no_batch_waits_while_a_manifest_is_published() {
    let (storage, writing, go_on) = slow();
    let script = started(&Opening { in_flight: 1, ..opening(&storage) }, 1);
    script.advance(3);
    saved(&script, 1);
    assert_eq!(writing.recv().unwrap(), path(1));
    for batch in 2..=3 {
        assert_eq!(script.order(), Order::Run(batch, 100 + batch));
        script.through(1, batch);
    }
    go_on.send(Ok(())).unwrap();
    assert_eq!(told_checkpoint(&script), 1);
}

#[test]
fn a_checkpoint_that_can_not_be_published_is_left_out_and_the_next_is_taken_after_an_interval() {
    let (storage, _writing, go_on) = slow();
    let opening = Opening { in_flight: 1, every: 2, publishing: Publishing::Inline, ..opening(&storage) };
    let script = started(&opening, 1);
    go_on.send(Err(Error::retry("the store is away"))).unwrap();
    go_on.send(Ok(())).unwrap();
    script.advance(4);
    for batch in 1..=4 {
        if batch % 2 == 0 {
            saved(&script, batch);
        } else {
            assert_eq!(script.order(), Order::Run(batch, 100 + batch));
            script.through(1, batch);
        }
    }
    assert_eq!(told_checkpoint(&script), 4);
    assert_eq!(manifests(&storage), [path(4)]);
}

#[test]
fn an_epoch_that_begins_while_a_manifest_is_published_starts_from_that_checkpoint() {
    let (storage, writing, go_on) = slow();
    let script = started(&Opening { in_flight: 1, ..opening(&storage) }, 1);
    script.advance(2);
    saved(&script, 1);
    assert_eq!(writing.recv().unwrap(), path(1));
    assert_eq!(script.order(), Order::Run(2, 102));
    script.failed(1, Error::retry("the broker is away"));
    assert_eq!(script.order(), Order::Over(1));
    go_on.send(Ok(())).unwrap();
    assert_eq!(script.order(), Order::Epoch(2, 2));
    assert_eq!(script.start_of_epoch().restored, Some(1));
    assert_eq!(script.order(), Order::Run(2, 102));
}
