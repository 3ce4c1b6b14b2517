//! What depends on chance or on the batch: the same when a batch is run again, and otherwise not.

use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use tidegate::testkit::{BATCH, MemoryInput, MemoryOutput, TestJob, batch_at};
use tidegate::{Conf, Rdd, Stop, StreamingContext};

type Row = (i64, i64);

fn conf(workers: usize) -> Conf {
    Conf::new().set_master(&format!("local[{workers}]"))
}

/// A graph whose results depend on the order of records, on chance, or on the batch.
fn delicate(rdd: &Rdd<Row>) -> Rdd<Row> {
    let by_batch = rdd.context().broadcast_by_batch(|batch| (batch.seed() % 1000) as i64);
    let numbered = rdd.group_by(|row| row.0).flat_map(|(_, rows)| rows).zip_with_index();
    let shuffled = numbered.map(|((key, n), number)| (key, n * 10_000 + number as i64)).repartition(5);
    let some = shuffled.sample(false, 0.5, 1).union(&shuffled.sample(true, 1.5, 2));
    some.map_with(&by_batch, |seed, (key, n)| (key * 1000 + seed, n))
}

/// Runs three batches; with `fails`, the second fails at first, after part of it has gone through, and is run again on two
/// workers more.
fn rows_of_delicate(workers: usize, fails: bool, directory: &Path) -> Vec<Row> {
    let (input, output) = (MemoryInput::new(3), MemoryOutput::new());
    let start = |workers, broken: bool| {
        TestJob::start(conf(workers), Some(directory), |ssc| {
            let rows = ssc.input_stream("rows", input.clone())?;
            rows.transform(|rdd| delicate(&rdd)).output("delicate", output.clone())?;
            rows.foreach_rdd(|rdd| {
                rdd.map_partitions_with_batch(move |batch, _, rows| {
                    assert!(!broken || batch.id().0 != 2, "not yet");
                    rows.collect::<Vec<_>>()
                })
                .foreach(|_, _| ())
            })
        })
        .unwrap()
    };
    let push = |batch: i64| {
        for partition in 0..3 {
            input.push(partition, (0..40).map(|n| (n * batch % 11, n + 100 * partition as i64)));
        }
    };
    let mut job = start(workers, fails);
    push(1);
    job.next_batch().unwrap();
    push(2);
    if fails {
        job.next_batch().unwrap_err();
        drop(job);
        job = start(workers + 2, false);
        assert!(job.next_batch().unwrap().rerun);
    } else {
        job.next_batch().unwrap();
    }
    push(3);
    // After a restart the clock has moved on by a batch, which found nothing.
    while output.batches().values().filter(|rows| !rows.is_empty()).count() < 3 {
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    output.batches().into_values().take(2).flatten().collect()
}

#[test]
fn a_batch_that_is_run_again_on_more_workers_gives_the_same_sample_in_the_same_order() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let once = rows_of_delicate(1, false, directories[0].path());
    assert!(once.len() > 300, "{}", once.len());
    assert_eq!(rows_of_delicate(3, false, directories[1].path()), once);
    assert_eq!(rows_of_delicate(2, true, directories[2].path()), once);
}

/// What `sample` takes of ten partitions with the numbers up to 1000 each, in two batches.
fn sampled(with_replacement: bool, fraction: f64, seed: u64) -> [Vec<i64>; 2] {
    let (input, output) = (MemoryInput::new(10), MemoryOutput::new());
    let mut job = TestJob::start(conf(2), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.transform(|rdd| rdd.sample(with_replacement, fraction, seed)).output("sample", output.clone())
    })
    .unwrap();
    for _ in 0..2 {
        (0..10).for_each(|partition| input.push(partition, 0..1000));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    output.batches().into_values().collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_sample_has_the_size_that_was_asked_for_and_differs_by_seed_and_batch() {
    for (with_replacement, fraction) in [(false, 0.1), (false, 0.9), (true, 0.1), (true, 2.5)] {
        let [first, second] = sampled(with_replacement, fraction, 7);
        let expected = 10_000.0 * fraction;
        for rows in [&first, &second] {
            let size = rows.len() as f64;
            // Five standard deviations of the wider distribution. The seeds are fixed: this holds always or never.
            assert!((size - expected).abs() < 5.0 * expected.sqrt(), "{size} of {expected}");
        }
        assert_ne!(first, second, "two batches");
        assert_eq!(sampled(with_replacement, fraction, 7), [first.clone(), second], "the same seed");
        assert_ne!(sampled(with_replacement, fraction, 8)[0], first, "another seed");
        let twice = first.windows(2).any(|pair| pair[0] == pair[1]);
        assert_eq!(twice, with_replacement, "{fraction}");
    }
}

#[test]
fn a_value_by_batch_is_made_once_for_all_partitions_and_functions_of_a_batch() {
    let (input, output) = (MemoryInput::new(8), MemoryOutput::new());
    let made = Arc::new(Mutex::new(Vec::new()));
    let mut job = TestJob::start(conf(4), None, |ssc| {
        let made = made.clone();
        let value = ssc.broadcast_by_batch(move |batch| {
            made.lock().unwrap().push(batch.id().0);
            batch.id().0 * 10
        });
        let numbers = ssc.input_stream("numbers", input.clone())?;
        let big = numbers.filter_with(&value, |value, n: &u64| n >= value);
        let again = value.clone();
        let all = big.map_with(&value, |value, n| n + value).transform(|rdd| {
            rdd.map_partitions_with_batch(move |batch, _, rows| {
                let value = again.value(batch);
                rows.map(move |n| (*value, n)).collect::<Vec<_>>()
            })
        });
        all.output("all", output.clone())
    })
    .unwrap();
    for _ in 0..7 {
        (0..8).for_each(|partition| input.push(partition, [10 * partition as u64]));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(*made.lock().unwrap(), (1..=7).collect::<Vec<_>>());
    let expected =
        |batch: u64| (batch..8).map(move |n| (batch * 10, n * 10 + batch * 10)).collect::<Vec<_>>();
    assert_eq!(output.batches().into_values().collect::<Vec<_>>(), (1..=7).map(expected).collect::<Vec<_>>());
}

#[test]
fn no_more_than_four_batches_values_are_kept_and_the_newest_are() {
    let ssc = StreamingContext::new(conf(1), BATCH).unwrap();
    let alive: Arc<Mutex<Vec<Weak<u64>>>> = Arc::default();
    let made = alive.clone();
    let value = ssc.broadcast_by_batch(move |batch| {
        let token = Arc::new(batch.time().0);
        made.lock().unwrap().push(Arc::downgrade(&token));
        token
    });
    for time in [1, 2, 3, 2, 4, 5, 6, 6] {
        assert_eq!(**value.value(&batch_at(time)), time);
    }
    let alive: Vec<_> = alive.lock().unwrap().iter().map(|token| token.upgrade().map(|time| *time)).collect();
    assert_eq!(alive, [None, None, Some(3), Some(4), Some(5), Some(6)]);
    // One that was let go of is made again.
    assert_eq!(**value.value(&batch_at(1)), 1);
}
