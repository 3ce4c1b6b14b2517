//! What the SQLite output does, by what can be seen in the file.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use support::*;
use tempfile::TempDir;
use tidegate_core::{BatchId, ErrorKind, JobId, Output, PartitionId};
use tidegate_sql::{Change, SqliteOutput, Table, sqlite_offsets};

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("counts.db")
}

fn counts(file: &Path) -> SqliteOutput {
    SqliteOutput::new(file, Table::add("word_counts", ["word"], ["count"]))
}

fn query(file: &Path, sql: &str) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn words(file: &Path) -> Vec<String> {
    query(file, "SELECT word || ' ' || count FROM word_counts ORDER BY word COLLATE BINARY")
}

#[test]
fn a_batch_is_seen_when_it_is_committed_with_its_plan_beside_it() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let output = counts(&file);
    let held = open::<Count>(&output).unwrap();
    assert_eq!((held.job, held.partitions.len(), held.newest), (Some(JobId::from("job-1")), 0, None));

    let mut writer = writer(&output);
    prepare(&mut *writer, &batch(1), vec![count("the", 2), count("tide", 1)]).unwrap();
    assert_eq!(words(&file), [""; 0]);
    writer.commit(&batch(1)).unwrap();
    assert_eq!(words(&file), ["the 2", "tide 1"]);
    run(&mut *writer, &batch(2), vec![count("the", 3), count("the", 1)]).unwrap();
    assert_eq!(words(&file), ["the 6", "tide 1"]);
    drop(writer);

    let held = open::<Count>(&counts(&file)).unwrap();
    assert_eq!(held.partitions.into_iter().collect::<Vec<_>>(), [(PartitionId(0), BatchId(2))]);
    assert_eq!(held.newest, Some(plan(2, 20, 30)));
    assert_eq!(sqlite_offsets(&file, "out").unwrap(), Some(plan(2, 20, 30)));
}

#[test]
fn what_a_writer_leaves_open_is_gone() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let output = counts(&file);
    open::<Count>(&output).unwrap();
    let mut first = writer(&output);
    prepare(&mut *first, &batch(1), vec![count("a", 1)]).unwrap();
    drop(first);
    let mut second = writer(&output);
    run(&mut *second, &batch(1), vec![count("a", 1)]).unwrap();
    assert_eq!(words(&file), ["a 1"]);
}

#[test]
fn an_idle_batch_touches_nothing() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let output = counts(&file);
    open::<Count>(&output).unwrap();
    let mut writer = writer(&output);
    run(&mut *writer, &batch(1), vec![count("a", 1)]).unwrap();
    // Would wait for this lock, and fail, if it began a transaction.
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    run(&mut *writer, &idle(2), vec![]).unwrap();
    drop(other);
    assert_eq!(sqlite_offsets(&file, "out").unwrap(), Some(plan(1, 10, 20)));
    // Records that gave no rows are work all the same: their offsets are remembered.
    run(&mut *writer, &batch(3), vec![]).unwrap();
    assert_eq!(sqlite_offsets(&file, "out").unwrap(), Some(plan(3, 30, 40)));
}

#[test]
fn upsert_replaces_and_insert_appends() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let upsert = SqliteOutput::new(&file, Table::upsert("word_counts", ["word"], ["count"]));
    open::<Count>(&upsert).unwrap();
    let mut upserts = writer(&upsert);
    run(&mut *upserts, &batch(1), vec![count("a", 1), count("b", 1)]).unwrap();
    run(&mut *upserts, &batch(2), vec![count("a", 5)]).unwrap();
    assert_eq!(words(&file), ["a 5", "b 1"]);

    type Event = (Option<&'static str>, Option<f64>, bool, Vec<u8>, u32);
    let insert = SqliteOutput::new(&file, Table::insert("events", ["page", "seconds", "new", "raw", "size"]));
    Output::<Event>::open(&insert, &context("events", Some("job-1"))).unwrap();
    let mut inserts: Box<dyn tidegate_core::Writer<Event>> =
        insert.writer(&tidegate_core::Seat { output: "events".into(), worker: 0, workers: 1 }).unwrap();
    let row: Event = (None, Some(1.5), true, vec![1, 255], 7);
    run(&mut *inserts, &batch(1), vec![row.clone(), row]).unwrap();
    let seen = query(
        &file,
        "SELECT coalesce(page, '-') || ' ' || seconds || ' ' || new || ' ' || hex(raw) || ' ' || size FROM events",
    );
    assert_eq!(seen, ["- 1.5 1 01FF 7"; 2]);
}

