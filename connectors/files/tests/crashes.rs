//! A job that dies at each of its writes, of journal and ledger: every file is taken once, whatever was written.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::{Job, counted, put};
use tidegate::testkit::{BATCH, MemoryOutput, TestJob};
use tidegate::{BatchInfo, Conf, Stop, StreamingListener};
use tidegate_core::{Error, Result, Storage, StoredObject};
use tidegate_files::{FileOptions, FileStreams};
use tidegate_storage::MemoryStorage;

const FILES: usize = 12;
const PATIENCE: Duration = Duration::from_secs(120);

/// A storage for a process that dies at one of its writes: that and all that follow do nothing, or the first leaves half an object.
#[derive(Clone, Debug)]
struct Dying {
    inner: MemoryStorage,
    /// Writes below this folder are counted.
    below: &'static str,
    writes: Arc<AtomicU64>,
    dies_at: u64,
    tears: bool,
    /// It refuses what is below the folder alone, for good, and the process lives on.
    refuses: bool,
    /// What is written when it dies.
    died_at: Arc<Mutex<Option<String>>>,
}

impl Dying {
    fn new(below: &'static str) -> Dying {
        Dying {
            inner: MemoryStorage::new(),
            below,
            writes: Arc::default(),
            dies_at: u64::MAX,
            tears: false,
            refuses: false,
            died_at: Arc::default(),
        }
    }

    fn dies(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.refuses {
            let refused = path.starts_with(self.below);
            return if refused { Err(Error::reconfigure("the store is full")) } else { Ok(()) };
        }
        let mut died_at = self.died_at.lock().unwrap();
        if died_at.is_none() {
            let counts = path.starts_with(self.below);
            if !counts || self.writes.fetch_add(1, Ordering::SeqCst) + 1 < self.dies_at {
                return Ok(());
            }
            if self.tears && !bytes.is_empty() {
                self.inner.put(path, bytes[..bytes.len() / 2].to_vec())?;
            }
            *died_at = Some(path.to_owned());
        }
        Err(Error::retry("the process died"))
    }

    fn is_dead(&self) -> bool {
        self.died_at.lock().unwrap().is_some()
    }
}

impl Storage for Dying {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.dies(path, &bytes)?;
        self.inner.put(path, bytes)
    }
    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.dies(path, &bytes)?;
        self.inner.put_new(path, bytes)
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
        self.dies(path, &[])?;
        self.inner.delete(path)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.dies(to, &[])?;
        self.inner.rename(from, to)
    }
}

#[derive(Default)]
struct Completed(AtomicU64);

impl StreamingListener for Completed {
    fn on_batch_completed(&self, _: &BatchInfo) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn options() -> FileOptions<String> {
    FileOptions::text().max_files_per_batch(2).poll_interval(Duration::from_millis(1)).name("in")
}

/// Runs the job until all files are in the output or the process is dead.
fn run(folder: &Path, storage: &Dying, output: &MemoryOutput<String>) {
    let completed = Arc::new(Completed::default());
    let conf = Conf::new().set_master("local[2]").set("tidegate.retry.pause_ms", "1");
    let started = TestJob::start_on(conf, Some(Arc::new(storage.clone())), |ssc| {
        ssc.add_streaming_listener(completed.clone())?;
        let lines = ssc.file_stream(folder.to_str().unwrap(), options())?;
        lines.repartition(2).output_in_place("memory", output.clone())
    });
    let Ok(job) = started else {
        assert!(storage.is_dead());
        return;
    };
    let (begun, mut due) = (Instant::now(), 0);
    while !storage.is_dead() && output.rows().len() < FILES {
        assert!(begun.elapsed() < PATIENCE, "neither dead nor done: {} records", output.rows().len());
        if completed.0.load(Ordering::SeqCst) >= due {
            job.clock.advance(BATCH);
            due += 1;
        }
        std::thread::yield_now();
    }
    // A dead process tells nobody, and what it has in memory is gone.
    let _ = job.ssc.stop(Stop::Now);
}

/// A folder with the files.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("incoming");
    fs::create_dir(&folder).unwrap();
    for number in 0..FILES {
        put(&folder, &number.to_string(), format!("{number}\n"));
    }
    (root, folder)
}

/// Starts the job on what is left, and says how often each file was taken once there is nothing left.
fn counts_after_a_start(
    folder: &Path,
    storage: MemoryStorage,
    output: &MemoryOutput<String>,
) -> BTreeMap<String, usize> {
    let mut job = Job::start(folder.to_str().unwrap(), options(), Some(Arc::new(storage)), output).unwrap();
    put(folder, "last", "last\n");
    job.until_it(|output| output.rows().contains(&"last".to_owned())).unwrap();
    job.until(FILES + 1).unwrap();
    job.stop();
    counted(output)
}

/// Gives the paths of the objects at which it died.
fn dies_at_each_write(below: &'static str, tears: bool) -> Vec<String> {
    let mut died_at = Vec::new();
    for dies_at in 1.. {
        let (_root, folder) = folder();
        let output = MemoryOutput::new();
        let storage = Dying { dies_at, tears, ..Dying::new(below) };
        run(&folder, &storage, &output);
        let path = storage.died_at.lock().unwrap().clone();
        let counts = counts_after_a_start(&folder, storage.inner, &output);
        assert_eq!(
            (counts.len(), counts.values().max()),
            (FILES + 1, Some(&1)),
            "died at write {dies_at}, of {path:?}: {counts:?}"
        );
        match path {
            Some(path) => died_at.push(path),
            None => break,
        }
    }
    died_at
}

#[test]
fn wherever_a_job_dies_at_its_journal_each_file_is_taken_once() {
    let died_at = dies_at_each_write("journal/", false);
    assert!(died_at.len() > FILES / 2, "{died_at:?}");
}

#[test]
fn wherever_a_job_dies_at_its_ledger_each_file_is_taken_once() {
    assert_eq!(dies_at_each_write("inputs/", false).len(), FILES / 2);
}

#[test]
fn wherever_a_job_dies_and_tears_its_ledger_each_file_is_taken_once() {
    assert_eq!(dies_at_each_write("inputs/", true).len(), FILES / 2);
}

#[test]
fn no_batch_is_planned_before_the_files_of_the_one_before_are_in_the_ledger() {
    let ((_root, folder), output) = (folder(), MemoryOutput::new());
    let storage = Dying { refuses: true, ..Dying::new("inputs/") };
    let inner = storage.inner.clone();
    let mut job = Job::start(folder.to_str().unwrap(), options(), Some(Arc::new(storage)), &output).unwrap();
    // With two plans ahead of the ledger, a start would take the files of the first again.
    let error = job.until(FILES).unwrap_err().to_string();
    assert!(error.contains("the store is full"), "{error}");
    let _ = job.test.ssc.stop(Stop::Now);
    drop(job);
    assert!(output.rows().len() <= 2, "{:?}", output.rows());
    let counts = counts_after_a_start(&folder, inner, &output);
    assert_eq!((counts.len(), counts.values().max()), (FILES + 1, Some(&1)), "{counts:?}");
}
