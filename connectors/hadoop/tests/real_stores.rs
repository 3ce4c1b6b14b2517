//! Text, SequenceFiles and object files of whole jobs on real HDFS, S3 and Alluxio, with a call that fails, and read back.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use tidegate::testkit::{MemoryInput, TestJob};
use tidegate::{BatchDirectories, Conf, Result, Stop};
use tidegate_core::Storage;
use tidegate_hadoop::{
    Codec, Compression, SaveAsHadoopFiles, SaveAsObjectFiles, SequenceFormat, read_hadoop_files_on,
    read_object_files_on,
};
use tidegate_object_store::storage_with;
use tidegate_servers::{ALLUXIO_ENV, HDFS_ENV, S3, S3_ENV};
use tidegate_storage::{FailingStorage, Fault, MemoryStorage};

fn server(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} names no server: run these tests by `cargo xtask test`, which starts one")
    })
}

/// A folder that no other run has.
fn folder() -> String {
    let unique = tempfile::tempdir().unwrap();
    format!("saved{}", unique.path().file_name().unwrap().to_str().unwrap().replace('.', "-"))
}

/// Two batches; the second has no row in one of its partitions.
fn job(storage: Arc<dyn Storage>) -> Result<()> {
    let input = MemoryInput::new(2);
    let conf = Conf::new().set_master("local[2]").set("tidegate.retry.pause_ms", "0");
    let mut job = TestJob::start_on(conf, Some(Arc::new(MemoryStorage::new())), |ssc| {
        let words = ssc.input_stream("words", input.clone())?;
        words.save_as_text_files_on(storage.clone(), "text/words", "txt")?;
        words.save_as_object_files_on(storage.clone(), "words", "")?;
        let ones = words.map(|word: String| (word, 1i64));
        ones.save_as_hadoop_files_on(storage.clone(), "ones", "seq")?;
        let packed = SequenceFormat::compressed(Compression::Block(Codec::Default));
        ones.save_as_files(BatchDirectories::on(storage, "ones", "packed")?, packed)
    })?;
    input.push(0, (0..25).map(|n| format!("word {n}")));
    input.push(1, ["ebb".to_owned()]);
    job.next_batch()?;
    input.push(1, ["flow".to_owned()]);
    job.next_batch()?;
    job.ssc.stop(Stop::Gracefully)
}

fn tree(storage: &dyn Storage) -> BTreeMap<String, Vec<u8>> {
    let objects = storage.list("").unwrap().into_iter();
    objects.map(|object| (object.path.clone(), storage.get(&object.path).unwrap().unwrap())).collect()
}

fn are_saved_and_read_back(url: &str, settings: &[(&str, &str)]) {
    let memory = MemoryStorage::new();
    job(Arc::new(memory.clone())).unwrap();
    let expected = tree(&memory);
    for (number, fault) in [Fault::Away, Fault::AnswerLost].into_iter().enumerate() {
        let store = storage_with(&format!("{url}/{number}"), settings).unwrap();
        let failing = FailingStorage::new(store.clone());
        // Every fifth call or so: each output meets its share of listings, writes and renames.
        (3..400).step_by(5).for_each(|call| failing.fail(call + number as u64, fault));
        job(Arc::new(failing)).unwrap();
        assert!(tree(&*store) == expected, "{url}, {fault:?}: {:?}", tree(&*store).keys());

        let words = read_object_files_on::<String>(store.clone(), "words-1001000").unwrap();
        assert_eq!(words.collect::<Result<Vec<_>>>().unwrap().len(), 26);
        for ending in ["seq", "packed"] {
            let directory = format!("ones-1002000.{ending}");
            let ones = read_hadoop_files_on::<String, i64>(store.clone(), &directory).unwrap();
            assert_eq!(ones.collect::<Result<Vec<_>>>().unwrap(), [("flow".to_owned(), 1)]);
        }
    }
}

#[test]
fn files_are_saved_in_hdfs_and_read_back() {
    are_saved_and_read_back(&format!("{}/{}", server(HDFS_ENV), folder()), &[]);
}

#[test]
fn files_are_saved_in_alluxio_and_read_back() {
    are_saved_and_read_back(&format!("alluxio://{}/{}", server(ALLUXIO_ENV), folder()), &[]);
}

fn s3(endpoint: &str) -> [(&str, &str); 4] {
    [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY),
        ("AWS_ALLOW_HTTP", "true"),
    ]
}

#[test]
fn files_are_saved_in_s3_and_read_back() {
    are_saved_and_read_back(&format!("s3://{}/{}", S3::BUCKET, folder()), &s3(&server(S3_ENV)));
}

const CHILD: &str = "TIDEGATE_SAVED_CHILD";
const PARTS: usize = 4;
const PART_MIB: u64 = 40;
/// Five MiB of each part, as much of each of eight that are on their way, what waits for two writers, and room for what the allocator and
/// the client hold. The whole batch is more.
const MEMORY_MIB: u64 = 120;
const _: () = assert!(MEMORY_MIB < PART_MIB * PARTS as u64);

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_large_batch_goes_to_s3_and_not_into_memory() {
    if env::var_os(CHILD).is_some() {
        return saves_a_large_batch();
    }
    // A process of its own, so that its peak is that of this test.
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["a_large_batch_goes_to_s3_and_not_into_memory", "--exact", "--nocapture"]).env(CHILD, "1");
    // What is in use counts, not what the allocator keeps for later.
    child.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "65536");
    let child = child.output().unwrap();
    let said = [child.stdout, child.stderr].concat();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn saves_a_large_batch() {
    let endpoint = server(S3_ENV);
    let storage = storage_with(&format!("s3://{}/{}", S3::BUCKET, folder()), &s3(&endpoint)).unwrap();
    let input = MemoryInput::new(PARTS);
    let conf = Conf::new().set_master("local[2]");
    let mut job = TestJob::start_on(conf, Some(Arc::new(MemoryStorage::new())), |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        // Short ones, as chunks of 1,024 lines wait for the writers.
        let line = |number: u64, line: u64| format!("{number:08} {line:08} {}", "x".repeat(128 - 19));
        let lines = numbers.flat_map(move |number: u64| (0..8192).map(move |n| line(number, n)));
        lines.save_as_text_files_on(storage.clone(), "large", "")
    })
    .unwrap();
    (0..PARTS).for_each(|part| input.push(part, 0..PART_MIB));
    let before = peak_mib();
    job.next_batch().unwrap();
    let took = peak_mib() - before;
    job.ssc.stop(Stop::Gracefully).unwrap();
    let parts = storage.list("").unwrap().into_iter().filter(|object| object.path.contains("/part-"));
    assert_eq!(parts.map(|part| part.bytes >> 20).collect::<Vec<_>>(), [PART_MIB; PARTS]);
    assert!(took < MEMORY_MIB, "a batch of {} MiB took {took} MiB", PART_MIB * PARTS as u64);
    println!("a batch of {} MiB took {took} MiB", PART_MIB * PARTS as u64);
}
