//! Reads one file of a state: checks all of it first, then gives its rows, with about 1 MiB of them in memory.

use crate::format::{COLUMNS_KEY, FORMAT, FORMAT_KEY, REMOVED, Shape, UPDATED};
use crate::row::{Row, StateKey, StateValue};
use arrow_array::{Array, BooleanArray, RecordBatch, UInt64Array};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use std::vec;
use tidegate_core::{Error, Result, StateFile, Storage};

/// What is decoded at once, in bytes before compression.
const BATCH_BYTES: usize = 1 << 20;
/// What is decoded at once, in rows.
const BATCH_ROWS: usize = 8_192;

/// The rows of one file, in its order.
pub(crate) struct FileRows<'a, K, V> {
    shape: &'a Shape,
    path: String,
    bytes: Bytes,
    metadata: ArrowReaderMetadata,
    next_group: usize,
    group: Option<ParquetRecordBatchReader>,
    rows: vec::IntoIter<Row<K, V>>,
}

impl<'a, K: StateKey, V: StateValue> FileRows<'a, K, V> {
    /// Fetches `file` and checks all of it.
    ///
    /// # Errors
    /// See [`StateFormat::read`](crate::StateFormat::read).
    pub(crate) fn open(shape: &'a Shape, storage: &dyn Storage, file: &StateFile) -> Result<Self> {
        let damaged = |what: &str| damaged(&file.path, what);
        let bytes = storage.get(&file.path)?.ok_or_else(|| damaged("is not there"))?;
        if bytes.len() as u64 != file.bytes {
            return Err(damaged(&format!("has {} bytes and not the {} written", bytes.len(), file.bytes)));
        }
        if crc32c::crc32c(&bytes) != file.crc32c {
            return Err(damaged("does not have the bytes that were written"));
        }
        let bytes = Bytes::from(bytes);
        let metadata = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new())
            .map_err(|error| damaged("is not Parquet").because(error))?;
        check_metadata(shape, &metadata, file)?;
        Ok(FileRows {
            shape,
            path: file.path.clone(),
            bytes,
            metadata,
            next_group: 0,
            group: None,
            rows: Vec::new().into_iter(),
        })
    }

    /// The next row; `None` after the last.
    ///
    /// # Errors
    /// See [`StateFormat::read`](crate::StateFormat::read).
    pub(crate) fn next_row(&mut self) -> Result<Option<Row<K, V>>> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            if let Some(batch) = self.group.as_mut().and_then(Iterator::next) {
                let batch = batch.map_err(|error| self.not_read(&error))?;
                self.rows = self.rows_of(&batch)?.into_iter();
                continue;
            }
            if self.next_group == self.metadata.metadata().num_row_groups() {
                return Ok(None);
            }
            self.group = Some(self.open_group(self.next_group)?);
            self.next_group += 1;
        }
    }

    /// Path of the file.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The batches of one group of rows, small enough to be decoded one by one.
    fn open_group(&self, group: usize) -> Result<ParquetRecordBatchReader> {
        let described = self.metadata.metadata().row_group(group);
        let number = |number: i64| usize::try_from(number).unwrap_or(0).max(1);
        let row_bytes = number(described.total_byte_size()) / number(described.num_rows());
        ParquetRecordBatchReaderBuilder::new_with_metadata(self.bytes.clone(), self.metadata.clone())
            .with_row_groups(vec![group])
            .with_batch_size((BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS))
            .build()
            .map_err(|error| self.not_read(&error))
    }

    fn not_read(&self, error: &dyn std::error::Error) -> Error {
        damaged(&self.path, &format!("can't be read as Parquet: {error}"))
    }

    fn rows_of(&self, batch: &RecordBatch) -> Result<Vec<Row<K, V>>> {
        let no_column = |name: &str| damaged(&self.path, &format!("has no column `{name}`"));
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| no_column(name));
        let times = column(UPDATED)?.as_any().downcast_ref::<UInt64Array>();
        let times = times.ok_or_else(|| no_column(UPDATED))?;
        let removed = column(REMOVED)?.as_any().downcast_ref::<BooleanArray>();
        let removed = removed.ok_or_else(|| no_column(REMOVED))?;

        let (key, value) = (&self.shape.key, &self.shape.value);
        let exact_keys = batch.column_by_name(&key.exact_name());
        let exact_values = batch.column_by_name(&value.exact_name());
        let here = |error: Error| error.context(&self.path);
        let keys = key.read::<K>(column(key.name())?, exact_keys, |_| true).map_err(here)?;
        let values =
            value.read::<V>(column(value.name())?, exact_values, |at| !removed.value(at)).map_err(here)?;
        let rows = keys
            .into_iter()
            .zip(values)
            .enumerate()
            .filter_map(|(at, (key, value))| Some(Row { key: key?, value, updated_ms: times.value(at) }));
        Ok(rows.collect())
    }
}

/// Checks that the file is one of a state, of this format, these types and this number of rows.
fn check_metadata(shape: &Shape, metadata: &ArrowReaderMetadata, file: &StateFile) -> Result<()> {
    let parquet = metadata.metadata().file_metadata();
    let said = |key: &str| {
        let found = parquet.key_value_metadata()?.iter().find(|entry| entry.key == key)?;
        found.value.as_deref()
    };
    match said(FORMAT_KEY) {
        Some(FORMAT) => {}
        Some(other) => {
            return Err(Error::reconfigure(format!(
                "{}: is of format {other}, and this version reads format {FORMAT}; use the version that wrote it or a newer one",
                file.path
            )));
        }
        None => return Err(damaged(&file.path, "is no file of a state")),
    }
    let columns = said(COLUMNS_KEY).and_then(|text| serde_json::from_str::<Vec<String>>(text).ok());
    if columns.as_ref() != Some(&shape.lines()) {
        let found = columns.unwrap_or_default().join(", ");
        let wanted = shape.lines().join(", ");
        return Err(damaged(&file.path, &format!("has the columns [{found}] and not [{wanted}]")));
    }
    if u64::try_from(parquet.num_rows()) != Ok(file.rows) {
        let found = parquet.num_rows();
        return Err(damaged(&file.path, &format!("has {found} rows and not the {} written", file.rows)));
    }
    Ok(())
}

/// The error of a file that can't be used.
pub(crate) fn damaged(path: &str, what: &str) -> Error {
    Error::damaged_checkpoint(format!("{path}: {what}; an older checkpoint is used if there is one"))
}
