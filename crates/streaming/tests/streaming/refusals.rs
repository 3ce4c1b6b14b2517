//! What a wrong program is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tidegate::testkit::{BATCH, ManualClock, MemoryInput, MemoryOutput, TestJob, every};
use tidegate::{Conf, DStream, Error, ErrorKind, QueueInput, Result, Stop, StreamingContext};

fn context() -> StreamingContext {
    let conf = Conf::new().set_master("local[2]").set("tidegate.signals", "false");
    StreamingContext::with_clock(conf, BATCH, Arc::new(ManualClock::at(0))).unwrap()
}

fn numbers(ssc: &StreamingContext, name: &str) -> DStream<i64> {
    ssc.input_stream(name, MemoryInput::new(1)).unwrap().clone()
}

/// A job that runs, with a stream of it.
fn running() -> (StreamingContext, DStream<i64>) {
    let ssc = context();
    let stream = numbers(&ssc, "numbers");
    stream.output("all", MemoryOutput::new()).unwrap();
    ssc.start().unwrap();
    (ssc, stream)
}

fn refusal<T>(result: Result<T>) -> String {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    error.to_string()
}

fn panic_of<T>(f: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).err().unwrap();
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).into()))
        .unwrap()
}

#[test]
fn a_job_without_an_output_does_not_start() {
    let ssc = context();
    let _ = numbers(&ssc, "numbers").map(|n| n + 1);
    assert_eq!(
        refusal(ssc.start()),
        "the job has no output operation, so nothing would be done; add print(), foreach_rdd() or a save"
    );
}

#[test]
fn a_context_is_not_started_twice() {
    let (ssc, _) = running();
    let twice = "the context was started before; make a new one to run again";
    assert_eq!(refusal(ssc.start()), twice);
    ssc.stop(Stop::Now).unwrap();
    assert_eq!(refusal(ssc.start()), twice);
}

#[test]
fn a_running_graph_is_not_added_to() {
    let (ssc, stream) = running();
    let late = "was added after the context was started; build the whole graph before start()";
    assert_eq!(panic_of(|| stream.map(|n| n)), format!("the operator map {late}"));
    assert_eq!(panic_of(|| stream.union(&stream)), format!("the operator union {late}"));
    assert_eq!(refusal(stream.print()), format!("an output {late}"));
    assert_eq!(refusal(stream.output("more", MemoryOutput::new())), format!("an output {late}"));
    assert_eq!(refusal(ssc.constant_stream(vec![1])), format!("an input {late}"));
    assert_eq!(refusal(ssc.checkpoint("/tmp")), "checkpoint() after start(); call it before");
}

#[test]
fn two_streams_or_outputs_do_not_share_a_name() {
    let ssc = context();
    let stream = numbers(&ssc, "numbers");
    assert_eq!(
        refusal(ssc.input_stream("numbers", MemoryInput::<i64>::new(1))),
        "two input streams are named \"numbers\"; a stream's name is how it is found again after a restart, so give each its own"
    );
    stream.output("all", MemoryOutput::new()).unwrap();
    assert_eq!(
        refusal(stream.map(|n| n).output("all", MemoryOutput::new())),
        "two outputs are named \"all\"; an output's name is how its batches are found again after a restart, so give each its own"
    );
}

#[test]
fn one_stream_may_be_printed_and_given_to_functions_any_number_of_times() {
    let ssc = context();
    let stream = numbers(&ssc, "numbers");
    for _ in 0..3 {
        stream.print().unwrap();
        stream.foreach_rdd(|rdd| rdd.collect(|_, _| ())).unwrap();
        stream.foreach_rdd(|rdd| rdd.foreach_partition(|_, _, _| ())).unwrap();
    }
    ssc.start().unwrap();
    ssc.stop(Stop::Now).unwrap();
}

#[test]
fn streams_of_two_contexts_are_not_united() {
    let (one, other) = (context(), context());
    let (one, other) = (numbers(&one, "numbers"), numbers(&other, "numbers"));
    assert_eq!(
        panic_of(|| one.union(&other)),
        "union of streams of two contexts; build both from one StreamingContext"
    );
}

#[test]
fn a_queue_stream_does_not_go_on_from_a_checkpoint_that_took_from_it() {
    let (dir, output) = (tempfile::tempdir().unwrap(), MemoryOutput::new());
    let start = |queue: &QueueInput<i64>| {
        TestJob::start(Conf::new().set_master("local[2]"), Some(dir.path()), |ssc| {
            ssc.queue_stream(queue, true)?.output("all", output.clone())
        })
    };
    let queue = QueueInput::new();
    queue.push(vec![1, 2]);
    let mut job = start(&queue).unwrap();
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    let again = QueueInput::new();
    again.push(vec![3]);
    let error = start(&again).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLost);
    assert!(
        error.to_string().contains(
            "the checkpoint had taken 1 datasets from a queue that is gone; a queue stream can't go on after its process ends (as \
             in Spark): start with an empty checkpoint directory"
        ),
        "{error}"
    );
}

#[test]
fn a_job_that_never_started_is_not_waited_for_and_may_be_stopped() {
    let ssc = context();
    assert_eq!(refusal(ssc.await_termination()), "the context was not started; call start() first");
    ssc.stop(Stop::Gracefully).unwrap();
}

#[test]
fn a_start_that_failed_may_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let job = |ssc: &StreamingContext| -> Result<(), Error> {
        numbers(ssc, "numbers").output("all", MemoryOutput::new())?;
        ssc.checkpoint(dir.path())
    };
    let (first, second) = (context(), context());
    job(&first).unwrap();
    job(&second).unwrap();
    first.start().unwrap();
    let taken = refusal(second.start());
    assert!(taken.contains("is in use by process"), "{taken}");
    first.stop(Stop::Now).unwrap();
    second.start().unwrap();
}

#[test]
fn a_batch_interval_that_no_clock_can_keep_is_refused() {
    for (interval, shown) in [(Duration::ZERO, "0ns"), (Duration::from_micros(1500), "1.5ms")] {
        assert_eq!(
            refusal(StreamingContext::new(Conf::new(), interval)),
            format!("a batch interval of {shown}: must be a whole number of milliseconds, at least 1")
        );
    }
}

#[test]
fn a_shuffle_into_no_partition_is_refused() {
    let ssc = context();
    let pairs = numbers(&ssc, "numbers").map(|n| (n, n));
    pairs.reduce_by_key_with_partitions(|a, _| a, 0).print().unwrap();
    assert_eq!(refusal(ssc.start()), "reduce_by_key #2 into 0 partitions; give it at least 1");
}

#[test]
fn streams_that_slide_differently_are_not_brought_together() {
    let ssc = context();
    let stream = numbers(&ssc, "numbers");
    let every_second = every(2, &stream);
    every_second.union(&stream).print().unwrap();
    // What is wrong first is told, and before anything else is done.
    stream.map(|n| (n, n)).reduce_by_key_with_partitions(|a, _| a, 0).print().unwrap();
    assert_eq!(
        refusal(ssc.start()),
        "union #2: thin #1 has a dataset every 2000 ms, input #0 every 1000 ms; give both the same slide"
    );
}
