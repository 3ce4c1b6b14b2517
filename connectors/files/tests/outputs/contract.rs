//! The contract of outputs, by the suite that all outputs run: each format, on a local disk.

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tidegate::testkit::outputs::{self, Subject};
use tidegate_core::{Result, Storage};
use tidegate_files::{FileCompression, FilesOutput};
use tidegate_storage::LocalStorage;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Row {
    number: u64,
    text: String,
}

struct Files {
    folder: TempDir,
    make: fn(Arc<dyn Storage>) -> FilesOutput<Row>,
    read: fn(&Path) -> Vec<Row>,
    refused: Option<Row>,
}

impl Subject for Files {
    type Row = Row;
    type Output = FilesOutput<Row>;

    fn output(&self) -> Result<FilesOutput<Row>> {
        Ok((self.make)(Arc::new(LocalStorage::open(self.folder.path())?)))
    }

    fn row(&self, number: u64) -> Row {
        Row { number, text: format!("\"row\", {number}") }
    }

    fn visible(&self) -> Vec<Row> {
        seen(self.folder.path()).iter().flat_map(|file| (self.read)(file)).collect()
    }

    fn refused(&self) -> Option<Row> {
        self.refused.clone()
    }
}

/// The files that readers see: those in folders and of names that begin neither with `_` nor with a dot.
fn seen(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().starts_with(['_', '.']) {
            continue;
        }
        if entry.path().is_dir() { files.extend(seen(&entry.path())) } else { files.push(entry.path()) }
    }
    files
}

fn lines(file: &Path) -> Vec<Row> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn csv_rows(file: &Path) -> Vec<Row> {
    csv::Reader::from_path(file).unwrap().deserialize().map(|row| row.unwrap()).collect()
}

fn parquet_rows(file: &Path) -> Vec<Row> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap().build().unwrap();
    reader.flat_map(|batch| serde_arrow::from_record_batch::<Vec<Row>>(&batch.unwrap()).unwrap()).collect()
}

fn text_rows(file: &Path) -> Vec<Row> {
    let text = fs::read_to_string(file).unwrap();
    let row = |line: &str| {
        line.split_once(' ').map(|(n, text)| Row { number: n.parse().unwrap(), text: text.to_owned() })
    };
    text.lines().map(|line| row(line).unwrap()).collect()
}

fn keeps_the_contract(
    make: fn(Arc<dyn Storage>) -> FilesOutput<Row>,
    read: fn(&Path) -> Vec<Row>,
    refused: Option<Row>,
) {
    outputs::all(|| Files { folder: tempfile::tempdir().unwrap(), make, read, refused: refused.clone() });
}

#[test]
fn parquet_keeps_the_contract_of_outputs() {
    keeps_the_contract(FilesOutput::parquet, parquet_rows, None);
}

#[test]
fn json_in_small_files_of_several_partitions_keeps_the_contract_of_outputs() {
    keeps_the_contract(|storage| FilesOutput::json(storage).partitions(5).target_bytes(300), lines, None);
}

#[test]
fn json_in_folders_keeps_the_contract_of_outputs() {
    let make = |storage| {
        FilesOutput::json(storage).partitions(2).partition_by(|row: &Row| [("last digit", row.number % 10)])
    };
    keeps_the_contract(make, lines, None);
}

#[test]
fn csv_keeps_the_contract_of_outputs() {
    keeps_the_contract(FilesOutput::csv, csv_rows, None);
}

#[test]
fn text_keeps_the_contract_of_outputs_and_refuses_a_line_break() {
    let make = |storage| FilesOutput::text_by(storage, |row: &Row| format!("{} {}", row.number, row.text));
    keeps_the_contract(make, text_rows, Some(Row { number: 0, text: "two\nlines".to_owned() }));
}

#[test]
fn packed_files_are_read_by_what_their_names_say() {
    for (compression, ending) in [(FileCompression::Gzip, "gz"), (FileCompression::Zstd, "zst")] {
        let subject = Files {
            folder: tempfile::tempdir().unwrap(),
            make: FilesOutput::json,
            read: lines,
            refused: None,
        };
        let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(subject.folder.path()).unwrap());
        let output = FilesOutput::json(storage).compression(compression);
        let (input, rows) =
            (tidegate::testkit::MemoryInput::new(1), (0..50).map(|number| subject.row(number)));
        let conf = tidegate::Conf::new().set_master("local[1]");
        let mut job = tidegate::testkit::TestJob::start(conf, None, |ssc| {
            ssc.input_stream("rows", input.clone())?.output("out", output)
        })
        .unwrap();
        input.push(0, rows.clone());
        job.next_batch().unwrap();
        job.ssc.stop(tidegate::Stop::Gracefully).unwrap();
        let files = seen(subject.folder.path());
        assert!(files[0].to_str().unwrap().ends_with(&format!(".jsonl.{ending}")), "{files:?}");
        let mut text = String::new();
        let file = File::open(&files[0]).unwrap();
        let mut reader: Box<dyn std::io::Read> = match compression {
            FileCompression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            _ => Box::new(zstd::stream::read::Decoder::new(file).unwrap()),
        };
        reader.read_to_string(&mut text).unwrap();
        let read: Vec<Row> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, rows.collect::<Vec<_>>());
    }
}
