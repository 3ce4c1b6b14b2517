//! Writes sorted rows as Parquet files of bounded size.

use crate::format::{COLUMNS_KEY, FORMAT, FORMAT_KEY, Shape};
use crate::measure::measure;
use crate::row::{Row, StateKey, StateValue};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt64Array, new_null_array};
use arrow_schema::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::sync::Arc;
use tidegate_core::{Error, PartitionId, Result, StateFile, Storage};

/// When the next thing begins. Bytes are those of keys and values before compression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileLimits {
    batch_rows: usize,
    batch_bytes: usize,
    group_rows: usize,
    group_bytes: usize,
    file_rows: u64,
    file_bytes: usize,
}

impl FileLimits {
    /// Large enough for Parquet to be worth it, small enough for one of each to be in memory.
    pub(crate) const DEFAULT: FileLimits = FileLimits {
        batch_rows: 8_192,
        batch_bytes: 1 << 20,
        group_rows: 65_536,
        group_bytes: 4 << 20,
        file_rows: 1 << 20,
        file_bytes: 8 << 20,
    };

    /// Some of everything from few rows.
    #[cfg(test)]
    pub(crate) const TINY: FileLimits = FileLimits {
        batch_rows: 2,
        batch_bytes: 1 << 20,
        group_rows: 4,
        group_bytes: 8 << 20,
        file_rows: 8,
        file_bytes: 32 << 20,
    };
}

/// Writes `rows` as files; see [`StateFormat::write`](crate::StateFormat::write).
pub(crate) fn write_files<K: StateKey, V: StateValue>(
    shape: &Shape,
    limits: FileLimits,
    storage: &dyn Storage,
    stem: &str,
    partition: PartitionId,
    rows: impl Iterator<Item = Result<Row<K, V>>>,
) -> Result<Vec<StateFile>> {
    let mut files = Files { shape, limits, storage, stem, partition, open: None, done: Vec::new() };
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for row in rows {
        let row = row?;
        bytes += size_of_row(&row)?;
        batch.push(row);
        if batch.len() >= limits.batch_rows || bytes >= limits.batch_bytes {
            files.add(&batch, bytes)?;
            batch.clear();
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        files.add(&batch, bytes)?;
    }
    files.finish_open()?;
    Ok(files.done)
}

fn size_of_row<K: StateKey, V: StateValue>(row: &Row<K, V>) -> Result<usize> {
    let unserialisable =
        |error| Error::user_code("a key or a value of a state can't be serialised").because(error);
    let key = measure(&row.key).map_err(unserialisable)?.bytes;
    let value = row.value.as_ref().map(measure).transpose().map_err(unserialisable)?;
    Ok(key + value.map_or(0, |value| value.bytes) + 16)
}

struct Files<'a> {
    shape: &'a Shape,
    limits: FileLimits,
    storage: &'a dyn Storage,
    stem: &'a str,
    partition: PartitionId,
    open: Option<OpenFile>,
    done: Vec<StateFile>,
}

struct OpenFile {
    writer: ArrowWriter<Vec<u8>>,
    has_exact_keys: bool,
    has_exact_values: bool,
    rows: u64,
    newest_ms: u64,
    group_rows: usize,
    group_bytes: usize,
    bytes: usize,
}

