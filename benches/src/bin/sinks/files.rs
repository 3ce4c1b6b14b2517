//! Rows into files of a local disk: the same bytes by the same encoders, one file a batch and thread, synced.

use crate::row::{Row, Rows};
use crate::sink::{Client, OUTPUT, Sink};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression as Packed;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidegate::{DStream, Result, TextRow};
use tidegate_benches::Failure;
use tidegate_files::FilesOutput;
use tidegate_hadoop::{Compression, Header, SaveAsHadoopFiles, SequenceReader, SequenceWriter, Writable};

/// As many as there are workers.
const PARTITIONS: u32 = 2;
/// Rows that become columns at a time.
const ROWS_AT_ONCE: usize = 4096;

#[derive(Clone, Copy)]
pub(crate) enum Format {
    Parquet,
    Json,
    Csv,
    Text,
    Sequence,
}

impl Format {
    pub(crate) fn named(name: &str) -> std::result::Result<Format, Failure> {
        match name {
            "parquet" => Ok(Format::Parquet),
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            "text" => Ok(Format::Text),
            "sequence" => Ok(Format::Sequence),
            other => Err(format!("there is no sink {other}").into()),
        }
    }

    fn encode(self, batch: u64, thread: u64, rows: Rows) -> std::result::Result<Vec<u8>, Failure> {
        Ok(match self {
            Format::Parquet => parquet(rows)?,
            Format::Json => {
                let mut lines = Vec::new();
                for row in rows {
                    serde_json::to_writer(&mut lines, &row)?;
                    lines.push(b'\n');
                }
                lines
            }
            Format::Csv => {
                let mut lines = csv::Writer::from_writer(Vec::new());
                for row in rows {
                    lines.serialize(row)?;
                }
                lines.into_inner().map_err(|error| error.to_string())?
            }
            Format::Text => {
                let mut text = String::new();
                for row in rows {
                    fields(row).append_to(&mut text);
                    text.push('\n');
                }
                text.into_bytes()
            }
            Format::Sequence => {
                let mut sync = [0; 16];
                sync[..8].copy_from_slice(&batch.to_be_bytes());
                sync[8..].copy_from_slice(&thread.to_be_bytes());
                let mut file = SequenceWriter::new(&header(), sync);
                for row in rows {
                    file.append(&row.id, &row.word)?;
                }
                file.finish()
            }
        })
    }

    fn rows_of(self, file: &Path) -> std::result::Result<usize, Failure> {
        Ok(match self {
            Format::Parquet => {
                let file = SerializedFileReader::new(File::open(file)?)?;
                usize::try_from(file.metadata().file_metadata().num_rows())?
            }
            Format::Text | Format::Json => lines_of(file)?,
            // The first line is that of names.
            Format::Csv => lines_of(file)? - 1,
            Format::Sequence => {
                let read = BufReader::new(File::open(file)?);
                let records = SequenceReader::new("a part", read)?.records::<i64, String>()?;
                let mut rows = 0;
                for record in records {
                    record?;
                    rows += 1;
                }
                rows
            }
        })
    }
}

fn lines_of(file: &Path) -> std::result::Result<usize, Failure> {
    Ok(fs::read(file)?.iter().filter(|byte| **byte == b'\n').count())
}

fn parquet(mut rows: Rows) -> std::result::Result<Vec<u8>, Failure> {
    let columns: Vec<FieldRef> =
        [("id", DataType::Int64), ("word", DataType::Utf8), ("level", DataType::Float64)]
            .map(|(name, of)| Arc::new(Field::new(name, of, false)))
            .to_vec();
    let packed = WriterProperties::builder().set_compression(Packed::SNAPPY).build();
    let mut file = ArrowWriter::try_new(Vec::new(), Arc::new(Schema::new(columns.clone())), Some(packed))?;
    loop {
        let some: Vec<Row> = rows.by_ref().take(ROWS_AT_ONCE).collect();
        if some.is_empty() {
            return Ok(file.into_inner()?);
        }
        file.write(&serde_arrow::to_record_batch(&columns, &some)?)?;
    }
}

fn fields(row: Row) -> (i64, String, f64) {
    (row.id, row.word, row.level)
}

fn header() -> Header {
    Header {
        key_class: i64::CLASS.to_owned(),
        value_class: String::CLASS.to_owned(),
        compression: Compression::None,
        metadata: Default::default(),
    }
}

pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) format: Format,
}

impl Sink for Folder {
    fn save(&self, rows: &DStream<Row>) -> Result<()> {
        let prefix = self.path.join("rows").display().to_string();
        let storage = || tidegate_object_store::storage(&prefix);
        match self.format {
            Format::Parquet => {
                rows.output(OUTPUT, FilesOutput::parquet(storage()?).partitions(PARTITIONS)).map(drop)
            }
            Format::Json => {
                rows.output(OUTPUT, FilesOutput::json(storage()?).partitions(PARTITIONS)).map(drop)
            }
            Format::Csv => rows.output(OUTPUT, FilesOutput::csv(storage()?).partitions(PARTITIONS)).map(drop),
            Format::Text => rows.map(fields).save_as_text_files(&prefix, "txt").map(drop),
            Format::Sequence => {
                rows.map(|row| (row.id, row.word)).save_as_hadoop_files(&prefix, "seq").map(drop)
            }
        }
    }

    fn client(&self, thread: u64) -> std::result::Result<Box<dyn Client>, Failure> {
        Ok(Box::new(Writing { path: self.path.clone(), format: self.format, thread }))
    }

    fn rows(&self) -> std::result::Result<Option<u64>, Failure> {
        let (mut folders, mut rows) = (vec![self.path.clone()], 0);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.starts_with(['_', '.']) {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else {
                    rows += self.format.rows_of(&path)? as u64;
                }
            }
        }
        Ok(Some(rows))
    }
}

struct Writing {
    path: PathBuf,
    format: Format,
    thread: u64,
}

impl Client for Writing {
    fn write(&mut self, batch: u64, rows: Rows) -> std::result::Result<(), Failure> {
        let bytes = self.format.encode(batch, self.thread, rows)?;
        let mut file = File::create(self.path.join(format!("part-{batch:05}-{}", self.thread)))?;
        file.write_all(&bytes)?;
        Ok(file.sync_all()?)
    }
}
