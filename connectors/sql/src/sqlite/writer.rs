//! Writes the rows of a batch into a SQLite file.

use super::database::{Database, Joined, State};
use super::failure::failure;
use crate::memory;
use crate::row::{SqlRef, SqlRow};
use crate::staging::{Rows, key_text};
use crate::table::{Mode, Table, quoted, quoted_list};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;
use tidegate_core::{Batch, BatchId, PartitionId, Result, Writer};

/// Executes rows as they come, in the transaction that the outputs of the file share.
pub(super) struct SqliteWriter<T> {
    database: Arc<Database>,
    rows: Rows,
    statement: String,
    /// The statement that takes one row out, where rows may delete.
    delete: Option<String>,
    epoch: i64,
    ticket: Option<u64>,
    /// Rows that came while the file was still at an earlier batch.
    waiting: Vec<T>,
}

impl<T: SqlRow> SqliteWriter<T> {
    pub(super) fn new(database: Arc<Database>, rows: Rows, epoch: i64) -> Self {
        let statement = statement(&rows.table);
        let delete = T::DELETES.then(|| delete_statement(&rows.table));
        SqliteWriter { database, rows, statement, delete, epoch, ticket: None, waiting: Vec::new() }
    }

    /// Executes all rows that wait, when the file is at their batch.
    fn execute(&mut self, state: &mut State, batch: BatchId) -> Result<()> {
        match self.database.join(state, batch, self.ticket)? {
            Joined::Later => return Ok(()),
            Joined::Now { ticket, first } => {
                self.ticket = Some(ticket);
                // The transaction holds the lock: an epoch that is ours now is ours until the commit.
                if first {
                    self.check_fence(state.connection()?, batch)?;
                }
            }
        }
        if self.waiting.is_empty() {
            return Ok(());
        }
        let connection = state.connection()?;
        let fail = |error| failure(&self.database.place, error);
        let mut put = connection.prepare_cached(&self.statement).map_err(fail)?;
        let mut delete = match &self.delete {
            Some(delete) => Some(connection.prepare_cached(delete).map_err(fail)?),
            None => None,
        };
        for row in self.waiting.drain(..) {
            let statement = match &mut delete {
                Some(delete) if row.is_delete() => delete,
                _ => &mut put,
            };
            self.rows.each_value(batch, &row, |field, value| {
                let value = ToSqlOutput::Borrowed(bound(value)?);
                statement.raw_bind_parameter(field + 1, value).map_err(|error| error.to_string())
            })?;
            statement.raw_execute().map_err(|error| {
                let row = match self.rows.table.mode {
                    Mode::Insert => String::new(),
                    Mode::Upsert | Mode::Add => format!(": row {}", key_text(&self.rows.table, &row)),
                };
                failure(&self.database.place, error).context(format!("{}{row}", self.rows.place(batch)))
            })?;
        }
        Ok(())
    }

    fn check_fence(&self, connection: &Connection, batch: BatchId) -> Result<()> {
        let place = self.rows.place(batch);
        let epoch: Option<i64> = connection
            .prepare_cached("SELECT epoch FROM tidegate_outputs WHERE output = ?1")
            .and_then(|mut statement| statement.query_row([&self.rows.output.0], |row| row.get(0)).optional())
            .map_err(|error| failure(&place, error))?;
        if epoch == Some(self.epoch) { Ok(()) } else { Err(memory::taken_over(&place)) }
    }

    fn remember(&self, connection: &Connection, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        let number = memory::batch_number(batch.id())?;
        let mut plan = Some(memory::plan_json(batch.plan())?);
        for partition in partitions {
            connection
                .prepare_cached(
                    "INSERT INTO tidegate_batches (output, partition, batch, plan) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (output, partition) DO UPDATE SET batch = excluded.batch, plan = excluded.plan",
                )
                .and_then(|mut statement| {
                    statement.execute(params![self.rows.output.0, partition.0, number, plan.take()])
                })
                .map_err(|error| failure(&self.rows.place(batch.id()), error))?;
        }
        Ok(())
    }

