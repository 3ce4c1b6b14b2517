//! Writes the rows of a batch to a PostgreSQL server.

use super::columns::Column;
use super::copy;
use super::failure::failure;
use super::pool::{Lease, Pool, Session};
use super::schema::{DIALECT, qualified};
use crate::memory;
use crate::row::{SqlKind, SqlRow, SqlType};
use crate::staging::Rows;
use crate::table::{Mode, Table, quoted, quoted_list};
use postgres::types::ToSql;
use std::marker::PhantomData;
use std::sync::Arc;
use tidegate_core::{Batch, BatchId, Error, ErrorKind, Packed, PartitionId, Result, Writer};

/// Rows of one statement at most, of those that are given as arrays.
const CHUNK_ROWS_MAX: usize = 5_000;
/// Rows from which on a `COPY` is the faster of the two.
const COPY_ROWS_MIN: usize = 5_000;
/// Rows of one `COPY` at most.
const COPY_ROWS_MAX: usize = 50_000;
/// Bytes of one statement at most, beyond its last row.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// Says that partitions hold a batch, if the epoch is still ours. The lock on the row is kept until the commit, so
/// whoever takes the output over waits for it, and finds the batch.
const REMEMBER: &str = "WITH fence AS (SELECT FROM tidegate_outputs WHERE output = $1 AND epoch = $2 FOR SHARE) \
     INSERT INTO tidegate_batches (output, partition, batch, plan) \
     SELECT $1, part.number, $3, part.plan FROM fence, unnest($4::int4[], $5::text[]) AS part (number, plan) \
     ON CONFLICT (output, partition) DO UPDATE SET batch = excluded.batch, plan = excluded.plan";

/// Gathers rows into columns and sends them in chunks, in a transaction that is open until the commit.
pub(super) struct PostgresWriter<T> {
    pool: Arc<Pool>,
    lease: Option<Lease>,
    rows: Rows,
    epoch: i64,
    put: Gathered,
    /// Rows that came packed, which only add: then there are none to [`put`](Self::put).
    new: Option<NewRows>,
    /// Keys of rows that are taken out, where rows may delete.
    delete: Option<Gathered>,
    of: PhantomData<fn(T)>,
}

impl<T: SqlRow> PostgresWriter<T> {
    pub(super) fn new(pool: Arc<Pool>, rows: Rows, epoch: i64, copies: bool) -> Self {
        let put = Gathered::new(statement(&rows.table, &rows.types), &rows.types);
        let new =
            only_adds::<T>(&rows.table).then(|| NewRows::new(copies.then(|| copy::statement(&rows.table))));
        let keys = &rows.types[..rows.table.keys.len()];
        let delete = T::DELETES.then(|| Gathered::new(delete_statement(&rows.table, keys), keys));
        PostgresWriter { pool, lease: None, rows, epoch, put, new, delete, of: PhantomData }
    }

    fn gather(&mut self, batch: BatchId, rows: &[T]) -> Result<()> {
        for row in rows {
            let gathered = match &mut self.delete {
                Some(delete) if row.is_delete() => delete,
                _ => &mut self.put,
            };
            self.rows.each_value(batch, row, |field, value| gathered.columns[field].push(value))?;
            gathered.rows += 1;
            if gathered.is_full() {
                self.send(batch)?;
            }
        }
        Ok(())
    }

    /// Sends the rows that were gathered.
    fn send(&mut self, batch: BatchId) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.begin()?;
        let place = format!("{}, {}", self.rows.place(batch), self.pool.place());
        let session = open_lease(&mut self.lease)?.session()?;
        let sent = match &mut self.new {
            Some(new) => new.send(session, &mut self.put)?,
            None => Ok(()),
        };
        // What goes first leaves room in a second unique index for what comes.
        let mut parts = self.delete.iter_mut().chain([&mut self.put]);
        sent.and_then(|()| parts.try_for_each(|part| part.send(session)))
            .map_err(|error| failure(&place, &error))
    }

    fn is_empty(&self) -> bool {
        self.put.rows == 0
            && self.new.as_ref().is_none_or(|new| new.rows == 0)
            && self.delete.as_ref().is_none_or(|delete| delete.rows == 0)
    }

    /// Begins the batch's transaction, if it is not open.
    fn begin(&mut self) -> Result<()> {
        if let Some(lease) = &mut self.lease {
            if lease.in_transaction() {
                return Ok(());
            }
            // A server that was restarted between two batches has cost nothing yet: another connection will do.
            match lease.begin() {
                Err(error) if error.kind() == ErrorKind::Retry => self.lease = None,
                done => return done,
            }
        }
        self.lease.insert(self.pool.lease()?).begin()
    }

    fn remember(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        self.begin()?;
        let place = self.rows.place(batch.id());
        let number = memory::batch_number(batch.id())?;
        let places = partitions
            .iter()
            .map(|partition| i32::try_from(partition.0))
            .collect::<Result<Vec<i32>, _>>()
            .map_err(|_| Error::bug(format!("{place}: a partition beyond 32 bits")))?;
        let mut plans: Vec<Option<String>> = vec![None; places.len()];
        if let Some(first) = plans.first_mut() {
            *first = Some(memory::plan_json(batch.plan())?);
        }
        let values: [&(dyn ToSql + Sync); 5] = [&self.rows.output.0, &self.epoch, &number, &places, &plans];
        let session = open_lease(&mut self.lease)?.session()?;
        let written = session
            .execute(REMEMBER, &values)
            .map_err(|error| failure(&format!("{place}, {}", self.pool.place()), &error))?;
        if written == places.len() as u64 { Ok(()) } else { Err(memory::taken_over(&place)) }
    }

    /// Has the server check now what it would check at the commit: other outputs have committed by then.
    fn check_what_is_deferred(&mut self, batch: BatchId) -> Result<()> {
        let place = format!("{}, {}", self.rows.place(batch), self.pool.place());
        let session = open_lease(&mut self.lease)?.session()?;
        session.client.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").map_err(|error| failure(&place, &error))
    }

    /// What failed is rolled back at once: a commit of a failed transaction would be answered like any other.
    fn or_give_up(&mut self, done: Result<()>) -> Result<()> {
        if done.is_err() {
            self.lease = None;
        }
        done
    }
}

