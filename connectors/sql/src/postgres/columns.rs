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
        encode(value, self.kind, &mut self.bytes)?;
        self.has_null |= matches!(value, SqlRef::Null);
        self.rows += 1;
        Ok(())
    }

    /// Takes one value off the front of `encoded`; `None` if it is cut off.
    pub(super) fn take_encoded(&mut self, encoded: &mut &[u8]) -> Option<()> {
        let length = i32::from_be_bytes(*encoded.first_chunk()?);
        let (value, after) = encoded.split_at_checked(4 + usize::try_from(length).unwrap_or(0))?;
        *encoded = after;
        self.bytes.put_slice(value);
        self.has_null |= length < 0;
        self.rows += 1;
        Some(())
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

/// Adds a value to `bytes` with its length before it: -1 is `NULL`.
pub(super) fn encode(value: SqlRef<'_>, kind: SqlKind, bytes: &mut Vec<u8>) -> Result<(), String> {
    match (value, kind) {
        (SqlRef::Null, _) => {
            bytes.put_i32(-1);
            Ok(())
        }
        (SqlRef::Int(number), SqlKind::Int4) => {
            let number = i32::try_from(number).map_err(|error| error.to_string())?;
            with_length(&number.to_be_bytes(), bytes)
        }
        (SqlRef::Int(number), _) => with_length(&number.to_be_bytes(), bytes),
        (SqlRef::Unsigned(number), _) => Err(format!("{number} does not fit")),
        (SqlRef::Float(number), _) => with_length(&number.to_be_bytes(), bytes),
        (SqlRef::Bool(truth), _) => with_length(&[u8::from(truth)], bytes),
        (SqlRef::Text(text), _) if text.contains('\0') => Err(
            "the text holds a NUL byte, which PostgreSQL's TEXT can't: take it out, or write bytes (Vec<u8>)"
                .to_owned(),
        ),
        (SqlRef::Text(text), _) => with_length(text.as_bytes(), bytes),
        (SqlRef::Bytes(value), _) => with_length(value, bytes),
    }
}

fn with_length(value: &[u8], bytes: &mut Vec<u8>) -> Result<(), String> {
    let length = i32::try_from(value.len())
        .map_err(|_| format!("{} bytes are too many for PostgreSQL", value.len()))?;
    bytes.put_i32(length);
    bytes.put_slice(value);
    Ok(())
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
