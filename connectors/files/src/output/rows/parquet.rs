//! Rows of Parquet.

use super::hash::hash_row;
use super::{Encoder, FileBytes, FileCompression, RowFormat};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_arrow::ArrayBuilder;
use serde_arrow::schema::{SchemaLike, TracingOptions};
use std::any::type_name;
use std::sync::{Arc, OnceLock};
use tidegate_core::{Error, Result};

/// Looks at a type that `serde_arrow` takes to know it: enough for an enum with a thousand variants.
const TRACES_MAX: usize = 1000;

/// Bytes of a row of which nothing is known yet.
const ROW_BYTES: usize = 1024;

/// Rows of Parquet, a column for each field of their type.
#[derive(Default)]
pub(crate) struct ParquetFiles {
    /// Found once: finding them takes longer than a small file.
    columns: OnceLock<Vec<FieldRef>>,
}

impl ParquetFiles {
    fn columns<T: DeserializeOwned>(&self) -> Result<&[FieldRef]> {
        if let Some(columns) = self.columns.get() {
            return Ok(columns);
        }
        let columns = columns::<T>()?;
        Ok(self.columns.get_or_init(|| columns))
    }
}

impl<T: Serialize + DeserializeOwned + 'static> RowFormat<T> for ParquetFiles {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn ending(&self, _: FileCompression) -> Result<String> {
        Ok("parquet".to_owned())
    }

    fn kind(&self) -> Result<String> {
        let mut kind = "parquet".to_owned();
        self.columns::<T>()?.iter().for_each(|column| describe(column.name(), column, &mut kind));
        Ok(kind)
    }

    fn encoder(&self) -> Result<Box<dyn Encoder<T>>> {
        let columns = self.columns::<T>()?;
        let builder = ArrayBuilder::from_arrow(columns).map_err(|e| unfit::<T>(e.message()))?;
        Ok(Box::new(Columns { builder, rows: 0, row_bytes: ROW_BYTES }))
    }

    fn segment(&self, packed: FileCompression, _: bool) -> Result<Box<dyn FileBytes>> {
        let schema = Arc::new(Schema::new(self.columns::<T>()?.to_vec()));
        let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties(packed)));
        Ok(Box::new(Segment(writer.map_err(|e| unfit::<T>(&e.to_string()))?)))
    }

    fn join(&self, packed: FileCompression, segments: Vec<Vec<u8>>) -> Result<Vec<u8>, String> {
        let mut whole: Option<ArrowWriter<Vec<u8>>> = None;
        for segment in segments {
            let reader =
                ParquetRecordBatchReaderBuilder::try_new(Bytes::from(segment)).map_err(|e| e.to_string())?;
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
        whole.ok_or("no segment is there")?.into_inner().map_err(|e| e.to_string())
    }

    fn hash(&self, row: &T) -> u64 {
        hash_row(row)
    }
}

fn unfit<T>(why: &str) -> Error {
    Error::reconfigure(refusal::<T>(&format!("can't be a Parquet file ({why})")))
}

/// A piece is a stream of Arrow's IPC format with one record batch.
struct Columns {
    builder: ArrayBuilder,
    /// Since the last piece.
    rows: usize,
    /// Of a row of the last piece.
    row_bytes: usize,
}

impl<T: Serialize> Encoder<T> for Columns {
    fn push(&mut self, row: &T) -> Result<(), String> {
        self.rows += 1;
        self.builder.push(row).map_err(|e| e.message().to_owned())
    }

    /// By those of the last piece.
    fn bytes(&self) -> usize {
        self.rows * self.row_bytes
    }

    fn take(&mut self) -> Result<Vec<u8>, String> {
        let batch = self.builder.to_record_batch().map_err(|e| e.message().to_owned())?;
        let written = || {
            let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema())?;
            stream.write(&batch)?;
            stream.into_inner()
        };
        let piece = written().map_err(|e: ArrowError| e.to_string())?;
        self.row_bytes = piece.len() / std::mem::take(&mut self.rows).max(1);
        Ok(piece)
    }
}

struct Segment(ArrowWriter<Vec<u8>>);

impl FileBytes for Segment {
    fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        for batch in StreamReader::try_new(piece, None).map_err(|e| e.to_string())? {
            let batch = batch.map_err(|e| e.to_string())?;
            self.0.write(&batch).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        (self.0.inner().len() + self.0.in_progress_size()) as u64
    }

    /// Whole row groups.
    fn ready(&self) -> u64 {
        self.0.inner().len() as u64
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.0.inner_mut())
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>, String> {
        self.0.into_inner().map_err(|e| e.to_string())
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
        let format = ParquetFiles::default();
        let mut encoder = RowFormat::<Row>::encoder(&format).unwrap();
        let mut segment = RowFormat::<Row>::segment(&format, FileCompression::Zstd, true).unwrap();
        for number in rows {
            encoder.push(&row(number)).unwrap();
            if number.is_multiple_of(100) {
                segment.push(&encoder.take().unwrap()).unwrap();
            }
        }
        segment.push(&encoder.take().unwrap()).unwrap();
        assert!(segment.bytes() < 1_000_000);
        segment.finish().unwrap()
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
        let whole =
            RowFormat::<Row>::join(&ParquetFiles::default(), FileCompression::Snappy, pieces).unwrap();
        assert_eq!(rows(whole), (0..1_500).map(row).collect::<Vec<_>>());
        assert!(
            RowFormat::<Row>::join(
                &ParquetFiles::default(),
                FileCompression::None,
                vec![b"no Parquet".to_vec()]
            )
            .is_err()
        );
    }

    #[test]
    fn the_columns_follow_from_the_type_alone() {
        assert_eq!(
            RowFormat::<Row>::kind(&ParquetFiles::default()).unwrap(),
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
        let text = refused(RowFormat::<Outer>::kind(&ParquetFiles::default()));
        assert!(text.contains("Outer has the field inner[].nothing, which is never anything"), "{text}");
        let text = refused(RowFormat::<Drawn>::kind(&ParquetFiles::default()));
        assert!(
            text.contains("has the field shape, an enum whose variants hold values; map the rows"),
            "{text}"
        );
        let text = refused(RowFormat::<String>::kind(&ParquetFiles::default()));
        assert!(text.contains("String has no columns"), "{text}");
    }
}