impl<T: SqlRow> Writer<T> for PostgresWriter<T> {
    fn write(&mut self, batch: &Batch, _: PartitionId, rows: Vec<T>) -> Result<()> {
        let done = self.gather(batch.id(), &rows);
        self.or_give_up(done)
    }

    fn write_packed(&mut self, batch: &Batch, _: PartitionId, rows: Packed) -> Result<()> {
        let Some(new) = &mut self.new else {
            return Err(Error::bug("PostgreSQL: packed rows that may not be new"));
        };
        new.add(&rows);
        let done = if new.is_full() { self.send(batch.id()) } else { Ok(()) };
        self.or_give_up(done)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        let began = self.lease.as_ref().is_some_and(Lease::in_transaction);
        if !began && self.is_empty() && batch.plan().is_empty() {
            // An idle stream costs no round trip. Run again, the batch gives nothing again.
            return Ok(());
        }
        let done = self
            .send(batch.id())
            .and_then(|()| self.remember(batch, partitions))
            .and_then(|()| self.check_what_is_deferred(batch.id()));
        self.or_give_up(done)
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.rows.batch_over();
        let Some(lease) = self.lease.as_mut().filter(|lease| lease.in_transaction()) else { return Ok(()) };
        lease.commit().map_err(|error| {
            self.lease = None;
            // Whatever it was, whether the batch is in is for the next opening to say.
            Error::retry(error.context(self.rows.place(batch.id())).to_string())
        })
    }
}

/// Whether each row is one more in the table, so that it need not be told from those that are there.
pub(super) fn only_adds<T: SqlRow>(table: &Table) -> bool {
    table.mode == Mode::Insert && !T::DELETES
}

/// Rows that are new in any case, as a `COPY` has them.
struct NewRows {
    /// What takes many of them, where the table lets it. Few are faster as arrays.
    copy: Option<String>,
    /// Behind the header.
    bytes: Vec<u8>,
    rows: usize,
}

impl NewRows {
    fn new(copy: Option<String>) -> NewRows {
        NewRows { copy, bytes: copy::HEADER.to_vec(), rows: 0 }
    }

    fn add(&mut self, packed: &Packed) {
        self.bytes.extend_from_slice(&packed.bytes);
        self.rows += usize::try_from(packed.rows).unwrap_or(usize::MAX);
    }

    fn is_full(&self) -> bool {
        let rows_max = if self.copy.is_some() { COPY_ROWS_MAX } else { CHUNK_ROWS_MAX };
        self.rows >= rows_max || self.bytes.len() >= CHUNK_BYTES_MAX
    }

    /// Sends them, or leaves them in `arrays`.
    fn send(&mut self, session: &mut Session, arrays: &mut Gathered) -> Result<Result<(), postgres::Error>> {
        let mut sent = Ok(());
        if let Some(copy) = &self.copy
            && (self.rows >= COPY_ROWS_MIN || self.is_full())
        {
            copy::end(&mut self.bytes);
            sent = session.copy_in(copy, &self.bytes).map(drop);
        } else {
            copy::into_columns(&self.bytes[copy::HEADER.len()..], &mut arrays.columns)?;
            arrays.rows += self.rows;
        }
        self.bytes.truncate(copy::HEADER.len());
        self.rows = 0;
        Ok(sent)
    }
}

/// Rows on their way to one statement.
struct Gathered {
    statement: String,
    columns: Vec<Column>,
    rows: usize,
}

impl Gathered {
    fn new(statement: String, types: &[SqlType]) -> Gathered {
        Gathered { statement, columns: types.iter().map(|of| Column::new(*of)).collect(), rows: 0 }
    }

    fn len_bytes(&self) -> usize {
        self.columns.iter().map(Column::len_bytes).sum()
    }

    fn is_full(&self) -> bool {
        self.rows >= CHUNK_ROWS_MAX || self.len_bytes() >= CHUNK_BYTES_MAX
    }