#[test]
fn the_writer_of_an_earlier_epoch_can_not_commit() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let (old, new) = (counts(&file), counts(&file));
    open::<Count>(&old).unwrap();
    let mut zombie = writer(&old);
    run(&mut *zombie, &batch(1), vec![count("a", 1)]).unwrap();
    prepare(&mut *zombie, &batch(2), vec![count("a", 1)]).unwrap();

    assert_eq!(open::<Count>(&new).unwrap().newest, Some(plan(1, 10, 20)));
    let error = refusal(zombie.commit(&batch(2)));
    assert_eq!(
        error.to_string(),
        format!(
            "SQLite {}: the transaction of the batch was rolled back: another run, in this process, has opened the output",
            file.display()
        )
    );
    let mut zombie = writer(&old);
    let error = refusal(zombie.write(&batch(2), PartitionId(0), vec![count("a", 1)]));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert_eq!(
        error.to_string(),
        "output out, batch 2, table word_counts: the output was taken over by another run; nothing of the batch was \
         written here. Let one run of the job live, or give the other one an output of its own"
    );
    run(&mut *writer(&new), &batch(2), vec![count("a", 1)]).unwrap();
    assert_eq!(words(&file), ["a 2"]);
}

#[test]
fn outputs_of_one_job_to_one_file_share_their_transactions() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let counts = counts(&file);
    let log = SqliteOutput::new(&file, Table::insert("log", ["word", "count"]));
    open::<Count>(&counts).unwrap();
    Output::<Count>::open(&log, &context("log", Some("job-1"))).unwrap();
    let mut counts = writer(&counts);
    let log_writer =
        || log.writer(&tidegate_core::Seat { output: "log".into(), worker: 0, workers: 1 }).unwrap();
    let mut logs = log_writer();
    let rows = || vec![count("a", 1)];

    // Each is prepared while the other has not committed, and either may be told first.
    prepare(&mut *counts, &batch(1), rows()).unwrap();
    prepare(&mut *logs, &batch(1), rows()).unwrap();
    logs.commit(&batch(1)).unwrap();
    counts.commit(&batch(1)).unwrap();
    prepare(&mut *logs, &batch(2), rows()).unwrap();
    prepare(&mut *counts, &batch(2), rows()).unwrap();
    logs.commit(&batch(2)).unwrap();
    // Rows of the next batch come while this one has not been told yet.
    logs.write(&batch(3), PartitionId(0), rows()).unwrap();
    counts.commit(&batch(2)).unwrap();
    logs.prepare(&batch(3), &ALL).unwrap();
    prepare(&mut *counts, &batch(3), rows()).unwrap();
    // One gives up: nothing of the batch is in either.
    drop(logs);
    let error = refusal(counts.commit(&batch(3)));
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().ends_with("rolled back: an output that shares it gave up"), "{error}");
    assert_eq!(words(&file), ["a 2"]);
    let mut logs = log_writer();
    prepare(&mut *logs, &batch(3), rows()).unwrap();
    logs.commit(&batch(3)).unwrap();
    assert_eq!(
        query(&file, "SELECT output || ' ' || batch FROM tidegate_batches ORDER BY 1"),
        ["log 3", "out 2"]
    );
}

#[test]
fn rows_of_the_next_batch_wait_for_the_output_that_is_behind() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let counts = counts(&file);
    let log = SqliteOutput::new(&file, Table::insert("log", ["word", "count"]));
    open::<Count>(&counts).unwrap();
    Output::<Count>::open(&log, &context("log", Some("job-1"))).unwrap();
    let mut counts = writer(&counts);
    let mut logs = log.writer(&tidegate_core::Seat { output: "log".into(), worker: 0, workers: 1 }).unwrap();
    // The log holds batch 1 already, so it is not asked to prepare it.
    prepare(&mut *counts, &batch(1), vec![count("a", 1)]).unwrap();
    logs.write(&batch(2), PartitionId(0), vec![count("b", 1)]).unwrap();
    counts.commit(&batch(1)).unwrap();
    logs.prepare(&batch(2), &ALL).unwrap();
    assert_eq!(query(&file, "SELECT word FROM log"), [""; 0]);
    logs.commit(&batch(2)).unwrap();
    assert_eq!(query(&file, "SELECT word FROM log"), ["b"]);
}

