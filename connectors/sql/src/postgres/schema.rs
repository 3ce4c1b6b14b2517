//! The memory of outputs on a PostgreSQL server: its tables, and the types that both they and the user's table go by.

use super::failure::failure;
use super::table::{Found, check_rights};
use crate::memory::{Opened, Registered, Remembered};
use crate::row::SqlKind;
use crate::shape::Dialect;
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
        if declared.contains(",-") {
            // `numeric(5,-2)` rounds to hundreds.
            return false;
        }
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

/// The oldest version whose catalog says what is asked of it (generated columns, collations that are not by bytes).
const VERSION_MIN: i32 = 12;

/// Refuses a server that is too old to be asked.
pub(super) fn check_version(client: &mut Client, place: &str) -> Result<()> {
    let fail = |error: postgres::Error| failure(place, &error);
    let row = client.query_one("SELECT current_setting('server_version_num')::integer", &[]).map_err(fail)?;
    refuse_old(place, row.try_get(0).map_err(fail)?)
}

fn refuse_old(place: &str, number: i32) -> Result<()> {
    let version = number / 10_000;
    if version >= VERSION_MIN {
        return Ok(());
    }
    Err(Error::reconfigure(format!(
        "{place}: the server is PostgreSQL {version}, needed is {VERSION_MIN} or later: upgrade it, or name another one"
    )))
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
///
/// # Errors
/// It can't be made, or is none that can be relied on.
pub(super) fn make_memory(client: &mut Client, place: &str) -> Result<()> {
    let fail =
        |error: postgres::Error| failure(&format!("{place}: tidegate_outputs and tidegate_batches"), &error);
    if has_memory(client).map_err(fail)? {
        return check_memory(client, place);
    }
    wait_for_other_first_uses(client).map_err(fail)?;
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS tidegate_outputs (\
             output TEXT PRIMARY KEY, job TEXT NOT NULL, epoch BIGINT NOT NULL, partitions INTEGER NOT NULL);\
         CREATE TABLE IF NOT EXISTS tidegate_batches (\
             output TEXT NOT NULL, partition INTEGER NOT NULL, batch BIGINT NOT NULL, plan TEXT, \
             PRIMARY KEY (output, partition))",
        )
        .map_err(fail)
}

/// Refuses a memory that a crash of the server would empty, or that the user may not write.
fn check_memory(client: &mut Client, place: &str) -> Result<()> {
    for name in ["tidegate_outputs", "tidegate_batches"] {
        let fail = |error: postgres::Error| failure(&format!("{place}: table {name}"), &error);
        if let Some(found) = Found::of(client, name).map_err(fail)? {
            found.check(place, name)?;
            found.check_policies(place, name, "a batch that is hidden from it would be written twice")?;
            // A lock for share is taken by who may update.
            let needed = ["SELECT", "INSERT", "UPDATE"].map(|right| (right, None));
            check_rights(client, place, name, name, &needed)?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_is_refused() {
        refuse_old("here", 120_000).unwrap();
        refuse_old("here", 170_005).unwrap();
        for (number, version) in [(110_022, 11), (90_624, 9)] {
            assert_eq!(
                refuse_old("here", number).unwrap_err().to_string(),
                format!(
                    "here: the server is PostgreSQL {version}, needed is 12 or later: upgrade it, or name another one"
                )
            );
        }
    }
}
