//! The table an output writes, and how.

use crate::row::{SqlRow, SqlType};
use std::fmt;
use tidegate_core::{Error, Result};

/// The table an output writes, its columns, and what happens to a row whose key is there already.
///
/// Columns stand in the order of the row's fields: keys, then values. Names are taken exactly as they are written, so a
/// PostgreSQL table made as `Word_Counts` without quotes is `word_counts` here; `schema.table` names a PostgreSQL schema.
///
/// A table that is missing is made, from the types of the row's fields.
///
/// ```
/// use tidegate_sql::Table;
///
/// let events = Table::insert("events", ["user", "page"]);
/// let totals = Table::upsert("totals", ["word"], ["count"]);
/// let counters = Table::add("word_counts", ["word"], ["count"]);
/// assert_eq!(counters.name(), "word_counts");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub(crate) name: String,
    pub(crate) keys: Vec<String>,
    pub(crate) values: Vec<String>,
    pub(crate) mode: Mode,
}

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Insert,
    Upsert,
    Add,
}

impl Table {
    /// Each row is a new row of the table. Needs no key.
    pub fn insert<C: Into<String>>(name: impl Into<String>, columns: impl IntoIterator<Item = C>) -> Table {
        Table {
            name: name.into(),
            keys: Vec::new(),
            values: columns.into_iter().map(Into::into).collect(),
            mode: Mode::Insert,
        }
    }

    /// A table of dead letters: a row for each record that could not be decoded, with the columns `source`, `partition`,
    /// `offset`, `error` and `bytes` (the first three may be `NULL`).
    ///
    /// ```
    /// use tidegate::{DStream, JsonDecoder};
    /// use tidegate_sql::{SaveToSql, Table};
    ///
    /// # fn job(lines: DStream<String>) -> tidegate::Result<()> {
    /// let (orders, dead) = lines.decode_or_dead_letter(JsonDecoder::<(String, i64)>::new());
    /// orders.save_to_sqlite("orders.db", Table::insert("orders", ["item", "pieces"]))?;
    /// dead.save_to_sqlite("orders.db", Table::dead_letters("orders_dead"))?;
    /// # Ok(()) }
    /// ```
    pub fn dead_letters(name: impl Into<String>) -> Table {
        Table::insert(name, ["source", "partition", "offset", "error", "bytes"])
    }

    /// A row takes the place of the row with its key, or takes it out ([`Change`](crate::Change)). A batch with two rows of one key
    /// is refused, since which of them would stay is chance: reduce by key first.
    pub fn upsert<K: Into<String>, V: Into<String>>(
        name: impl Into<String>,
        keys: impl IntoIterator<Item = K>,
        values: impl IntoIterator<Item = V>,
    ) -> Table {
        Table {
            name: name.into(),
            keys: keys.into_iter().map(Into::into).collect(),
            values: values.into_iter().map(Into::into).collect(),
            mode: Mode::Upsert,
        }
    }

    /// A row's values are added to those of the row with its key: `count = count + ` the row's count. The values are
    /// numbers; rows of one key in a batch are summed.
    pub fn add<K: Into<String>, V: Into<String>>(
        name: impl Into<String>,
        keys: impl IntoIterator<Item = K>,
        values: impl IntoIterator<Item = V>,
    ) -> Table {
        Table { mode: Mode::Add, ..Table::upsert(name, keys, values) }
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All columns, in the order of the row's fields.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().chain(&self.values).map(String::as_str)
    }

    /// The fields that decide a row's partition: its key, or all of it when the table has none.
    pub(crate) fn placing_fields(&self) -> usize {
        if self.keys.is_empty() { self.values.len() } else { self.keys.len() }
    }

