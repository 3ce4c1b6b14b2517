//! The user's table on a PostgreSQL server: made, or checked before the first row. What a table is and who may write it is judged
//! for the tables of the memory too.

use super::failure::failure;
use super::schema::{DIALECT, qualified, wait_for_other_first_uses};
use crate::row::{SqlKind, SqlType};
use crate::shape::{Existing, ExistingColumn};
use crate::table::{Mode, Table};
use postgres::Client;
use tidegate_core::{Error, Result};

type Sql<T> = Result<T, postgres::Error>;

/// A right, and the column it is needed for; `None`: the whole table.
type Needed<'a> = (&'static str, Option<&'a str>);

/// What a name stands for.
pub(super) struct Found {
    kind: String,
    persistence: String,
    /// Rules that put something else in the place of a statement.
    rules: bool,
    /// Policies that hide rows from the user.
    policies: bool,
}

impl Found {
    /// What `name` (quoted where need be) stands for, if anything.
    pub(super) fn of(client: &mut Client, name: &str) -> Sql<Option<Found>> {
        let statement = "SELECT relkind::text, relpersistence::text, \
                 EXISTS (SELECT FROM pg_rewrite WHERE ev_class = pg_class.oid AND ev_type <> '1'), \
                 row_security_active(oid) \
             FROM pg_class WHERE oid = to_regclass($1)";
        let Some(row) = client.query_opt(statement, &[&name])? else { return Ok(None) };
        Ok(Some(Found {
            kind: row.try_get(0)?,
            persistence: row.try_get(1)?,
            rules: row.try_get(2)?,
            policies: row.try_get(3)?,
        }))
    }

    /// Refuses what keeps no rows, or not for long.
    pub(super) fn check(&self, place: &str, name: &str) -> Result<()> {
        let (is, needed) = match (self.kind.as_str(), self.persistence.as_str()) {
            ("v", _) => ("a view", "a table"),
            ("m", _) => ("a materialized view", "a table"),
            ("f", _) => ("a foreign table", "a table of this database, which its transactions hold for"),
            ("r" | "p", "u") => (
                "an unlogged table",
                "a logged one: a crash of the server would empty it, and leave the memory of its batches",
            ),
            ("r" | "p", "t") => ("a temporary table", "one that is there for all sessions"),
            ("r" | "p", _) if self.rules => (
                "a table with rules, which do something else in the place of a statement",
                "one without (a trigger may do the same)",
            ),
            ("r" | "p", _) => return Ok(()),
            _ => ("something else", "a table"),
        };
        Err(Error::reconfigure(format!("{place}: {name} is {is}, needed is {needed}: name another one")))
    }

    /// Refuses a table of which rows may be hidden from the user, where that does harm.
    pub(super) fn check_policies(&self, place: &str, name: &str, harm: &str) -> Result<()> {
        if !self.policies {
            return Ok(());
        }
        Err(Error::reconfigure(format!(
            "{place}: table {name} has row-level security that holds for this user: {harm}. Give the user BYPASSRLS, or make it \
             the owner of the table"
        )))
    }
}

/// Makes the user's table, or refuses the one that is there. True: its rows may come by `COPY`.
pub(super) fn make_or_check(
    client: &mut Client,
    place: &str,
    table: &Table,
    types: &[SqlType],
    deletes: bool,
) -> Result<bool> {
    let fail = |error: postgres::Error| failure(&format!("{place}: table {}", table.name()), &error);
    let name = qualified(table);
    let mut found = Found::of(client, &name).map_err(fail)?;
    if found.is_none() {
        wait_for_other_first_uses(client).map_err(fail)?;
        found = Found::of(client, &name).map_err(fail)?;
    }
    let Some(found) = found else {
        let columns = DIALECT.column_definitions(table, types);
        client.batch_execute(&format!("CREATE TABLE {name} ({columns})")).map_err(fail)?;
        return Ok(table.mode == Mode::Insert);
    };
    found.check(place, table.name())?;
    if deletes {
        found.check_policies(place, table.name(), "a delete would pass over rows that are hidden from it")?;
    }
    let existing = existing(client, &name).map_err(fail)?;
    DIALECT.check(place, table, types, &existing)?;
    check_rights(client, place, table.name(), &name, &needed_rights(table, deletes))?;
    // A COPY converts nothing, and is refused where policies hold.
    let as_they_are = table.columns().zip(types).all(|(name, needed)| {
        existing
            .columns
            .iter()
            .any(|column| column.name == *name && is_as_sent(&column.declared, needed.kind))
    });
    Ok(table.mode == Mode::Insert && as_they_are && !found.policies)
}

