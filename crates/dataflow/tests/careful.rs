//! An epoch that is run to find the record on which a function failed: it names it, and writes nothing.

#![allow(clippy::unwrap_used)] // what is not there fails the test

use std::sync::Arc;
use std::sync::mpsc::channel;
use tidegate_core::{
    Batch, BatchId, BatchPlan, BatchTime, Delivery, Emit, EpochStart, ErrorKind, Held, InputContext, Output,
    OutputContext, PartitionId, Planner, Progress, Reader, Result, RuntimeEvent, RuntimeFactory, Seat,
    Source, SourcePlan, SourceRange, StreamId, Writer,
};
use tidegate_dataflow::{Graph, Node, TimelyRuntimes, ops, raise};

type Words = Node<(String, u64)>;

/// Runs two batches of `build`'s graph on two workers: the failure, or what was told besides that each is processed and prepared.
fn outcome(careful: bool, build: impl FnOnce(&Words)) -> Vec<RuntimeEvent> {
    let graph = Graph::new(100);
    let words = graph.input("words".into(), Arc::new(TwoWords)).unwrap();
    build(&words);
    let (tell, told) = channel();
    let events = Arc::new(move |event| drop(tell.send(event)));
    let start = EpochStart { careful, committed: BatchId(u64::MAX), ..EpochStart::fresh(BatchId(7), events) };
    let mut runtime = TimelyRuntimes::local(graph, 2).start(start).unwrap();
    let mut events = Vec::new();
    for id in 7..9 {
        let sources =
            vec![SourcePlan { stream: "words".into(), ranges: vec![SourceRange::new("words", 0, 2)] }];
        let plan = BatchPlan { id: BatchId(id), time: BatchTime(id * 100), zero: BatchTime(0), sources };
        runtime.run(Arc::new(plan));
        // Nobody gives the word to commit, and nobody waits for it: all writers see the end of the next batch too.
        let (mut processed, mut prepared) = (false, false);
        while !(processed && prepared) {
            match told.recv().unwrap() {
                failed @ RuntimeEvent::Failed(_) => return vec![failed],
                RuntimeEvent::Processed(report) => processed = report.batch.0 == id,
                RuntimeEvent::Prepared(batch) => prepared = batch.0 == id,
                other => events.push(other),
            }
        }
    }
    events
}

