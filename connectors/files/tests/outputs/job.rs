//! Whole jobs that write files.

use std::fs;
use std::sync::Arc;
use tidegate::testkit::{BATCH, MemoryInput, TestJob};
use tidegate::{Conf, ErrorKind, Stop, StreamingContext};
use tidegate_core::Storage;
use tidegate_files::{FilesOutput, SaveAsFiles};
use tidegate_storage::{FailingStorage, LocalStorage, MemoryStorage};

fn start(
    input: &MemoryInput<String>,
    folder: &Arc<dyn Storage>,
    checkpoint: Option<Arc<dyn Storage>>,
) -> tidegate::Result<TestJob> {
    TestJob::start_on(Conf::new().set_master("local[2]"), checkpoint, |ssc: &StreamingContext| {
        let words = ssc.input_stream("words", input.clone())?.map(|word: String| (word, 1u64));
        words.reduce_by_key(|a, b| a + b).save_as_csv("counts", folder.clone())
    })
}

#[test]
fn a_job_that_has_only_its_files_goes_on_where_they_end() {
    let directory = tempfile::tempdir().unwrap();
    let folder: Arc<dyn Storage> = Arc::new(LocalStorage::open(directory.path().join("counts")).unwrap());
    let input = MemoryInput::new(2);
    let mut job = start(&input, &folder, None).unwrap();
    input.push(0, ["ebb", "flow", "ebb"].map(str::to_owned));
    job.next_batch().unwrap();
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    drop(job);
    input.push(1, ["tide".to_owned()]);
    let mut job = start(&input, &folder, None).unwrap();
    job.clock.advance(2 * BATCH);
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    let mut files: Vec<_> = fs::read_dir(directory.path().join("counts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    let rows: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert_eq!(rows.len(), 2, "{files:?}");
    let mut first: Vec<&str> = rows[0].lines().collect();
    first.sort_unstable();
    assert_eq!((first, rows[1].as_str()), (vec!["ebb,2", "flow,1"], "tide,1\n"));
}

#[test]
fn a_row_that_can_not_be_written_ends_the_job_and_nothing_of_its_batch_is_seen() {
    let folder: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let input = MemoryInput::new(2);
    let mut job = TestJob::with_memory(Conf::new().set_master("local[2]"), |ssc| {
        let files = FilesOutput::text(folder.clone()).partitions(2);
        ssc.input_stream("words", input.clone())?.output("words", files)
    })
    .unwrap();
    let text = || -> String {
        let seen = folder.list("").unwrap().into_iter().filter(|object| !object.path.starts_with('_'));
        seen.map(|object| String::from_utf8(folder.get(&object.path).unwrap().unwrap()).unwrap()).collect()
    };
    input.push(0, ["ebb".to_owned()]);
    job.next_batch().unwrap();
    assert_eq!(text(), "ebb\n");
    input.push(0, ["flow".to_owned(), "ti\nde".to_owned(), "neap".to_owned()]);
    input.push(1, ["spring".to_owned()]);
    let error = job.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    let told = "output \"words\", batch 2: the row \"ti\\nde\": a row can't be written: the text has a line break in it";
    assert!(error.to_string().contains(told), "{error}");
    assert_eq!(text(), "ebb\n");
}

#[test]
fn a_large_batch_is_the_same_in_stores_that_take_pieces_and_in_those_that_do_not() {
    let written = |storage: Arc<dyn Storage>| {
        let input = MemoryInput::new(2);
        let mut job = TestJob::with_memory(Conf::new().set_master("local[2]"), |ssc| {
            let files = FilesOutput::csv(storage.clone()).partitions(2);
            ssc.input_stream("rows", input.clone())?.output("rows", files)
        })
        .unwrap();
        // Of each file, more than is handed to a store at once.
        for number in 0..60_000u64 {
            input.push(
                (number % 2) as usize,
                [(number, "a text that takes some room in the file".to_owned())],
            );
        }
        job.next_batch().unwrap();
        job.ssc.stop(Stop::Gracefully).unwrap();
        let seen = storage.list("").unwrap().into_iter().filter(|object| !object.path.starts_with('_'));
        let files: Vec<(String, String)> = seen
            .map(|object| {
                let bytes = storage.get(&object.path).unwrap().unwrap();
                assert!(bytes.len() > 1_200_000, "{} has {} bytes", object.path, bytes.len());
                let mut lines: Vec<&str> = std::str::from_utf8(&bytes).unwrap().lines().collect();
                lines.sort_unstable();
                (object.path, lines.join("\n"))
            })
            .collect();
        files
    };
    let directory = tempfile::tempdir().unwrap();
    let whole = FailingStorage::new(Arc::new(MemoryStorage::new())).of_whole_objects();
    let files = written(Arc::new(whole));
    assert_eq!(files.iter().map(|(_, lines)| lines.lines().count()).sum::<usize>(), 60_000);
    assert!(files == written(Arc::new(LocalStorage::open(directory.path()).unwrap())));
}

#[test]
fn two_jobs_with_one_folder_are_refused() {
    let folder: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let input = MemoryInput::new(1);
    let checkpoint = || Some(Arc::new(MemoryStorage::new()) as Arc<dyn Storage>);
    let mut job = start(&input, &folder, checkpoint()).unwrap();
    input.push(0, ["ebb".to_owned()]);
    job.next_batch().unwrap();
    // A job that is new has no name yet, and goes on with what it finds; this one has written elsewhere.
    let (others, journal, elsewhere) = (MemoryInput::new(1), checkpoint(), Arc::new(MemoryStorage::new()));
    let elsewhere: Arc<dyn Storage> = elsewhere;
    let mut second = start(&others, &elsewhere, journal.clone()).unwrap();
    others.push(0, ["tide".to_owned()]);
    second.next_batch().unwrap();
    second.ssc.stop(Stop::Gracefully).unwrap();
    drop(second);
    let second = start(&others, &folder, journal);
    let error = match second.map(|mut job| job.next_batch()) {
        Ok(Ok(_)) => panic!("the second job ran"),
        Ok(Err(error)) | Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("files of csv in memory holds batches of job"), "{error}");
    input.push(0, ["flow".to_owned()]);
    job.next_batch().expect("the first goes on");
    job.ssc.stop(Stop::Gracefully).unwrap();
}

#[cfg(feature = "parquet")]
#[test]
fn a_type_without_columns_stops_the_job_at_its_start() {
    let input = MemoryInput::<String>::new(1);
    let started = TestJob::start(Conf::new().set_master("local[1]"), None, |ssc| {
        ssc.input_stream("words", input.clone())?
            .map(|word: String| (word, ()))
            .save_as_parquet("words", Arc::new(MemoryStorage::new()))
    });
    let error = match started.map(|mut job| job.next_batch()) {
        Ok(Ok(_)) => panic!("the job ran"),
        Ok(Err(error)) | Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("has the field 1, which is never anything"), "{error}");
}
