//! Rows into files of a local disk: the same bytes by the same encoders, one file a batch and thread, synced.

use crate::Failure;
use crate::row::{Row, Rows};
use crate::sink::{Client, Sink};
use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use tidegate::{DStream, Result, TextRow};
use tidegate_hadoop::{Compression, Header, SaveAsHadoopFiles, SequenceReader, SequenceWriter, Writable};

#[derive(Clone, Copy)]
pub(crate) enum Format {
    Text,
    Sequence,
}

impl Format {
    pub(crate) fn named(name: &str) -> std::result::Result<Format, Failure> {
        match name {
            "text" => Ok(Format::Text),
            "sequence" => Ok(Format::Sequence),
            other => Err(format!("there is no sink {other}").into()),
        }
    }

    fn encode(self, batch: u64, thread: u64, rows: Rows) -> std::result::Result<Vec<u8>, Failure> {
        Ok(match self {
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
            Format::Text => fs::read(file)?.iter().filter(|byte| **byte == b'\n').count(),
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
        match self.format {
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
