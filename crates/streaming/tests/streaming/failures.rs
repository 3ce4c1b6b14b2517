//! A function or an output that fails: nothing of the batch is seen in any output, and nothing is lost.

use std::sync::{Arc, Mutex};
use tidegate::core::{Delivery, Held, Output, OutputContext, Seat, Writer};
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
use tidegate::{Batch, Conf, DStream, Error, ErrorKind, PartitionId, Result, Stop};

fn conf() -> Conf {
    Conf::new().set_master("local[2]").set("tidegate.retry.pause_ms", "0")
}

#[test]
fn a_function_that_panics_stops_the_job_before_its_batch_is_seen_and_once_mended_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (input, whole, sums) = (MemoryInput::new(2), MemoryOutput::new(), MemoryOutput::new());
    let start = |mended: bool| {
        TestJob::start(conf(), Some(dir.path()), |ssc| {
            let numbers = ssc.input_stream("numbers", input.clone())?;
            numbers.output("whole", whole.clone())?;
            let checked = numbers.map(move |n: i64| {
                assert!(n != 13 || mended, "13 is not for me");
                (n % 2, n)
            });
            checked.reduce_by_key(|a, b| a + b).output("sums", sums.clone())
        })
    };
    let mut job = start(false).unwrap();
    input.push(0, [1, 2, 3]);
    job.next_batch().unwrap();
    input.push(0, [4]);
    input.push(1, [13]);
    let error = job.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    assert_eq!(
        error.to_string(),
        "the function of map #1 panicked in batch 2 on the record 13: 13 is not for me"
    );
    assert_eq!(whole.rows(), [1, 2, 3]);
    drop(job);

    input.push(1, [5]);
    let mut job = start(true).unwrap();
    let again = job.next_batch().unwrap();
    assert_eq!((again.id().0, again.rerun), (2, true));
    job.completed().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    let batches: Vec<_> = whole.batches().into_values().collect();
    assert_eq!(batches, [vec![1, 2, 3], vec![4, 13], vec![5]]);
    let mut sums = sums.rows();
    sums.sort_unstable();
    assert_eq!(sums, [(0, 2), (0, 4), (1, 4), (1, 5), (1, 13)]);
}

#[test]
fn each_operator_is_named_with_what_it_was_given_when_its_function_panics() {
    type Build = fn(DStream<i64>) -> DStream<i64>;
    let cases: [(&str, &str, Build); 6] = [
        ("map #1", "the record 1", |n| n.map(|_| panic!("oh"))),
        ("filter #1", "the record 1", |n| n.filter(|_| panic!("oh"))),
        ("flat_map #1", "the record 1", |n| n.flat_map(|_| -> Vec<i64> { panic!("oh") })),
        ("map_partitions #1", "the records [1, 2]", |n| {
            n.map_partitions(|records| if records.len() == 0 { vec![] } else { panic!("oh") })
        }),
        ("reduce_by_key #2", "the record (0, 1, 2)", |n| {
            n.map(|n| (0, n)).reduce_by_key(|_, _| panic!("oh")).map(|(_, n)| n)
        }),
        // The one that panics, not the one that feeds it.
        ("map #2", "the record 1", |n| n.flat_map(|n| [n]).map(|_| panic!("oh"))),
    ];
    for (name, given, build) in cases {
        let input = MemoryInput::new(2);
        let mut job = TestJob::start(conf(), None, |ssc| {
            build(ssc.input_stream("numbers", input.clone())?.clone()).output("all", MemoryOutput::new())
        })
        .unwrap();
        input.push(0, [1, 2]);
        let error = job.next_batch().unwrap_err();
        assert_eq!(error.to_string(), format!("the function of {name} panicked in batch 1 on {given}: oh"));
    }
}

#[test]
fn a_function_of_an_output_that_gives_an_error_stops_the_job_with_it() {
    let (input, held) = (MemoryInput::new(1), MemoryOutput::new());
    let mut job = TestJob::start(conf(), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.output("held", held.clone())?;
        numbers.foreach_rdd(|rdd| {
            rdd.collect(
                |_, rows: Vec<i64>| if rows.contains(&13) { Err("the mail server refused") } else { Ok(()) },
            )
        })
    })
    .unwrap();
    input.push(0, [1]);
    job.next_batch().unwrap();
    input.push(0, [13]);
    let error = job.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    let text = error.to_string();
    assert!(
        text.starts_with("output \"collect-0\": ") && text.ends_with("the mail server refused"),
        "{text}"
    );
    assert_eq!(held.batches().into_values().next(), Some(vec![1]));
}

