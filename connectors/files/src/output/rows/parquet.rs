//! Rows of Parquet.

use super::hash::hash_row;
use super::{Encoder, FileCompression, RowFormat};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_arrow::schema::{SchemaLike, TracingOptions};
use std::any::type_name;
use std::sync::Arc;
use tidegate_core::{Error, Result};

/// Looks at a type that `serde_arrow` takes to know it: enough for an enum with a thousand variants.
const TRACES_MAX: usize = 1000;
/// Rows that become columns at a time.
const ROWS_AT_ONCE: usize = 256;

/// Rows of Parquet, a column for each field of their type.
pub(crate) struct ParquetFiles;

impl<T: Serialize + DeserializeOwned + 'static> RowFormat<T> for ParquetFiles {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn ending(&self, _: FileCompression) -> Result<String> {
        Ok("parquet".to_owned())
    }

    fn kind(&self) -> Result<String> {
        let mut kind = "parquet".to_owned();
        columns::<T>()?.iter().for_each(|column| describe(column.name(), column, &mut kind));
        Ok(kind)
    }

    fn encoder(&self, packed: FileCompression, _: bool) -> Result<Box<dyn Encoder<T>>> {
        let columns = columns::<T>()?;
        let writer = ArrowWriter::try_new(
            Vec::new(),
            Arc::new(Schema::new(columns.clone())),
            Some(properties(packed)),
        );
        let writer =
            writer.map_err(|e| Error::reconfigure(refusal::<T>("can't be a Parquet file")).because(e))?;
        Ok(Box::new(Rows { columns, rows: Vec::new(), writer, bytes: 0 }))
    }

    fn join(&self, packed: FileCompression, pieces: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        let mut whole: Option<ArrowWriter<Vec<u8>>> = None;
        for piece in pieces {
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(Bytes::from(piece)).map_err(|e| e.to_string())?;
            let schema = reader.schema().clone();
            let writer = match &mut whole {
                Some(writer) => writer,
                none => none.insert(
                    ArrowWriter::try_new(Vec::new(), schema, Some(properties(packed)))
                        .map_err(|e| e.to_string())?,
                ),
            };
            for batch in reader.build().map_err(|e| e.to_string())? {
                writer.write(&batch.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
            }
        }
        whole.ok_or("no piece is there")?.into_inner().map_err(|e| e.to_string())
    }

    fn hash(&self, row: &T) -> u64 {
        hash_row(row)
    }
}

struct Rows<T> {
    columns: Vec<FieldRef>,
    /// Those that are not columns yet.
    rows: Vec<T>,
    writer: ArrowWriter<Vec<u8>>,
    bytes: u64,
}

impl<T: Serialize> Rows<T> {
    fn take_up(&mut self) -> Result<(), String> {
        if !self.rows.is_empty() {
            let batch = serde_arrow::to_record_batch(&self.columns, &self.rows)
                .map_err(|e| e.message().to_owned())?;
            self.rows.clear();
            self.writer.write(&batch).map_err(|e| e.to_string())?;
            self.bytes = (self.writer.bytes_written() + self.writer.in_progress_size()) as u64;
        }
        Ok(())
    }
}

impl<T: Serialize> Encoder<T> for Rows<T> {
    fn push(&mut self, row: T) -> Result<(), String> {
        self.rows.push(row);
        if self.rows.len() >= ROWS_AT_ONCE { self.take_up() } else { Ok(()) }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<u8>, String> {
        self.take_up()?;
        self.writer.into_inner().map_err(|e| e.to_string())
    }
}

fn properties(packed: FileCompression) -> WriterProperties {
    let compression = match packed {
        FileCompression::None => Compression::UNCOMPRESSED,
        FileCompression::Snappy => Compression::SNAPPY,
        FileCompression::Gzip => Compression::GZIP(GzipLevel::default()),
        FileCompression::Zstd => Compression::ZSTD(ZstdLevel::default()),
    };
    WriterProperties::builder().set_compression(compression).build()
}

/// The columns of a type, known from the type alone.
fn columns<T: DeserializeOwned>() -> Result<Vec<FieldRef>> {
    let options = TracingOptions::default()
        .allow_null_fields(true)
        .map_as_struct(false)
        .sequence_as_large_list(false)
        .strings_as_large_utf8(false)
        .bytes_as_large_binary(false)
        .enums_without_data_as_strings(true)
        .from_type_budget(TRACES_MAX);
    let columns = Vec::<FieldRef>::from_type::<T>(options)
        .map_err(|e| Error::reconfigure(refusal::<T>(&format!("has no columns: {}", e.message()))))?;
    if columns.is_empty() {
        return Err(Error::reconfigure(refusal::<T>("has no fields, and Parquet no rows without columns")));
    }
    for column in &columns {
        check(column.name(), column).map_err(|why| Error::reconfigure(refusal::<T>(&why)))?;
    }
    Ok(columns)
}

fn refusal<T>(why: &str) -> String {
    format!(
        "a row of the type {} {why}; map the rows to a struct whose fields Parquet has, or write JSON",
        type_name::<T>()
    )
}

/// Whether every part of a column is what Parquet has and other readers understand; what is wrong if not.
fn check(path: &str, field: &Field) -> Result<(), String> {
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
        | DataType::Binary => Ok(()),
        DataType::Dictionary(_, of) if **of == DataType::Utf8 => Ok(()),
        DataType::List(item) => check(&format!("{path}[]"), item),
        DataType::Map(entries, _) => check(&format!("{path}{{}}"), entries),
        DataType::Struct(fields) if !fields.is_empty() => {
            fields.iter().try_for_each(|field| check(&format!("{path}.{}", field.name()), field))
        }
        DataType::Null => Err(format!("has the field {path}, which is never anything")),
        DataType::Union(..) => Err(format!("has the field {path}, an enum whose variants hold values")),
        other => Err(format!("has the field {path} of the type {other}, for which Parquet has no column")),
    }
}

