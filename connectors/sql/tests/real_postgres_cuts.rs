//! A server that is lost at each step of a batch, to a job that goes on in the same process: the result is that of a job that lost
//! nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::path::Path;
use support::proxy::{Cut, Proxy};
use support::server::Schema;
use support::*;
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
use tidegate::{Conf, ErrorKind, Stop, StreamingContext};
use tidegate_sql::{SaveToSql, Table};

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

/// Runs three batches, the second with `cut`; gives whether a batch was run again.
fn run(schema: &mut Schema, table: &str, journal: Option<&Path>, cut: Option<Cut>) -> bool {
    let (proxy, url) = Proxy::before(&schema.url);
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
            cut.iter().for_each(|cut| proxy.cut(cut.clone()));
        }
        for (place, word) in words(batch).into_iter().enumerate() {
            input.push(place % 2, [word]);
        }
        rerun |= job.next_batch().unwrap().rerun;
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert!(proxy.is_done(), "the cut was not made");
    assert_eq!(other.rows().len(), 600);
    rerun
}

#[test]
fn a_server_that_is_lost_at_any_step_has_each_batch_once() {
    let mut schema = Schema::new("cuts");
    assert!(!run(&mut schema, "whole", None, None));
    assert_eq!(schema.query("SELECT word || ' ' || count FROM whole ORDER BY word"), expected());
    // Before the rows, when they are prepared, between that and the commit, and in the commit.
    let at = ["BEGIN", "SET CONSTRAINTS", "COMMIT"];
    let cases = at.iter().flat_map(|at| {
        let lost = [false, true].map(|passed_on| [0, 3].map(|refused| (passed_on, refused)));
        let lost = lost.into_iter().flatten();
        let lost = lost.map(|(passed_on, refused)| Cut { at, passed_on, refused, says_so: false });
        lost.chain([Cut { at, passed_on: false, refused: 0, says_so: true }])
    });
    for (number, cut) in cases.enumerate() {
        for durable in [false, true] {
            let case = format!("{cut:?}, with a journal: {durable}");
            let table = format!("words_{number}_{durable}");
            let directory = tempfile::tempdir().unwrap();
            let rerun = run(&mut schema, &table, durable.then(|| directory.path()), Some(cut.clone()));
            let found = schema.query(&format!("SELECT word || ' ' || count FROM {table} ORDER BY word"));
            assert_eq!(found, expected(), "{case}");
            if cut.at != "BEGIN" || cut.refused > 0 {
                assert!(rerun, "{case}");
            } else if !cut.says_so {
                // Before the first row another connection will do; where all sessions end, the other worker may have written.
                assert!(!rerun, "{case}");
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
