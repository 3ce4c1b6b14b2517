//! The HBase output against a real HBase. Each test has a table of its own, so they run at the same time.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Faulty, Point, Server, Wire, Workers, batch, count, counts, many, name};
use tidegate::testkit::outputs::{self, Subject};
use tidegate::testkit::{BATCH, MemoryInput, TestJob};
use tidegate::{Conf, Stop, StreamingContext, StreamingListener};
use tidegate_core::{Batch, Error, ErrorKind, Output, Result};
use tidegate_hbase::{HBaseOutput, Mutation};
use tidegate_servers::Hbase;

fn refusal<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    }
}

#[test]
fn a_batch_is_seen_when_it_is_committed_and_not_before() {
    let server = Server::shared();
    let table = server.table();
    let mut workers = Workers::start(&server.output(&table), 2).unwrap();
    let first = vec![count("ebb", 1).cell("f", "", "none").cell("f", "a:b", [0xF6, 0]), count("flow", 2)];
    workers.prepare(&batch(1), first).unwrap();
    assert_eq!(server.rows(&table), BTreeMap::new());
    workers.commit(&batch(1)).unwrap();
    let row = &server.rows(&table)["ebb"];
    assert_eq!(row["f:count"], ("1".to_owned(), 1_700_000_001_000), "the timestamp is the batch's time");
    assert_eq!((row["f:"].0.as_str(), row["f:a:b"].0.as_str()), ("none", "\u{fffd}\0"));
    let second = vec![
        count("ebb", 3).without("f", "").without("f", "never"),
        Mutation::delete("flow"),
        Mutation::delete("none"),
    ];
    workers.run(&batch(2), second).unwrap();
    assert_eq!(server.counts(&table), counts([("ebb", "3")]));
    let columns: Vec<String> = server.rows(&table).remove("ebb").unwrap().into_keys().collect();
    assert_eq!(columns, ["f:a:b", "f:count"], "what is not named stays");
    workers.run(&batch(3), vec![count("flow", 4)]).unwrap();
    assert_eq!(server.counts(&table), counts([("ebb", "3"), ("flow", "4")]));
}

#[test]
fn a_batch_that_is_run_again_changes_nothing() {
    let server = Server::shared();
    let table = server.table();
    let rows = || {
        let mut rows = many(1_200, 1);
        rows.push(Mutation::delete("w00007x"));
        rows
    };
    Workers::start(&server.output(&table), 3).unwrap().run(&batch(1), rows()).unwrap();
    let before = server.rows(&table);
    assert_eq!(before.len(), 1_200);
    // On another number of workers, twice, and by the same ones.
    let mut workers = Workers::start(&server.output(&table), 1).unwrap();
    workers.run(&batch(1), rows()).unwrap();
    workers.run(&batch(1), rows()).unwrap();
    assert_eq!(server.rows(&table), before);
}

#[test]
fn an_older_batch_that_is_run_after_a_newer_one_does_not_overwrite_it() {
    let server = Server::shared();
    let table = server.table();
    let mut workers = Workers::start(&server.output(&table), 2).unwrap();
    workers.run(&batch(1), many(100, 1)).unwrap();
    let newer: Vec<_> = many(50, 2).into_iter().chain([Mutation::delete("w00099")]).collect();
    workers.run(&batch(2), newer).unwrap();
    let before = server.rows(&table);
    Workers::start(&server.output(&table), 2).unwrap().run(&batch(1), many(100, 1)).unwrap();
    assert_eq!(server.rows(&table), before);
    assert_eq!(before.len(), 99);
}

#[test]
fn a_batch_that_some_writers_committed_is_finished_by_the_next() {
    let server = Server::shared();
    let table = server.table();
    let mut workers = Workers::start(&server.output(&table), 4).unwrap();
    workers.prepare(&batch(1), many(1_000, 1)).unwrap();
    workers.commit_one(2, &batch(1)).unwrap();
    let part = server.rows(&table).len();
    assert!(part > 0 && part < 1_000, "{part}");
    drop(workers);
    Workers::start(&server.output(&table), 3).unwrap().run(&batch(1), many(1_000, 1)).unwrap();
    assert_eq!(server.rows(&table).len(), 1_000);
}

