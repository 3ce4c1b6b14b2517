//! Whole jobs that save SequenceFiles and object files, and what every output must hold.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate::testkit::outputs::{self, Subject};
use tidegate::testkit::{MemoryInput, TestJob};
use tidegate::{BatchDirectories, BatchFiles, Conf, ErrorKind, Result, Stop};
use tidegate_core::Storage;
use tidegate_hadoop::{
    Codec, Compression, ObjectFormat, ObjectReader, SaveAsHadoopFiles, SaveAsObjectFiles, SequenceFormat,
    SequenceReader, read_hadoop_files_on, read_object_files, read_object_files_on,
};
use tidegate_storage::{FailingStorage, Fault, MemoryStorage};

const PACKED: Compression = Compression::Block(Codec::Default);

/// The bytes of every file of a storage that a reader does not pass over.
fn files(storage: &MemoryStorage) -> BTreeMap<String, Vec<u8>> {
    let objects = storage.list("").unwrap().into_iter();
    objects
        .filter(|object| !object.path.contains("/_"))
        .map(|object| (object.path.clone(), storage.get(&object.path).unwrap().unwrap()))
        .collect()
}

struct Pairs(MemoryStorage);

impl Subject for Pairs {
    type Row = (String, i64);
    type Output = BatchFiles<(String, i64)>;

    fn output(&self) -> Result<Self::Output> {
        let directories = BatchDirectories::on(Arc::new(self.0.clone()), "pairs", "seq")?;
        Ok(BatchFiles::new(directories, SequenceFormat::compressed(PACKED)))
    }

    fn row(&self, number: u64) -> (String, i64) {
        (format!("key {number}"), number as i64)
    }

