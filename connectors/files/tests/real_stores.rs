//! A file stream and an output of files on real HDFS, S3 and Alluxio: each file and each row once over restarts.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Job, PATIENCE, counted};
use tidegate::testkit::outputs::{self, Phase, Phased, Subject};
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
use tidegate::{Conf, Stop};
use tidegate_core::{Batch, BatchId, Error, ErrorKind, Result, Storage};
use tidegate_files::{FileOptions, FilesOutput};
use tidegate_object_store::{files_with, storage_with};
use tidegate_servers::{ALLUXIO_ENV, HDFS_ENV, S3, S3_ENV, duckdb, set_hdfs_quota};
use tidegate_storage::LocalStorage;

fn server(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} names no server: run these tests by `cargo xtask test`, which starts one")
    })
}

/// A folder that no other run has.
fn folder() -> String {
    let unique = tempfile::tempdir().unwrap();
    format!("files{}", unique.path().file_name().unwrap().to_str().unwrap().replace('.', "-"))
}

fn takes_each_file_once_over_restarts(url: &str, settings: &[(&str, &str)]) {
    // Puts files of HDFS and Alluxio aside first and moves them in.
    let incoming = storage_with(&format!("{url}/incoming"), settings).unwrap();
    let storage = storage_with(&format!("{url}/checkpoint"), settings).unwrap();
    let options = || {
        let options =
            FileOptions::text().max_files_per_batch(3).poll_interval(std::time::Duration::from_millis(50));
        settings.iter().fold(options, |options, (name, value)| options.setting(name, value))
    };
    let put = |name: &str, text: &str| incoming.put(name, text.as_bytes().to_vec()).unwrap();
    let output = MemoryOutput::new();
    let start = |storage: &Arc<dyn Storage>| {
        Job::start(&format!("{url}/incoming"), options(), Some(storage.clone()), &output).unwrap()
    };

    let mut expected = BTreeMap::new();
    let mut expect = |text: &str| *expected.entry(text.to_owned()).or_insert(0) += 1;
    for number in 0..10 {
        put(&format!("before-{number}.txt"), &format!("before {number}\n"));
        expect(&format!("before {number}"));
    }
    put("_hidden", "never\n");
    put("sub/x.txt", "never\n");
    let mut job = start(&storage);
    job.until(10).unwrap();
    // Once killed, once stopped, with files that come while it is down.
    for (round, how) in [Stop::Now, Stop::Gracefully].into_iter().enumerate() {
        job.test.ssc.stop(how).unwrap();
        drop(job);
        for number in 0..5 {
            put(&format!("round-{round}-{number}.txt"), &format!("round {round} {number}\n"));
            expect(&format!("round {round} {number}"));
        }
        job = start(&storage);
        job.until(10 + 5 * (round + 1)).unwrap();
    }
    put("before-3.txt", "another in its place\n");
    expect("another in its place");
    job.until(21).unwrap();
    job.stop();
    assert_eq!(counted(&output), expected);

    let files = files_with(&format!("{url}/incoming"), settings).unwrap();
    assert_eq!(files.list(1).unwrap().len(), 21);
}

/// An output of files in a store, opened anew for each epoch as by another process, and what its users see there.
struct InStore<'a> {
    url: String,
    settings: &'a [(&'a str, &'a str)],
}

impl Subject for InStore<'_> {
    type Row = (u64, String);
    type Output = FilesOutput<(u64, String)>;

    fn output(&self) -> Result<Self::Output> {
        let output =
            FilesOutput::json(storage_with(&self.url, self.settings)?).target_bytes(500).partitions(2);
        Ok(output.partition_by(|row: &Self::Row| [("at", format!("0{}:00", row.0 % 2))]))
    }

    fn row(&self, number: u64) -> Self::Row {
        (number, format!("row {number}"))
    }

    fn visible(&self) -> Vec<Self::Row> {
        let files = files_with(&self.url, self.settings).unwrap();
        let mut rows = Vec::new();
        // Deeper than rows lie; where folders are real there is none before the first row.
        for file in files.list(8).unwrap_or_default() {
            if file.path.split('/').any(|name| name.starts_with(['_', '.'])) {
                continue;
            }
            assert!(file.path.starts_with("at=0") && file.path.ends_with(".jsonl"), "{}", file.path);
            let bytes = files.open(&file).unwrap().read(0, usize::try_from(file.bytes).unwrap()).unwrap();
            let text = String::from_utf8(bytes).unwrap();
            rows.extend(text.lines().map(|line| serde_json::from_str::<Self::Row>(line).unwrap()));
        }
        rows
    }
}

