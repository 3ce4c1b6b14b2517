//! A schema of a test's own on a PostgreSQL server, a way to it that can be cut at a statement.

use super::*;
use postgres::{Client, NoTls};
use std::time::Duration;
use tidegate_servers::POSTGRES_ENV;
use tidegate_servers::wire::{Lost, Wire};
use tidegate_sql::{PostgresOutput, Table};

/// A schema on the server, which the URL makes the first of the search path.
pub(crate) struct Schema {
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Schema {
    /// On the server that `cargo xtask test` hands out.
    pub(crate) fn new(name: &str) -> Schema {
        Schema::on(
            &std::env::var(POSTGRES_ENV).unwrap_or_else(|_| {
                panic!(
                    "{POSTGRES_ENV} names no server: run these tests by `cargo xtask test`, which starts one"
                )
            }),
            name,
        )
    }

    pub(crate) fn on(server: &str, name: &str) -> Schema {
        let mark = if server.contains('?') { '&' } else { '?' };
        let url = format!("{server}{mark}options=-csearch_path%3D{name}");
        let mut client = Client::connect(&url, NoTls).unwrap();
        client.batch_execute(&format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}")).unwrap();
        Schema { url, client }
    }

    /// A way to the server that can be cut, and the URL by that.
    pub(crate) fn wire(&self) -> (Wire, String) {
        let (_, rest) = self.url.rsplit_once('@').unwrap();
        let server = rest.split('/').next().unwrap();
        let wire = Wire::to(server);
        let url = self.url.replace(server, &wire.address());
        (wire, url)
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

/// Whether a client asks for a statement that begins so.
pub(crate) fn asks(statement: &'static str) -> impl FnMut(&[u8]) -> bool + Send + 'static {
    // A letter, four bytes of length, the text.
    move |request| {
        let mut messages = request.windows(5 + statement.len());
        messages.any(|message| message[0] == b'Q' && message[5..] == *statement.as_bytes())
    }
}

/// The answer is lost, once it is whole: "ready for query".
pub(crate) const ANSWER: Lost =
    Lost::Answer(|answer| answer.len() >= 6 && answer[answer.len() - 6..].starts_with(b"Z\0\0\0\x05"));

pub(crate) fn many(words: i64) -> Vec<Count> {
    (0..words).map(|number| count(&format!("w{number:05}"), number)).collect()
}