impl Files<'_> {
    fn add<K: StateKey, V: StateValue>(&mut self, rows: &[Row<K, V>], bytes: usize) -> Result<()> {
        let keys: Vec<Option<&K>> = rows.iter().map(|row| Some(&row.key)).collect();
        let values: Vec<Option<&V>> = rows.iter().map(|row| row.value.as_ref()).collect();
        let (keys, values) = (self.shape.key.write(&keys)?, self.shape.value.write(&values)?);
        let times: UInt64Array = rows.iter().map(|row| row.updated_ms).collect::<Vec<_>>().into();
        let removed: BooleanArray = rows.iter().map(|row| row.value.is_none()).collect::<Vec<_>>().into();

        self.ready_for(keys.exact.is_some(), values.exact.is_some())?;
        let limits = self.limits;
        let file = self.open.as_mut().expect("a file is ready");
        let mut arrays: Vec<ArrayRef> = vec![keys.shown, values.shown, Arc::new(times), Arc::new(removed)];
        for (has, exact) in [(file.has_exact_keys, keys.exact), (file.has_exact_values, values.exact)] {
            if has {
                arrays.push(exact.unwrap_or_else(|| new_null_array(&DataType::Binary, rows.len())));
            }
        }
        let schema = self.shape.schema(file.has_exact_keys, file.has_exact_values);
        let batch = RecordBatch::try_new(schema, arrays).map_err(|error| self.failed(error))?;
        let file = self.open.as_mut().expect("a file is ready");
        let added = file.add(&batch, rows.iter().map(|row| row.updated_ms).max().unwrap_or(0), bytes, limits);
        added.map_err(|error| self.failed(error))?;
        let file = self.open.as_ref().expect("a file is ready");
        if file.rows >= limits.file_rows || file.bytes >= limits.file_bytes {
            self.finish_open()?;
        }
        Ok(())
    }

    /// Sees to an open file that has the columns of exact bytes that are asked for.
    fn ready_for(&mut self, exact_keys: bool, exact_values: bool) -> Result<()> {
        let fits = |file: &OpenFile| {
            (file.has_exact_keys || !exact_keys) && (file.has_exact_values || !exact_values)
        };
        if self.open.as_ref().is_some_and(|file| !fits(file)) {
            self.finish_open()?;
        }
        if self.open.is_none() {
            let columns = serde_json::to_string(&self.shape.lines()).expect("texts are JSON");
            let metadata = vec![
                KeyValue::new(FORMAT_KEY.to_owned(), FORMAT.to_owned()),
                KeyValue::new(COLUMNS_KEY.to_owned(), columns),
            ];
            let properties = WriterProperties::builder()
                .set_compression(Compression::SNAPPY)
                .set_statistics_enabled(EnabledStatistics::Chunk)
                .set_key_value_metadata(Some(metadata))
                .build();
            let schema = self.shape.schema(exact_keys, exact_values);
            let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties))
                .map_err(|error| self.failed(error))?;
            self.open = Some(OpenFile {
                writer,
                has_exact_keys: exact_keys,
                has_exact_values: exact_values,
                rows: 0,
                newest_ms: 0,
                group_rows: 0,
                group_bytes: 0,
                bytes: 0,
            });
        }
        Ok(())
    }

    fn finish_open(&mut self) -> Result<()> {
        let Some(file) = self.open.take() else { return Ok(()) };
        let bytes = file.writer.into_inner().map_err(|error| self.failed(error))?;
        let path = self.path();
        self.done.push(StateFile {
            path: path.clone(),
            partition: self.partition,
            rows: file.rows,
            bytes: bytes.len() as u64,
            crc32c: crc32c::crc32c(&bytes),
            newest_ms: file.newest_ms,
        });
        self.storage.put(&path, bytes)
    }

    /// Path of the file that is not done yet.
    fn path(&self) -> String {
        format!("{}-{}.parquet", self.stem, self.done.len())
    }

    fn failed(&self, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::bug(format!("{}: a state can't be written as Parquet", self.path())).because(error)
    }
}

impl OpenFile {
    fn add(
        &mut self,
        batch: &RecordBatch,
        newest_ms: u64,
        bytes: usize,
        limits: FileLimits,
    ) -> parquet::errors::Result<()> {
        self.writer.write(batch)?;
        self.rows += batch.num_rows() as u64;
        self.newest_ms = self.newest_ms.max(newest_ms);
        self.bytes += bytes;
        self.group_rows += batch.num_rows();
        self.group_bytes += bytes;
        if self.group_rows >= limits.group_rows || self.group_bytes >= limits.group_bytes {
            self.writer.flush()?;
            self.group_rows = 0;
            self.group_bytes = 0;
        }
        Ok(())
    }
}
