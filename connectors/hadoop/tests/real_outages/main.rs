//! Files, SequenceFiles, text and object files of one job, while the store that has them, and the job's checkpoint, is stopped, killed and
//! cut off: in the end they are, byte for byte, those of a job that lost nothing.
//!
//! Each store is a server of the test's own. What is there is looked at on the disk below S3's and Alluxio's servers, and in a copy that
//! Hadoop's own client makes of HDFS; DuckDB counts what is in Parquet, and Hadoop's reader what is in SequenceFiles.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod job;
mod stores;

use job::{Job, Outputs, rows};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use stores::{Lost, Store};
use tidegate::testkit::MemoryInput;
use tidegate::testkit::outputs::Phase;
use tidegate_hadoop::read_object_files;
use tidegate_servers::wire::{self, Wire};
use tidegate_servers::{Alluxio, Hdfs, S3, duckdb, hadoop_records};

/// What is lost in a batch.
struct Fault {
    batch: u64,
    output: &'static str,
    phase: Phase,
    lost: Lost,
    /// At so many renames after the phase, just before the server has it.
    rename: Option<u64>,
    /// The process is another one then.
    is_new_process: bool,
}

const fn fault(batch: u64, output: &'static str, phase: Phase, lost: Lost) -> Fault {
    Fault { batch, output, phase, lost, rename: None, is_new_process: false }
}

impl Fault {
    /// What the paths of the output's staged files have in them.
    fn staged(&self) -> &'static str {
        if self.output == "files" { "/staged/" } else { "/pairs-" }
    }
}

/// The first batch loses nothing, and the ones after these have their connection cut.
const FAULTS: [Fault; 5] = [
    fault(2, "files", Phase::BeforePrepare, Lost::Stopped),
    fault(3, "pairs", Phase::Prepared, Lost::Killed),
    Fault { rename: Some(2), ..fault(4, "files", Phase::Committing, Lost::Killed) },
    Fault { rename: Some(2), ..fault(5, "pairs", Phase::Committing, Lost::Stopped) },
    Fault { rename: Some(2), is_new_process: true, ..fault(6, "files", Phase::Committing, Lost::Killed) },
];
/// From one batch to the next the request at which the connection is cut is so many later.
const STEP: u64 = 11;

/// A job that loses its store at each step of a batch, and is cut off at one request of each further batch, until a batch is through before.
fn goes_on_wherever_it_is_lost(store: Box<dyn Store>) {
    let wire = Arc::new(Wire::to(&store.address()));
    let address = store.address();
    let store = Arc::new(Mutex::new(store));
    let next: Arc<Mutex<Option<&Fault>>> = Arc::default();
    let tell = {
        let (wire, store, next) = (wire.clone(), store.clone(), next.clone());
        move |output: &str, phase: Phase| {
            let is_now = |fault: &mut &Fault| fault.output == output && fault.phase == phase;
            let Some(fault) = next.lock().unwrap().take_if(is_now) else { return };
            let is_rename = store.lock().unwrap().rename(output);
            let (store, lost) = (store.clone(), fault.lost);
            match fault.rename {
                Some(number) => {
                    let is_meant = nth(number, [is_rename, fault.staged()]);
                    wire.call_at(is_meant, move || lost.happens(&mut **store.lock().unwrap()));
                }
                None => lost.happens(&mut **store.lock().unwrap()),
            }
        }
    };
    let outputs = Outputs::told(&**store.lock().unwrap(), &wire.address(), "lost", Arc::new(tell));
    let input = MemoryInput::new(2);
    let mut job = Job::start(&outputs, &input);
    let mut batches = 0;
    loop {
        batches += 1;
        let mut fault = FAULTS.iter().find(|fault| fault.batch == batches);
        *next.lock().unwrap() = fault;
        let (cuts, may_be_cut) = (wire.cuts(), batches.checked_sub(FAULTS.len() as u64 + 2));
        if let Some(number) = may_be_cut {
            let lost = match number % 2 {
                0 => wire::Lost::Request,
                _ => wire::Lost::Answer(|answer| !answer.is_empty()),
            };
            wire.cut_at(nth(1 + STEP * number, []), lost, 0);
        }
        let (partition, numbers) = rows(batches);
        input.push(partition, numbers);
        job.begin_batch();
        while let Some(error) = job.until_it_retries_or_completes() {
            assert!(error.contains("/lost/"), "{error} does not say where");
            let Some(fault) = fault.take_if(|_| !store.lock().unwrap().is_running()) else { continue };
            assert!(
                error.contains(" run") || error.contains("no answer"),
                "{error} does not say what to look at"
            );
            store.lock().unwrap().start_again().unwrap();
            if fault.is_new_process {
                job.kill();
                job = Job::start(&outputs, &input);
            }
        }
        assert!(fault.is_none(), "nothing was lost in batch {batches}");
        wire.open();
        if may_be_cut.is_some() && wire.cuts() == cuts {
            break;
        }
    }
    job.end();
    assert!(batches > 8, "{batches} batches, of which the last ones were to be cut off");

    let store = store.lock().unwrap();
    let (outputs, input) = (Outputs::untold(&**store, &address, "whole"), MemoryInput::new(2));
    let mut job = Job::start(&outputs, &input);
    for batch in 1..=batches {
        let (partition, numbers) = rows(batch);
        input.push(partition, numbers);
        job.begin_batch();
        // A machine that is busy may have it try again.
        while job.until_it_retries_or_completes().is_some() {}
    }
    job.end();
    are_the_same(&**store, "whole", "lost", batches);
}

