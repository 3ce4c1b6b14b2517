//! Rows into a table of PostgreSQL: `COPY` in one transaction a batch.

use crate::row::{Row, Rows as Share};
use crate::sink::{Client, Sink};
use postgres::NoTls;
use std::io::Write;
use tidegate::{DStream, Result};
use tidegate_benches::Failure;
use tidegate_sql::{SaveToSql, Table};

const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: i16 = -1;
/// Bytes that go to the server at once.
const CHUNK: usize = 256 * 1024;

pub(crate) struct Rows {
    pub(crate) url: String,
    pub(crate) table: String,
}

impl Sink for Rows {
    fn make(&self) -> std::result::Result<(), Failure> {
        let table = format!(
            "CREATE TABLE {} (id BIGINT NOT NULL, word TEXT NOT NULL, level DOUBLE PRECISION NOT NULL)",
            self.table
        );
        Ok(postgres::Client::connect(&self.url, NoTls)?.batch_execute(&table)?)
    }

    fn save(&self, rows: &DStream<Row>) -> Result<()> {
        let table = Table::insert(self.table.clone(), ["id", "word", "level"]);
        rows.map(|row| (row.id, row.word, row.level)).save_to_postgres(&self.url, table).map(drop)
    }

    fn client(&self, _: u64) -> std::result::Result<Box<dyn Client>, Failure> {
        let statement = format!("COPY {} (id, word, level) FROM STDIN BINARY", self.table);
        Ok(Box::new(Copying { client: postgres::Client::connect(&self.url, NoTls)?, statement }))
    }

    fn rows(&self) -> std::result::Result<Option<u64>, Failure> {
        let count = format!("SELECT count(*) FROM {}", self.table);
        let count: i64 = postgres::Client::connect(&self.url, NoTls)?.query_one(&count, &[])?.get(0);
        Ok(Some(count.cast_unsigned()))
    }
}

struct Copying {
    client: postgres::Client,
    statement: String,
}

impl Client for Copying {
    fn write(&mut self, _: u64, rows: Share) -> std::result::Result<(), Failure> {
        let mut transaction = self.client.transaction()?;
        let mut copy = transaction.copy_in(&self.statement)?;
        let mut bytes = HEADER.to_vec();
        for row in rows {
            bytes.extend_from_slice(&3i16.to_be_bytes());
            field(&mut bytes, &row.id.to_be_bytes())?;
            field(&mut bytes, row.word.as_bytes())?;
            field(&mut bytes, &row.level.to_be_bytes())?;
            if bytes.len() >= CHUNK {
                copy.write_all(&bytes)?;
                bytes.clear();
            }
        }
        bytes.extend_from_slice(&END.to_be_bytes());
        copy.write_all(&bytes)?;
        copy.finish()?;
        Ok(transaction.commit()?)
    }
}

fn field(bytes: &mut Vec<u8>, value: &[u8]) -> std::result::Result<(), Failure> {
    bytes.extend_from_slice(&i32::try_from(value.len())?.to_be_bytes());
    bytes.extend_from_slice(value);
    Ok(())
}
