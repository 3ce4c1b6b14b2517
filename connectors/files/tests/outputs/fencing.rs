//! Two runs that both believe that the output is theirs.

use crate::driven::{Epoch, Row, batch, is_visible};
use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_core::{ErrorKind, Output, OutputContext, Result, Storage, StoredObject};
use tidegate_files::FilesOutput;
use tidegate_storage::MemoryStorage;

/// Does something right before its nth call.
struct Between {
    inner: MemoryStorage,
    left: Mutex<u64>,
    what: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Between")
    }
}

impl Between {
    fn step(&self) {
        let mut left = self.left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            if *left == 0 {
                (self.what)();
            }
        }
    }
}

/// A store whose `put_new` is worth nothing among several writers.
impl Storage for Between {
    fn describe(&self) -> String {
        "memory".to_owned()
    }
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.step();
        self.inner.put(path, bytes)
    }
    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.step();
        self.inner.put(path, bytes).map(|()| true)
    }
    fn is_exclusive(&self) -> bool {
        false
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.step();
        self.inner.get(path)
    }
    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        self.step();
        self.inner.list(prefix)
    }
    fn delete(&self, path: &str) -> Result<()> {
        self.step();
        self.inner.delete(path)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.step();
        self.inner.rename(from, to)
    }
}

fn output(storage: Arc<dyn Storage>) -> FilesOutput<Row> {
    FilesOutput::json(storage)
}

/// Goes on where the output is, and gives how far it came.
fn go_on(inner: &MemoryStorage, rows: &[u64]) {
    let mut epoch = Epoch::open(output(Arc::new(inner.clone())), 1).unwrap();
    for id in epoch.next(rows)..=rows.len() as u64 {
        epoch.run(id, rows[id as usize - 1]).unwrap();
    }
}

#[test]
fn whenever_another_run_takes_over_each_row_is_there_once() {
    let rows = [5, 7, 3, 4];
    let mut fenced = 0;
    for step in 1.. {
        let inner = MemoryStorage::new();
        let other = inner.clone();
        // The other run does all its work between two calls of ours, and is gone.
        let what = Box::new(move || go_on(&other, &rows));
        let between = Arc::new(Between { inner: inner.clone(), left: Mutex::new(step), what });
        let ours = || -> Result<()> {
            let mut epoch = Epoch::open(output(between.clone()), 1)?;
            for id in epoch.next(&rows)..=rows.len() as u64 {
                let done = epoch.run(id, rows[id as usize - 1]);
                if done.is_err() {
                    epoch.abort();
                    return done;
                }
            }
            Ok(())
        };
        if let Err(error) = ours() {
            fenced += 1;
            let known = error.to_string().contains("another run");
            assert!(known, "step {step}: {error}");
        }
        let over = *between.left.lock().unwrap() > 0;
        go_on(&inner, &rows);
        is_visible(&inner, &rows, &format!("taken over at call {step}"));
        if over {
            assert!(step > 20, "{step} calls");
            break;
        }
    }
    assert!(fenced > 15, "{fenced} runs were fenced");
}

#[test]
fn a_writer_that_slept_since_its_record_publishes_nothing_that_the_newer_run_does_not_know() {
    let inner = MemoryStorage::new();
    let mut old = Epoch::open(output(Arc::new(inner.clone())), 1).unwrap();
    old.run(1, 5).unwrap();
    old.prepare(2, 7).unwrap();
    let mut new = Epoch::open(output(Arc::new(inner.clone())), 1).unwrap();
    assert_eq!(new.next(&[5, 7]), 2);
    let error = old.commit(2, 7).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("was taken over by another run"), "{error}");
    is_visible(&inner, &[5], "after the old writer's record");
    new.run(2, 7).unwrap();
    is_visible(&inner, &[5, 7], "after the new writer's batch");
    // The record of the old one counts for nobody.
    let third = Epoch::open(output(Arc::new(inner.clone())), 1).unwrap();
    assert_eq!(third.held.newest.as_ref(), Some(&**batch(2, 7).plan()));
    is_visible(&inner, &[5, 7], "after another opening");
}