/// Whether a column of the declared type takes the bytes of a value of `kind` without a conversion.
fn is_as_sent(declared: &str, kind: SqlKind) -> bool {
    declared.eq_ignore_ascii_case((DIALECT.type_name)(kind))
        || kind == SqlKind::Text && declared.starts_with("character varying")
}

/// The rights that the statements of the writer need.
fn needed_rights(table: &Table, deletes: bool) -> Vec<Needed<'_>> {
    let all = |right| table.columns().map(move |column| (right, Some(column)));
    let values = |right| table.values.iter().map(move |column| (right, Some(column.as_str())));
    let mut needed: Vec<Needed<'_>> = all("INSERT").collect();
    match table.mode {
        Mode::Insert => {}
        // To read a value of the row that was to be inserted takes the right to read its column.
        Mode::Upsert | Mode::Add => needed.extend(values("UPDATE").chain(all("SELECT"))),
    }
    if deletes {
        needed.push(("DELETE", None));
    }
    needed
}

/// Refuses a table that the user of the session may not write. `shown` is its name for the message.
pub(super) fn check_rights(
    client: &mut Client,
    place: &str,
    shown: &str,
    name: &str,
    needed: &[Needed<'_>],
) -> Result<()> {
    let (rights, columns): (Vec<&str>, Vec<Option<&str>>) = needed.iter().copied().unzip();
    let statement = "SELECT current_user::text, kind || coalesce(' of ' || col, '') \
         FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS needed (kind, col, place) \
         WHERE NOT CASE WHEN col IS NULL THEN has_table_privilege(to_regclass($1)::oid, kind) \
             ELSE has_column_privilege(to_regclass($1)::oid, col, kind) END \
         ORDER BY place";
    let fail = |error: postgres::Error| failure(&format!("{place}: table {shown}"), &error);
    let lacking = client.query(statement, &[&name, &rights, &columns]).map_err(fail)?;
    let lacking: Vec<(String, String)> =
        lacking.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Sql<_>>().map_err(fail)?;
    let Some((user, _)) = lacking.first() else { return Ok(()) };
    let mut all = rights.clone();
    all.sort_unstable();
    all.dedup();
    let lacking: Vec<&str> = lacking.iter().map(|(_, right)| right.as_str()).collect();
    Err(Error::reconfigure(format!(
        "{place}: table {shown}: the user {user} lacks the right to {}: GRANT {} ON {name} TO {}",
        lacking.join(", "),
        all.join(", "),
        crate::table::quoted(user)
    )))
}

fn existing(client: &mut Client, name: &str) -> Sql<Existing> {
    let columns = client
        .query(
            "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull, \
                 atthasdef OR attidentity <> '', attgenerated <> '' OR attidentity = 'a', collname::text \
             FROM pg_attribute LEFT JOIN pg_collation ON pg_collation.oid = attcollation AND NOT collisdeterministic \
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
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
                loose_collation: row.try_get(5)?,
            })
        })
        .collect::<Sql<_>>()?;
    // Those on which ON CONFLICT can find a conflict: valid, of whole columns, over all rows, checked at once; and by bytes.
    let unique = client
        .query(
            "SELECT (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = indrelid \
                 AND attnum = ANY ((indkey::int2[])[0:indnkeyatts - 1])) \
             FROM pg_index WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid AND indimmediate \
                 AND indpred IS NULL AND indexprs IS NULL AND NOT EXISTS (SELECT FROM pg_collation \
                     WHERE oid = ANY (indcollation::oid[]) AND NOT collisdeterministic)",
            &[&name],
        )?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Sql<_>>()?;
    Ok(Existing { columns, unique })
}