#[test]
fn a_function_of_an_output_that_panics_stops_the_job_with_its_text() {
    let input = MemoryInput::new(1);
    let mut job = TestJob::start(conf(), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.foreach_rdd(|rdd| {
            rdd.foreach_partition(|_, _, rows| assert_eq!(rows.count(), 0, "no rows wanted"))
        })
    })
    .unwrap();
    job.next_batch().unwrap();
    input.push(0, [1i64]);
    let error = job.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    assert!(error.to_string().starts_with("output \"foreach-0\": panicked in batch 2: "), "{error}");
    assert!(error.to_string().contains("no rows wanted"), "{error}");
}

/// When an output fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Write,
    Prepare,
    /// Before the batch is in.
    Commit,
    /// The batch is in, and nobody is told.
    Committed,
}

/// An output in memory that fails once, on one of its writers.
#[derive(Clone)]
pub(crate) struct Failing {
    pub(crate) inner: MemoryOutput<i64>,
    at: Arc<Mutex<Option<(At, ErrorKind)>>>,
}

impl Failing {
    pub(crate) fn new(at: At, kind: ErrorKind) -> Failing {
        Failing { inner: MemoryOutput::new(), at: Arc::new(Mutex::new(Some((at, kind)))) }
    }

    fn check(&self, batch: &Batch, now: At) -> Result<()> {
        match self.at.lock().unwrap().take_if(|(at, _)| *at == now && batch.id().0 == 2) {
            Some((_, kind)) => Err(Error::new(kind, "the database is away")),
            None => Ok(()),
        }
    }
}

impl Output<i64> for Failing {
    fn describe(&self) -> String {
        "a failing output".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        self.inner.open(context)
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<i64>>> {
        Ok(Box::new(FailingWriter { inner: self.inner.writer(seat)?, output: self.clone() }))
    }
}

struct FailingWriter {
    inner: Box<dyn Writer<i64>>,
    output: Failing,
}

impl Writer<i64> for FailingWriter {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<i64>) -> Result<()> {
        self.output.check(batch, At::Write)?;
        self.inner.write(batch, partition, rows)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        self.output.check(batch, At::Prepare)?;
        self.inner.prepare(batch, partitions)
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.output.check(batch, At::Commit)?;
        self.inner.commit(batch)?;
        self.output.check(batch, At::Committed)
    }
}

fn with_failing(input: &MemoryInput<i64>, failing: &Failing, other: &MemoryOutput<i64>) -> TestJob {
    let mut job = TestJob::start(conf(), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.output("other", other.clone())?;
        numbers.output("failing", failing.clone())
    })
    .unwrap();
    for first in [0, 10] {
        (0..2).for_each(|partition| input.push(partition, [first, first + 1]));
        if first == 0 {
            job.next_batch().unwrap();
        }
    }
    job
}

#[test]
fn a_batch_that_one_output_refuses_is_seen_in_no_other() {
    for at in [At::Write, At::Prepare] {
        let (input, failing, other) =
            (MemoryInput::new(2), Failing::new(at, ErrorKind::Reconfigure), MemoryOutput::new());
        let mut job = with_failing(&input, &failing, &other);
        let error = job.next_batch().unwrap_err();
        assert_eq!(error.to_string(), "output \"failing\": the database is away", "{at:?}");
        assert_eq!((other.rows(), failing.inner.rows()), (vec![0, 1, 0, 1], vec![0, 1, 0, 1]), "{at:?}");
    }
}

#[test]
fn an_output_that_was_away_for_a_while_has_each_batch_once_and_so_have_the_others() {
    for at in [At::Write, At::Prepare, At::Commit, At::Committed] {
        let (input, failing, other) =
            (MemoryInput::new(2), Failing::new(at, ErrorKind::Retry), MemoryOutput::new());
        let mut job = with_failing(&input, &failing, &other);
        let batch = job.next_batch().unwrap();
        assert!(batch.rerun, "{at:?}");
        input.push(0, [20]);
        job.next_batch().unwrap();
        job.ssc.stop(Stop::Gracefully).unwrap();
        let expected = [vec![0, 1, 0, 1], vec![10, 11, 10, 11], vec![20]];
        assert_eq!(other.batches().into_values().collect::<Vec<_>>(), expected, "{at:?}");
        assert_eq!(failing.inner.batches().into_values().collect::<Vec<_>>(), expected, "{at:?}");
    }
}
