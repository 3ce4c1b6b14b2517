//! Whole jobs that write files.

use std::fs;
use std::sync::Arc;
use tidegate::testkit::{BATCH, MemoryInput, TestJob};
use tidegate::{Conf, ErrorKind, Stop, StreamingContext};
use tidegate_core::Storage;
use tidegate_files::SaveAsFiles;
use tidegate_storage::{LocalStorage, MemoryStorage};

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
