//! Rows turned into columns: one array a column, so that thousands of rows are one statement.

use crate::row::{SqlKind, SqlRef, SqlType};
use bytes::{BufMut, BytesMut};
use postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use std::error::Error;

/// The values of one column in PostgreSQL's binary form, to be given as one array.
#[derive(Debug)]
pub(super) struct Column {
    kind: SqlKind,
    /// The length of each value, and the value.
    bytes: Vec<u8>,
    rows: i32,
    has_null: bool,
}

impl Column {
    pub(super) fn new(of: SqlType) -> Column {
        Column { kind: of.kind, bytes: Vec::new(), rows: 0, has_null: false }
    }

    /// Adds one value, which the caller has checked to be of the column's type.
    pub(super) fn push(&mut self, value: SqlRef<'_>) -> Result<(), String> {
        match (value, self.kind) {
            (SqlRef::Null, _) => {
                self.has_null = true;
                self.bytes.put_i32(-1);
            }
            (SqlRef::Int(number), SqlKind::Int4) => {
                let number = i32::try_from(number).map_err(|error| error.to_string())?;
                self.push_bytes(&number.to_be_bytes())?;
            }
            (SqlRef::Int(number), _) => self.push_bytes(&number.to_be_bytes())?,
            (SqlRef::Unsigned(number), _) => return Err(format!("{number} does not fit")),
            (SqlRef::Float(number), _) => self.push_bytes(&number.to_be_bytes())?,
            (SqlRef::Bool(truth), _) => self.push_bytes(&[u8::from(truth)])?,
            (SqlRef::Text(text), _) if text.contains('\0') => {
                return Err(
                    "the text holds a NUL byte, which PostgreSQL's TEXT can't: take it out, or write bytes \
                            (Vec<u8>)"
                        .to_owned(),
                );
            }
            (SqlRef::Text(text), _) => self.push_bytes(text.as_bytes())?,
            (SqlRef::Bytes(bytes), _) => self.push_bytes(bytes)?,
        }
        self.rows += 1;
        Ok(())
    }

    fn push_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let length = i32::try_from(bytes.len())
            .map_err(|_| format!("{} bytes are too many for PostgreSQL", bytes.len()))?;
        self.bytes.put_i32(length);
        self.bytes.put_slice(bytes);
        Ok(())
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.unsigned_abs() as usize
    }

    /// Each value with its length before it: -1 is `NULL`.
    pub(super) fn encoded(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let length = i32::from_be_bytes(*rest.first_chunk()?);
            let (value, after) = rest.split_at_checked(4 + usize::try_from(length).unwrap_or(0))?;
            rest = after;
            Some(value)
        })
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.rows = 0;
        self.has_null = false;
    }

    fn element(&self) -> Type {
        match self.kind {
            SqlKind::Int4 => Type::INT4,
            SqlKind::Int8 => Type::INT8,
            SqlKind::Float8 => Type::FLOAT8,
            SqlKind::Bool => Type::BOOL,
            SqlKind::Text => Type::TEXT,
            SqlKind::Bytes => Type::BYTEA,
        }
    }
}

/// The array of one dimension, as `array_recv` reads it.
impl ToSql for Column {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i32(1);
        out.put_i32(i32::from(self.has_null));
        out.put_u32(self.element().oid());
        out.put_i32(self.rows);
        out.put_i32(1);
        out.put_slice(&self.bytes);
        Ok(IsNull::No)
    }

    /// The statement casts its parameters to the arrays that are given here.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
