//! Which types have a form in Parquet, and the text that tells one type from another.

use arrow_schema::{DataType, Field};

/// Whether every part of `field` is a column that Parquet has and that other readers understand.
pub(crate) fn has_parquet_form(field: &Field) -> bool {
    match field.data_type() {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary => true,
        DataType::Dictionary(_, of) => **of == DataType::Utf8,
        DataType::List(item) => has_parquet_form(item),
        DataType::Map(entries, _) => has_parquet_form(entries),
        DataType::Struct(fields) => !fields.is_empty() && fields.iter().all(|field| has_parquet_form(field)),
        _ => false,
    }
}

/// One line for each column below `field`, which is named `path`: `value.total: Int64`. `?` marks what may be null.
///
/// What a list holds is named `path[]`, what a map holds `path{key}` and `path{value}`.
pub(crate) fn lines(path: &str, field: &Field, into: &mut Vec<String>) {
    let mark = if field.is_nullable() { "?" } else { "" };
    let container = |name: &str, into: &mut Vec<String>| {
        if field.is_nullable() {
            into.push(format!("{path}: {name}?"));
        }
    };
    match field.data_type() {
        DataType::Struct(fields) => {
            container("Struct", into);
            for field in fields {
                lines(&format!("{path}.{}", name(field.name())), field, into);
            }
        }
        DataType::List(item) => {
            container("List", into);
            lines(&format!("{path}[]"), item, into);
        }
        DataType::Map(entries, _) => {
            container("Map", into);
            if let DataType::Struct(fields) = entries.data_type() {
                for (field, part) in fields.iter().zip(["key", "value"]) {
                    lines(&format!("{path}{{{part}}}"), field, into);
                }
            }
        }
        // The only dictionaries there are come from enums without data.
        DataType::Dictionary(..) => into.push(format!("{path}: Enum{mark}")),
        plain => into.push(format!("{path}: {plain:?}{mark}")),
    }
}

/// The name of a field, in quotes when it could be taken for a path.
fn name(name: &str) -> String {
    let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_plain { name.to_owned() } else { format!("{name:?}") }
}
