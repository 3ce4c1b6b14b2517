//! Rows of Parquet.

use super::FileFormat;
use crate::file::{InputFile, StoredBytes};
use arrow_schema::{ArrowError, FieldRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use serde::de::DeserializeOwned;
use std::error::Error as StdError;
use std::io::BufReader;
use tidegate_core::{Error, Result};

/// Rows that are made at a time.
const BATCH_ROWS: usize = 1024;

/// Rows of Parquet, as the type of the stream reads them by serde: columns by the names of its fields. Columns that the type has
/// no field for are passed over. Packed by Snappy, gzip, Zstandard or not at all.
///
/// A file is read a group of rows at a time; the columns of a group are in memory as they are stored.
#[derive(Clone, Copy, Debug)]
pub struct ParquetRows;

impl<T: DeserializeOwned> FileFormat<T> for ParquetRows {
    fn describe(&self) -> String {
        "rows of Parquet".to_owned()
    }

    fn read(&self, file: &InputFile, each: &mut dyn FnMut(T) -> Result<()>) -> Result<()> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(Stored(file.clone()));
        let builder = builder.map_err(|e| failed(file, e))?.with_batch_size(BATCH_ROWS);
        let fields: Vec<FieldRef> = builder.schema().fields().iter().cloned().collect();
        let mut first = 0;
        for batch in builder.build().map_err(|e| failed(file, e))? {
            let batch = batch.map_err(|e| match e {
                ArrowError::ExternalError(e) => of_external(file, e),
                e => file.refused(None, e),
            })?;
            let rows = serde_arrow::Deserializer::from_record_batch(&batch)
                .and_then(|rows| Vec::<T>::deserialize_rows(rows))
                .map_err(|e| {
                    let names =
                        fields.iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
                    let last = first + batch.num_rows();
                    file.refused(
                        None,
                        format!("rows {} to {last} do not fit ({e}); its columns are {names}", first + 1),
                    )
                })?;
            first += batch.num_rows();
            rows.into_iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }
}

/// Reads all rows of a batch.
trait DeserializeRows: Sized {
    fn deserialize_rows(rows: serde_arrow::Deserializer<'_>) -> serde_arrow::Result<Self>;
}

impl<T: DeserializeOwned> DeserializeRows for Vec<T> {
    fn deserialize_rows(rows: serde_arrow::Deserializer<'_>) -> serde_arrow::Result<Self> {
        serde::Deserialize::deserialize(rows)
    }
}

/// A file as the Parquet reader wants it.
struct Stored(InputFile);

impl Length for Stored {
    fn len(&self) -> u64 {
        self.0.bytes()
    }
}

impl ChunkReader for Stored {
    type T = BufReader<StoredBytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(self.0.stored_from(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.0.read_at(start, length).map_err(|e| ParquetError::External(Box::new(e)))?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("it ends {} bytes early", length - bytes.len())));
        }
        Ok(bytes.into())
    }
}

fn failed(file: &InputFile, e: ParquetError) -> Error {
    match e {
        ParquetError::External(e) => of_external(file, e),
        e => file.refused(None, format!("is no Parquet that can be read ({e})")),
    }
}

/// An error of the store that went through the Parquet reader.
fn of_external(file: &InputFile, e: Box<dyn StdError + Send + Sync>) -> Error {
    match e.downcast::<Error>() {
        Ok(error) => *error,
        Err(e) => match e.downcast::<ParquetError>() {
            Ok(e) => failed(file, *e),
            Err(e) => file.refused(None, e),
        },
    }
}
