//! The HBase output against a real HBase. Each test has a table of its own, so they run at the same time.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Server, count, counts, many, name};
use tidegate::testkit::outputs::{self, Epoch, Phase, Subject, batch};
use tidegate_core::{Error, ErrorKind, Result};
use tidegate_hbase::{HBaseOutput, Mutation};
use tidegate_servers::Hbase;
use tidegate_servers::wire::Wire;

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
    let mut workers = Epoch::open(&server.output(&table), 2).unwrap();
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
    Epoch::open(&server.output(&table), 3).unwrap().run(&batch(1), rows()).unwrap();
    let before = server.rows(&table);
    assert_eq!(before.len(), 1_200);
    // On another number of workers, twice, and by the same ones.
    let mut workers = Epoch::open(&server.output(&table), 1).unwrap();
    workers.run(&batch(1), rows()).unwrap();
    workers.run(&batch(1), rows()).unwrap();
    assert_eq!(server.rows(&table), before);
}

#[test]
fn an_older_batch_that_is_run_after_a_newer_one_does_not_overwrite_it() {
    let server = Server::shared();
    let table = server.table();
    let mut workers = Epoch::open(&server.output(&table), 2).unwrap();
    workers.run(&batch(1), many(100, 1)).unwrap();
    let newer: Vec<_> = many(50, 2).into_iter().chain([Mutation::delete("w00099")]).collect();
    workers.run(&batch(2), newer).unwrap();
    let before = server.rows(&table);
    Epoch::open(&server.output(&table), 2).unwrap().run(&batch(1), many(100, 1)).unwrap();
    assert_eq!(server.rows(&table), before);
    assert_eq!(before.len(), 99);
}

#[test]
fn a_batch_that_some_writers_committed_is_finished_by_the_next() {
    let server = Server::shared();
    let table = server.table();
    let mut workers = Epoch::open(&server.output(&table), 4).unwrap();
    workers.prepare(&batch(1), many(1_000, 1)).unwrap();
    workers.writers[2].commit(&batch(1)).unwrap();
    let part = server.rows(&table).len();
    assert!(part > 0 && part < 1_000, "{part}");
    drop(workers);
    Epoch::open(&server.output(&table), 3).unwrap().run(&batch(1), many(1_000, 1)).unwrap();
    assert_eq!(server.rows(&table).len(), 1_000);
}

#[test]
fn what_the_table_refuses_fails_prepare_and_nothing_is_seen() {
    let server = Server::shared();
    let table = server.table();
    let refused = |row: Mutation| {
        let mut workers = Epoch::open(&server.output(&table), 2).unwrap();
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
    let mut workers = Epoch::open(&server.output(&table), 1).unwrap();
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
    let error = refusal(Epoch::open(&server.output(&name()), 1));
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("there is no such table"), "{error}");

    let table = server.table();
    let mut workers = Epoch::open(&server.output(&table), 1).unwrap();
    server.disable(&table);
    for error in
        [refusal(workers.prepare(&batch(1), many(10, 1))), refusal(Epoch::open(&server.output(&table), 1))]
    {
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains("the table is disabled: enable it"), "{error}");
    }
    server.enable(&table);
    Epoch::open(&server.output(&table), 1).unwrap().run(&batch(1), many(10, 1)).unwrap();
    assert_eq!(server.rows(&table).len(), 10);
    let error = refusal(Epoch::open(&server.output(&table).partitions(0), 1)).to_string();
    assert!(error.contains("needed are 1 to 1024"), "{error}");
}