/// A line for each column, which tells one type from another.
fn describe(path: &str, field: &Field, into: &mut String) {
    let null = if field.is_nullable() { "?" } else { "" };
    let mut below = |ending: &str, field: &Field| describe(&format!("{path}{null}{ending}"), field, into);
    match field.data_type() {
        DataType::List(item) => below("[]", item),
        DataType::Map(entries, _) => below("{}", entries),
        DataType::Struct(fields) => {
            fields.iter().for_each(|field| below(&format!(".{}", field.name()), field));
        }
        other => into.push_str(&format!(" {path}{null}:{other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        word: String,
        count: u64,
        share: Option<f64>,
        tags: Vec<String>,
        by: BTreeMap<String, i32>,
        level: Level,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Level {
        Low,
        High,
    }

    fn row(count: u64) -> Row {
        let by = BTreeMap::from([("x".to_owned(), -1)]);
        let level = if count.is_multiple_of(2) { Level::Low } else { Level::High };
        Row {
            word: format!("w{count}"),
            count,
            share: Some(0.5).filter(|_| count > 3),
            tags: vec!["t".into()],
            by,
            level,
        }
    }

    fn piece(rows: std::ops::Range<u64>) -> Vec<u8> {
        let mut encoder = ParquetFiles.encoder(FileCompression::Zstd, true).unwrap();
        rows.for_each(|number| encoder.push(row(number)).unwrap());
        assert!(encoder.bytes() < 1_000_000);
        encoder.finish().unwrap()
    }

    fn rows(bytes: Vec<u8>) -> Vec<Row> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap().build().unwrap();
        reader
            .flat_map(|batch| {
                let batch = batch.unwrap();
                serde_arrow::from_record_batch::<Vec<Row>>(&batch).unwrap()
            })
            .collect()
    }

    #[test]
    fn pieces_make_one_file_in_their_order() {
        let pieces = vec![piece(0..700), piece(700..701), piece(701..1_500)];
        let whole = RowFormat::<Row>::join(&ParquetFiles, FileCompression::Snappy, pieces).unwrap();
        assert_eq!(rows(whole), (0..1_500).map(row).collect::<Vec<_>>());
        assert!(
            RowFormat::<Row>::join(&ParquetFiles, FileCompression::None, vec![b"no Parquet".to_vec()])
                .is_err()
        );
    }

    #[test]
    fn the_columns_follow_from_the_type_alone() {
        assert_eq!(
            RowFormat::<Row>::kind(&ParquetFiles).unwrap(),
            "parquet word:Utf8 count:UInt64 share?:Float64 tags[]:Utf8 by{}.key:Utf8 by{}.value:Int32 \
             level:Dictionary(UInt32, Utf8)"
        );
    }

    #[test]
    fn a_type_without_a_place_in_parquet_is_refused_with_its_field() {
        #[derive(Serialize, Deserialize)]
        struct Inner {
            nothing: (),
        }
        #[derive(Serialize, Deserialize)]
        struct Outer {
            id: u32,
            inner: Vec<Inner>,
        }
        #[derive(Serialize, Deserialize)]
        enum Shape {
            Circle(f64),
            Square { side: f64 },
        }
        #[derive(Serialize, Deserialize)]
        struct Drawn {
            shape: Shape,
        }
        let refused = |error: Result<String>| error.unwrap_err().to_string();
        let text = refused(RowFormat::<Outer>::kind(&ParquetFiles));
        assert!(text.contains("Outer has the field inner[].nothing, which is never anything"), "{text}");
        let text = refused(RowFormat::<Drawn>::kind(&ParquetFiles));
        assert!(
            text.contains("has the field shape, an enum whose variants hold values; map the rows"),
            "{text}"
        );
        let text = refused(RowFormat::<String>::kind(&ParquetFiles));
        assert!(text.contains("String has no columns"), "{text}");
    }
}