    /// What failed within the transaction may have left half a batch in it: nobody may commit that.
    fn or_give_up(&self, done: Result<()>) -> Result<()> {
        if done.is_err()
            && let Some(ticket) = self.ticket
        {
            self.database.give_up(ticket);
        }
        done
    }
}

impl<T: SqlRow> Writer<T> for SqliteWriter<T> {
    fn write(&mut self, batch: &Batch, _: PartitionId, rows: Vec<T>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if self.waiting.is_empty() {
            self.waiting = rows;
        } else {
            self.waiting.extend(rows);
        }
        let database = Arc::clone(&self.database);
        let mut state = database.lock();
        let done = self.execute(&mut state, batch.id());
        drop(state);
        self.or_give_up(done)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        let nothing = self.ticket.is_none() && self.waiting.is_empty();
        if nothing && batch.plan().is_empty() {
            // An idle stream costs no sync to disk. Run again, the batch gives nothing again.
            return Ok(());
        }
        let database = Arc::clone(&self.database);
        let mut state = database.lock_for(batch.id())?;
        let done = self
            .execute(&mut state, batch.id())
            .and_then(|()| self.remember(state.connection()?, batch, partitions));
        drop(state);
        self.or_give_up(done)
    }

    fn commit(&mut self, _: &Batch) -> Result<()> {
        self.rows.batch_over();
        match self.ticket.take() {
            Some(ticket) => self.database.commit(ticket),
            None => Ok(()),
        }
    }
}

impl<T> Drop for SqliteWriter<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.database.give_up(ticket);
        }
    }
}

/// The value as SQLite binds it.
fn bound(value: SqlRef<'_>) -> Result<ValueRef<'_>, String> {
    Ok(match value {
        SqlRef::Null => ValueRef::Null,
        SqlRef::Int(number) => ValueRef::Integer(number),
        SqlRef::Unsigned(number) => return Err(format!("{number} does not fit")),
        // SQLite would store NULL in its place.
        SqlRef::Float(number) if number.is_nan() => return Err("SQLite can't keep NaN".to_owned()),
        SqlRef::Float(number) => ValueRef::Real(number),
        SqlRef::Bool(truth) => ValueRef::Integer(i64::from(truth)),
        SqlRef::Text(text) => ValueRef::Text(text.as_bytes()),
        SqlRef::Bytes(bytes) => ValueRef::Blob(bytes),
    })
}

/// The statement that takes the row of one key out.
pub(super) fn delete_statement(table: &Table) -> String {
    let marks = 1..=table.keys.len();
    // A key is its bytes here, also where the column's own collation would take "A" for "a".
    let terms: Vec<String> = (table.keys.iter().zip(marks))
        .map(|(key, mark)| format!("{} = ?{mark} COLLATE BINARY", quoted(key)))
        .collect();
    format!("DELETE FROM {} WHERE {}", quoted(&table.name), terms.join(" AND "))
}

/// The statement that writes one row.
pub(super) fn statement(table: &Table) -> String {
    let columns = quoted_list(table.columns());
    let marks: Vec<String> = (1..=table.columns().count()).map(|place| format!("?{place}")).collect();
    let insert =
        format!("INSERT INTO {} AS stored ({columns}) VALUES ({})", quoted(&table.name), marks.join(", "));
    let keys = quoted_list(table.keys.iter().map(String::as_str));
    let sets = |set: fn(&str) -> String| -> String {
        table.values.iter().map(|column| set(&quoted(column))).collect::<Vec<_>>().join(", ")
    };
    match table.mode {
        Mode::Insert => insert,
        Mode::Upsert if table.values.is_empty() => format!("{insert} ON CONFLICT ({keys}) DO NOTHING"),
        Mode::Upsert => {
            let sets = sets(|column| format!("{column} = excluded.{column}"));
            format!("{insert} ON CONFLICT ({keys}) DO UPDATE SET {sets}")
        }
        Mode::Add => {
            // A counter that someone has set to NULL counts from 0: NULL + 1 is NULL, and the row would be lost.
            let sets = sets(|column| format!("{column} = coalesce(stored.{column}, 0) + excluded.{column}"));
            format!("{insert} ON CONFLICT ({keys}) DO UPDATE SET {sets}")
        }
    }
}