thread_local! {
    /// A writer that has prepared a batch, and a run that opens the output while another does.
    static OLD_AND_NEW: RefCell<(Option<Epoch>, Option<Epoch>)> = const { RefCell::new((None, None)) };
}

/// Between two calls of a run that opens the output, a writer of the epoch before records a batch, and a third run opens the output and
/// knows of it: what the batch has staged is not taken away by the second, whenever that goes on.
#[test]
fn an_opening_that_another_overtook_takes_nothing_away() {
    let shared = |storage: Arc<dyn Storage>| output(storage).roll_every(Duration::from_secs(1_000));
    for step in 1.. {
        let inner = MemoryStorage::new();
        let mut old = Epoch::open(shared(Arc::new(inner.clone())), 1).unwrap();
        old.run(1, 5).unwrap();
        old.prepare(2, 7).unwrap();
        OLD_AND_NEW.set((Some(old), None));
        let other = inner.clone();
        let what = Box::new(move || {
            let (old, _) = OLD_AND_NEW.take();
            let _ = old.unwrap().commit(2, 7);
            let new = Epoch::open(shared(Arc::new(other.clone())), 1).unwrap();
            OLD_AND_NEW.set((None, Some(new)));
        });
        let between = Arc::new(Between { inner: inner.clone(), left: Mutex::new(step), what });
        let overtaken = Epoch::open(shared(between.clone()), 1);
        if *between.left.lock().unwrap() > 0 {
            assert!(step > 8, "{step} calls");
            break;
        }
        // One of the two has the output now; a fourth opening finds what both left.
        drop((overtaken, OLD_AND_NEW.take()));
        let mut rows = vec![5, 7];
        rows.extend([0; 997]);
        rows.push(1);
        let mut end = Epoch::open(shared(Arc::new(inner.clone())), 1).unwrap();
        for id in end.next(&rows)..=1_000 {
            end.run(id, rows[id as usize - 1]).unwrap();
        }
        is_visible(&inner, &rows, &format!("overtaken at call {step}"));
    }
}

#[test]
fn a_folder_belongs_to_one_output_of_one_job_as_it_was_made() {
    let inner: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    Epoch::open(output(inner.clone()), 1).unwrap();
    let context = |name: &str, job: &str| OutputContext {
        output: name.into(),
        job: Some(job.into()),
        new_job: job.into(),
    };
    let before = inner.list("").unwrap();
    let held = output(inner.clone()).open(&context("out", "another")).unwrap();
    assert_eq!(held.job, Some("job".into()), "the engine compares it with its own, and refuses");
    let refusal = |output: FilesOutput<Row>, name: &str| {
        let error = output.open(&context(name, "job")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        error.to_string()
    };
    let text = refusal(output(inner.clone()), "second");
    assert!(
        text.contains("the folder is that of output out of job job: give output second a folder"),
        "{text}"
    );
    let text = refusal(output(inner.clone()).partitions(4), "out");
    assert!(text.contains("was made with 1 partitions, and has 4 now"), "{text}");
    let text = refusal(FilesOutput::csv(inner.clone()), "out");
    assert!(text.contains("has files of json, and would have files of csv too"), "{text}");
    assert_eq!(inner.list("").unwrap(), before, "who is refused touches nothing");
}

#[test]
fn an_output_whose_memory_was_removed_writes_over_nothing() {
    let inner = MemoryStorage::new();
    Epoch::open(output(Arc::new(inner.clone())), 1).unwrap().run(1, 5).unwrap();
    for object in inner.list("_tidegate").unwrap() {
        inner.delete(&object.path).unwrap();
    }
    let error = Epoch::open(output(Arc::new(inner.clone())), 1).err().unwrap();
    assert!(error.to_string().contains("whose _tidegate is gone"), "{error}");
    is_visible(&inner, &[5], "after the refusal");
    // A file of someone else's is none of ours.
    let other = MemoryStorage::new();
    other.put("part-00000-1b2c.c000.snappy.parquet", vec![1]).unwrap();
    Epoch::open(output(Arc::new(other)), 1).unwrap();
}
