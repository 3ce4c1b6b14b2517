//! A server that is lost at each step of a batch, to a job that goes on in the same process: the result is that of a job that lost
//! nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::path::Path;
use support::server::{ANSWER, Schema, asks};
use support::*;
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
use tidegate::{Conf, ErrorKind, Stop, StreamingContext};
use tidegate_servers::wire::{Lost, Wire};
use tidegate_sql::{SaveToSql, Table};

/// How the server is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// A connection is cut, and so many are refused afterwards, as by a server that starts again. If any is, all that are open are cut.
    Cut(Lost, usize),
    /// The server ends the sessions itself, and says so, as when it is shut down.
    SaysSo,
}

/// By which the sessions that come by the wire are known to the server.
const SESSIONS: &str = "tidegate-cut";

/// Loses the server once, at the next statement that begins with `at`.
fn lose(wire: &Wire, schema: &Schema, at: &'static str, loss: Loss) {
    match loss {
        Loss::Cut(lost, refused) => wire.cut_at(asks(at), lost, refused),
        Loss::SaysSo => {
            let url = schema.url.clone();
            wire.call_at(asks(at), move || end_sessions(&url));
        }
    }
}

/// Has the server end all sessions that come by the wire, and waits until they are gone.
fn end_sessions(url: &str) {
    let mut client = postgres::Client::connect(url, postgres::NoTls).unwrap();
    let end =
        "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = $1";
    client.execute(end, &[&SESSIONS]).unwrap();
}

/// Words of three batches, on which all partitions of the output have their part.
fn words(batch: u64) -> Vec<String> {
    (0..100 * batch).map(|number| format!("w{:02}", number % 40)).collect()
}

/// What the table holds of a job that lost nothing.
fn expected() -> Vec<String> {
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    (1..=3).flat_map(words).for_each(|word| *counts.entry(word).or_default() += 1);
    counts.into_iter().map(|(word, count)| format!("{word} {count}")).collect()
}

/// Runs three batches, in the second of which the server is lost; gives whether a batch was run again.
fn run(schema: &Schema, table: &str, journal: Option<&Path>, lost: Option<(&'static str, Loss)>) -> bool {
    let (wire, url) = schema.wire();
    let url = format!("{url}&application_name={SESSIONS}");
    let (input, other) = (MemoryInput::new(2), MemoryOutput::new());
    let build = |ssc: &StreamingContext| {
        let words = ssc.input_stream("words", input.clone())?.map(|word: String| (word, 1i64));
        words.output_in_place("other", other.clone())?;
        words.reduce_by_key(|a, b| a + b).save_to_postgres(&url, Table::add(table, ["word"], ["count"]))
    };
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), journal, build).unwrap();
    let mut rerun = false;
    for batch in 1..=3 {
        if batch == 2 {
            lost.into_iter().for_each(|(at, loss)| lose(&wire, schema, at, loss));
        }
        for (place, word) in words(batch).into_iter().enumerate() {
            input.push(place % 2, [word]);
        }
        rerun |= job.next_batch().unwrap().rerun;
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert!(wire.is_open(), "the server was not lost");
    assert_eq!(other.rows().len(), 600);
    rerun
}

#[test]
fn a_server_that_is_lost_at_any_step_has_each_batch_once() {
    let mut schema = Schema::new("cuts");
    assert!(!run(&schema, "whole", None, None));
    assert_eq!(schema.query("SELECT word || ' ' || count FROM whole ORDER BY word"), expected());
    // Before the rows, when they are prepared, between that and the commit, and in the commit.
    let at = ["BEGIN", "SET CONSTRAINTS", "COMMIT"];
    let cuts =
        [Lost::Request, ANSWER].into_iter().flat_map(|lost| [0, 3].map(|refused| Loss::Cut(lost, refused)));
    let losses: Vec<Loss> = cuts.chain([Loss::SaysSo]).collect();
    let cases = at.iter().flat_map(|at| losses.iter().map(move |loss| (*at, *loss)));
    for (number, (at, loss)) in cases.enumerate() {
        for durable in [false, true] {
            let case = format!("{loss:?} at {at}, with a journal: {durable}");
            let table = format!("words_{number}_{durable}");
            let directory = tempfile::tempdir().unwrap();
            let rerun = run(&schema, &table, durable.then(|| directory.path()), Some((at, loss)));
            let found = schema.query(&format!("SELECT word || ' ' || count FROM {table} ORDER BY word"));
            assert_eq!(found, expected(), "{case}");
            // Before the first row another connection will do; where all sessions end, the other worker may have written.
            match (at, loss) {
                ("BEGIN", Loss::Cut(_, 0)) => assert!(!rerun, "{case}"),
                ("BEGIN", Loss::SaysSo) => {}
                _ => assert!(rerun, "{case}"),
            }
        }
    }
}

/// Refuses a row when it is committed, in the way `sql` says.
fn refused_late(schema: &mut Schema, sql: &str) {
    schema.run(sql);
    let input = MemoryInput::new(1);
    let other = MemoryOutput::new();
    let build = |ssc: &StreamingContext| {
        let words = ssc.input_stream("words", input.clone())?.map(|word: String| (word, 1i64));
        words.output_in_place("other", other.clone())?;
        words.save_to_postgres(&schema.url, Table::insert("late", ["word", "count"]))
    };
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, build).unwrap();
    input.push(0, ["good".to_owned()]);
    job.next_batch().unwrap();
    input.push(0, ["fine".to_owned(), "bad".to_owned()]);
    let error = job.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("batch 2, table late"), "{error}");
    assert_eq!(other.rows(), [count("good", 1)]);
    assert_eq!(schema.query("SELECT word FROM late"), ["good"]);
}

#[test]
fn what_would_be_refused_at_the_commit_is_seen_in_no_output() {
    let mut schema = Schema::new("late");
    refused_late(
        &mut schema,
        "CREATE TABLE known (word TEXT PRIMARY KEY); INSERT INTO known VALUES ('good'), ('fine'); \
         CREATE TABLE late (word TEXT REFERENCES known DEFERRABLE INITIALLY DEFERRED, count BIGINT)",
    );
    refused_late(
        &mut schema,
        "DROP TABLE late; TRUNCATE tidegate_outputs, tidegate_batches; CREATE TABLE late (word TEXT, count BIGINT); \
         CREATE FUNCTION judge() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.word = 'bad' THEN RAISE 'no bad words' USING ERRCODE = 'check_violation'; END IF; RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER judge AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW \
             EXECUTE FUNCTION judge()",
    );
}