#[test]
fn a_connection_that_is_cut_at_any_byte_costs_a_run_of_the_batch_and_no_row() {
    let server = Server::shared();
    let table = server.table();
    let wire = Wire::to(&server.0);
    let output = |patience| HBaseOutput::new(&wire.address(), &table).unwrap().patience(patience);
    let mut expected = counts([]);
    for (id, bytes) in [(1, 0), (2, 200), (3, 2_000), (4, 20_000), (5, 40_000)] {
        let rows = || many(1_000, id as i64);
        let mut workers = Epoch::open(&output(Duration::ZERO), 1).unwrap();
        workers.prepare(&batch(id), rows()).unwrap();
        assert_eq!(server.counts(&table), expected, "nothing of batch {id} is seen");
        wire.cut_after(bytes);
        let error = refusal(workers.commit(&batch(id)));
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert_eq!(wire.cuts() as u64, id, "nothing was cut at {bytes} bytes");
        wire.open();
        Epoch::open(&output(Duration::from_secs(10)), 1).unwrap().run(&batch(id), rows()).unwrap();
        expected = server.counts(&table);
        let number = id.to_string();
        assert!(expected.len() == 1_000 && expected.values().all(|count| *count == number));
    }
}

#[test]
fn a_cut_connection_is_made_anew_within_the_patience() {
    let server = Server::shared();
    let table = server.table();
    let wire = Wire::to(&server.0);
    let output = HBaseOutput::new(&wire.address(), &table).unwrap();
    let mut workers = Epoch::open(&output, 1).unwrap();
    workers.prepare(&batch(1), many(1_000, 1)).unwrap();
    wire.cut_once_after(5_000);
    workers.commit(&batch(1)).unwrap();
    assert_eq!(wire.cuts(), 1);
    assert_eq!(server.rows(&table).len(), 1_000);
}

#[test]
fn a_gateway_that_is_away_is_a_retry_with_its_address() {
    let output = HBaseOutput::new("127.0.0.1:9", "words").unwrap().patience(Duration::ZERO);
    let error = refusal(Epoch::open(&output, 1));
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

/// Rows of a batch: most of them replace those of the batch before.
fn rows(batch: u64) -> Vec<Mutation> {
    (0..1_000).map(|n| count(&format!("w{:05}", n + 100 * batch), batch as i64)).collect()
}

/// An HBase of its own, lost in each phase of a batch and started again when the job has noticed. Stopped, but for the gateway, which is
/// killed: on a local disk an HBase that is killed loses what it acknowledged.
#[test]
fn an_hbase_lost_in_any_phase_of_a_batch_leaves_what_a_run_without_faults_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(Mutex::new(Hbase::start(dir.path()).unwrap()));
    let server = Server(node.lock().unwrap().thrift());
    let (table, whole) = (server.table(), server.table());
    outputs::untroubled(server.output(&whole), rows);

    let wire = Arc::new(Wire::to(&server.0));
    let lose = {
        let (node, wire) = (node.clone(), wire.clone());
        move |phase| match phase {
            Phase::BeforePrepare | Phase::Prepared => node.lock().unwrap().stop().unwrap(),
            // While the gateway has the first part of what is to be written.
            Phase::Committing => {
                let node = node.clone();
                let is_meant = |request: &[u8]| {
                    request.len() > 10_000 && request.windows(10).any(|name| name == b"mutateRows")
                };
                wire.call_at(is_meant, move || node.lock().unwrap().kill_gateway());
            }
            Phase::PartlyCommitted => wire.cut(),
        }
    };
    let output = HBaseOutput::new(&wire.address(), &table).unwrap().patience(Duration::from_millis(100));
    let noticed = outputs::lost_in_each_phase(output, rows, lose, |_| {
        node.lock().unwrap().start_again().unwrap();
        wire.open();
    });
    assert_eq!(noticed.iter().map(|(phase, _)| *phase).collect::<Vec<_>>(), Phase::ALL);
    for (phase, error) in noticed {
        let names = format!("HBase table {table} at {}", wire.address());
        assert!(error.contains(&names), "{phase:?}: {error}");
    }
    let expected = server.rows(&whole);
    assert_eq!(expected.len(), 1_500);
    assert_eq!(server.rows(&table), expected);
}
