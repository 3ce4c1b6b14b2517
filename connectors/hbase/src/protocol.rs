//! The calls of HBase's Thrift 1 interface that are needed, as fields with their numbers.

use crate::mutation::{Cell, Change, Mutation};
use thrift::protocol::{
    TFieldIdentifier, TInputProtocol, TListIdentifier, TMapIdentifier, TOutputProtocol, TStructIdentifier,
    TType,
};

/// Writes the fields of a struct, and its end.
pub(crate) fn fields(
    out: &mut dyn TOutputProtocol,
    write: impl FnOnce(&mut dyn TOutputProtocol) -> thrift::Result<()>,
) -> thrift::Result<()> {
    out.write_struct_begin(&TStructIdentifier::new(""))?;
    write(out)?;
    out.write_field_stop()?;
    out.write_struct_end()
}

/// Writes one field.
pub(crate) fn field(
    out: &mut dyn TOutputProtocol,
    number: i16,
    kind: TType,
    write: impl FnOnce(&mut dyn TOutputProtocol) -> thrift::Result<()>,
) -> thrift::Result<()> {
    out.write_field_begin(&TFieldIdentifier::new("", kind, number))?;
    write(out)?;
    out.write_field_end()
}

/// The arguments of `getColumnDescriptors` and `isTableEnabled`: the table.
pub(crate) fn table_argument(out: &mut dyn TOutputProtocol, table: &str) -> thrift::Result<()> {
    fields(out, |out| field(out, 1, TType::String, |out| out.write_string(table)))
}

/// The arguments of `mutateRowsTs`. `families` are all of the table's.
pub(crate) fn mutations(
    out: &mut dyn TOutputProtocol,
    table: &str,
    rows: &[Mutation],
    families: &[String],
    timestamp: i64,
) -> thrift::Result<()> {
    fields(out, |out| {
        field(out, 1, TType::String, |out| out.write_string(table))?;
        field(out, 2, TType::List, |out| {
            list(out, rows.len())?;
            rows.iter().try_for_each(|row| mutation(out, row, families))?;
            out.write_list_end()
        })?;
        field(out, 3, TType::I64, |out| out.write_i64(timestamp))?;
        field(out, 4, TType::Map, |out| {
            out.write_map_begin(&TMapIdentifier::new(TType::String, TType::String, 0))?;
            out.write_map_end()
        })
    })
}

fn list(out: &mut dyn TOutputProtocol, length: usize) -> thrift::Result<()> {
    let length = i32::try_from(length).map_err(|error| thrift::Error::from(error.to_string()))?;
    out.write_list_begin(&TListIdentifier::new(TType::Struct, length))
}

/// A `BatchMutation`: the row and what is done to its cells.
fn mutation(out: &mut dyn TOutputProtocol, row: &Mutation, families: &[String]) -> thrift::Result<()> {
    fields(out, |out| {
        field(out, 1, TType::String, |out| out.write_bytes(row.key()))?;
        field(out, 2, TType::List, |out| {
            match &row.change {
                Change::Cells(cells) => {
                    list(out, cells.len())?;
                    for Cell { family, qualifier, value } in cells {
                        let column = [family.as_bytes(), b":", qualifier].concat();
                        change(out, &column, value.as_deref())?;
                    }
                }
                Change::Delete => {
                    list(out, families.len())?;
                    // A name without a colon is the whole family.
                    families.iter().try_for_each(|family| change(out, family.as_bytes(), None))?;
                }
            }
            out.write_list_end()
        })
    })
}

/// A `Mutation` of Thrift's: one cell, or one family that is taken away.
fn change(out: &mut dyn TOutputProtocol, column: &[u8], value: Option<&[u8]>) -> thrift::Result<()> {
    fields(out, |out| {
        field(out, 1, TType::Bool, |out| out.write_bool(value.is_none()))?;
        field(out, 2, TType::String, |out| out.write_bytes(column))?;
        if let Some(value) = value {
            field(out, 3, TType::String, |out| out.write_bytes(value))?;
        }
        field(out, 4, TType::Bool, |out| out.write_bool(true))
    })
}

/// Reads the fields of a struct: `read` takes those that it knows and says so, the others are left out.
pub(crate) fn read_fields(
    input: &mut dyn TInputProtocol,
    mut read: impl FnMut(&mut dyn TInputProtocol, i16, TType) -> thrift::Result<bool>,
) -> thrift::Result<()> {
    input.read_struct_begin()?;
    loop {
        let field = input.read_field_begin()?;
        if field.field_type == TType::Stop {
            break;
        }
        if !read(input, field.id.unwrap_or(-1), field.field_type)? {
            input.skip(field.field_type)?;
        }
        input.read_field_end()?;
    }
    input.read_struct_end()
}

/// The families of a `map<Text, ColumnDescriptor>`, whose keys are their names with a colon behind.
pub(crate) fn read_families(input: &mut dyn TInputProtocol) -> thrift::Result<Vec<String>> {
    let map = input.read_map_begin()?;
    let mut families = Vec::new();
    for _ in 0..map.size {
        let name = String::from_utf8_lossy(&input.read_bytes()?).into_owned();
        families.push(name.trim_end_matches(':').to_owned());
        read_fields(input, |_, _, _| Ok(false))?;
    }
    input.read_map_end()?;
    Ok(families)
}
