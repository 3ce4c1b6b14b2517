//! One way to read all rows of files.

use crate::format::StateFormat;
use crate::row::{Row, StateKey, StateValue};
use tidegate_core::{Result, StateFile, Storage};

/// All rows of `files`, in the order of their application.
pub(super) fn rows_of<K: StateKey, V: StateValue>(
    format: &StateFormat<K, V>,
    storage: &dyn Storage,
    files: &[StateFile],
) -> Result<Vec<Row<K, V>>> {
    let mut rows = Vec::new();
    for file in files {
        format.read(storage, file, &mut |row| {
            rows.push(row);
            Ok(())
        })?;
    }
    Ok(rows)
}
