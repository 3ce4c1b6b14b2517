//! The Parquet files of a state: what is in them, and the front for writing, reading and merging them.

use crate::columns::Column;
use crate::merge;
use crate::read::FileRows;
use crate::row::{Row, StateKey, StateValue};
use crate::write::{FileLimits, write_files};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use std::marker::PhantomData;
use std::sync::Arc;
use tidegate_core::{PartitionId, Result, StateFile, Storage};

/// The version of the files, in their metadata.
pub(crate) const FORMAT: &str = "1";
/// Key of the version in a file's metadata.
pub(crate) const FORMAT_KEY: &str = "tidegate.format";
/// Key of the lines that tell the types, in a file's metadata: a JSON array of texts.
pub(crate) const COLUMNS_KEY: &str = "tidegate.columns";
/// Name of the column of times.
pub(crate) const UPDATED: &str = "updated_ms";
/// Name of the column that says that a key was removed.
pub(crate) const REMOVED: &str = "removed";

/// How the rows of one state are kept in Parquet files. Made once a state; every copy is the same.
///
/// `key` and `value` are typed columns where the types have a form in Parquet, and JSON text where not; the page on every byte
/// on disk describes them. What is read is what was written, for every type that serialises.
pub struct StateFormat<K, V> {
    shape: Arc<Shape>,
    of: PhantomData<fn() -> (K, V)>,
}

/// The columns of both sides.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) key: Column,
    pub(crate) value: Column,
}

impl Shape {
    pub(crate) fn lines(&self) -> Vec<String> {
        [self.key.lines(), self.value.lines()].concat()
    }

    /// The columns of a file, with those of exact bytes or without.
    pub(crate) fn schema(&self, has_exact_keys: bool, has_exact_values: bool) -> SchemaRef {
        let mut fields = vec![
            self.key.shown_field(),
            self.value.shown_field(),
            Field::new(UPDATED, DataType::UInt64, false),
            Field::new(REMOVED, DataType::Boolean, false),
        ];
        fields.extend(has_exact_keys.then(|| self.key.exact_field()));
        fields.extend(has_exact_values.then(|| self.value.exact_field()));
        Arc::new(Schema::new(fields))
    }
}

impl<K, V> Clone for StateFormat<K, V> {
    fn clone(&self) -> Self {
        StateFormat { shape: Arc::clone(&self.shape), of: PhantomData }
    }
}

impl<K: StateKey, V: StateValue> StateFormat<K, V> {
    /// The format of these types. Follows from them alone.
    pub fn of() -> Self {
        StateFormat {
            shape: Arc::new(Shape { key: Column::of::<K>("key"), value: Column::of::<V>("value") }),
            of: PhantomData,
        }
    }

    #[cfg(test)]
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The columns with their types, for [`StateShape::columns`](tidegate_core::StateShape::columns): `key: Utf8`,
    /// `value.total: Int64`; `?` marks what may be null, `value[]` is what a list holds, `value{key}` and `value{value}` what a
    /// map holds. Equal texts are equal types, but for `Json`: a type that has no form in Parquet (an enum with data, a 128-bit
    /// integer, one that checks what it is read from) is only told from another when it is read.
    pub fn columns(&self) -> Vec<String> {
        self.shape.lines()
    }

    /// Writes `rows` as files `{stem}-{n}.parquet`, from n = 0: none when there are no rows. Rows must be those of one partition in
    /// the order of [`Changes::into_rows`](crate::Changes::into_rows). A file holds at most 1,048,576 rows and about 8 MiB before
    /// compression, so memory is bounded by that and the largest row.
    ///
    /// # Errors
    /// Those of `rows` and of the storage; `UserCode` when a value can't be serialised. Files that were written stay.
    pub fn write(
        &self,
        storage: &dyn Storage,
        stem: &str,
        partition: PartitionId,
        rows: impl Iterator<Item = Result<Row<K, V>>>,
    ) -> Result<Vec<StateFile>> {
        write_files(&self.shape, FileLimits::DEFAULT, storage, stem, partition, rows)
    }

    /// Gives every row of `file` to `each`, in its order. The file is checked as a whole before its first row is given.
    ///
    /// # Errors
    /// `DamagedCheckpoint` naming the file, when it is not there, is not what was written, or has other columns; `Reconfigure` when
    /// a newer version wrote it, or when what it holds is none of these types; those of `each` and of the storage.
    pub fn read(
        &self,
        storage: &dyn Storage,
        file: &StateFile,
        each: &mut dyn FnMut(Row<K, V>) -> Result<()>,
    ) -> Result<()> {
        let mut rows = FileRows::open(&self.shape, storage, file)?;
        while let Some(row) = rows.next_row()? {
            each(row)?;
        }
        Ok(())
    }

    /// Merges files of one partition that follow each other, in the order of their application, into new files
    /// `{stem}-{n}.parquet` with the newest row of each key. What was last updated before `oldest_ms` is left out; so is what was
    /// removed, if these are `all` files of the partition: otherwise an earlier file may still have it.
    ///
    /// Files that were written together are read one after the other, so memory holds one file and about 1 MiB of rows for
    /// each earlier [`write`](StateFormat::write) or merge whose files are among `files`, told by their paths.
    ///
    /// # Errors
    /// As [`read`](StateFormat::read) and [`write`](StateFormat::write); `DamagedCheckpoint` also when rows are not sorted. Files
    /// that were written stay.
    pub fn merge(
        &self,
        storage: &dyn Storage,
        stem: &str,
        files: &[StateFile],
        oldest_ms: Option<u64>,
        all: bool,
    ) -> Result<Vec<StateFile>> {
        let Some(first) = files.first() else { return Ok(Vec::new()) };
        let rows = merge::Merge::<K, V>::new(&self.shape, storage, files, oldest_ms, all)?;
        self.write(storage, stem, first.partition, rows)
    }
}
