//! Rows in the form that `COPY ... FROM STDIN BINARY` has them, made where the rows are.
//!
//! Only for rows that are new in any case: a `COPY` knows no conflicts. Written by hand, since the values are encoded as those of
//! arrays are; the crate's writer would encode each a second time.

use super::columns::{Column, encode};
use super::schema::qualified;
use crate::row::{SqlRow, SqlType};
use crate::staging::check;
use crate::table::{Table, quoted_list};
use bytes::BufMut;
use std::marker::PhantomData;
use tidegate_core::{Error, Packed, Packer, Result};

/// The file's mark, no flags, no more header.
pub(super) const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In the place of a row's number of fields: there are no more.
const END: i16 = -1;
/// Rows that are packed at most.
const ROWS_MAX: u64 = 1024;
/// Bytes from which on rows are handed on.
const BYTES_MAX: usize = 64 * 1024;

/// The statement that takes rows between [`HEADER`] and [`end`].
pub(super) fn statement(table: &Table) -> String {
    format!("COPY {} ({}) FROM STDIN BINARY", qualified(table), quoted_list(table.columns()))
}

/// Ends what began with [`HEADER`].
pub(super) fn end(bytes: &mut Vec<u8>) {
    bytes.put_i16(END);
}

/// Makes a tuple of each row: the number of its fields, and each with its length before it.
pub(super) struct Tuples<T> {
    table: Table,
    types: Vec<SqlType>,
    fields: i16,
    packed: Packed,
    of: PhantomData<fn(T)>,
}

impl<T: SqlRow> Tuples<T> {
    pub(super) fn new(table: Table, types: Vec<SqlType>) -> Tuples<T> {
        let fields = i16::try_from(types.len()).unwrap_or(i16::MAX);
        Tuples { table, types, fields, packed: Packed::default(), of: PhantomData }
    }
}

impl<T: SqlRow> Packer<T> for Tuples<T> {
    fn add(&mut self, row: &T) -> Result<bool> {
        let (types, bytes) = (&self.types, &mut self.packed.bytes);
        bytes.put_i16(self.fields);
        check(&self.table, types, row, |field, value| encode(value, types[field].kind, bytes))
            .map_err(|error| error.context(format!("table {}", self.table.name)))?;
        self.packed.rows += 1;
        Ok(self.packed.rows >= ROWS_MAX || self.packed.bytes.len() >= BYTES_MAX)
    }

    fn take(&mut self) -> Result<Vec<Packed>> {
        if self.packed.rows == 0 {
            return Ok(Vec::new());
        }
        let next = Packed { rows: 0, bytes: Vec::with_capacity(self.packed.bytes.len()) };
        Ok(vec![std::mem::replace(&mut self.packed, next)])
    }
}

/// Takes tuples apart into columns, which are empty and as many as a tuple has fields.
pub(super) fn into_columns(mut tuples: &[u8], columns: &mut [Column]) -> Result<()> {
    let cut_off = || Error::bug("PostgreSQL: a packed row is cut off");
    while !tuples.is_empty() {
        tuples = tuples.get(2..).ok_or_else(cut_off)?;
        columns.iter_mut().try_for_each(|column| column.take_encoded(&mut tuples)).ok_or_else(cut_off)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_as_the_page_on_copy_has_them() {
        let table = Table::insert("s.t", ["a", "b\""]);
        let types = table.types_of::<(String, Option<i32>)>(63).unwrap();
        let mut packer = Tuples::new(table.clone(), types.clone());
        assert!(!packer.add(&("ebb".to_owned(), Some(7))).unwrap());
        packer.add(&(String::new(), None)).unwrap();
        let packed = packer.take().unwrap();
        assert!(packer.take().unwrap().is_empty());
        assert_eq!((packed.len(), packed[0].rows), (1, 2));
        let mut bytes = [HEADER.as_slice(), &packed[0].bytes].concat();
        end(&mut bytes);
        let expected: &[&[u8]] = &[
            b"PGCOPY\n\xff\r\n\0",
            &[0; 8],
            &[0, 2, 0, 0, 0, 3],
            b"ebb",
            &[0, 0, 0, 4, 0, 0, 0, 7],
            &[0, 2, 0, 0, 0, 0, 255, 255, 255, 255],
            &[255, 255],
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(statement(&table), "COPY \"s\".\"t\" (\"a\", \"b\"\"\") FROM STDIN BINARY");
        let mut columns: Vec<Column> = types.iter().map(|of| Column::new(*of)).collect();
        into_columns(&packed[0].bytes, &mut columns).unwrap();
        assert_eq!(columns.iter().map(Column::len_bytes).sum::<usize>(), packed[0].bytes.len() - 2 * 2);
        let cut = &packed[0].bytes[..packed[0].bytes.len() - 1];
        assert!(into_columns(cut, &mut columns).is_err());
    }

    #[test]
    fn a_row_that_does_not_fit_is_told_with_table_and_column() {
        let table = Table::insert("t", ["a"]);
        let types = table.types_of::<(String,)>(63).unwrap();
        let mut packer = Tuples::new(table, types);
        let error = packer.add(&("a\0".to_owned(),)).unwrap_err().to_string();
        assert!(error.starts_with("table t: column a: the text holds a NUL byte"), "{error}");
    }
}
