//! The tables on a PostgreSQL server: those of the memory, and the user's.

use super::failure::failure;
use crate::memory::{Opened, Registered, Remembered};
use crate::row::{SqlKind, SqlType};
use crate::shape::{Dialect, Existing, ExistingColumn};
use crate::table::{Table, quoted};
use postgres::Client;
use tidegate_core::{Error, OutputId, Result};

type Sql<T> = Result<T, postgres::Error>;

/// PostgreSQL's side of the types: those that keep every value of a kind as it is.
pub(super) const DIALECT: Dialect = Dialect {
    type_name: |kind| match kind {
        SqlKind::Int4 => "INTEGER",
        SqlKind::Int8 => "BIGINT",
        SqlKind::Float8 => "DOUBLE PRECISION",
        SqlKind::Bool => "BOOLEAN",
        SqlKind::Text => "TEXT",
        SqlKind::Bytes => "BYTEA",
    },
    accepts: |declared, kind| {
        // `character varying(20)`: a value that is too long is refused by the server, never cut.
        let declared = declared.split_once('(').map_or(declared, |(name, _)| name);
        match kind {
            SqlKind::Int4 => matches!(declared, "integer" | "bigint" | "numeric"),
            SqlKind::Int8 => matches!(declared, "bigint" | "numeric"),
            SqlKind::Float8 => declared == "double precision",
            SqlKind::Bool => declared == "boolean",
            SqlKind::Text => matches!(declared, "text" | "character varying"),
            SqlKind::Bytes => declared == "bytea",
        }
    },
    same_name: |left, right| left == right,
};

/// The table's name as a statement takes it.
pub(super) fn qualified(table: &Table) -> String {
    table.name_parts().map(quoted).collect::<Vec<_>>().join(".")
}

/// Lets one first use at a time go on, until its transaction ends: two that make the same table at once would fail. Never taken
/// by an output that is there already, which would make all of them wait while one waits for a dead session's lock.
pub(super) fn wait_for_other_first_uses(client: &mut Client) -> Sql<()> {
    // The seed is the bytes of "tidegate".
    let statement =
        "SELECT pg_advisory_xact_lock(hashtextextended(coalesce(current_schema(), ''), 8388346167643173989))";
    client.execute(statement, &[]).map(drop)
}

/// Makes the tables of the memory where they are missing. A user who may not create tables can be given them.
pub(super) fn make_memory(client: &mut Client) -> Sql<()> {
    if has_memory(client)? {
        return Ok(());
    }
    wait_for_other_first_uses(client)?;
    client.batch_execute(
        "CREATE TABLE IF NOT EXISTS tidegate_outputs (\
             output TEXT PRIMARY KEY, job TEXT NOT NULL, epoch BIGINT NOT NULL, partitions INTEGER NOT NULL);\
         CREATE TABLE IF NOT EXISTS tidegate_batches (\
             output TEXT NOT NULL, partition INTEGER NOT NULL, batch BIGINT NOT NULL, plan TEXT, \
             PRIMARY KEY (output, partition))",
    )
}

/// Whether the memory was ever made.
pub(super) fn has_memory(client: &mut Client) -> Sql<bool> {
    let row = client.query_one(
        "SELECT to_regclass('tidegate_outputs') IS NOT NULL AND to_regclass('tidegate_batches') IS NOT NULL",
        &[],
    )?;
    row.try_get(0)
}

/// The output's row, locked when `lock`: writers of an earlier epoch that have prepared are waited for.
pub(super) fn registered(client: &mut Client, output: &str, lock: bool) -> Sql<Option<Registered>> {
    let lock = if lock { " FOR UPDATE" } else { "" };
    let statement = format!("SELECT job, epoch, partitions FROM tidegate_outputs WHERE output = $1{lock}");
    let Some(row) = client.query_opt(&statement, &[&output])? else { return Ok(None) };
    let partitions: i32 = row.try_get(2)?;
    Ok(Some(Registered { job: row.try_get(0)?, epoch: row.try_get(1)?, partitions: i64::from(partitions) }))
}

pub(super) fn register(client: &mut Client, output: &OutputId, opened: &Opened, partitions: i32) -> Sql<()> {
    client
        .execute(
            "INSERT INTO tidegate_outputs (output, job, epoch, partitions) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (output) DO UPDATE SET epoch = excluded.epoch",
            &[&output.0, &opened.job.0, &opened.epoch, &partitions],
        )
        .map(drop)
}

pub(super) fn remembered(client: &mut Client, output: &str) -> Sql<Vec<Remembered>> {
    client
        .query(
            "SELECT partition, batch, plan FROM tidegate_batches WHERE output = $1 ORDER BY partition",
            &[&output],
        )?
        .iter()
        .map(|row| {
            let partition: i32 = row.try_get(0)?;
            Ok(Remembered { partition: i64::from(partition), batch: row.try_get(1)?, plan: row.try_get(2)? })
        })
        .collect()
}

/// Makes the user's table, or refuses the one that is there.
pub(super) fn make_or_check(
    client: &mut Client,
    place: &str,
    table: &Table,
    types: &[SqlType],
) -> Result<()> {
    let fail = |error: postgres::Error| failure(&format!("{place}: table {}", table.name()), &error);
    let name = qualified(table);
    let find = |client: &mut Client| {
        let statement =
            "SELECT relkind::text, relpersistence::text FROM pg_class WHERE oid = to_regclass($1)";
        client.query_opt(statement, &[&name]).map_err(fail)
    };
    let mut found = find(client)?;
    if found.is_none() {
        wait_for_other_first_uses(client).map_err(fail)?;
        found = find(client)?;
    }
    let Some(found) = found else {
        let columns = DIALECT.column_definitions(table, types);
        return client.batch_execute(&format!("CREATE TABLE {name} ({columns})")).map_err(fail);
    };
    let kind: &str = found.try_get(0).map_err(fail)?;
    let persistence: &str = found.try_get(1).map_err(fail)?;
    let refuse = |is: &str, needed: &str| {
        Err(Error::reconfigure(format!(
            "{place}: {} is {is}, needed is {needed}: name another one",
            table.name()
        )))
    };
    match kind {
        "r" | "p" => {}
        "v" => return refuse("a view", "a table"),
        "m" => return refuse("a materialized view", "a table"),
        "f" => return refuse("a foreign table", "a table of this database, which its transactions hold for"),
        _ => return refuse("something else", "a table"),
    }
    if persistence == "u" {
        return refuse(
            "an unlogged table",
            "a logged one: a crash of the server would empty it, and leave the memory of its batches",
        );
    }
    let existing = existing(client, &name).map_err(fail)?;
    DIALECT.check(place, table, types, &existing)
}

fn existing(client: &mut Client, name: &str) -> Sql<Existing> {
    let columns = client
        .query(
            "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, \
                 atthasdef OR attidentity <> '', attgenerated <> '' OR attidentity = 'a' \
             FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[&name],
        )?
        .iter()
        .map(|row| {
            Ok(ExistingColumn {
                name: row.try_get(0)?,
                declared: row.try_get(1)?,
                not_null: row.try_get(2)?,
                has_default: row.try_get(3)?,
                generated: row.try_get(4)?,
            })
        })
        .collect::<Sql<_>>()?;
    // Those on which ON CONFLICT can find a conflict: valid, of whole columns, over all rows, checked at once.
    let unique = client
        .query(
            "SELECT (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = indrelid \
                 AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])) \
             FROM pg_index WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid AND indimmediate \
                 AND indpred IS NULL AND indexprs IS NULL",
            &[&name],
        )?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Sql<_>>()?;
    Ok(Existing { columns, unique })
}
