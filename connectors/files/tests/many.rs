//! Many files: in one folder, and while the job runs.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::Job;
use tidegate::Stop;
use tidegate::testkit::MemoryOutput;
use tidegate_core::{FileSystem, Storage};
use tidegate_files::FileOptions;
use tidegate_storage::{LocalFiles, MemoryStorage};

/// A file for each number, with the number in it.
fn write(folder: &Path, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let aside = folder.join(format!(".{number}"));
        fs::write(&aside, format!("{number}\n")).unwrap();
        fs::rename(&aside, folder.join(number.to_string())).unwrap();
    }
}

fn each_once(output: &MemoryOutput<String>, count: u64) {
    let rows = output.rows();
    let different: HashSet<&String> = rows.iter().collect();
    assert_eq!((rows.len() as u64, different.len() as u64), (count, count));
}

/// Makes batches until there were `count` records in all.
fn until(job: &mut Job<String>, mut seen: u64, count: u64) -> u64 {
    let begun = Instant::now();
    while seen < count {
        assert!(begun.elapsed() < Duration::from_secs(300), "{seen} records came, and no more");
        seen += job.test.next_batch().unwrap().records;
    }
    seen
}

#[test]
fn a_hundred_thousand_files_in_one_folder_are_taken_once() {
    const FILES: u64 = 100_000;
    let root = tempfile::tempdir().unwrap();
    // Nobody reads the folder yet.
    (0..FILES)
        .for_each(|number| fs::write(root.path().join(number.to_string()), format!("{number}\n")).unwrap());
    let begun = Instant::now();
    assert_eq!(LocalFiles::new(root.path()).list(1).unwrap().len() as u64, FILES);
    let listing = begun.elapsed();

    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let output = MemoryOutput::new();
    let start = || {
        let options = FileOptions::text().poll_interval(Duration::from_millis(20)).max_files_per_batch(5000);
        Job::start(root.path().to_str().unwrap(), options, Some(storage.clone()), &output).unwrap()
    };
    let begun = Instant::now();
    let mut job = start();
    let seen = until(&mut job, 0, FILES / 2);
    job.test.ssc.stop(Stop::Now).unwrap();
    drop(job);
    let mut job = start();
    until(&mut job, seen, FILES);
    let taking = begun.elapsed();
    job.stop();
    each_once(&output, FILES);
    println!("{FILES} files: a listing takes {listing:?}, taking them all, over a restart, {taking:?}");
}

#[test]
fn files_that_come_by_the_thousand_while_the_job_runs_are_taken_once() {
    const FILES: u64 = 10_000;
    let root = tempfile::tempdir().unwrap();
    let written = AtomicU64::new(0);
    let options = FileOptions::text().poll_interval(Duration::from_millis(10));
    let output = MemoryOutput::new();
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut job = Job::start(root.path().to_str().unwrap(), options, Some(storage), &output).unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..FILES {
                write(root.path(), number..number + 1);
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        until(&mut job, 0, FILES);
    });
    let took = begun.elapsed();
    job.stop();
    each_once(&output, FILES);
    println!(
        "{FILES} files came and were taken in {took:?}, {:.0} a second",
        FILES as f64 / took.as_secs_f64()
    );
}
