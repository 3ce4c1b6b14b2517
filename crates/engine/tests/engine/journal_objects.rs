//! The journal on a storage that can't be appended to: what it keeps, what it refuses, its objects and their bytes.

use crate::scripted::{Opening, Order, Script};
use std::sync::Arc;
use tidegate_core::{
    BatchId, BatchPlan, BatchTime, ErrorKind, Result, SourcePlan, SourceRange, Storage, StreamId,
};
use tidegate_engine::{Journal, Publishing, Stop};
use tidegate_storage::MemoryStorage;

/// A head, written by the first version that has one.
const HEAD: &str = include_str!("../fixtures/journal-head-format-2.json");

fn plan(id: u64) -> BatchPlan {
    let ranges = vec![SourceRange::new("lines-0", (id - 1) * 10, id * 10)];
    let sources = vec![SourcePlan { stream: "lines".into(), ranges }];
    BatchPlan { id: BatchId(id), time: BatchTime(id * 1000), zero: BatchTime(0), sources }
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

fn open(storage: &Arc<dyn Storage>) -> Result<Journal> {
    Journal::open(storage, "word count", &"5a9e".into(), "nobody")
}

fn begun(storage: &Arc<dyn Storage>) -> Journal {
    let mut journal = open(storage).unwrap();
    let streams: [StreamId; 1] = ["lines".into()];
    journal.started(&"5a9e".into(), &streams, &["counts".into()]).unwrap();
    journal
}

fn decided(journal: &mut Journal, id: u64) -> Result<()> {
    journal.planned(&plan(id))?;
    journal.sync()
}

fn path(batch: u64) -> String {
    format!("journal/{batch:020}.json")
}

fn refusal<T>(result: Result<T>, kind: ErrorKind) -> String {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

#[test]
fn what_was_recorded_is_known_to_the_next_process_and_what_was_committed_with_the_next_plan() {
    let storage = memory();
    let mut journal = begun(&storage);
    for id in [1, 2, 3] {
        decided(&mut journal, id).unwrap();
        journal.committed(BatchId(id)).unwrap();
    }
    let journaled = open(&storage).unwrap().journaled();
    assert_eq!((journaled.kept, journaled.pending), (vec![plan(1), plan(2)], vec![plan(3)]));
    assert_eq!(journaled.committed, Some(BatchId(2)));
    assert_eq!(journaled.outputs, [("counts".into(), Some(BatchId(2)))].into());
    journal.close().unwrap();
    let mut again = open(&storage).unwrap();
    again.keep_after(Some(BatchId(1))).unwrap();
    let journaled = again.journaled();
    assert_eq!((journaled.kept, journaled.pending), (vec![plan(2), plan(3)], vec![]));
    assert_eq!((journaled.committed, journaled.last), (Some(BatchId(3)), Some(plan(3))));
}

#[test]
fn the_head_is_the_fixture_of_its_format() {
    let storage = memory();
    let mut journal = begun(&storage);
    decided(&mut journal, 1).unwrap();
    journal.committed(BatchId(1)).unwrap();
    journal.state_begins(BatchId(1)).unwrap();
    let head = storage.get("journal/head.json").unwrap().unwrap();
    assert_eq!(String::from_utf8(head).unwrap(), HEAD);
    let read = memory();
    read.put("journal/head.json", HEAD.into()).unwrap();
    let journaled = open(&read).unwrap().journaled();
    assert_eq!((journaled.last, journaled.committed), (Some(plan(1)), Some(BatchId(1))));
    assert_eq!((journaled.job, journaled.state_from), ("5a9e".into(), Some(BatchId(1))));
    let plan = String::from_utf8(storage.get(&path(1)).unwrap().unwrap()).unwrap();
    assert!(plan.starts_with(r#"{"format":2,"crc32c":""#), "{plan}");
    let sources = r#""sources":[{"stream":"lines","ranges":[{"partition":"lines-0","from":0,"until":10}]}]"#;
    let rest = format!(r#""committed":null,"plan":{{"id":1,"time":1000,"zero":0,{sources}}}}}}}"#);
    assert!(plan.contains(r#","planned":{"run":""#) && plan.ends_with(&rest), "{plan}");
}

#[test]
fn two_processes_that_run_one_job_can_not_both_write_a_plan() {
    let storage = memory();
    let (mut one, mut other) = (begun(&storage), begun(&storage));
    decided(&mut one, 1).unwrap();
    let refused = refusal(decided(&mut other, 1), ErrorKind::Reconfigure);
    assert_eq!(
        refused,
        format!(
            "{} in memory was written by another process: it runs this job; stop one of the two, or give this one a checkpoint of \
             its own",
            path(1)
        )
    );
    decided(&mut one, 2).unwrap();
}

#[test]
fn two_processes_that_begin_a_job_at_once_do_not_both_begin_it() {
    let storage = memory();
    let mut late = open(&storage).unwrap();
    begun(&storage);
    let refused = refusal(late.started(&"other".into(), &[], &[]), ErrorKind::Reconfigure);
    assert!(refused.starts_with("journal/head.json in memory was written by another process"), "{refused}");
}

/// A store that takes the condition of an exclusive write and ignores it; after each write another process has written too.
#[derive(Debug)]
struct Ignoring(MemoryStorage);

impl Storage for Ignoring {
    fn describe(&self) -> String {
        "a weak store".to_owned()
    }
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.put(path, bytes)
    }
    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.0.put(path, bytes)?;
        if path != "journal/head.json" {
            self.0.put(path, b"of another".to_vec())?;
        }
        Ok(true)
    }
    fn is_exclusive(&self) -> bool {
        false
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.0.get(path)
    }
    fn list(&self, prefix: &str) -> Result<Vec<tidegate_core::StoredObject>> {
        self.0.list(prefix)
    }
    fn delete(&self, path: &str) -> Result<()> {
        self.0.delete(path)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.0.rename(from, to)
    }
}

#[test]
fn on_a_store_without_exclusive_creation_a_plan_is_read_back() {
    let storage: Arc<dyn Storage> = Arc::new(Ignoring(MemoryStorage::new()));
    let refused = refusal(decided(&mut begun(&storage), 1), ErrorKind::Reconfigure);
    assert!(refused.contains("in a weak store was written by another process"), "{refused}");
}

#[test]
fn a_damaged_object_is_refused_with_its_name_and_the_way_out() {
    for (damaged, what) in [("journal/head.json", "its checksum does not match"), (&path(2), "not whole")] {
        let storage = memory();
        let mut journal = begun(&storage);
        decided(&mut journal, 1).unwrap();
        decided(&mut journal, 2).unwrap();
        let mut bytes = storage.get(damaged).unwrap().unwrap();
        if damaged == path(2) {
            bytes.truncate(20);
        } else {
            let job = bytes.windows(4).position(|bytes| bytes == b"5a9e").unwrap();
            bytes[job] ^= 1;
        }
        storage.put(damaged, bytes).unwrap();
        let refused = refusal(open(&storage), ErrorKind::DataLost);
        assert!(refused.starts_with(&format!("{damaged} in memory: {what}")), "{refused}");
        assert!(refused.contains("restore it from a copy, or move the folder journal away"), "{refused}");
    }
    let storage = memory();
    decided(&mut begun(&storage), 1).unwrap();
    storage.delete("journal/head.json").unwrap();
    let refused = refusal(open(&storage), ErrorKind::DataLost);
    assert!(
        refused.starts_with("journal/head.json in memory: it is not there, though plans are"),
        "{refused}"
    );
}

#[test]
fn a_head_that_is_older_than_the_plans_that_were_deleted_does_not_matter() {
    let storage = memory();
    let mut journal = begun(&storage);
    for id in 1..=5 {
        decided(&mut journal, id).unwrap();
        journal.committed(BatchId(id)).unwrap();
    }
    for id in 1..=3 {
        storage.delete(&path(id)).unwrap();
    }
    let journaled = open(&storage).unwrap().journaled();
    assert_eq!((journaled.pending, journaled.committed), (vec![plan(5)], Some(BatchId(4))));
    // A plan that was not committed when the next was written is missed.
    let storage = memory();
    let mut journal = begun(&storage);
    (1..=3).for_each(|id| decided(&mut journal, id).unwrap());
    storage.delete(&path(2)).unwrap();
    let refused = refusal(open(&storage), ErrorKind::DataLost);
    assert!(
        refused.starts_with(&format!("{} in memory: plan of batch 3: follows batch 1", path(3))),
        "{refused}"
    );
}

#[test]
fn the_objects_of_a_job_that_runs_for_long_are_bounded_and_the_next_start_goes_on() {
    let storage = memory();
    let opening =
        Opening { storage: Some(storage.clone()), publishing: Publishing::Inline, ..Opening::default() };
    let script = Script::start(&opening).unwrap();
    assert_eq!(script.order(), Order::Epoch(1, 1));
    let mut most = 0;
    for batch in 1..=400 {
        script.advance(1);
        assert_eq!(script.order(), Order::Run(batch, 100 + batch));
        most = most.max(storage.list("journal").unwrap().len());
        script.through(1, batch);
    }
    assert!((128..=131).contains(&most), "{most} objects at most");
    script.engine.stop(Stop::Now);
    script.end().unwrap();
    let again = Script::start(&Opening { second: 900, ..opening }).unwrap();
    assert_eq!(again.order(), Order::Epoch(1, 401));
    again.advance(1);
    assert_eq!(again.order(), Order::Run(401, 901));
    assert_eq!(again.plan(0).sources[0].ranges[0], SourceRange::new("lines-0", 400, 401));
}
