//! Inputs that need no outer system: a rate of numbers, a queue with a default.

use tidegate::testkit::{MemoryOutput, TestJob};
use tidegate::{Conf, QueueInput, Stop};

fn conf(workers: usize) -> Conf {
    Conf::new().set_master(&format!("local[{workers}]"))
}

#[test]
fn numbers_come_without_a_gap_and_none_twice_over_restarts_and_changes_of_rate() {
    let dir = tempfile::tempdir().unwrap();
    let all = MemoryOutput::new();
    for (workers, rate, how) in [(2, 7, Stop::Now), (1, 3, Stop::Gracefully), (4, 40_000, Stop::Now)] {
        let mut job = TestJob::start(conf(workers), Some(dir.path()), |ssc| {
            ssc.rate_stream(rate)?.output("all", all.clone())
        })
        .unwrap();
        job.next_batch().unwrap();
        let batch = job.next_batch().unwrap();
        assert_eq!((batch.records, batch.plan.sources[0].len()), (rate, rate));
        job.ssc.stop(how).unwrap();
    }
    let rows = all.rows();
    let numbers: Vec<u64> = rows.iter().map(|(_, number)| *number).collect();
    assert!(numbers.len() as u64 >= 2 * (7 + 3 + 40_000), "{}", numbers.len());
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64));
    assert!(rows.is_sorted_by_key(|(time, _)| *time));
}

#[test]
fn a_batch_of_numbers_that_is_run_again_has_the_same_numbers_at_the_same_times() {
    let dir = tempfile::tempdir().unwrap();
    let all = MemoryOutput::new();
    let start = |rate: u64, fails: bool| {
        TestJob::start(conf(2), Some(dir.path()), |ssc| {
            let numbers = ssc.rate_stream(rate)?.map(move |(time, number)| {
                assert!(!fails || number != 3, "not yet");
                (time, number)
            });
            numbers.output("all", all.clone())
        })
        .unwrap()
    };
    let mut job = start(2, true);
    let begin = job.next_batch().unwrap().time().0 - 1000;
    job.next_batch().unwrap_err();
    drop(job);
    // The program is faster now; the batch that was planned is not.
    let mut job = start(4, false);
    assert!(job.next_batch().unwrap().rerun);
    // The batch behind it was due with it: by batches, since that one may be there already.
    job.completed().unwrap();
    let expected = [
        vec![(begin, 0), (begin + 500, 1)],
        vec![(begin + 1000, 2), (begin + 1500, 3)],
        (0..4).map(|n| (begin + 2000 + 250 * n, 4 + n)).collect(),
    ];
    assert!(all.batches().into_values().eq(expected), "{:?}", all.batches());
}

#[test]
fn a_batch_for_which_nothing_waits_has_the_default() {
    for one_at_a_time in [true, false] {
        let (queue, all) = (QueueInput::new(), MemoryOutput::new());
        let mut job = TestJob::start(conf(2), None, |ssc| {
            ssc.queue_stream_or(&queue, one_at_a_time, vec![0, 0])?.output("all", all.clone())
        })
        .unwrap();
        job.next_batch().unwrap();
        queue.push(vec![1]);
        queue.push(vec![2]);
        (0..3).for_each(|_| drop(job.next_batch().unwrap()));
        // What waits is taken though it is empty.
        queue.push(vec![]);
        job.next_batch().unwrap();
        job.ssc.stop(Stop::Gracefully).unwrap();
        let batches: Vec<Vec<i64>> = all.batches().into_values().collect();
        let middle = if one_at_a_time { [vec![1], vec![2]] } else { [vec![1, 2], vec![0, 0]] };
        let [second, third] = middle;
        assert_eq!(batches, [vec![0, 0], second, third, vec![0, 0], vec![]], "{one_at_a_time}");
    }
}

#[test]
fn a_default_is_the_same_when_its_batch_is_run_again_and_the_queue_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, all) = (QueueInput::new(), MemoryOutput::new());
    let start = |default: Vec<i64>, fails: bool| {
        TestJob::start(conf(2), Some(dir.path()), |ssc| {
            let numbers = ssc.queue_stream_or(&queue, true, default)?.map(move |n: i64| {
                assert!(!fails || n != 0, "not yet");
                n
            });
            numbers.output("all", all.clone())
        })
        .unwrap()
    };
    queue.push(vec![1]);
    let mut job = start(vec![0], true);
    job.next_batch().unwrap();
    job.next_batch().unwrap_err();
    drop(job);
    queue.push(vec![2]);
    let mut job = start(vec![0], false);
    assert!(job.next_batch().unwrap().rerun);
    job.completed().unwrap();
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(all.batches().into_values().collect::<Vec<_>>(), [vec![1], vec![0], vec![2], vec![0]]);
}