fn failure(careful: bool, build: impl FnOnce(&Words)) -> String {
    let events = outcome(careful, build);
    let [RuntimeEvent::Failed(error)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(error.kind(), ErrorKind::UserCode);
    error.to_string()
}

fn end<T: tidegate_dataflow::Data>(node: &Node<T>) {
    ops::output_in_place(node, "nothing".into(), Arc::new(Untouched)).unwrap();
}

#[test]
fn a_failure_names_operator_batch_and_record_when_it_is_looked_for_and_no_record_when_not() {
    let build = |words: &Words| {
        end(&ops::map(words, |(word, n)| {
            assert!(word != "tide", "no such word");
            n
        }));
    };
    assert_eq!(
        failure(true, build),
        "the function of map #1 panicked in batch 7 on the record (\"tide\", 3): no such word"
    );
    assert_eq!(failure(false, build), "the function of map #1 panicked in batch 7: no such word");
}

#[test]
fn each_operator_shows_what_its_function_was_given() {
    type Build = fn(&Words);
    let cases: [(&str, Build); 12] = [
        ("filter #1 panicked in batch 7 on the record (\"the\", 1): oh", |w| {
            end(&ops::filter(w, |_| panic!("oh")))
        }),
        ("flat_map #1 panicked in batch 7 on the record (\"the\", 1): oh", |w| {
            end(&ops::flat_map(w, |_| -> Vec<u64> { panic!("oh") }));
        }),
        ("flat_map #1 failed in batch 7 on the record (\"the\", 1): oh", |w| {
            let fail = |_, _: &mut dyn FnMut(u64)| raise(tidegate_core::Error::user_code("oh"));
            end(&ops::flat_map_with(w, fail));
        }),
        // The outer operator fails after the inner one was given a record.
        ("flat_map #1 panicked in batch 7 on the record (\"the\", 1): oh", |w| {
            let emit = |_, out: &mut dyn FnMut(u64)| {
                out(5);
                panic!("oh");
            };
            end(&ops::map(&ops::flat_map_with(w, emit), |n| n + 1));
        }),
        ("map_partitions #1 panicked in batch 7 on the records [(\"the\", 1), (\"tide\", 3)]: oh", |w| {
            end(&ops::map_partitions(w, |_, _, _| -> Vec<u64> { panic!("oh") }));
        }),
        ("map_values #1 panicked in batch 7 on the record (\"the\", 1): oh", |w| {
            end(&ops::map_values(w, |_| -> u64 { panic!("oh") }));
        }),
        ("flat_map_reduce_by_key #1 panicked in batch 7 on the record (\"the\", 1): oh", |w| {
            let emit = |_, _: &mut dyn FnMut(&str, u64)| panic!("oh");
            end::<(String, u64)>(&ops::flat_map_reduce_by_key(w, 2, emit, |a, b| a + b));
        }),
        ("reduce_by_key #2 panicked in batch 7 on the record ('k', 1, 3): oh", |w| {
            end(&ops::reduce_by_key(&ops::map(w, |(_, n)| ('k', n)), 2, |_, _| panic!("oh")));
        }),
        ("combine_by_key #2 panicked in batch 7 on the record ('k', 3): oh", |w| {
            let pairs = ops::map(w, |(_, n)| ('k', n));
            end(&ops::combine_by_key(&pairs, 2, |n| n, |_, _| panic!("oh"), |a, _| a, false));
        }),
        ("reduce #2 panicked in batch 7 on the record 3: oh", |w| {
            end(&ops::reduce(&ops::map(w, |(_, n)| n), |_, _| panic!("oh")));
        }),
        (
            "sorted #1 panicked in batch 7 on the records [(PartitionId(0), [(\"the\", 1), (\"tide\", 3)])]: oh",
            |w| {
                end(&ops::gather(w, "sorted", Arc::new(|_| 1), |_, _| -> Vec<Vec<u64>> { panic!("oh") }));
            },
        ),
        ("group_by_key #1 panicked in batch 7 on the record \"the\": oh", |w| {
            let by = tidegate_dataflow::Partitioner::by("by", 2, |_: &String| panic!("oh"));
            end(&ops::group_by_key(w, by));
        }),
    ];
    for (expected, build) in cases {
        assert_eq!(failure(true, build), format!("the function of {expected}"));
    }
}

#[test]
fn nothing_is_written_and_no_word_to_commit_is_waited_for() {
    let events = outcome(true, |words| {
        end(words);
        ops::output(&ops::count(words), "gathered".into(), Arc::new(Untouched)).unwrap();
    });
    assert!(events.is_empty(), "{events:?}");
}

/// An output that must be left alone.
struct Untouched;

impl<T> Output<T> for Untouched {
    fn describe(&self) -> String {
        "untouched".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        unreachable!("nothing is opened here")
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(Untouched))
    }
}

impl<T> Writer<T> for Untouched {
    fn write(&mut self, _: &Batch, _: PartitionId, _: Vec<T>) -> Result<()> {
        panic!("written to")
    }

    fn prepare(&mut self, _: &Batch, _: &[PartitionId]) -> Result<()> {
        panic!("prepared")
    }

    fn commit(&mut self, _: &Batch) -> Result<()> {
        panic!("committed")
    }
}

/// Two words, again and again.
struct TwoWords;

impl Source<(String, u64)> for TwoWords {
    fn describe(&self) -> String {
        "two words".to_owned()
    }

    fn planner(&self, _: &InputContext) -> Result<Box<dyn Planner>> {
        unreachable!("the tests plan by hand")
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<(String, u64)>>> {
        Ok(Box::new(Reading(Vec::new())))
    }
}

struct Reading(Vec<PartitionId>);

impl Reader<(String, u64)> for Reading {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.0 = ranges.iter().map(|(partition, _)| *partition).collect();
        Ok(())
    }

    fn read(&mut self, _: usize, out: &mut dyn Emit<(String, u64)>) -> Result<Progress> {
        for partition in self.0.drain(..) {
            out.partition(partition);
            out.record(("the".to_owned(), 1));
            out.record(("tide".to_owned(), 3));
        }
        Ok(Progress::Done)
    }
}