#[test]
fn two_jobs_in_one_process_never_commit_for_each_other() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let mine = counts(&file).lock_timeout(std::time::Duration::ZERO);
    let theirs = SqliteOutput::new(&file, Table::insert("log", ["word", "count"]));
    let theirs = theirs.lock_timeout(std::time::Duration::ZERO);
    open::<Count>(&mine).unwrap();
    Output::<Count>::open(&theirs, &context("log", Some("job-2"))).unwrap();
    let mut mine = writer(&mine);
    let mut theirs =
        theirs.writer(&tidegate_core::Seat { output: "log".into(), worker: 0, workers: 1 }).unwrap();
    prepare(&mut *mine, &batch(1), vec![count("a", 1)]).unwrap();
    let error = refusal(prepare(&mut *theirs, &batch(1), vec![count("x", 1)]));
    assert_eq!(error.kind(), ErrorKind::Retry);
    drop(mine);
    run(&mut *theirs, &batch(1), vec![count("x", 1)]).unwrap();
    assert_eq!(words(&file), [""; 0]);
}

#[test]
fn an_output_of_another_job_is_named_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    let mine = counts(&file);
    open::<Count>(&mine).unwrap();
    let mut mine = writer(&mine);
    let held = Output::<Count>::open(&counts(&file), &context("out", Some("job-2"))).unwrap();
    assert_eq!(held.job, Some("job-1".into()));
    run(&mut *mine, &batch(1), vec![count("a", 1)]).unwrap();
    // A job that has only its database takes the name it finds.
    assert_eq!(
        Output::<Count>::open(&counts(&file), &context("out", None)).unwrap().job,
        Some("job-1".into())
    );
}

#[test]
fn a_table_made_by_its_user_is_taken_as_it_is() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    Connection::open(&file)
        .unwrap()
        .execute_batch(
            "CREATE TABLE word_counts (id INTEGER PRIMARY KEY, Word VARCHAR(20) NOT NULL UNIQUE, count BIGINT, \
             seen TEXT NOT NULL DEFAULT 'now'); \
             INSERT INTO word_counts (word, count) VALUES ('a', NULL)",
        )
        .unwrap();
    let output = counts(&file);
    open::<Count>(&output).unwrap();
    run(&mut *writer(&output), &batch(1), vec![count("a", 2), count("b", 1)]).unwrap();
    assert_eq!(words(&file), ["a 2", "b 1"]);
}

#[test]
fn a_made_table_is_what_the_page_says() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    open::<Count>(&counts(&file)).unwrap();
    let made = query(&file, "SELECT sql FROM sqlite_schema WHERE name = 'word_counts'");
    assert_eq!(
        made,
        [
            "CREATE TABLE \"word_counts\" (\"word\" TEXT NOT NULL, \"count\" INTEGER NOT NULL, PRIMARY KEY (\"word\")) STRICT, WITHOUT ROWID"
        ]
    );
    assert_eq!(query(&file, "PRAGMA journal_mode"), ["wal"]);
}

#[test]
fn offsets_of_what_never_was_are_none() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    assert_eq!(sqlite_offsets(&file, "out").unwrap(), None);
    assert!(!file.exists());
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert_eq!(sqlite_offsets(&file, "out").unwrap(), None);
    open::<Count>(&counts(&file)).unwrap();
    assert_eq!(sqlite_offsets(&file, "out").unwrap(), None);
}

#[test]
fn a_change_puts_a_row_or_takes_it_out() {
    let directory = TempDir::new().unwrap();
    let file = file(&directory);
    // The column takes "A" for "a", the index and the output do not.
    Connection::open(&file)
        .unwrap()
        .execute_batch(
            "CREATE TABLE word_counts (word TEXT COLLATE NOCASE, count INTEGER); \
             CREATE UNIQUE INDEX one ON word_counts (word COLLATE BINARY)",
        )
        .unwrap();
    let output = SqliteOutput::new(&file, Table::upsert("word_counts", ["word"], ["count"]));
    open::<Change<Count>>(&output).unwrap();
    let mut writer = writer(&output);
    let put = |word: &str, number| Change::Put(count(word, number));
    let delete = |word: &str| Change::Delete(count(word, 0));
    run(&mut *writer, &batch(1), vec![put("a", 1), put("A", 2), put("b", 3)]).unwrap();
    prepare(&mut *writer, &batch(2), vec![delete("a"), put("b", 4), delete("never")]).unwrap();
    assert_eq!(words(&file), ["A 2", "a 1", "b 3"]);
    writer.commit(&batch(2)).unwrap();
    assert_eq!(words(&file), ["A 2", "b 4"]);

    let error = refusal(writer.write(&batch(3), PartitionId(0), vec![delete("b"), put("b", 1)]));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("two rows of the batch have the key word = \"b\""), "{error}");
}