    /// Checks what can be told without a database: names, and that the rows fit the columns by number and kind.
    pub(crate) fn types_of<T: SqlRow>(&self, name_bytes_max: usize) -> Result<Vec<SqlType>> {
        let refuse = |text: String| Err(Error::reconfigure(format!("table {}: {text}", self.name)));
        for (what, name) in self
            .name_parts()
            .map(|part| ("its name", part))
            .chain(self.columns().map(|column| ("a column", column)))
        {
            if name.is_empty() {
                return refuse(format!("{what} is empty"));
            }
            if name.chars().any(char::is_control) {
                return refuse(format!("{what} has control characters: {name:?}"));
            }
            if name.len() > name_bytes_max {
                return refuse(format!("{what} is longer than {name_bytes_max} bytes: {name}"));
            }
        }
        let mut names: Vec<&str> = self.columns().collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse(format!("column {} is named twice", twice[0]));
        }
        let types = T::types();
        if types.len() != names.len() {
            let columns: Vec<&str> = self.columns().collect();
            return refuse(format!(
                "{} columns are named ({}), but a row has {} fields",
                columns.len(),
                columns.join(", "),
                types.len()
            ));
        }
        if self.mode != Mode::Insert && self.keys.is_empty() {
            return refuse(format!("{} needs a key column", self.mode.word()));
        }
        if self.mode != Mode::Upsert && self.values.is_empty() {
            return refuse(format!("{} needs a value column", self.mode.word()));
        }
        if T::DELETES && self.mode != Mode::Upsert {
            return refuse(format!(
                "its rows may be deletes (Change), which {} has no meaning for: use Table::upsert, or give it rows that are only put",
                self.mode.word()
            ));
        }
        let (keys, values) = types.split_at(self.keys.len());
        if let Some(place) = keys.iter().position(|key| key.nullable) {
            return refuse(format!(
                "key column {} is an Option: a row without a key would never meet the row it belongs to; \
                 give the missing key a value of its own",
                self.keys[place]
            ));
        }
        if self.mode == Mode::Add
            && let Some(place) = values.iter().position(|value| value.nullable || !value.kind.is_number())
        {
            return refuse(format!(
                "column {} is added to, so its field must be a number, and not an Option",
                self.values[place]
            ));
        }
        Ok(types)
    }

    /// The parts of the name: `analytics.events` is the table `events` of the schema `analytics`.
    pub(crate) fn name_parts(&self) -> impl Iterator<Item = &str> {
        self.name.split('.')
    }
}

/// What is done, in words: `add to word_counts by word`.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Insert => write!(f, "insert into {}", self.name),
            Mode::Upsert => write!(f, "upsert into {} by {}", self.name, self.keys.join(", ")),
            Mode::Add => write!(f, "add to {} by {}", self.name, self.keys.join(", ")),
        }
    }
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Mode::Insert => "insert",
            Mode::Upsert => "upsert",
            Mode::Add => "add",
        }
    }
}

/// A name as SQL takes it, whatever it holds.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names, quoted, with `, ` between.
pub(crate) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Change;

    fn refusal<T: SqlRow>(table: &Table) -> String {
        table.types_of::<T>(63).unwrap_err().to_string()
    }

    #[test]
    fn what_a_table_can_not_be_is_told_before_any_database_is_asked() {
        type Row = (String, i64);
        type Maybe = (Option<String>, i64);
        type Words = (String, String);
        let long = "x".repeat(64);
        let table = [
            (
                refusal::<Row>(&Table::insert("t", ["a"])),
                "table t: 1 columns are named (a), but a row has 2 fields",
            ),
            (refusal::<Row>(&Table::insert("t", ["a", ""])), "table t: a column is empty"),
            (
                refusal::<Row>(&Table::insert("t", ["a", "b\0"])),
                "table t: a column has control characters: \"b\\0\"",
            ),
            (refusal::<Row>(&Table::insert("t", ["a", "a"])), "table t: column a is named twice"),
            (
                refusal::<Row>(&Table::insert(long.as_str(), ["a", "b"])),
                &format!("table {long}: its name is longer than 63 bytes: {long}"),
            ),
            (refusal::<Row>(&Table::insert("s.", ["a", "b"])), "table s.: its name is empty"),
            (
                refusal::<Row>(&Table::upsert("t", Vec::<String>::new(), ["a", "b"])),
                "table t: upsert needs a key column",
            ),
            (
                refusal::<Row>(&Table::add("t", ["a", "b"], Vec::<String>::new())),
                "table t: add needs a value column",
            ),
            (
                refusal::<Maybe>(&Table::add("t", ["a"], ["b"])),
                "table t: key column a is an Option: a row without a key would never meet the row it belongs to; \
                 give the missing key a value of its own",
            ),
            (
                refusal::<Words>(&Table::add("t", ["a"], ["b"])),
                "table t: column b is added to, so its field must be a number, and not an Option",
            ),
            (
                refusal::<Change<Row>>(&Table::insert("t", ["a", "b"])),
                "table t: its rows may be deletes (Change), which insert has no meaning for: use Table::upsert, or give it rows \
                 that are only put",
            ),
            (
                refusal::<Change<Row>>(&Table::add("t", ["a"], ["b"])),
                "table t: its rows may be deletes (Change), which add has no meaning for: use Table::upsert, or give it rows that \
                 are only put",
            ),
        ];
        for (is, expected) in table {
            assert_eq!(is, expected);
        }
    }

    #[test]
    fn a_name_may_hold_anything_once_it_is_quoted() {
        assert_eq!(quoted_list(["a", "b\"; drop table x; --"]), "\"a\", \"b\"\"; drop table x; --\"");
    }
}
