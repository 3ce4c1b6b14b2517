//! A job that is stopped and started anew on what is left: its checkpoint, or its outputs alone.

use std::path::Path;
use tidegate::testkit::{BATCH, MemoryInput, MemoryOutput, TestJob};
use tidegate::{Conf, Result, Stop};

/// A job that copies `input` to two outputs, one of them by way of a shuffle.
fn start(
    workers: usize,
    checkpoint: Option<&Path>,
    input: &MemoryInput<i64>,
    copy: &MemoryOutput<i64>,
    counts: &MemoryOutput<(i64, u64)>,
) -> Result<TestJob> {
    TestJob::start(Conf::new().set_master(&format!("local[{workers}]")), checkpoint, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.output("copy", copy.clone())?;
        numbers.count_by_value().output("counts", counts.clone())
    })
}

#[test]
fn a_job_that_is_stopped_and_started_anew_takes_each_record_once() {
    for how in [Stop::Gracefully, Stop::Now] {
        let dir = tempfile::tempdir().unwrap();
        let (input, copy, counts) = (MemoryInput::new(2), MemoryOutput::new(), MemoryOutput::new());
        // The number of workers changes from start to start; the directory is gone before the last.
        for (turn, workers) in [2, 1, 4, 3].into_iter().enumerate() {
            let checkpoint = Some(dir.path()).filter(|_| turn < 3);
            let mut job = start(workers, checkpoint, &input, &copy, &counts).unwrap();
            let first = turn as i64 * 10;
            input.push(0, [first, first + 1]);
            input.push(1, [first + 2]);
            while copy.rows().len() < (turn + 1) * 3 {
                job.next_batch().unwrap();
            }
            input.push(1, [first + 3]); // nobody takes it yet
            job.ssc.stop(how).unwrap();
            input.push(0, [first + 4]);
            drop(job);
            let mut job = start(workers, checkpoint, &input, &copy, &counts).unwrap();
            job.next_batch().unwrap();
            job.ssc.stop(Stop::Gracefully).unwrap();
            let mut rows = copy.rows();
            rows.sort_unstable();
            let expected: Vec<i64> =
                (0..=turn as i64).flat_map(|turn| (0..5).map(move |n| turn * 10 + n)).collect();
            assert_eq!(rows, expected, "{how:?}, turn {turn}");
            let mut counted = counts.rows();
            counted.sort_unstable();
            assert_eq!(
                counted,
                expected.into_iter().map(|n| (n, 1)).collect::<Vec<_>>(),
                "{how:?}, turn {turn}"
            );
        }
    }
}

#[test]
fn a_batch_keeps_its_ranges_and_its_time_when_it_is_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let (input, told) = (MemoryInput::new(2), MemoryOutput::new());
    let start = |fails: bool| {
        TestJob::start(Conf::new().set_master("local[2]"), Some(dir.path()), |ssc| {
            let numbers = ssc.input_stream("numbers", input.clone())?;
            let stream = numbers.stream_id().clone();
            let ranges = numbers.transform(move |rdd| {
                rdd.map_partitions_with_batch(move |batch, partition, rows| {
                    assert!(!fails || batch.id().0 < 2, "not yet");
                    let range = &batch.ranges(&stream)[partition.0 as usize];
                    [(batch.time().0, format!("{range}"), rows.collect::<Vec<i64>>())]
                })
            });
            ranges.output("told", told.clone())
        })
    };
    let row = |time: u64, range: &str, rows: Vec<i64>| {
        (1_000_000 + time * BATCH.as_millis() as u64, range.to_owned(), rows)
    };
    let mut job = start(true).unwrap();
    input.push(0, [1, 2]);
    job.next_batch().unwrap();
    input.push(1, [3]);
    job.next_batch().unwrap_err();
    drop(job);
    input.push(1, [4]);
    let mut job = start(false).unwrap();
    assert!(job.next_batch().unwrap().rerun);
    job.completed().unwrap();
    let expected = [
        row(1, "memory-0 [0, 2)", vec![1, 2]),
        row(1, "memory-1 [0, 0)", vec![]),
        row(2, "memory-0 [2, 2)", vec![]),
        row(2, "memory-1 [0, 1)", vec![3]),
        row(3, "memory-0 [2, 2)", vec![]),
        row(3, "memory-1 [1, 2)", vec![4]),
    ];
    assert_eq!(told.rows(), expected);
}
