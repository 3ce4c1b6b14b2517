//! Datasets that make no sense, functions of them that fail, and what is done with what they give.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use tidegate::core::{
    BatchPlan, BatchTime, EpochStart, RuntimeEvent, RuntimeFactory, SourcePlan, SourceRange,
};
use tidegate::testkit::{BATCH, MemoryInput, MemoryOutput, TestJob};
use tidegate::{BatchId, Conf, ErrorKind, Rdd, Stop, StreamingContext};
use tidegate_dataflow::{Graph, Node, TimelyRuntimes, ops};

type Row = (i64, i64);

fn conf(workers: usize) -> Conf {
    Conf::new().set_master(&format!("local[{workers}]"))
}

#[test]
fn a_dataset_that_makes_no_sense_is_refused_at_the_start() {
    type Build = fn(Rdd<i64>) -> Rdd<i64>;
    let cases: [(&str, Build); 10] = [
        ("coalesce #1 into 0 partitions; give it at least 1", |n| n.coalesce(0)),
        ("repartition #1 into 0 partitions; give it at least 1", |n| n.repartition(0)),
        ("sort_by #1 into 0 partitions; give it at least 1", |n| n.sort_by_with_partitions(|n| *n, true, 0)),
        ("distinct #2 into 0 partitions; give it at least 1", |n| n.distinct_with_partitions(0)),
        ("intersection #3 into 0 partitions; give it at least 1", |n| n.intersection_with_partitions(&n, 0)),
        ("subtract #3 into 0 partitions; give it at least 1", |n| n.subtract_with_partitions(&n, 0)),
        ("sample #1: a fraction of -0.1; it must be 0 or more", |n| n.sample(true, -0.1, 0)),
        ("sample #1: a fraction of NaN; it must be 0 or more", |n| n.sample(true, f64::NAN, 0)),
        ("sample #1: a fraction of -0.1; it must be from 0 to 1 where no record is taken twice", |n| {
            n.sample(false, -0.1, 0)
        }),
        ("sample #1: a fraction of 1.5; it must be from 0 to 1 where no record is taken twice", |n| {
            n.sample(false, 1.5, 0)
        }),
    ];
    for (flaw, build) in cases {
        let refused = TestJob::start(conf(2), None, |ssc| {
            let numbers = ssc.input_stream("numbers", MemoryInput::new(1))?;
            numbers.transform(build).output("all", MemoryOutput::new())
        });
        let error = refused.err().unwrap();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Reconfigure, flaw));
    }
}

#[test]
fn datasets_of_two_contexts_are_not_brought_together() {
    let dataset = || {
        let ssc = StreamingContext::new(conf(1), BATCH).unwrap();
        let (rows, mut dataset) = (ssc.input_stream("rows", MemoryInput::<Row>::new(1)).unwrap(), None);
        rows.foreach_rdd(|rdd| {
            dataset = Some(rdd);
            Ok(())
        })
        .unwrap();
        dataset.unwrap()
    };
    let refused = |name: &str, build: fn(&Rdd<Row>, &Rdd<Row>) -> Rdd<Row>| {
        let (one, other) = (dataset(), dataset());
        let panicked = catch_unwind(AssertUnwindSafe(|| build(&one, &other))).err().unwrap();
        assert_eq!(
            panicked.downcast_ref::<String>().unwrap(),
            &format!("{name} of streams of two contexts; build both from one StreamingContext")
        );
    };
    refused("intersection", |a, b| a.intersection(b));
    refused("subtract", |a, b| a.subtract(b));
    refused("subtract_by_key", |a, b| a.subtract_by_key(b));
}

#[test]
fn each_operator_is_named_when_its_function_panics() {
    type Build = fn(Rdd<i64>) -> Rdd<i64>;
    let cases: [(&str, Build); 15] = [
        ("sort_by #1", |n| n.sort_by(|_| -> i64 { panic!("oh") }, true)),
        ("take_ordered_by #1", |n| n.take_ordered_by(1, |_| -> i64 { panic!("oh") })),
        ("top_by #1", |n| n.top_by(1, |_| -> i64 { panic!("oh") })),
        ("reduce #1", |n| n.reduce(|_, _| panic!("oh"))),
        ("fold #1", |n| n.fold(0, |_, _| panic!("oh"))),
        ("aggregate #1", |n| n.aggregate(0, |_, _| panic!("oh"), |a, _| a)),
        ("aggregate #1", |n| n.aggregate(0, |sum, n| sum + n, |_, _| panic!("oh"))),
        ("key_by #1", |n| n.key_by(|_| -> i64 { panic!("oh") }).values()),
        ("group_by #1", |n| n.group_by(|_| -> i64 { panic!("oh") }).keys()),
        ("map_partitions #1", |n| n.map_partitions_with_index(|_, _| -> [i64; 0] { panic!("oh") })),
        ("map_with #1", |n| n.map_with(&n.context().broadcast(0), |_, _| panic!("oh"))),
        ("filter_with #1", |n| n.filter_with(&n.context().broadcast(0), |_, _| panic!("oh"))),
        ("map_with #1", |n| {
            n.map_with(&n.context().broadcast_by_batch(|_| -> i64 { panic!("oh") }), |_, n| n)
        }),
        // The one that panics, not the one that feeds it.
        ("map #2", |n| n.sort_by(|n| *n, true).map(|_| panic!("oh"))),
        ("map #2", |n| n.zip_with_index().map(|_| panic!("oh"))),
    ];
    for (name, build) in cases {
        let input = MemoryInput::new(2);
        let mut job = TestJob::start(conf(2), None, |ssc| {
            ssc.input_stream("numbers", input.clone())?.transform(build).output("all", MemoryOutput::new())
        })
        .unwrap();
        input.push(0, [1, 2]);
        let error = job.next_batch().unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("the function of {name} panicked in batch 1"))
                && error.to_string().ends_with(": oh"),
            "{name}: {error}"
        );
    }
}

