//! Whole jobs that write into SQLite.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use rusqlite::Connection;
use std::path::Path;
use tempfile::TempDir;
use tidegate::testkit::{BATCH, MemoryInput, TestJob};
use tidegate::{Conf, ErrorKind, Stop, StreamingContext};
use tidegate_sql::{SaveToSql, Table};

fn words(file: &Path) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut statement =
        connection.prepare("SELECT word || ' ' || count FROM word_counts ORDER BY word").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn push(input: &MemoryInput<String>, words: &str) {
    for (place, word) in words.split(' ').enumerate() {
        input.push(place % 2, [word.to_owned()]);
    }
}

/// Counts words, and keeps them all: two outputs to one file, and no checkpoint directory.
fn start(input: &MemoryInput<String>, file: &Path, workers: usize) -> TestJob {
    let conf = Conf::new().set_master(&format!("local[{workers}]"));
    let build = |ssc: &StreamingContext| {
        let words = ssc.input_stream("words", input.clone())?.map(|word: String| (word, 1i64));
        words.save_to_sqlite(file, Table::insert("all_words", ["word", "one"]))?;
        words.reduce_by_key(|a, b| a + b).save_to_sqlite(file, Table::add("word_counts", ["word"], ["count"]))
    };
    TestJob::start(conf, None, build).unwrap()
}

#[test]
fn a_job_that_has_only_its_database_goes_on_with_another_number_of_workers() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("counts.db");
    let input = MemoryInput::new(2);
    let mut job = start(&input, &file, 2);
    push(&input, "ebb flow ebb");
    job.next_batch().unwrap();
    job.next_batch().unwrap();
    push(&input, "flow tide");
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    drop(job);

    push(&input, "tide tide");
    let mut job = start(&input, &file, 3);
    // A new clock starts where the first one did, three batches ago.
    job.clock.advance(3 * BATCH);
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(words(&file), ["ebb 2", "flow 2", "tide 3"]);
    let connection = Connection::open(&file).unwrap();
    let all: i64 = connection.query_row("SELECT count(*) FROM all_words", [], |row| row.get(0)).unwrap();
    assert_eq!(all, 7);
}

#[test]
fn a_table_of_another_shape_stops_the_job_at_its_start() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("counts.db");
    Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE word_counts (word TEXT, count INTEGER)")
        .unwrap();
    let input = MemoryInput::<String>::new(1);
    let build = |ssc: &StreamingContext| {
        let words = ssc.input_stream("words", input.clone())?.map(|word: String| (word, 1i64));
        words.save_to_sqlite(&file, Table::add("word_counts", ["word"], ["count"]))
    };
    let started = TestJob::start(Conf::new().set_master("local[1]"), None, build);
    let error = match started.map(|mut job| job.next_batch()) {
        Ok(Ok(_)) => panic!("the job ran"),
        Ok(Err(error)) | Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("needed is UNIQUE (word)"), "{error}");
}