    fn visible(&self) -> Vec<(String, i64)> {
        let read = |(path, bytes): (String, Vec<u8>)| {
            let records = SequenceReader::new(path, bytes.as_slice()).unwrap().records().unwrap();
            records.collect::<Result<Vec<_>>>().unwrap()
        };
        files(&self.0).into_iter().flat_map(read).collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Object {
    Calm(u64),
    Storm { force: Option<Option<u8>>, number: u64 },
}

struct Objects(MemoryStorage);

impl Subject for Objects {
    type Row = Object;
    type Output = BatchFiles<Object>;

    fn output(&self) -> Result<Self::Output> {
        Ok(BatchFiles::new(
            BatchDirectories::on(Arc::new(self.0.clone()), "objects", "")?,
            ObjectFormat::default(),
        ))
    }

    fn row(&self, number: u64) -> Object {
        if number.is_multiple_of(2) { Object::Calm(number) } else { Object::Storm { force: None, number } }
    }

    fn visible(&self) -> Vec<Object> {
        let read = |(path, bytes): (String, Vec<u8>)| {
            ObjectReader::new(path, bytes.as_slice()).unwrap().collect::<Result<Vec<_>>>().unwrap()
        };
        files(&self.0).into_iter().flat_map(read).collect()
    }

    fn refused(&self) -> Option<Object> {
        Some(Object::Storm { force: Some(None), number: 7 })
    }
}

#[test]
fn sequence_files_hold_what_every_output_must() {
    outputs::all(|| Pairs(MemoryStorage::new()));
}

#[test]
fn object_files_hold_what_every_output_must() {
    outputs::all(|| Objects(MemoryStorage::new()));
}

/// Two batches.
fn job(storage: Arc<dyn Storage>, workers: usize) -> Result<()> {
    let input = MemoryInput::new(2);
    let conf = Conf::new().set_master(&format!("local[{workers}]")).set("tidegate.retry.pause_ms", "0");
    let mut job = TestJob::start_on(conf, Some(Arc::new(MemoryStorage::new())), |ssc| {
        let words = ssc.input_stream("words", input.clone())?;
        words.foreach_rdd(|rdd| rdd.save_as_object_files_on(storage.clone(), "words", "objects"))?;
        let ones = words.map(|word: String| (word, 1i64));
        ones.save_as_hadoop_files_on(storage.clone(), "ones", "seq")?;
        let packed = BatchDirectories::on(storage, "counts", "packed")?;
        ones.reduce_by_key(|a, b| a + b).save_as_files(packed, SequenceFormat::compressed(PACKED))
    })?;
    for batch in 0..2 {
        input.push(0, (0..25).map(|n| format!("word {}", n % 7 + batch)));
        input.push(1, ["ebb".to_owned()]);
        job.next_batch()?;
    }
    job.ssc.stop(Stop::Gracefully)
}

#[test]
fn a_job_leaves_the_same_bytes_on_any_number_of_workers_whatever_call_fails_once() {
    let memory = MemoryStorage::new();
    let storage = FailingStorage::new(Arc::new(memory.clone()));
    job(Arc::new(storage.clone()), 3).unwrap();
    let (expected, calls) = (files(&memory), storage.calls());
    assert_eq!(expected.len(), 2 * (2 + 2 + 4));
    for call in (1..=calls).step_by(3) {
        for fault in [Fault::Away, Fault::AnswerLost] {
            let memory = MemoryStorage::new();
            let storage = FailingStorage::new(Arc::new(memory.clone()));
            let workers = 1 + call as usize / 3 % 3;
            storage.fail(call, fault);
            job(Arc::new(storage), workers).unwrap();
            assert!(files(&memory) == expected, "{workers} workers, call {call}, {fault:?}");
        }
    }
    let stored: Arc<dyn Storage> = Arc::new(memory);
    let words = read_object_files_on::<String>(stored.clone(), "words-1002000.objects").unwrap();
    let words: Vec<String> = words.collect::<Result<_>>().unwrap();
    assert_eq!((words.len(), &*words[0], &*words[25]), (26, "word 1", "ebb"));
    let counts = read_hadoop_files_on::<String, i64>(stored, "counts-1001000.packed").unwrap();
    let sum: i64 = counts.map(|pair| pair.unwrap().1).sum();
    assert_eq!(sum, 26);
}

#[test]
fn a_directory_that_is_not_whole_is_not_read() {
    let memory = MemoryStorage::new();
    job(Arc::new(memory.clone()), 2).unwrap();
    memory.delete("words-1001000.objects/_SUCCESS").unwrap();
    let stored: Arc<dyn Storage> = Arc::new(memory.clone());
    let error =
        read_object_files_on::<String>(stored.clone(), "words-1001000.objects").map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("memory/words-1001000.objects: has no _SUCCESS"), "{error}");

    memory.put("words-1001000.objects/_SUCCESS", Vec::new()).unwrap();
    let part = "words-1001000.objects/part-00000";
    let bytes = memory.get(part).unwrap().unwrap();
    memory.put(part, bytes[..bytes.len() - 3].to_vec()).unwrap();
    let read: Vec<_> = read_object_files_on::<String>(stored, "words-1001000.objects").unwrap().collect();
    let error = read.last().unwrap().as_ref().unwrap_err();
    assert!(error.to_string().contains("memory/words-1001000.objects/part-00000: byte "), "{error}");
    assert!(read.len() < 26, "nothing comes after the error");

    let nowhere = read_object_files::<String>("/nowhere/at all").map(drop).unwrap_err();
    assert!(nowhere.to_string().starts_with("/nowhere/at all: can't be read"), "{nowhere}");
}

/// With the feature, what one job saves another takes as a stream.
#[cfg(feature = "streams")]
#[test]
fn what_a_job_saves_is_a_stream_of_another() {
    use tidegate::testkit::MemoryOutput;
    use tidegate_files::{FileOptions, FileStreams};
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(tidegate_storage::LocalStorage::open(folder.path()).unwrap());
    job(storage, 2).unwrap();
    let (words, counts) = (MemoryOutput::new(), MemoryOutput::new());
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let url = folder.path().to_str().unwrap();
        let objects = FileOptions::of(ObjectFormat::default())
            .depth(2)
            .name("words")
            .filter(|file| file.path.starts_with("words-"));
        let pairs = FileOptions::of(SequenceFormat::default())
            .depth(2)
            .name("counts")
            .filter(|file| file.path.starts_with("counts-"));
        ssc.file_stream::<String>(url, objects)?.output("words", words.clone())?;
        ssc.file_stream::<(String, i64)>(url, pairs)?.output("counts", counts.clone())
    })
    .unwrap();
    while words.rows().len() < 52 || counts.rows().iter().map(|(_, count)| count).sum::<i64>() < 52 {
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(words.rows().len(), 52);
}
