//! A directory of files for each batch: what is in it, and that no failure at any call leaves anything else in the end.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
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

/// The writers of all workers, driven by hand. Partition `p` is on worker `p % workers`.
struct Job<T> {
    writers: Vec<Box<dyn Writer<T>>>,
    partitions: u32,
}

impl<T: tidegate::Data> Job<T> {
    fn open(storage: Arc<dyn Storage>, format: impl PartFormat<T>, workers: usize) -> Result<Job<T>> {
        let output = BatchFiles::new(BatchDirectories::on(storage, "a/words", "txt")?, format);
        let id = OutputId::from("words");
        output.open(&OutputContext { output: id.clone(), job: None, new_job: JobId::from("job") })?;
        let seats = (0..workers).map(|worker| Seat { output: id.clone(), worker, workers });
        let writers = seats.map(|seat| output.writer(&seat)).collect::<Result<_>>()?;
        Ok(Job { writers, partitions: 0 })
    }

    /// The writers that have a partition, and which.
    fn told(&mut self) -> impl Iterator<Item = (&mut Box<dyn Writer<T>>, Vec<PartitionId>)> {
        let (workers, partitions) = (self.writers.len(), self.partitions);
        let own =
            move |worker: usize| (worker as u32..partitions).step_by(workers).map(PartitionId).collect();
        let told = self.writers.iter_mut().enumerate().map(move |(worker, writer)| (writer, own(worker)));
        told.filter(|(_, own): &(_, Vec<_>)| !own.is_empty())
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[&[T]]) -> Result<()> {
        self.partitions = partitions.len() as u32;
        for (writer, own) in self.told() {
            // Chunks come in any order of partitions.
            for id in own.iter().rev() {
                for row in partitions[id.0 as usize] {
                    writer.write(batch, *id, vec![row.clone()])?;
                }
            }
            writer.prepare(batch, &own)?;
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let partitions = self.partitions;
        self.told().try_for_each(|(writer, _)| writer.commit(batch))?;
        self.writers[0].complete(batch, partitions)
    }

    fn abort(&mut self) {
        self.writers.iter_mut().for_each(|writer| writer.abort());
    }
}

/// One try of batch 2; gives the writers too, which a crash drops and the orderly end of an epoch asks to abort.
fn run(storage: &FailingStorage, workers: usize, partitions: &[&[u64]]) -> (Option<Job<u64>>, Result<()>) {
    let mut job = match Job::open(Arc::new(storage.clone()), TextFormat, workers) {
        Ok(job) => job,
        Err(error) => return (None, Err(error)),
    };
    let done = job.prepare(&batch(2), partitions).and_then(|()| job.commit(&batch(2)));
    (Some(job), done)
}

fn failing() -> (MemoryStorage, FailingStorage) {
    let memory = MemoryStorage::new();
    (memory.clone(), FailingStorage::new(Arc::new(memory)))
}

/// What parts are staged as: objects of their own, or whole ones under a hidden name.
fn both() -> [(MemoryStorage, FailingStorage); 2] {
    let (memory, storage) = failing();
    [failing(), (memory, storage.of_whole_objects())]
}

/// What a try without a fault leaves.
fn clean(partitions: &[&[u64]]) -> Tree {
    let (memory, storage) = failing();
    run(&storage, 1, partitions).1.unwrap();
    tree(&memory)
}

const ROWS: [&[u64]; 3] = [&[1, 2], &[], &[3]];
/// What a program from before left: more partitions, and other rows.
const OLD_ROWS: [&[u64]; 4] = [&[1, 2], &[9], &[4], &[8]];

#[test]
fn each_partition_is_a_file_also_an_empty_one_and_success_tells_that_all_are_there() {
    let expected = [
        ("a/words-2000.txt/_SUCCESS", ""),
        ("a/words-2000.txt/part-00000", "1\n2\n"),
        ("a/words-2000.txt/part-00001", ""),
        ("a/words-2000.txt/part-00002", "3\n"),
    ];
    let expected: Tree = expected.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    for workers in 1..=4 {
        for (memory, storage) in both() {
            run(&storage, workers, &ROWS).1.unwrap();
            assert_eq!(tree(&memory), expected, "{workers} workers");
        }
    }
}

/// Runs a batch in a directory in which an earlier try has died at each call, has each call fail in turn, and runs it again: with
/// `workers`, and another number in the tries before and after.
fn mends_all(workers: usize, whole: bool) {
    let others = workers % 3 + 1;
    let start = || {
        let (memory, storage) = failing();
        (memory, if whole { storage.of_whole_objects() } else { storage })
    };
    let calls_of = |workers, rows: &[&[u64]]| {
        let (_, storage) = start();
        run(&storage, workers, rows).1.unwrap();
        storage.calls()
    };
    let (expected, old) = (clean(&ROWS), clean(&OLD_ROWS));
    let is_right = |memory: &MemoryStorage, what: &str| {
        let mut tree = tree(memory);
        tree.retain(|path, _| !path.contains("_temporary"));
        if tree.contains_key("a/words-2000.txt/_SUCCESS") {
            assert!(tree == expected || tree == old, "{what}: not whole, and says it is: {tree:?}");
        }
    };
    // An earlier try that died at any call, or not at all, or that there was none.
    for died in 0..=calls_of(others, &OLD_ROWS) + 1 {
        // Enough for what must be looked at and taken away too.
        for call in 1..=calls_of(workers, &ROWS) + 12 {
            for fault in [Fault::Away, Fault::AnswerLost] {
                let aborts = (died + call) % 2 == 0;
                let (memory, storage) = start();
                if died > 0 {
                    storage.fail_from(died, Fault::Away);
                    drop(run(&storage, others, &OLD_ROWS));
                    storage.mend();
                }
                let what = format!(
                    "{workers} workers, earlier try died at {died}; call {call}, {fault:?}, aborts {aborts}"
                );
                is_right(&memory, &what);
                storage.fail(storage.calls() + call, fault);
                let (job, done) = run(&storage, workers, &ROWS);
                is_right(&memory, &what);
                if let Some(mut job) = job.filter(|_| aborts) {
                    job.abort();
                    is_right(&memory, &what);
                }
                storage.mend();
                if done.is_err() {
                    run(&storage, others, &ROWS).1.unwrap();
                }
                assert_eq!(tree(&memory), expected, "{what}");
            }
        }
    }
}

#[test]
fn success_is_there_only_with_a_whole_directory_whatever_call_fails_and_the_next_try_mends_all() {
    for workers in 1..=3 {
        mends_all(workers, false);
    }
}

#[test]
fn so_it_is_on_a_storage_that_takes_whole_objects_alone() {
    for workers in 1..=3 {
        mends_all(workers, true);
    }
}

#[test]
fn a_half_done_write_or_rename_is_mended_too() {
    let expected = clean(&ROWS);
    for workers in 1..=3 {
        for call in 1..=30 {
            for (memory, storage) in both() {
                storage.fail(call, Fault::Torn);
                drop(run(&storage, workers, &ROWS));
                storage.mend();
                run(&storage, workers, &ROWS).1.unwrap();
                assert_eq!(tree(&memory), expected, "{workers} workers, call {call}");
            }
        }
    }
}

#[test]
fn what_is_prepared_is_hidden_and_gone_when_the_batch_is_given_up() {
    let whole =
        ["part-00000", "part-00001", "part-00002"].map(|name| format!("a/words-2000.txt/_temporary/{name}"));
    for ((memory, storage), hidden) in both().into_iter().zip([vec![], whole.to_vec()]) {
        let mut job = Job::open(Arc::new(storage), TextFormat, 2).unwrap();
        job.prepare(&batch(2), &ROWS).unwrap();
        assert_eq!(tree(&memory).into_keys().collect::<Vec<_>>(), hidden);
        job.abort();
        assert_eq!(tree(&memory), Tree::new());
    }
}

#[test]
fn success_waits_for_the_writers_of_all_workers() {
    for (memory, storage) in both() {
        let success = || memory.get("a/words-2000.txt/_SUCCESS").unwrap().is_some();
        let mut job = Job::open(Arc::new(storage.clone()), TextFormat, 3).unwrap();
        job.prepare(&batch(2), &ROWS).unwrap();
        for (place, writer) in job.writers.iter_mut().enumerate() {
            assert!(!success(), "{place} of 3 writers have committed");
            writer.commit(&batch(2)).unwrap();
        }
        assert!(!success(), "all writers have committed, and none was told that all have");
        job.writers[0].complete(&batch(2), 3).unwrap();
        assert_eq!(tree(&memory), clean(&ROWS));

        // A part that someone took away meanwhile is not passed over.
        memory.delete("a/words-2000.txt/_SUCCESS").unwrap();
        memory.delete("a/words-2000.txt/part-00001").unwrap();
        let error = job.writers[0].complete(&batch(2), 3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry);
        assert!(error.to_string().contains("words-2000.txt/part-00001"), "{error}");
        assert!(!success());
    }
}

#[test]
fn a_batch_that_is_there_is_left_alone_when_it_is_run_again() {
    for workers in 1..=3 {
        let (memory, storage) = failing();
        run(&storage, 1, &ROWS).1.unwrap();
        let (before, calls) = (tree(&memory), storage.calls());
        run(&storage, workers, &ROWS).1.unwrap();
        assert_eq!(tree(&memory), before);
        // Listings, and a look at each part: nothing that a reader may have open is replaced.
        assert_eq!(storage.calls() - calls, (workers + ROWS.len() + 1) as u64);
    }
}

#[test]
fn files_of_an_earlier_program_are_not_taken_for_those_that_are_gone() {
    for old in [&OLD_ROWS[..], &[]] {
        let (memory, storage) = failing();
        let storage = storage.of_whole_objects();
        if !old.is_empty() {
            run(&storage, 1, old).1.unwrap();
        }
        let mut job = Job::open(Arc::new(storage.clone()), TextFormat, 2).unwrap();
        job.prepare(&batch(2), &[&[5], &[6]]).unwrap();
        // An earlier run of the job that ends late takes back what it thinks is its own.
        memory.delete("a/words-2000.txt/_temporary/part-00001").unwrap();
        assert_eq!(job.commit(&batch(2)).unwrap_err().kind(), ErrorKind::Retry);
        assert_eq!(memory.get("a/words-2000.txt/_SUCCESS").unwrap(), None);
        run(&storage, 2, &[&[5], &[6]]).1.unwrap();
        assert_eq!(tree(&memory), clean(&[&[5], &[6]]));
    }
}

/// Lines of text. What all parts hold together, and the most that they ever held, is counted.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<(usize, usize)>>);

struct CountedPart(Vec<u8>, Counted);

impl Counted {
    fn held(&self, before: usize, after: usize) {
        let mut held = self.0.lock().unwrap();
        held.0 = held.0 + after - before;
        held.1 = held.1.max(held.0);
    }
}

impl PartFormat<String> for Counted {
    fn describe(&self) -> String {
        "counted".to_owned()
    }

