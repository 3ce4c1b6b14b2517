//! A directory of files for each batch: what is in it, and that no failure at any call leaves anything else in the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tidegate::testkit::outputs::{self, Subject};
use tidegate::testkit::{MemoryInput, TestJob, every};
use tidegate::{
    Batch, BatchDirectories, BatchFiles, BatchId, BatchTime, Conf, Error, ErrorKind, Part, PartFormat,
    PartitionId, Result, Stop, TextFormat,
};
use tidegate_core::{BatchPlan, JobId, Output, OutputContext, OutputId, Seat, Storage, Writer};
use tidegate_storage::{FailingStorage, Fault, LocalStorage, MemoryStorage};

/// Every object of a storage by its path, as text.
type Tree = BTreeMap<String, String>;

fn tree(storage: &dyn Storage) -> Tree {
    let objects = storage.list("").unwrap().into_iter();
    objects
        .map(|object| {
            let bytes = storage.get(&object.path).unwrap().unwrap();
            (object.path, String::from_utf8(bytes).unwrap())
        })
        .collect()
}

fn batch(id: u64) -> Batch {
    Batch::new(Arc::new(BatchPlan {
        id: BatchId(id),
        time: BatchTime(id * 1000),
        zero: BatchTime(0),
        sources: Vec::new(),
    }))
}

fn open<T: tidegate::Data, F: PartFormat<T>>(
    storage: Arc<dyn Storage>,
    format: F,
) -> Result<Box<dyn Writer<T>>> {
    let output = BatchFiles::new(BatchDirectories::on(storage, "a/words", "txt")?, format);
    let id = OutputId::from("words");
    output.open(&OutputContext { output: id.clone(), job: None, new_job: JobId::from("job") })?;
    output.writer(&Seat { output: id, worker: 0, workers: 1 })
}

fn prepare(writer: &mut dyn Writer<u64>, batch: &Batch, partitions: &[&[u64]]) -> Result<()> {
    let ids: Vec<_> = (0..partitions.len() as u32).map(PartitionId).collect();
    // Chunks come in any order of partitions.
    for (id, rows) in ids.iter().zip(partitions).rev() {
        for row in *rows {
            writer.write(batch, *id, vec![*row])?;
        }
    }
    writer.prepare(batch, &ids)
}

/// One try of batch 2; gives the writer too, which a crash drops and the orderly end of an epoch asks to abort.
fn run(storage: &FailingStorage, partitions: &[&[u64]]) -> (Option<Box<dyn Writer<u64>>>, Result<()>) {
    let mut writer = match open(Arc::new(storage.clone()), TextFormat) {
        Ok(writer) => writer,
        Err(error) => return (None, Err(error)),
    };
    let done = prepare(&mut *writer, &batch(2), partitions).and_then(|()| writer.commit(&batch(2)));
    (Some(writer), done)
}

fn failing() -> (MemoryStorage, FailingStorage) {
    let memory = MemoryStorage::new();
    (memory.clone(), FailingStorage::new(Arc::new(memory)))
}

/// What a try without a fault leaves.
fn clean(partitions: &[&[u64]]) -> (Tree, u64) {
    let (memory, storage) = failing();
    run(&storage, partitions).1.unwrap();
    (tree(&memory), storage.calls())
}

const ROWS: [&[u64]; 2] = [&[1, 2], &[]];
/// What a program from before left: more partitions, and other rows.
const OLD_ROWS: [&[u64]; 3] = [&[1, 2], &[9], &[8]];

#[test]
fn each_partition_is_a_file_also_an_empty_one_and_success_tells_that_all_are_there() {
    let expected = [
        ("a/words-2000.txt/_SUCCESS", ""),
        ("a/words-2000.txt/part-00000", "1\n2\n"),
        ("a/words-2000.txt/part-00001", ""),
    ];
    let (tree, _) = clean(&ROWS);
    assert_eq!(tree, expected.map(|(path, text)| (path.to_owned(), text.to_owned())).into());
}

