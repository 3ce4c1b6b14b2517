//! The tables in a SQLite file: those of the memory, and the user's.

use super::failure::failure;
use crate::memory::{Opened, Registered, Remembered};
use crate::row::{SqlKind, SqlType};
use crate::shape::{Dialect, Existing, ExistingColumn};
use crate::table::{Table, quoted};
use rusqlite::{Connection, OptionalExtension, params};
use tidegate_core::{Error, JobId, OutputId, Result};

/// SQLite's side of the types. Declared types are taken by their affinity: what the column does to a value.
pub(super) const DIALECT: Dialect = Dialect {
    type_name: |kind| match kind {
        SqlKind::Int4 | SqlKind::Int8 | SqlKind::Bool => "INTEGER",
        SqlKind::Float8 => "REAL",
        SqlKind::Text => "TEXT",
        SqlKind::Bytes => "BLOB",
    },
    accepts: |declared, kind| {
        let affinity = Affinity::of(declared);
        match kind {
            _ if declared.is_empty() => true,
            SqlKind::Int4 | SqlKind::Int8 | SqlKind::Bool => {
                matches!(affinity, Affinity::Integer | Affinity::Numeric)
            }
            SqlKind::Float8 => matches!(affinity, Affinity::Real | Affinity::Numeric),
            SqlKind::Text => affinity == Affinity::Text,
            SqlKind::Bytes => affinity == Affinity::Blob,
        }
    },
    same_name: |left, right| left.eq_ignore_ascii_case(right),
};

#[derive(PartialEq)]
enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

impl Affinity {
    /// The rules of https://sqlite.org/datatype3.html, 3.1, in their order.
    fn of(declared: &str) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if has(&["INT"]) {
            Affinity::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Affinity::Text
        } else if has(&["BLOB"]) || declared.is_empty() {
            Affinity::Blob
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }
}

/// Makes the tables of the memory.
pub(super) fn make_memory(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS tidegate_outputs (\
             output TEXT NOT NULL PRIMARY KEY, job TEXT NOT NULL, epoch INTEGER NOT NULL, \
             partitions INTEGER NOT NULL) STRICT, WITHOUT ROWID;\
         CREATE TABLE IF NOT EXISTS tidegate_batches (\
             output TEXT NOT NULL, partition INTEGER NOT NULL, batch INTEGER NOT NULL, plan TEXT, \
             PRIMARY KEY (output, partition)) STRICT, WITHOUT ROWID;",
    )
}

/// Whether the memory was ever made.
pub(super) fn has_memory(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('tidegate_outputs', 'tidegate_batches')",
        [],
        |row| row.get(0),
    )?;
    Ok(tables == 2)
}

/// The job an output belongs to.
pub(super) fn job_of(connection: &Connection, output: &OutputId) -> rusqlite::Result<Option<JobId>> {
    if !has_memory(connection)? {
        return Ok(None);
    }
    Ok(registered(connection, output)?.map(|found| JobId(found.job)))
}

pub(super) fn registered(connection: &Connection, output: &OutputId) -> rusqlite::Result<Option<Registered>> {
    connection
        .query_row(
            "SELECT job, epoch, partitions FROM tidegate_outputs WHERE output = ?1",
            [&output.0],
            |row| Ok(Registered { job: row.get(0)?, epoch: row.get(1)?, partitions: row.get(2)? }),
        )
        .optional()
}

pub(super) fn register(
    connection: &Connection,
    output: &OutputId,
    opened: &Opened,
) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT INTO tidegate_outputs (output, job, epoch, partitions) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (output) DO UPDATE SET epoch = excluded.epoch",
        params![output.0, opened.job.0, opened.epoch, opened.partitions],
    )
}

pub(super) fn remembered(connection: &Connection, output: &str) -> rusqlite::Result<Vec<Remembered>> {
    connection
        .prepare("SELECT partition, batch, plan FROM tidegate_batches WHERE output = ?1 ORDER BY partition")?
        .query_map([output], |row| {
            Ok(Remembered { partition: row.get(0)?, batch: row.get(1)?, plan: row.get(2)? })
        })?
        .collect()
}