/// Whether a request is the `n`th that has all of `parts`, counted from 1.
fn nth<const N: usize>(n: u64, parts: [&'static str; N]) -> impl FnMut(&[u8]) -> bool + Send + 'static {
    let (mut seen, mut before, mut is_counted) = (0, Vec::new(), false);
    move |request: &[u8]| {
        is_counted &= request.len() > before.len() && request.starts_with(&before);
        before = request.to_vec();
        let has = |part: &&str| request.windows(part.len()).any(|bytes| bytes == part.as_bytes());
        let comes = !is_counted && parts.iter().all(has);
        is_counted |= comes;
        seen += u64::from(comes);
        comes && seen == n
    }
}

/// Compares all that programs see which pass over hidden files, byte for byte, and has others count what is in it.
fn are_the_same(store: &dyn Store, whole: &str, lost: &str, batches: u64) {
    let scratch = tempfile::tempdir().unwrap();
    let [whole, lost] = [whole, lost].map(|folder| {
        let copy = scratch.path().join(folder);
        fs::create_dir(&copy).unwrap();
        store.copy(folder, &copy);
        copy
    });
    let (expected, found) = (seen(&whole), seen(&lost));
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    assert!(expected == found, "files of the same names differ");
    let numbers: Vec<u64> = (1..=batches).flat_map(|batch| rows(batch).1).collect();
    let query = format!(
        "SELECT count(*), count(DISTINCT number), sum(number) FROM read_parquet('{}/third=*/part-*.parquet')",
        lost.display()
    );
    let totals = [numbers.len() as u64, numbers.len() as u64, numbers.iter().sum()].map(|n| n.to_string());
    assert_eq!(duckdb(&query).unwrap(), [totals]);
    let files: Vec<_> =
        found.keys().filter(|path| path.contains("pairs-") && path.contains("part-")).collect();
    let files: Vec<_> = files.into_iter().map(|path| lost.join(path)).collect();
    let mut pairs: Vec<u64> =
        hadoop_records(&files).unwrap().into_iter().map(|(_, number)| number.parse().unwrap()).collect();
    pairs.sort_unstable();
    assert_eq!(pairs, numbers);
    let saved = fs::read_dir(lost).unwrap().map(|entry| entry.unwrap().path());
    let objects = saved.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("objects-"));
    let mut objects: Vec<u64> = objects
        .flat_map(|directory| read_object_files::<u64>(directory).unwrap())
        .map(Result::unwrap)
        .collect();
    objects.sort_unstable();
    assert_eq!(objects, numbers);
}

/// Files that are not hidden by a name that begins with `_`, and each `_SUCCESS`.
fn seen(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
            let name = name.to_str().unwrap();
            if name.starts_with(['_', '.']) && name != "_SUCCESS" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(relative, fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn hdfs_that_is_lost_at_any_step_leaves_what_a_job_without_faults_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let store = Hdfs::start(directory.path()).unwrap();
    goes_on_wherever_it_is_lost(Box::new(store));
}

#[test]
fn s3_that_is_lost_at_any_step_leaves_what_a_job_without_faults_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let store = S3::start(directory.path()).unwrap();
    goes_on_wherever_it_is_lost(Box::new(store));
}

#[test]
fn alluxio_that_is_lost_at_any_step_leaves_what_a_job_without_faults_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let store = Alluxio::start(directory.path()).unwrap();
    goes_on_wherever_it_is_lost(Box::new(store));
}
