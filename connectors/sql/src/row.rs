//! Rows as SQL sees them: which types the fields have, and their values by reference.

use compact_str::CompactString;
use tidegate::DeadLetter;

/// What a field is in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlKind {
    /// A whole number of 32 bits: `INTEGER`.
    Int4,
    /// A whole number of 64 bits: `BIGINT` (SQLite: `INTEGER`).
    Int8,
    /// A floating-point number: `DOUBLE PRECISION` (SQLite: `REAL`).
    Float8,
    /// True or false: `BOOLEAN` (SQLite: `INTEGER`, 0 or 1).
    Bool,
    /// Text in UTF-8: `TEXT`.
    Text,
    /// Bytes: `BYTEA` (SQLite: `BLOB`).
    Bytes,
}

impl SqlKind {
    pub(crate) fn is_number(self) -> bool {
        matches!(self, SqlKind::Int4 | SqlKind::Int8 | SqlKind::Float8)
    }
}

/// The type of a field: its kind, and whether it may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqlType {
    /// What the field is.
    pub kind: SqlKind,
    /// Whether it may be `NULL`.
    pub nullable: bool,
}

impl SqlType {
    /// A type that is never `NULL`.
    pub const fn of(kind: SqlKind) -> SqlType {
        SqlType { kind, nullable: false }
    }
}

/// The value of a field, borrowed from its row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SqlRef<'a> {
    /// Missing.
    Null,
    /// A whole number.
    Int(i64),
    /// A whole number that may be too large for a database: the writer refuses it when it is.
    Unsigned(u64),
    /// A floating-point number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// One field of a row.
pub trait SqlValue {
    /// Its type, the same for each value.
    const TYPE: SqlType;

    /// Its value.
    fn sql(&self) -> SqlRef<'_>;
}

/// A row of a table: a tuple of up to eight [`SqlValue`]s, or your own type.
///
/// The order of the fields is that of the table's columns, keys first. Both functions must agree:
/// `types` names one type for each value that `each_value` gives.
///
/// ```
/// use tidegate_sql::{SqlRef, SqlRow, SqlType, SqlValue};
///
/// struct Reading {
///     sensor: String,
///     celsius: Option<f64>,
/// }
///
/// impl SqlRow for Reading {
///     fn types() -> Vec<SqlType> {
///         vec![String::TYPE, Option::<f64>::TYPE]
///     }
///
///     fn each_value(&self, each: &mut dyn FnMut(SqlRef<'_>)) {
///         each(self.sensor.sql());
///         each(self.celsius.sql());
///     }
/// }
/// ```
pub trait SqlRow: 'static {
    /// Whether some of the rows delete: true for [`Change`](crate::Change), which only an upsert table takes.
    const DELETES: bool = false;

    /// The types of the fields, in order.
    fn types() -> Vec<SqlType>;

    /// Gives the value of each field, in order.
    fn each_value(&self, each: &mut dyn FnMut(SqlRef<'_>));

    /// Whether this row takes the row with its key out of the table, rather than being put into it. The values of the other fields
    /// are not looked at then.
    fn is_delete(&self) -> bool {
        false
    }
}

macro_rules! value {
    ($($type:ty, $kind:ident, $self:ident => $sql:expr;)*) => {$(
        impl SqlValue for $type {
            const TYPE: SqlType = SqlType::of(SqlKind::$kind);

            fn sql(&$self) -> SqlRef<'_> {
                $sql
            }
        }
    )*};
}

value! {
    i32, Int4, self => SqlRef::Int(i64::from(*self));
    i64, Int8, self => SqlRef::Int(*self);
    u32, Int8, self => SqlRef::Int(i64::from(*self));
    u64, Int8, self => SqlRef::Unsigned(*self);
    f64, Float8, self => SqlRef::Float(*self);
    bool, Bool, self => SqlRef::Bool(*self);
    &'static str, Text, self => SqlRef::Text(self);
    String, Text, self => SqlRef::Text(self);
    CompactString, Text, self => SqlRef::Text(self);
    Vec<u8>, Bytes, self => SqlRef::Bytes(self);
}

impl<V: SqlValue> SqlValue for Option<V> {
    const TYPE: SqlType = SqlType { kind: V::TYPE.kind, nullable: true };

    fn sql(&self) -> SqlRef<'_> {
        self.as_ref().map_or(SqlRef::Null, SqlValue::sql)
    }
}

macro_rules! tuple {
    ($($name:ident $index:tt),+) => {
        impl<$($name: SqlValue + 'static),+> SqlRow for ($($name,)+) {
            fn types() -> Vec<SqlType> {
                vec![$($name::TYPE),+]
            }

            fn each_value(&self, each: &mut dyn FnMut(SqlRef<'_>)) {
                $(each(self.$index.sql());)+
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// Where the record is from (`NULL` where it did not know), what is wrong with it, and its bytes: the columns of
/// [`Table::dead_letters`](crate::Table::dead_letters).
impl SqlRow for DeadLetter {
    fn types() -> Vec<SqlType> {
        vec![Option::<String>::TYPE, Option::<u32>::TYPE, Option::<u64>::TYPE, String::TYPE, Vec::<u8>::TYPE]
    }

    fn each_value(&self, each: &mut dyn FnMut(SqlRef<'_>)) {
        each(self.source.sql());
        each(self.partition.sql());
        each(self.offset.sql());
        each(self.error.sql());
        each(self.bytes.sql());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_is_a_row_in_the_order_of_its_fields() {
        type Row = (CompactString, u64, Option<f64>, Option<&'static str>);
        let kinds: Vec<_> = Row::types().iter().map(|t| (t.kind, t.nullable)).collect();
        assert_eq!(
            kinds,
            [(SqlKind::Text, false), (SqlKind::Int8, false), (SqlKind::Float8, true), (SqlKind::Text, true)]
        );
        let mut values = Vec::new();
        let row: Row = ("tide".into(), u64::MAX, None, Some("x"));
        row.each_value(&mut |value| values.push(format!("{value:?}")));
        assert_eq!(values, [r#"Text("tide")"#, "Unsigned(18446744073709551615)", "Null", r#"Text("x")"#]);
    }
}