/// Makes the user's table, or refuses the one that is there.
pub(super) fn make_or_check(
    connection: &Connection,
    place: &str,
    table: &Table,
    types: &[SqlType],
    deletes: bool,
) -> Result<()> {
    let fail = |error| failure(&format!("{place}: table {}", table.name()), error);
    let found: Option<String> = connection
        .query_row("SELECT type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE", [table.name()], |row| {
            row.get(0)
        })
        .optional()
        .map_err(fail)?;
    match found.as_deref() {
        None => {
            // STRICT: a sum beyond 64 bits is refused, where an ordinary table would go over to floating point.
            let rowid = if table.keys.is_empty() { "" } else { ", WITHOUT ROWID" };
            let columns = DIALECT.column_definitions(table, types);
            let statement = format!("CREATE TABLE {} ({columns}) STRICT{rowid}", quoted(table.name()));
            connection.execute_batch(&statement).map_err(fail)?;
        }
        Some("table") => {
            let existing = existing(connection, table.name()).map_err(fail)?;
            DIALECT.check(place, table, types, &existing)?;
            if let Some(flaw) = flaw_of_clauses(connection, table.name()).map_err(fail)? {
                return Err(Error::reconfigure(format!("{place}: {flaw}")));
            }
        }
        Some(other) => {
            return Err(Error::reconfigure(format!(
                "{place}: {} is a {other}, needed is a table: name another one",
                table.name()
            )));
        }
    }
    // What the check can't see (a trigger on a table that is gone) is found now rather than at the first row.
    connection.prepare(&super::writer::statement(table)).map_err(fail)?;
    if deletes {
        connection.prepare(&super::writer::delete_statement(table)).map_err(fail)?;
    }
    Ok(())
}

/// What in the statements that made the table, or tables around it, drops a row without a word or refuses one at the commit only.
fn flaw_of_clauses(connection: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let read = |row: &rusqlite::Row<'_>| {
        let (name, made): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let words = made.unwrap_or_default().to_ascii_uppercase();
        Ok((name, words.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    let tables: Vec<(String, String)> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")?
        .query_map([], read)?
        .collect::<rusqlite::Result<_>>()?;
    let clause = |words: &str| {
        ["ON CONFLICT IGNORE", "ON CONFLICT REPLACE"].into_iter().find(|clause| words.contains(clause))
    };
    if let Some(clause) =
        tables.iter().find(|(name, _)| name.eq_ignore_ascii_case(table)).and_then(|(_, words)| clause(words))
    {
        return Ok(Some(format!(
            "table {table} has a constraint with {clause}, which takes rows away without a word, needed is one without: name \
             another table, or make it without the clause"
        )));
    }
    let enforced: bool = connection.query_row("PRAGMA foreign_keys", [], |row| row.get(0))?;
    if !enforced {
        return Ok(None);
    }
    // A trigger may write any table.
    let concerned = "SELECT ?1 = ?2 COLLATE NOCASE \
         OR EXISTS (SELECT 1 FROM pragma_foreign_key_list(?1) WHERE \"table\" = ?2 COLLATE NOCASE) \
         OR EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?2 COLLATE NOCASE)";
    for (name, _) in tables.iter().filter(|(_, words)| words.contains("INITIALLY DEFERRED")) {
        if connection.query_row(concerned, [name.as_str(), table], |row| row.get(0))? {
            return Ok(Some(format!(
                "table {table}: a foreign key of table {name} is INITIALLY DEFERRED: it would refuse a batch at the commit, when \
                 other outputs may have committed it; needed is one that is checked at once: make {name} without the clause"
            )));
        }
    }
    Ok(None)
}

fn existing(connection: &Connection, table: &str) -> rusqlite::Result<Existing> {
    let mut key_columns: Vec<(i64, String, String)> = Vec::new();
    let mut columns: Vec<ExistingColumn> = connection
        .prepare(
            "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1)",
        )?
        .query_map([table], |row| {
            let column = ExistingColumn {
                name: row.get(0)?,
                declared: row.get(1)?,
                not_null: row.get(2)?,
                has_default: row.get(3)?,
                // 1 is hidden in a virtual table, 2 and 3 are generated.
                generated: row.get::<_, i64>(5)? != 0,
                // Asked of the index: it is what finds a conflict.
                loose_collation: None,
            };
            Ok((row.get::<_, i64>(4)?, column))
        })?
        .map(|read| {
            let (key, column) = read?;
            if key > 0 {
                key_columns.push((key, column.name.clone(), column.declared.to_ascii_uppercase()));
            }
            Ok(column)
        })
        .collect::<rusqlite::Result<_>>()?;
    let mut unique: Vec<Vec<String>> = Vec::new();
    if let [(_, name, declared)] = key_columns.as_slice()
        && declared == "INTEGER"
    {
        // The row's own number: no index is listed for it, and SQLite has a value when a row names none.
        unique.push(vec![name.clone()]);
        columns.iter_mut().filter(|column| column.name == *name).for_each(|column| column.has_default = true);
    }
    let indexes: Vec<String> = connection
        .prepare("SELECT name FROM pragma_index_list(?1) WHERE \"unique\" AND NOT partial")?
        .query_map([table], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for index in indexes {
        // No name: an expression. Another collation than BINARY would take "A" for "a", and a key is its bytes here.
        let parts: Vec<Option<String>> = connection
            .prepare("SELECT iif(coll = 'BINARY', name, NULL) FROM pragma_index_xinfo(?1) WHERE key")?
            .query_map([&index], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        unique.extend(parts.into_iter().collect::<Option<Vec<String>>>());
    }
    Ok(Existing { columns, unique })
}
