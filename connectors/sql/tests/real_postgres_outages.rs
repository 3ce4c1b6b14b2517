//! PostgreSQL while its server is stopped and killed in each phase of a batch, with a server of the test's own.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use postgres::{Client, NoTls};
use std::sync::{Arc, Mutex};
use support::server::{ANSWER, Schema, asks};
use support::*;
use tidegate::testkit::outputs::{self, Phase};
use tidegate_servers::Postgres;
use tidegate_sql::{PostgresOutput, Table};

/// How the server is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// It is stopped in order; in a commit, before it has the statement.
    Stopped,
    /// It is killed; in a commit, when it has answered and the job does not know.
    Killed,
}

/// Rows of a batch: each adds to what the batches before left.
fn rows(batch: u64) -> Vec<Count> {
    (0..100).map(|n| count(&format!("w{:03}", n + 10 * batch), batch as i64)).collect()
}

#[test]
fn a_server_lost_in_any_phase_of_a_batch_leaves_what_a_run_without_faults_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let server = Arc::new(Mutex::new(Postgres::start(directory.path()).unwrap()));
    let url = server.lock().unwrap().url();
    let table = || Table::add("word_counts", ["word"], ["count"]);
    let mut whole = Schema::on(&url, "whole");
    outputs::untroubled(PostgresOutput::new(&whole.url, table()).unwrap(), rows);
    let expected = whole.words();
    assert_eq!((expected.len(), expected[50].as_str()), (150, "w060 21"));

    for (number, loss) in [Loss::Stopped, Loss::Killed].into_iter().enumerate() {
        let name = format!("lost_{number}");
        let mut schema = Schema::on(&url, &name);
        let (wire, by_wire) = schema.wire();
        let wire = Arc::new(wire);
        let end = {
            let server = server.clone();
            move || match loss {
                Loss::Stopped => server.lock().unwrap().stop().unwrap(),
                Loss::Killed => server.lock().unwrap().kill(),
            }
        };
        let lose = {
            let wire = wire.clone();
            move |phase| match (phase, loss) {
                (Phase::Committing, Loss::Stopped) => wire.call_at(asks("COMMIT"), end.clone()),
                (Phase::Committing, Loss::Killed) => wire.cut_at(asks("COMMIT"), ANSWER, usize::MAX),
                _ => end(),
            }
        };
        let output = PostgresOutput::new(&by_wire, table()).unwrap();
        let noticed = outputs::lost_in_each_phase(output, rows, lose, |_| {
            let mut server = server.lock().unwrap();
            server.kill();
            server.start_again().unwrap();
            wire.open();
        });
        assert_eq!(noticed.iter().map(|(phase, _)| *phase).collect::<Vec<_>>(), Phase::ALL, "{loss:?}");
        for (phase, error) in noticed {
            let names = format!("PostgreSQL at {}", wire.address());
            assert!(error.contains(&names), "{loss:?}, {phase:?}: {error}");
        }
        schema.client = Client::connect(&schema.url, NoTls).unwrap();
        assert_eq!(schema.words(), expected, "{loss:?}");
    }
}