fn keeps_the_contract_of_outputs(url: &str, settings: &[(&str, &str)]) {
    let number = std::cell::Cell::new(0);
    outputs::all(|| {
        number.set(number.get() + 1);
        InStore { url: format!("{url}/{}", number.get()), settings }
    });
}

#[test]
fn hdfs_outputs_of_files_keep_the_contract_of_outputs() {
    keeps_the_contract_of_outputs(&format!("{}/{}", server(HDFS_ENV), folder()), &[]);
}

#[test]
fn alluxio_outputs_of_files_keep_the_contract_of_outputs() {
    keeps_the_contract_of_outputs(&format!("alluxio://{}/{}", server(ALLUXIO_ENV), folder()), &[]);
}

#[test]
fn s3_outputs_of_files_keep_the_contract_of_outputs() {
    with_s3(keeps_the_contract_of_outputs);
}

/// The worst moment: the batch is in one output and in a partition of this one when the record of another can't be put.
type Told = Box<dyn Fn(Phase, &Batch) + Send + Sync>;

#[test]
fn hdfs_whose_quota_refuses_a_record_of_a_batch_has_each_row_once_when_there_is_room_again() {
    let (server, folder) = (server(HDFS_ENV), folder());
    let files = InStore { url: format!("{server}/{folder}"), settings: &[] };
    let quota = {
        // Records alone are put there.
        let records = format!("/{folder}/_tidegate/epochs");
        move |names| set_hdfs_quota(&server, &records, names).unwrap()
    };
    let (memory, input) = (MemoryOutput::new(), MemoryInput::new(2));
    let checkpoint = Arc::new(tidegate_storage::MemoryStorage::new());
    let start = |tell: Told| {
        TestJob::start_on(Conf::new().set_master("local[2]"), Some(checkpoint.clone()), |ssc| {
            let rows = ssc.input_stream("rows", input.clone())?;
            rows.output_in_place("memory", memory.clone())?;
            rows.output("files", Phased::new(files.output()?, tell))
        })
    };
    let push = |rows: std::ops::Range<u64>| {
        rows.for_each(|number| input.push((number % 2) as usize, [files.row(number)]));
    };
    let seen = || {
        [files.visible(), memory.rows()].map(|mut rows| {
            rows.sort();
            rows
        })
    };
    let whole = |rows: std::ops::Range<u64>| rows.map(|number| files.row(number)).collect::<Vec<_>>();
    let is_refused = |error: &Error| {
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        for told in
            [&files.url, "/_tidegate/epochs/", "make room within the quota of that folder", "is exceeded"]
        {
            assert!(error.to_string().contains(told), "{told}: {error}");
        }
    };

    let refuse = {
        let (quota, memory) = (quota.clone(), memory.clone());
        move |phase: Phase, batch: &Batch| {
            if (phase, batch.id()) == (Phase::PartlyCommitted, BatchId(2)) {
                let begun = Instant::now();
                while !memory.batches().contains_key(&batch.id()) {
                    assert!(begun.elapsed() < PATIENCE, "the other output does not get the batch");
                    std::thread::yield_now();
                }
                quota(Some(1));
            }
        }
    };
    let mut job = start(Box::new(refuse)).unwrap();
    push(0..20);
    job.next_batch().unwrap();
    push(20..40);
    is_refused(&job.next_batch().unwrap_err());
    drop(job);
    let [in_files, in_memory] = seen();
    assert_eq!(in_memory, whole(0..40));
    assert!(in_files.len() > 20 && in_files.len() < 40, "{} rows are in files", in_files.len());

    // As long as there is no room a start says so, and changes nothing.
    is_refused(&start(Box::new(|_, _| ())).err().expect("there is no room for what an opening puts"));
    assert_eq!(seen(), [in_files, in_memory]);
    quota(None);
    let mut job = start(Box::new(|_, _| ())).unwrap();
    assert_eq!(job.completed().unwrap().id(), BatchId(2));
    assert_eq!(seen(), [whole(0..40), whole(0..40)]);
    push(40..60);
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(seen(), [whole(0..60), whole(0..60)]);
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reading {
    day: String,
    number: u64,
    level: Option<f64>,
    tags: Vec<String>,
}

fn reading(number: u64) -> Reading {
    Reading {
        day: format!("2026-11-{:02} 0{}:30", 20 + number % 3, number % 2),
        number,
        level: Some(number as f64 / 2.0).filter(|_| !number.is_multiple_of(10)),
        tags: (0..number % 3).map(|tag| format!("tag {tag}")).collect(),
    }
}

#[test]
fn duckdb_reads_the_parquet_that_was_written_over_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let (input, checkpoint) = (MemoryInput::new(2), Arc::new(tidegate_storage::MemoryStorage::new()));
    let mut given = 0;
    for round in 0..3 {
        let output = FilesOutput::parquet(Arc::new(LocalStorage::open(directory.path()).unwrap()))
            .partition_by(|reading: &Reading| [("at", reading.day.clone())])
            // Batches are a second apart: some of a file are written by another run of the job than the others.
            .roll_every(Duration::from_secs(5));
        let mut job =
            TestJob::start_on(Conf::new().set_master("local[2]"), Some(checkpoint.clone()), |ssc| {
                ssc.input_stream("readings", input.clone())?.output("readings", output)
            })
            .unwrap();
        for batch in 0..7 {
            let rows = if round == 2 && batch > 1 { 0 } else { 40 };
            for number in given..given + rows {
                input.push((number % 2) as usize, [reading(number)]);
            }
            given += rows;
            job.next_batch().unwrap();
        }
        job.ssc.stop(Stop::Gracefully).unwrap();
    }
    let place = directory.path().display();
    let found = duckdb(&format!(
        "SELECT count(*), count(DISTINCT number), sum(number), count(level), sum(len(tags)), count(DISTINCT at), \
         count(DISTINCT filename) FROM read_parquet('{place}/**/*.parquet', hive_partitioning = true, filename = true) \
         WHERE day = at"
    ))
    .unwrap();
    let expected = [
        given,
        given,
        (0..given).sum(),
        (0..given).filter(|number| !number.is_multiple_of(10)).count() as u64,
        (0..given).map(|number| number % 3).sum(),
        6,
    ];
    let numbers: Vec<u64> = found[0].iter().map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[..6], expected);
    assert!(numbers[6] < 50, "{} files of 16 batches with rows in 6 folders", numbers[6]);
}

#[test]
fn hdfs_files_are_taken_once_over_restarts() {
    takes_each_file_once_over_restarts(&format!("{}/{}", server(HDFS_ENV), folder()), &[]);
}

#[test]
fn alluxio_files_are_taken_once_over_restarts() {
    takes_each_file_once_over_restarts(&format!("alluxio://{}/{}", server(ALLUXIO_ENV), folder()), &[]);
}

fn with_s3(test: impl Fn(&str, &[(&str, &str)])) {
    let endpoint = server(S3_ENV);
    let settings = [
        ("AWS_ENDPOINT_URL", &*endpoint),
        ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    test(&format!("s3://{}/{}", S3::BUCKET, folder()), &settings);
}

#[test]
fn s3_files_are_taken_once_over_restarts() {
    with_s3(takes_each_file_once_over_restarts);
}