#[test]
fn what_the_table_refuses_fails_prepare_and_nothing_is_seen() {
    let server = Server::shared();
    let table = server.table();
    let refused = |row: Mutation| {
        let mut workers = Workers::start(&server.output(&table), 2).unwrap();
        let mut rows = many(100, 1);
        rows.push(row);
        let error = refusal(workers.prepare(&batch(1), rows));
        assert_eq!(server.rows(&table), BTreeMap::new());
        error
    };
    let error = refused(Mutation::put("odd").cell("g", "count", "1"));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let expected =
        format!("batch 1, HBase table {table} at {}: row \"odd\": the table has no family g", server.0);
    assert!(error.to_string().contains(&expected), "{error}");
    let error = refused(Mutation::put("large").cell("f", "count", vec![0; 10 * 1024 * 1024]));
    assert!(error.to_string().contains("row \"large\", cell f:\"count\": it has 10485795 bytes"), "{error}");
    assert!(
        refused(Mutation::put("x".repeat(40_000)).cell("f", "q", "v")).to_string().contains("40000 bytes")
    );
    let error = refused(Mutation::delete("w00001"));
    assert!(error.to_string().contains("two mutations of the batch are of the row \"w00001\""), "{error}");
}

#[test]
fn the_largest_cell_that_is_taken_can_be_written() {
    let server = Server::shared();
    let table = server.table();
    let mut workers = Workers::start(&server.output(&table), 1).unwrap();
    // Key, family, qualifier and 24 bytes beside the value.
    let value = vec![b'x'; 10 * 1024 * 1024 - 24 - 3];
    workers.run(&batch(1), vec![Mutation::put("a").cell("f", "q", value)]).unwrap();
    assert_eq!(server.rows(&table)["a"]["f:q"].0.len(), 10 * 1024 * 1024 - 27);
    let key = "k".repeat(32_767);
    workers.run(&batch(2), vec![Mutation::put(key.as_str()).cell("f", "q", "v")]).unwrap();
    assert!(server.rows(&table).contains_key(&key));
}

#[test]
fn a_table_that_is_missing_or_disabled_is_told_at_the_start_and_in_prepare() {
    let server = Server::shared();
    let error = refusal(Workers::start(&server.output(&name()), 1));
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("there is no such table"), "{error}");

    let table = server.table();
    let mut workers = Workers::start(&server.output(&table), 1).unwrap();
    server.disable(&table);
    for error in
        [refusal(workers.prepare(&batch(1), many(10, 1))), refusal(Workers::start(&server.output(&table), 1))]
    {
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains("the table is disabled: enable it"), "{error}");
    }
    server.enable(&table);
    Workers::start(&server.output(&table), 1).unwrap().run(&batch(1), many(10, 1)).unwrap();
    assert_eq!(server.rows(&table).len(), 10);
    let error = refusal(Workers::start(&server.output(&table).partitions(0), 1)).to_string();
    assert!(error.contains("needed are 1 to 1024"), "{error}");
}

#[test]
fn a_connection_that_is_cut_at_any_byte_costs_a_run_of_the_batch_and_no_row() {
    let server = Server::shared();
    let table = server.table();
    let wire = Wire::to(&server);
    let output = |patience| HBaseOutput::new(&wire.address, &table).unwrap().patience(patience);
    let mut expected = counts([]);
    for (id, bytes) in [(1, 0), (2, 200), (3, 2_000), (4, 20_000), (5, 40_000)] {
        let rows = || many(1_000, id as i64);
        let mut workers = Workers::start(&output(Duration::ZERO), 1).unwrap();
        workers.prepare(&batch(id), rows()).unwrap();
        assert_eq!(server.counts(&table), expected, "nothing of batch {id} is seen");
        wire.cut_after(bytes);
        let error = refusal(workers.commit(&batch(id)));
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert!(wire.mend() > 0, "nothing was cut at {bytes} bytes");
        Workers::start(&output(Duration::from_secs(10)), 1).unwrap().run(&batch(id), rows()).unwrap();
        expected = server.counts(&table);
        let number = id.to_string();
        assert!(expected.len() == 1_000 && expected.values().all(|count| *count == number));
    }
}

#[test]
fn a_cut_connection_is_made_anew_within_the_patience() {
    let server = Server::shared();
    let table = server.table();
    let wire = Wire::to(&server);
    let output = HBaseOutput::new(&wire.address, &table).unwrap();
    let mut workers = Workers::start(&output, 1).unwrap();
    workers.prepare(&batch(1), many(1_000, 1)).unwrap();
    wire.cut_once_after(5_000);
    workers.commit(&batch(1)).unwrap();
    assert_eq!(wire.mend(), 1);
    assert_eq!(server.rows(&table).len(), 1_000);
}