/// Why the first batch, of the numbers up to 3, fails in a careful epoch of the graph that `build` makes.
fn careful_failure(build: fn(&Node<i64>) -> Node<i64>) -> String {
    let (input, graph) = (MemoryInput::new(1), Graph::new(1000));
    input.push(0, [1, 2, 3]);
    let numbers = graph.input("numbers".into(), Arc::new(input)).unwrap();
    ops::output_in_place(&build(&numbers), "all".into(), Arc::new(MemoryOutput::new())).unwrap();
    let (tell, told) = channel();
    let events = Arc::new(move |event| {
        if let RuntimeEvent::Failed(error) = event {
            tell.send(error.to_string()).unwrap();
        }
    });
    let start = EpochStart { careful: true, ..EpochStart::fresh(BatchId(1), events) };
    let mut runtime = TimelyRuntimes::local(graph, 2).start(start).unwrap();
    let ranges = vec![SourceRange::new("memory-0", 0, 3)];
    let sources = vec![SourcePlan { stream: "numbers".into(), ranges }];
    let plan = BatchPlan { id: BatchId(1), time: BatchTime(1000), zero: BatchTime(0), sources };
    runtime.run(Arc::new(plan));
    told.recv().unwrap()
}

#[test]
fn in_a_careful_epoch_the_record_is_named_on_which_a_function_panics() {
    fn two(n: i64) -> i64 {
        if n == 2 { panic!("not 2") } else { n }
    }
    type Build = fn(&Node<i64>) -> Node<i64>;
    let cases: [(&str, Build); 5] = [
        ("sort_by #1", |n| ops::sort_by(n, |n| two(*n), true, Some(2))),
        ("key_by #1", |n| ops::values(&ops::key_by(n, |n| two(*n)))),
        ("group_by #1", |n| ops::keys(&ops::group_by(n, 3, |n| two(*n)))),
        ("map_with #1", |n| ops::map_with(n, |_| Arc::new(0), |_: &i64, n| two(n))),
        ("filter_with #1", |n| ops::filter_with(n, |_| Arc::new(0), |least: &i64, n| two(*n) > *least)),
    ];
    for (name, build) in cases {
        let expected = format!("the function of {name} panicked in batch 1 on the record 2: not 2");
        assert_eq!(careful_failure(build), expected);
    }
}

#[test]
fn what_an_action_would_return_is_given_to_a_function_with_its_batch() {
    let (input, seen) = (MemoryInput::new(2), Arc::new(Mutex::new(Vec::new())));
    let mut job = TestJob::start(conf(2), None, |ssc| {
        let seen = seen.clone();
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.foreach_rdd(|rdd| {
            rdd.max().collect(move |batch, rows: Vec<i64>| {
                seen.lock().unwrap().push((batch.id().0, rows));
            })
        })
    })
    .unwrap();
    input.push(0, [1, 5]);
    input.push(1, [7, 2]);
    job.next_batch().unwrap();
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(1, vec![7]), (2, vec![])]);
}

#[test]
fn a_function_of_each_record_that_gives_an_error_stops_the_job_with_it() {
    let input = MemoryInput::new(2);
    let mut job = TestJob::start(conf(2), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.foreach_rdd(|rdd| {
            rdd.foreach(
                |batch, n: i64| {
                    if n == 13 { Err(format!("13 in batch {}", batch.id())) } else { Ok(()) }
                },
            )
        })
    })
    .unwrap();
    input.push(0, [1]);
    job.next_batch().unwrap();
    input.push(1, [2, 13]);
    let error = job.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    let text = error.to_string();
    assert!(text.starts_with("output \"foreach-0\": ") && text.ends_with("13 in batch 2"), "{text}");
}
