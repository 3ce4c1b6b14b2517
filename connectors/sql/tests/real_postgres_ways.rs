//! How fast rows come into PostgreSQL by each way there is: arrays in one statement, `COPY` into the table, `COPY` into a
//! temporary table and one merge. Prints rows a second; judges nothing. Run by name, on a machine that does nothing else:
//! `cargo test --release -p tidegate-sql --test real_postgres_ways -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use postgres::{Client, NoTls, Transaction};
use std::time::{Duration, Instant};

/// Rows of one statement, as the output has them.
const CHUNK: usize = 5_000;
/// Time for one figure.
const TIME: Duration = Duration::from_millis(1500);

type Row = (String, i64);
type Way = fn(&mut Transaction<'_>, &[Row], &str);

const UPSERT: &str = "ON CONFLICT (word) DO UPDATE SET count = excluded.count";
const ADD: &str = "ON CONFLICT (word) DO UPDATE SET count = coalesce(stored.count, 0) + excluded.count";

fn arrays(transaction: &mut Transaction<'_>, rows: &[Row], on_conflict: &str) {
    let statement = format!(
        "INSERT INTO t AS stored (word, count) SELECT * FROM unnest($1::text[], $2::bigint[]) AS rows (f0, f1) {on_conflict}"
    );
    let statement = transaction.prepare(&statement).unwrap();
    for chunk in rows.chunks(CHUNK) {
        let words: Vec<&str> = chunk.iter().map(|row| row.0.as_str()).collect();
        let counts: Vec<i64> = chunk.iter().map(|row| row.1).collect();
        transaction.execute(&statement, &[&words, &counts]).unwrap();
    }
}

fn copy_in(transaction: &mut Transaction<'_>, rows: &[Row], statement: &str) {
    let sink = transaction.copy_in(statement).unwrap();
    let mut writer = BinaryCopyInWriter::new(sink, &[Type::TEXT, Type::INT8]);
    for (word, count) in rows {
        writer.write(&[word, count]).unwrap();
    }
    writer.finish().unwrap();
}

fn copy(transaction: &mut Transaction<'_>, rows: &[Row], _: &str) {
    for chunk in rows.chunks(CHUNK) {
        copy_in(transaction, chunk, "COPY t (word, count) FROM STDIN BINARY");
    }
}

fn staged(transaction: &mut Transaction<'_>, rows: &[Row], on_conflict: &str) {
    for chunk in rows.chunks(CHUNK) {
        copy_in(transaction, chunk, "COPY staged (f0, f1) FROM STDIN BINARY");
    }
    let merge = format!("INSERT INTO t AS stored (word, count) SELECT f0, f1 FROM staged {on_conflict}");
    transaction.execute(&merge, &[]).unwrap();
}

/// Rows a second of batches of `size` rows, each in a transaction of its own.
fn measure(client: &mut Client, way: Way, on_conflict: &str, size: usize) -> f64 {
    let key = if on_conflict.is_empty() { "" } else { "PRIMARY KEY" };
    client
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (word TEXT {key}, count BIGINT); CHECKPOINT"
        ))
        .unwrap();
    let (mut done, mut time, mut number) = (0, Duration::ZERO, 0u64);
    while time < TIME {
        // Half of the keys are there already, once the table has some.
        let rows: Vec<Row> = (0..size as u64)
            .map(|row| {
                number += 1;
                let key = if row % 2 == 0 { number } else { (number / 2) | (1 << 40) };
                (format!("w{:016x}", key.wrapping_mul(0x9E37_79B9_7F4A_7C15)), row as i64)
            })
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_iter()
            .collect();
        let begun = Instant::now();
        let mut transaction = client.transaction().unwrap();
        way(&mut transaction, &rows, on_conflict);
        transaction.commit().unwrap();
        time += begun.elapsed();
        done += rows.len();
    }
    done as f64 / time.as_secs_f64()
}

#[test]
#[ignore = "measures, and judges nothing"]
fn rows_a_second() {
    let server = std::env::var("TIDEGATE_TEST_POSTGRES").expect("TIDEGATE_TEST_POSTGRES names a server");
    let mut client = Client::connect(&server, NoTls).unwrap();
    client
        .batch_execute(
            "DROP SCHEMA IF EXISTS ways CASCADE; CREATE SCHEMA ways; SET search_path = ways; \
             CREATE TEMPORARY TABLE staged (f0 TEXT, f1 BIGINT) ON COMMIT DELETE ROWS",
        )
        .unwrap();
    type Kind = (&'static str, &'static str, &'static [(&'static str, Way)]);
    let kinds: [Kind; 3] = [
        ("insert", "", &[("arrays", arrays), ("copy", copy)]),
        ("upsert", UPSERT, &[("arrays", arrays), ("staged", staged)]),
        ("add", ADD, &[("arrays", arrays), ("staged", staged)]),
    ];
    for (kind, on_conflict, ways) in kinds {
        for size in [10, 100, 1_000, 10_000, 100_000] {
            for (name, way) in ways {
                let rate = measure(&mut client, *way, on_conflict, size);
                println!("{kind:7} {size:7} rows a batch  {name:7} {rate:10.0} rows/s");
            }
        }
    }
}