#[test]
fn success_is_there_only_with_a_whole_directory_whatever_call_fails_and_the_next_try_mends_all() {
    let (expected, calls) = clean(&ROWS);
    let (old, old_calls) = clean(&OLD_ROWS);
    let is_right = |memory: &MemoryStorage, what: &str| {
        let mut tree = tree(memory);
        tree.retain(|path, _| !path.contains("_temporary"));
        if tree.contains_key("a/words-2000.txt/_SUCCESS") {
            assert!(tree == expected || tree == old, "{what}: not whole, and says it is: {tree:?}");
        }
    };
    // An earlier try that died at any call, or not at all, or that there was none.
    for died in 0..=old_calls + 1 {
        // Enough for what must be looked at and taken away too.
        for call in 1..=calls + 12 {
            for fault in [Fault::Away, Fault::Refused, Fault::AnswerLost] {
                for aborts in [false, true] {
                    let (memory, storage) = failing();
                    if died > 0 {
                        storage.fail_from(died, Fault::Away);
                        drop(run(&storage, &OLD_ROWS));
                        storage.mend();
                    }
                    let what = format!("earlier try died at {died}; call {call}, {fault:?}, aborts {aborts}");
                    is_right(&memory, &what);
                    storage.fail(storage.calls() + call, fault);
                    let (writer, done) = run(&storage, &ROWS);
                    is_right(&memory, &what);
                    if let Some(mut writer) = writer.filter(|_| aborts) {
                        writer.abort();
                        is_right(&memory, &what);
                    }
                    storage.mend();
                    if done.is_err() {
                        run(&storage, &ROWS).1.unwrap();
                    }
                    assert_eq!(tree(&memory), expected, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_half_done_write_or_rename_is_mended_too() {
    let (expected, calls) = clean(&ROWS);
    for call in 1..=calls {
        let (memory, storage) = failing();
        storage.fail(call, Fault::Torn);
        drop(run(&storage, &ROWS));
        run(&storage, &ROWS).1.unwrap();
        assert_eq!(tree(&memory), expected, "call {call}");
    }
}

#[test]
fn what_is_prepared_is_hidden_and_gone_when_the_batch_is_given_up() {
    let (memory, storage) = failing();
    let mut writer = open(Arc::new(storage), TextFormat).unwrap();
    prepare(&mut *writer, &batch(2), &ROWS).unwrap();
    let paths: Vec<_> = tree(&memory).into_keys().collect();
    assert_eq!(paths, ["a/words-2000.txt/_temporary/part-00000", "a/words-2000.txt/_temporary/part-00001"]);
    writer.abort();
    assert_eq!(tree(&memory), Tree::new());
}

#[test]
fn a_batch_that_is_there_is_left_alone_when_it_is_run_again() {
    let (memory, storage) = failing();
    run(&storage, &ROWS).1.unwrap();
    let (before, calls) = (tree(&memory), storage.calls());
    run(&storage, &ROWS).1.unwrap();
    assert_eq!(tree(&memory), before);
    // The listing, and a look at each part: nothing that a reader may have open is replaced.
    assert_eq!(storage.calls() - calls, 1 + ROWS.len() as u64);
}

#[test]
fn files_of_an_earlier_program_are_not_taken_for_those_that_are_gone() {
    for old in [&OLD_ROWS[..], &[]] {
        let (memory, storage) = failing();
        if !old.is_empty() {
            run(&storage, old).1.unwrap();
        }
        let mut writer = open(Arc::new(storage.clone()), TextFormat).unwrap();
        prepare(&mut *writer, &batch(2), &[&[5], &[6]]).unwrap();
        // An earlier run of the job that ends late takes back what it thinks is its own.
        memory.delete("a/words-2000.txt/_temporary/part-00001").unwrap();
        assert_eq!(writer.commit(&batch(2)).unwrap_err().kind(), ErrorKind::Retry);
        assert_eq!(memory.get("a/words-2000.txt/_SUCCESS").unwrap(), None);
        run(&storage, &[&[5], &[6]]).1.unwrap();
        assert_eq!(tree(&memory), clean(&[&[5], &[6]]).0);
    }
}

#[test]
fn what_others_put_there_stays() {
    let (memory, storage) = failing();
    for path in ["notes.txt", "_logs/x", "deep/part-00007", "part-00007"] {
        memory.put(&format!("a/words-2000.txt/{path}"), b"x".to_vec()).unwrap();
    }
    memory.put("a/words-2000.txt.bak/part-00000", b"x".to_vec()).unwrap();
    run(&storage, &ROWS).1.unwrap();
    let mut left = tree(&memory);
    left.retain(|_, text| text == "x");
    let left: Vec<_> = left.into_keys().collect();
    // A part that this batch does not have can only be of an earlier try.
    let expected = ["a/words-2000.txt.bak/part-00000", "a/words-2000.txt/_logs/x"];
    assert_eq!(left[..2], expected);
    assert_eq!(left[2..], ["a/words-2000.txt/deep/part-00007", "a/words-2000.txt/notes.txt"]);
}

/// Rows as text, but for one that is refused.
struct Refusing;

impl PartFormat<u64> for Refusing {
    fn describe(&self) -> String {
        "refusing".to_owned()
    }

    fn part(&self, _: &Batch, _: PartitionId) -> Result<Box<dyn Part<u64>>> {
        Ok(Box::new(RefusingPart(String::new())))
    }
}

struct RefusingPart(String);

impl Part<u64> for RefusingPart {
    fn write(&mut self, row: u64) -> Result<()> {
        if row == u64::MAX {
            return Err(Error::user_code("the largest number is refused by this format"));
        }
        self.0.push_str(&format!("{row}\n"));
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(self.0.into_bytes())
    }
}

struct InMemory(MemoryStorage);

impl Subject for InMemory {
    type Row = u64;
    type Output = BatchFiles<u64>;

    fn output(&self) -> Result<BatchFiles<u64>> {
        Ok(BatchFiles::new(BatchDirectories::on(Arc::new(self.0.clone()), "a/words", "")?, Refusing))
    }

    fn row(&self, number: u64) -> u64 {
        number
    }

    fn visible(&self) -> Vec<u64> {
        let parts = tree(&self.0).into_iter().filter(|(path, _)| !path.contains("/_"));
        parts
            .flat_map(|(_, text)| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>())
            .collect()
    }

    fn refused(&self) -> Option<u64> {
        Some(u64::MAX)
    }
}

#[test]
fn it_holds_what_every_output_must() {
    outputs::all(|| InMemory(MemoryStorage::new()));
}

/// Two batches of a job of two input partitions; gives their directories, without the times' names.
fn job(storage: Arc<dyn Storage>, workers: usize) -> Result<()> {
    let input = MemoryInput::new(2);
    let conf = Conf::new().set_master(&format!("local[{workers}]")).set("tidegate.retry.pause_ms", "0");
    let mut job = TestJob::start_on(conf, Some(Arc::new(MemoryStorage::new())), |ssc| {
        let words = ssc.input_stream("words", input.clone())?;
        words.foreach_rdd(|rdd| rdd.save_as_text_files_on(storage.clone(), "words", "txt"))?;
        words
            .map(|word: String| (word, 1u64))
            .reduce_by_key(|a, b| a + b)
            .save_as_text_files_on(storage, "counts", "")
    })?;
    input.push(0, ["ebb", "flow", "ebb"].map(str::to_owned));
    input.push(1, ["flow".to_owned()]);
    job.next_batch()?;
    input.push(1, ["tide".to_owned()]);
    job.next_batch()?;
    job.ssc.stop(Stop::Gracefully)
}

#[test]
fn a_job_leaves_the_same_files_on_any_number_of_workers_whatever_call_fails_once() {
    let (memory, storage) = failing();
    job(Arc::new(storage.clone()), 1).unwrap();
    let (expected, calls) = (tree(&memory), storage.calls());
    assert_eq!(expected["words-1001000.txt/part-00000"], "ebb\nflow\nebb\n");
    assert_eq!(expected["words-1001000.txt/part-00001"], "flow\n");
    assert_eq!(expected["words-1002000.txt/part-00000"], "");
    let counts: String = expected
        .iter()
        .filter(|(path, _)| path.starts_with("counts-1001000/"))
        .map(|(_, text)| text.as_str())
        .collect();
    assert!(counts.contains("(ebb,2)\n") && counts.contains("(flow,2)\n"), "{counts}");
    for call in 1..=calls {
        for fault in [Fault::Away, Fault::AnswerLost] {
            let (memory, storage) = failing();
            storage.fail(call, fault);
            job(Arc::new(storage.clone()), 2).unwrap();
            assert_eq!(tree(&memory), expected, "call {call}, {fault:?}");
        }
    }
}

#[test]
fn a_local_prefix_is_a_path_and_leaves_no_folder_that_a_reader_must_know() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("not yet there/words");
    let prefix = prefix.to_str().unwrap();
    let input = MemoryInput::new(1);
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let words = ssc.input_stream("words", input.clone())?;
        words.save_as_text_files(prefix, "txt")?;
        let taken = words.save_as_text_files(prefix, "txt").unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Reconfigure);
        // The first dataset is that of the second batch.
        every(2, &words).save_as_text_files(&format!("{prefix}-every-two"), "")
    })
    .unwrap();
    input.push(0, ["ebb".to_owned()]);
    for _ in 0..3 {
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    let names = |path: &Path| {
        let mut names: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.retain(|name| name != "_~aside");
        names
    };
    let directories = names(&folder.path().join("not yet there"));
    assert_eq!(
        directories,
        ["words-1001000.txt", "words-1002000.txt", "words-1003000.txt", "words-every-two-1002000"]
    );
    let first = folder.path().join("not yet there/words-1001000.txt");
    assert_eq!(names(&first), ["_SUCCESS", "part-00000"]);
    assert_eq!(std::fs::read_to_string(first.join("part-00000")).unwrap(), "ebb\n");
}

#[test]
fn a_local_directory_and_memory_are_alike() {
    let folder = tempfile::tempdir().unwrap();
    let local: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    for storage in [&local, &memory] {
        job(storage.clone(), 2).unwrap();
    }
    assert_eq!(tree(&*local), tree(&*memory));
}