    fn part(&self, _: &Batch, _: PartitionId) -> Result<Box<dyn Part<String>>> {
        Ok(Box::new(CountedPart(Vec::new(), self.clone())))
    }
}

impl Part<String> for CountedPart {
    fn write(&mut self, row: String) -> Result<()> {
        self.0.extend_from_slice(row.as_bytes());
        self.1.held(0, row.len());
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn take(&mut self) -> Result<Vec<u8>> {
        self.1.held(self.0.len(), 0);
        Ok(std::mem::take(&mut self.0))
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(self.0)
    }
}

#[test]
fn large_parts_go_to_the_store_piece_by_piece_and_are_compared_and_replaced_all_the_same() {
    const MIB: usize = 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
    let rows = |last: char| -> Vec<Vec<String>> {
        let part = |part: usize| {
            let row = |row: usize| format!("{part} {row} {}\n", "x".repeat(MIB / 10));
            (0..50).map(row).chain([last.to_string()]).collect()
        };
        (0..4).map(part).collect()
    };
    let save = |last: char| {
        let counted = Counted::default();
        let mut job = Job::open(storage.clone(), counted.clone(), 2).unwrap();
        let rows = rows(last);
        let rows: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        job.prepare(&batch(2), &rows).unwrap();
        job.commit(&batch(2)).unwrap();
        let most = counted.0.lock().unwrap().1;
        assert!(most < 6 * MIB, "{most} bytes of 20 MiB were in memory");
        let parts = (0..4).map(|part| folder.path().join(format!("a/words-2000.txt/part-{part:05}")));
        parts
            .map(|path| (std::fs::read(&path).unwrap(), std::fs::metadata(path).unwrap().ino()))
            .collect::<Vec<_>>()
    };
    let texts = |last| rows(last).iter().map(|part| part.concat().into_bytes()).collect::<Vec<_>>();
    let first = save('a');
    assert!(first.iter().map(|(bytes, _)| bytes).eq(&texts('a')));
    assert!(save('a') == first, "the same parts are left alone");
    let changed = save('b');
    assert!(changed.iter().map(|(bytes, _)| bytes).eq(&texts('b')), "parts of the same length are replaced");
    assert_eq!(storage.list("").unwrap().len(), 5);
    assert_eq!(std::fs::read_dir(folder.path().join("_~aside")).unwrap().count(), 0);
}

/// More parts than a writer keeps open at once.
#[test]
fn any_number_of_parts_is_written() {
    let rows: Vec<Vec<u64>> = (0..150).map(|part| vec![part, 7]).collect();
    let rows: Vec<&[u64]> = rows.iter().map(Vec::as_slice).collect();
    for workers in [1, 2] {
        for old in [&[], &OLD_ROWS[..]] {
            let (memory, storage) = failing();
            if !old.is_empty() {
                run(&storage, 1, old).1.unwrap();
            }
            run(&storage, workers, &rows).1.unwrap();
            assert!(tree(&memory) == clean(&rows), "{workers} workers");
        }
    }
}

#[test]
fn what_others_put_there_stays() {
    let (memory, storage) = failing();
    for path in ["notes.txt", "_logs/x", "deep/part-00007", "part-00007"] {
        memory.put(&format!("a/words-2000.txt/{path}"), b"x".to_vec()).unwrap();
    }
    memory.put("a/words-2000.txt.bak/part-00000", b"x".to_vec()).unwrap();
    run(&storage, 2, &ROWS).1.unwrap();
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
    // What fails again and again ends the job with its error.
    let conf = Conf::new()
        .set_master(&format!("local[{workers}]"))
        .set("tidegate.retry.pause_ms", "0")
        .set("tidegate.retry.attempts_max", "5");
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
    // Each worker looks by itself what is there, so that there are more calls.
    for (workers, calls) in [(1, calls), (2, calls + 8), (3, calls + 16)] {
        for call in 1..=calls {
            let fault = if call % 2 == 0 { Fault::Away } else { Fault::AnswerLost };
            let (memory, storage) = failing();
            storage.fail(call, fault);
            job(Arc::new(storage.clone()), workers).unwrap();
            assert_eq!(tree(&memory), expected, "{workers} workers, call {call}, {fault:?}");
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
fn a_dataset_without_partitions_has_one_file_without_rows() {
    for workers in 1..=3 {
        let memory = MemoryStorage::new();
        let conf = Conf::new().set_master(&format!("local[{workers}]"));
        let mut job = TestJob::start(conf, None, |ssc| {
            let none = ssc.input_stream("none", MemoryInput::<String>::new(0))?;
            none.save_as_text_files_on(Arc::new(memory.clone()), "none", "")
        })
        .unwrap();
        job.next_batch().unwrap();
        job.ssc.stop(Stop::Gracefully).unwrap();
        let paths: Vec<_> = tree(&memory).into_keys().collect();
        assert_eq!(paths, ["none-1001000/_SUCCESS", "none-1001000/part-00000"]);
    }
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