    fn send(&mut self, session: &mut Session) -> Result<(), postgres::Error> {
        if self.rows == 0 {
            return Ok(());
        }
        let values: Vec<&(dyn ToSql + Sync)> = self.columns.iter().map(|column| column as _).collect();
        session.execute(&self.statement, &values)?;
        self.columns.iter_mut().for_each(Column::clear);
        self.rows = 0;
        Ok(())
    }
}

fn open_lease(lease: &mut Option<Lease>) -> Result<&mut Lease> {
    lease.as_mut().ok_or_else(|| Error::bug("PostgreSQL: a statement before the transaction began"))
}

/// The names of fields, and rows made of one array for each of them.
fn arrays(types: &[SqlType]) -> (Vec<String>, String) {
    let fields: Vec<String> = (0..types.len()).map(|field| format!("f{field}")).collect();
    let arrays: Vec<String> = types
        .iter()
        .enumerate()
        .map(|(field, of)| format!("${}::{}[]", field + 1, (DIALECT.type_name)(of.kind)))
        .collect();
    let rows = format!("unnest({}) AS rows ({})", arrays.join(", "), fields.join(", "));
    (fields, rows)
}

/// The statement that takes a chunk of rows out, by their keys.
fn delete_statement(table: &Table, keys: &[SqlType]) -> String {
    let (fields, rows) = arrays(keys);
    let terms: Vec<String> = table
        .keys
        .iter()
        .zip(fields)
        .map(|(key, field)| format!("stored.{} = rows.{field}", quoted(key)))
        .collect();
    format!("DELETE FROM {} AS stored USING {rows} WHERE {}", qualified(table), terms.join(" AND "))
}

/// The statement that writes a chunk of rows, given as one array a column.
fn statement(table: &Table, types: &[SqlType]) -> String {
    let (fields, rows) = arrays(types);
    let insert = format!("INSERT INTO {} AS stored ({})", qualified(table), quoted_list(table.columns()));
    let keys = quoted_list(table.keys.iter().map(String::as_str));
    let sets = |set: fn(&str) -> String| -> String {
        table.values.iter().map(|column| set(&quoted(column))).collect::<Vec<_>>().join(", ")
    };
    match table.mode {
        Mode::Insert => format!("{insert} SELECT * FROM {rows}"),
        Mode::Upsert if table.values.is_empty() => {
            format!("{insert} SELECT * FROM {rows} ON CONFLICT ({keys}) DO NOTHING")
        }
        Mode::Upsert => {
            let sets = sets(|column| format!("{column} = excluded.{column}"));
            format!("{insert} SELECT * FROM {rows} ON CONFLICT ({keys}) DO UPDATE SET {sets}")
        }
        Mode::Add => {
            // A statement may touch a row once, so rows of one key are summed first. The cast refuses a sum that runs over.
            let (key_fields, value_fields) = fields.split_at(table.keys.len());
            let sums = value_fields.iter().zip(&types[table.keys.len()..]).map(|(field, of)| match of.kind {
                SqlKind::Float8 => format!("sum({field})"),
                _ => format!("sum({field})::{}", (DIALECT.type_name)(of.kind)),
            });
            let selected: Vec<String> = key_fields.iter().cloned().chain(sums).collect();
            let keys_selected = key_fields.join(", ");
            // A counter that someone has set to NULL counts from 0: NULL + 1 is NULL, and the row would be lost.
            let sets = sets(|column| format!("{column} = coalesce(stored.{column}, 0) + excluded.{column}"));
            format!(
                "{insert} SELECT {} FROM {rows} GROUP BY {keys_selected} ON CONFLICT ({keys}) DO UPDATE SET {sets}",
                selected.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_types<T: SqlRow>(table: &Table) -> Vec<SqlType> {
        table.types_of::<T>(63).unwrap()
    }

    #[test]
    fn a_chunk_is_one_statement() {
        let of = |table: &Table| statement(table, &table_types::<(String, i64)>(table));
        let rows = "unnest($1::TEXT[], $2::BIGINT[]) AS rows (f0, f1)";
        assert_eq!(
            of(&Table::insert("s.t", ["a", "b"])),
            format!("INSERT INTO \"s\".\"t\" AS stored (\"a\", \"b\") SELECT * FROM {rows}")
        );
        let types = table_types::<(String, i64, i64)>(&Table::upsert("t", ["a", "b"], ["c"]));
        assert_eq!(
            delete_statement(&Table::upsert("t", ["a", "b"], ["c"]), &types[..2]),
            "DELETE FROM \"t\" AS stored USING unnest($1::TEXT[], $2::BIGINT[]) AS rows (f0, f1) \
             WHERE stored.\"a\" = rows.f0 AND stored.\"b\" = rows.f1"
        );
        assert_eq!(
            of(&Table::add("t", ["a"], ["b"])),
            format!(
                "INSERT INTO \"t\" AS stored (\"a\", \"b\") SELECT f0, sum(f1)::BIGINT FROM {rows} GROUP BY f0 \
                 ON CONFLICT (\"a\") DO UPDATE SET \"b\" = coalesce(stored.\"b\", 0) + excluded.\"b\""
            )
        );
    }
}
