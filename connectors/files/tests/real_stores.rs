//! A file stream on real HDFS, S3 and Alluxio: each file once over a restart.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::sync::Arc;
use support::{Job, counted};
use tidegate::Stop;
use tidegate::testkit::MemoryOutput;
use tidegate_core::Storage;
use tidegate_files::FileOptions;
use tidegate_object_store::{files_with, storage_with};
use tidegate_servers::{ALLUXIO_ENV, HDFS_ENV, S3, S3_ENV};

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

#[test]
fn hdfs_files_are_taken_once_over_restarts() {
    takes_each_file_once_over_restarts(&format!("{}/{}", server(HDFS_ENV), folder()), &[]);
}

#[test]
fn alluxio_files_are_taken_once_over_restarts() {
    takes_each_file_once_over_restarts(&format!("alluxio://{}/{}", server(ALLUXIO_ENV), folder()), &[]);
}

#[test]
fn s3_files_are_taken_once_over_restarts() {
    let endpoint = server(S3_ENV);
    let settings = [
        ("AWS_ENDPOINT_URL", &*endpoint),
        ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    takes_each_file_once_over_restarts(&format!("s3://{}/{}", S3::BUCKET, folder()), &settings);
}
