//! Rows gathered in columns, as the bytes of one `COPY ... FROM STDIN BINARY`.
//!
//! Only for rows that are new in any case: a `COPY` knows no conflicts. Written by hand, since the values are encoded already, as
//! `COPY` and arrays have them alike; the crate's writer would encode each a second time.

use super::columns::Column;
use super::schema::qualified;
use crate::table::{Table, quoted_list};
use bytes::BufMut;

/// The file's mark, no flags, no more header.
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In the place of a row's number of fields: there are no more.
const END: i16 = -1;

/// The statement that takes [`rows`].
pub(super) fn statement(table: &Table) -> String {
    format!("COPY {} ({}) FROM STDIN BINARY", qualified(table), quoted_list(table.columns()))
}

/// The rows of `columns`, which are all of one length.
pub(super) fn rows(columns: &[Column]) -> Vec<u8> {
    let bytes: usize = columns.iter().map(Column::len_bytes).sum();
    let rows = columns.first().map_or(0, Column::rows);
    let mut out = Vec::with_capacity(HEADER.len() + bytes + 2 * rows + 2);
    out.put_slice(HEADER);
    let mut values: Vec<_> = columns.iter().map(Column::encoded).collect();
    let fields = i16::try_from(columns.len()).unwrap_or(i16::MAX);
    for _ in 0..rows {
        out.put_i16(fields);
        values.iter_mut().filter_map(Iterator::next).for_each(|value| out.put_slice(value));
    }
    out.put_i16(END);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{SqlKind, SqlRef, SqlType};

    #[test]
    fn rows_are_as_the_page_on_copy_has_them() {
        let mut columns =
            [SqlType::of(SqlKind::Text), SqlType { kind: SqlKind::Int4, nullable: true }].map(Column::new);
        for (word, number) in [("ebb", SqlRef::Int(7)), ("", SqlRef::Null)] {
            columns[0].push(SqlRef::Text(word)).unwrap();
            columns[1].push(number).unwrap();
        }
        let expected: &[&[u8]] = &[
            b"PGCOPY\n\xff\r\n\0",
            &[0; 8],
            &[0, 2, 0, 0, 0, 3],
            b"ebb",
            &[0, 0, 0, 4, 0, 0, 0, 7],
            &[0, 2, 0, 0, 0, 0, 255, 255, 255, 255],
            &[255, 255],
        ];
        assert_eq!(rows(&columns), expected.concat());
        assert_eq!(
            statement(&Table::insert("s.t", ["a", "b\""])),
            "COPY \"s\".\"t\" (\"a\", \"b\"\"\") FROM STDIN BINARY"
        );
    }
}