#[test]
fn a_gateway_that_is_away_is_a_retry_with_its_address() {
    let output = HBaseOutput::new("127.0.0.1:9", "words").unwrap().patience(Duration::ZERO);
    let error = refusal(Workers::start(&output, 1));
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("table words at 127.0.0.1:9"), "{error}");
}

struct Words {
    server: Server,
    table: String,
}

impl Subject for Words {
    type Row = Mutation;
    type Output = HBaseOutput;

    fn output(&self) -> Result<HBaseOutput> {
        Ok(self.server.output(&self.table))
    }

    fn row(&self, number: u64) -> Mutation {
        count(&format!("w{number}"), number as i64)
    }

    fn visible(&self) -> Vec<Mutation> {
        let counts = self.server.counts(&self.table).into_iter();
        counts.map(|(word, count)| Mutation::put(word).cell("f", "count", count)).collect()
    }

    fn refused(&self) -> Option<Mutation> {
        Some(Mutation::put("bad").cell("g", "count", "1"))
    }
}

#[test]
fn it_keeps_what_an_output_promises() {
    let server = Server::shared();
    outputs::all(|| Words { server: server.clone(), table: server.table() });
}

/// Tells when the job tries anew.
struct Retries(Mutex<Sender<String>>);

impl StreamingListener for Retries {
    fn on_retry(&self, error: &str) {
        // A test that does not listen any more has seen what it wanted.
        let _ = self.0.lock().unwrap().send(error.to_owned());
    }
}

type Rows = MemoryInput<(String, i64)>;

fn start(output: impl Output<Mutation>, input: &Rows, retried: Option<Sender<String>>) -> TestJob {
    let build = |ssc: &StreamingContext| {
        if let Some(retried) = retried {
            ssc.add_streaming_listener(Arc::new(Retries(Mutex::new(retried))))?;
        }
        let counts = ssc.input_stream("rows", input.clone())?;
        counts.map(|(word, n)| count(&word, n)).output("words", output)
    };
    TestJob::with_memory(Conf::new().set_master("local[2]"), build).unwrap()
}

/// Rows of batch `id`: most of them replace those of the batch before.
fn rows(id: usize) -> Vec<(String, i64)> {
    (0..1_000).map(|n| (format!("w{:05}", n + 100 * id), id as i64)).collect()
}

/// An HBase of its own, stopped at a point of each batch, and started again when the job has noticed. Stopped and not killed: on a local
/// disk a killed HBase loses what it acknowledged.
#[test]
fn an_hbase_stopped_at_any_point_leaves_what_a_run_without_faults_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(Mutex::new(Hbase::start(dir.path()).unwrap()));
    let server = Server(node.lock().unwrap().thrift());
    let (table, untroubled) = (server.table(), server.table());
    let input = MemoryInput::new(2);
    let mut job = start(server.output(&untroubled), &input, None);
    for id in 1..=4 {
        input.push(id % 2, rows(id));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    let expected = server.rows(&untroubled);

    let wire = Arc::new(Wire::to(&server));
    let points = Arc::new(Mutex::new(BTreeMap::from([
        (2, Point::BeforePrepare),
        (3, Point::Prepared),
        (4, Point::InCommit),
    ])));
    let fault = {
        let (node, wire, points) = (node.clone(), wire.clone(), points.clone());
        move |point: Point, batch: &Batch| {
            let mut points = points.lock().unwrap();
            if points.get(&batch.id().0) != Some(&point) {
                return;
            }
            points.remove(&batch.id().0);
            if point == Point::InCommit {
                wire.cut_after(10_000);
            } else {
                node.lock().unwrap().stop().unwrap();
            }
        }
    };
    let inner = HBaseOutput::new(&wire.address, &table).unwrap().patience(Duration::from_millis(100));
    let (retried, retries) = channel();
    let input = MemoryInput::new(2);
    let mut job = start(Faulty { inner, fault: Arc::new(fault) }, &input, Some(retried));
    for id in 1..=4 {
        input.push(id % 2, rows(id));
        job.clock.advance(BATCH);
        if id > 1 {
            let error = retries.recv().unwrap();
            assert!(error.contains(&table), "{error}");
            let mut node = node.lock().unwrap();
            node.stop().unwrap();
            wire.mend();
            node.start_again().unwrap();
        }
        job.completed().unwrap();
        // What the job tried while the server was starting.
        retries.try_iter().for_each(drop);
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert!(points.lock().unwrap().is_empty());
    assert_eq!(server.rows(&table), expected);
    assert_eq!(expected.len(), 1_300);
}
