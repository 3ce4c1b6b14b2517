//! Rows on their way into a database: each value checked, and each complaint naming output, batch, table and key.

use crate::hash;
use crate::row::{SqlKind, SqlRef, SqlRow, SqlType};
use crate::table::{Mode, Table};
use std::collections::HashSet;
use tidegate_core::{BatchId, Error, OutputId, Result};

/// What is known of the rows of one writer.
pub(crate) struct Rows {
    pub(crate) output: OutputId,
    pub(crate) table: Table,
    pub(crate) types: Vec<SqlType>,
    keys: BatchKeys,
}

impl Rows {
    pub(crate) fn new(output: OutputId, table: Table, types: Vec<SqlType>) -> Self {
        Rows { output, table, types, keys: BatchKeys::default() }
    }

    /// Where something went wrong, to stand before the complaint.
    pub(crate) fn place(&self, batch: BatchId) -> String {
        format!("output {}, batch {batch}, table {}", self.output, self.table.name)
    }

    /// Hands each value of `row` on, checked against its column; of a row that deletes, those of its key.
    pub(crate) fn each_value<T: SqlRow>(
        &mut self,
        batch: BatchId,
        row: &T,
        mut put: impl FnMut(usize, SqlRef<'_>) -> Result<(), String>,
    ) -> Result<()> {
        if self.table.mode == Mode::Upsert && !self.keys.insert(batch, row, self.table.keys.len()) {
            return Err(Error::reconfigure(format!(
                "{}: two rows of the batch have the key {}: which of them stays would be chance. Reduce by key first \
                 (reduce_by_key), or use Table::add",
                self.place(batch),
                key_text(&self.table, row)
            )));
        }
        check(&self.table, &self.types, row, &mut put).map_err(|error| error.context(self.place(batch)))
    }

    /// The batch is over: its keys are forgotten.
    pub(crate) fn batch_over(&mut self) {
        self.keys.clear();
    }
}

/// Hands each value of `row` on, checked against its column; of a row that deletes, those of its key. The complaint names neither output nor
/// table nor batch.
pub(crate) fn check<T: SqlRow>(
    table: &Table,
    types: &[SqlType],
    row: &T,
    mut put: impl FnMut(usize, SqlRef<'_>) -> Result<(), String>,
) -> Result<()> {
    let deletes = row.is_delete();
    if deletes && !T::DELETES {
        return Err(Error::user_code(
            "a row says that it deletes, and its type that none does: `SqlRow::is_delete` and `SqlRow::DELETES` do not agree",
        ));
    }
    let wanted = if deletes { table.keys.len() } else { usize::MAX };
    let mut field = 0;
    let mut flaw = None;
    row.each_value(&mut |value| {
        if flaw.is_none() && field < wanted {
            let checked = match types.get(field) {
                Some(needed) => fit(value, *needed),
                None => Err(mismatch(format!("the row has more than {} fields", types.len()))),
            };
            flaw = checked
                .and_then(|value| put(field, value).map_err(Error::reconfigure))
                .err()
                .map(|error| (field, error));
        }
        field += 1;
    });
    if flaw.is_none() && field < types.len() {
        flaw = Some((field, mismatch(format!("the row has {field} fields, its types are {}", types.len()))));
    }
    let Some((field, error)) = flaw else { return Ok(()) };
    let column = table.columns().nth(field).unwrap_or("?");
    let error = error.context(format!("column {column}"));
    Err(if table.keys.is_empty() { error } else { error.context(format!("row {}", key_text(table, row))) })
}

/// The key of `row` for a message: `word = "tide"`. Never the whole of a long value.
pub(crate) fn key_text<T: SqlRow>(table: &Table, row: &T) -> String {
    let mut parts = Vec::new();
    let mut names = table.keys.iter();
    row.each_value(&mut |value| {
        if let Some(name) = names.next() {
            parts.push(format!("{name} = {}", value_text(value)));
        }
    });
    parts.join(", ")
}

/// A value for a message, cut short.
fn value_text(value: SqlRef<'_>) -> String {
    match value {
        SqlRef::Null => "NULL".to_owned(),
        SqlRef::Int(number) => number.to_string(),
        SqlRef::Unsigned(number) => number.to_string(),
        SqlRef::Float(number) => number.to_string(),
        SqlRef::Bool(truth) => truth.to_string(),
        SqlRef::Text(text) => format!("{:?}", shortened(text, 40)),
        SqlRef::Bytes(bytes) => format!("{} bytes", bytes.len()),
    }
}

/// The first `chars_max` characters of `text`, and `…` when there are more.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The value as its column takes it.
fn fit(value: SqlRef<'_>, needed: SqlType) -> Result<SqlRef<'_>> {
    match (value, needed.kind) {
        (SqlRef::Null, _) if needed.nullable => Ok(value),
        (SqlRef::Unsigned(number), SqlKind::Int8) => i64::try_from(number).map(SqlRef::Int).map_err(|_| {
            Error::reconfigure(format!(
                "{number} does not fit: the largest whole number here is {}",
                i64::MAX
            ))
        }),
        (SqlRef::Int(number), SqlKind::Int4) if i32::try_from(number).is_err() => {
            Err(mismatch(format!("{number} does not fit into 32 bits")))
        }
        (SqlRef::Int(_), SqlKind::Int4 | SqlKind::Int8)
        | (SqlRef::Float(_), SqlKind::Float8)
        | (SqlRef::Bool(_), SqlKind::Bool)
        | (SqlRef::Text(_), SqlKind::Text)
        | (SqlRef::Bytes(_), SqlKind::Bytes) => Ok(value),
        _ => Err(mismatch(format!("the value {} is not of the type {needed:?}", value_text(value)))),
    }
}

/// Only a hand-written `SqlRow` can get here.
fn mismatch(text: String) -> Error {
    Error::user_code(format!("{text}: `SqlRow::types` and `SqlRow::each_value` of the row do not agree"))
}

/// The keys of the batch at hand. Bounded by the rows of the batch that come to this writer.
#[derive(Default)]
struct BatchKeys {
    batch: Option<BatchId>,
    seen: HashSet<Box<[u8]>>,
    bytes: Vec<u8>,
}

impl BatchKeys {
    /// Whether the key of `row` is new in its batch.
    fn insert<T: SqlRow>(&mut self, batch: BatchId, row: &T, key_fields: usize) -> bool {
        if self.batch != Some(batch) {
            self.clear();
            self.batch = Some(batch);
        }
        self.bytes.clear();
        let mut field = 0;
        row.each_value(&mut |value| {
            if field < key_fields {
                hash::encode(value, &mut |bytes| self.bytes.extend_from_slice(bytes));
            }
            field += 1;
        });
        !self.seen.contains(self.bytes.as_slice()) && self.seen.insert(self.bytes.as_slice().into())
    }

    fn clear(&mut self) {
        self.batch = None;
        self.seen.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<T: SqlRow>(table: Table) -> Rows {
        let types = table.types_of::<T>(63).unwrap();
        Rows::new(OutputId::from("out"), table, types)
    }

    #[test]
    fn two_rows_of_one_key_in_a_batch_are_refused_by_upsert_only() {
        let mut upsert = rows::<(&str, i64)>(Table::upsert("t", ["word"], ["count"]));
        let mut give =
            |batch, row: &(&'static str, i64)| upsert.each_value(BatchId(batch), row, |_, _| Ok(()));
        give(1, &("a", 1)).unwrap();
        give(1, &("b", 1)).unwrap();
        give(2, &("a", 1)).unwrap();
        let error = give(2, &("a", 2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "output out, batch 2, table t: two rows of the batch have the key word = \"a\": which of them stays would \
             be chance. Reduce by key first (reduce_by_key), or use Table::add"
        );
        let mut add = rows::<(&str, i64)>(Table::add("t", ["word"], ["count"]));
        for _ in 0..2 {
            add.each_value(BatchId(1), &("a", 1i64), |_, _| Ok(())).unwrap();
        }
    }

    #[test]
    fn a_number_beyond_the_database_is_refused_with_its_key() {
        let mut rows = rows::<(String, u64)>(Table::add("t", ["word"], ["count"]));
        rows.each_value(BatchId(7), &("a".to_owned(), i64::MAX as u64), |_, _| Ok(())).unwrap();
        let error = rows
            .each_value(BatchId(7), &("wide".repeat(20), u64::MAX), |_, _| Ok(()))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "output out, batch 7, table t: row word = \"widewidewidewidewidewidewidewidewidewide…\": column count: \
             18446744073709551615 does not fit: the largest whole number here is 9223372036854775807"
        );
    }

    #[test]
    fn a_row_that_breaks_its_own_word_is_the_users_to_mend() {
        struct Liar;
        impl SqlRow for Liar {
            fn types() -> Vec<SqlType> {
                vec![SqlType::of(SqlKind::Int8), SqlType::of(SqlKind::Text)]
            }
            fn each_value(&self, each: &mut dyn FnMut(SqlRef<'_>)) {
                each(SqlRef::Int(1));
                each(SqlRef::Null);
            }
        }
        let error = rows::<Liar>(Table::insert("t", ["a", "b"]))
            .each_value(BatchId(1), &Liar, |_, _| Ok(()))
            .unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::UserCode);
        assert_eq!(
            error.to_string(),
            "output out, batch 1, table t: column b: the value NULL is not of the type SqlType { kind: Text, nullable: \
             false }: `SqlRow::types` and `SqlRow::each_value` of the row do not agree"
        );
    }
}
