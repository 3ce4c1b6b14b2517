//! A schema of a test's own on the PostgreSQL server, and the workers of an epoch.

use super::*;
use postgres::{Client, NoTls};
use std::collections::BTreeMap;
use std::time::Duration;
use tidegate_sql::{PostgresOutput, SqlRow, Table};

/// A schema on the server, which the URL makes the first of the search path.
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Schema {
    pub(crate) fn new(name: &str) -> Schema {
        let server = std::env::var("TIDEGATE_TEST_POSTGRES").unwrap_or_else(|_| {
            panic!("TIDEGATE_TEST_POSTGRES names no server: run these tests by `cargo xtask test`, which starts one")
        });
        let mark = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{mark}options=-csearch_path%3D{name}");
        let mut client = Client::connect(&url, NoTls).unwrap();
        client.batch_execute(&format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}")).unwrap();
        Schema { url, client }
    }

    pub(crate) fn output(&self, table: Table) -> PostgresOutput {
        PostgresOutput::new(&self.url, table).unwrap().lock_timeout(Duration::from_millis(300))
    }

    pub(crate) fn counts(&self) -> PostgresOutput {
        self.output(Table::add("word_counts", ["word"], ["count"]))
    }

    pub(crate) fn run(&mut self, sql: &str) {
        self.client.batch_execute(sql).unwrap();
    }

    pub(crate) fn query(&mut self, sql: &str) -> Vec<String> {
        self.client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    }

    pub(crate) fn words(&mut self) -> Vec<String> {
        self.query("SELECT word || ' ' || count FROM word_counts ORDER BY word")
    }
}

/// The writers of `workers` workers: partition p belongs to worker p % workers.
pub(crate) struct Workers<T> {
    pub(crate) output: PostgresOutput,
    pub(crate) held: Held,
    pub(crate) writers: Vec<Box<dyn Writer<T>>>,
}

impl<T: SqlRow> Workers<T> {
    pub(crate) fn start(output: PostgresOutput, workers: usize) -> Workers<T> {
        let held = open::<T>(&output).unwrap();
        let writers = (0..workers).map(|worker| seat(&output, worker, workers).unwrap()).collect();
        Workers { output, held, writers }
    }

    pub(crate) fn holds(&self, partition: PartitionId, batch: &Batch) -> bool {
        self.held.partitions.get(&partition).is_some_and(|held| *held >= batch.id())
    }

    pub(crate) fn prepare(&mut self, batch: &Batch, rows: Vec<T>) -> Result<()> {
        let workers = self.writers.len();
        let (partitions, places) = placed(&self.output, &rows);
        let mut parts: BTreeMap<PartitionId, Vec<T>> = BTreeMap::new();
        for (row, place) in rows.into_iter().zip(places) {
            parts.entry(place).or_default().push(row);
        }
        for (partition, rows) in parts {
            if !self.holds(partition, batch) {
                self.writers[partition.0 as usize % workers].write(batch, partition, rows)?;
            }
        }
        for worker in 0..workers {
            let missing: Vec<PartitionId> = (0..partitions)
                .map(PartitionId)
                .filter(|part| part.0 as usize % workers == worker && !self.holds(*part, batch))
                .collect();
            if !missing.is_empty() {
                self.writers[worker].prepare(batch, &missing)?;
            }
        }
        Ok(())
    }

    pub(crate) fn run(&mut self, batch: &Batch, rows: Vec<T>) -> Result<()> {
        self.prepare(batch, rows)?;
        self.writers.iter_mut().try_for_each(|writer| writer.commit(batch))
    }
}

pub(crate) fn many(words: i64) -> Vec<Count> {
    (0..words).map(|number| count(&format!("w{number:05}"), number)).collect()
}
