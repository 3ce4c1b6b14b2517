//! A record that several operators share is copied only where one of them keeps or changes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::core::{Emit, InputContext, Planner, Progress, Reader, Source, SourcePlan, SourceRange};
use tidegate::testkit::{MemoryOutput, TestJob};
use tidegate::{Conf, DStream, PartitionId, Result, Stop, StreamId};

const RECORDS: u64 = 10;

/// A record that counts how often it is copied.
#[derive(Debug)]
struct Counted {
    number: u64,
    copies: Arc<AtomicUsize>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.copies.fetch_add(1, Ordering::Relaxed);
        Counted { number: self.number, copies: self.copies.clone() }
    }
}

/// Makes its records when they are read.
struct Fresh(Arc<AtomicUsize>);

impl Source<Counted> for Fresh {
    fn describe(&self) -> String {
        "fresh records".to_owned()
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        Ok(Box::new(Always(context.stream.clone())))
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<Counted>>> {
        Ok(Box::new(Making { ranges: Vec::new(), copies: self.0.clone() }))
    }
}

struct Always(StreamId);

impl Planner for Always {
    fn resume(&mut self, _: Option<&SourcePlan>) -> Result<()> {
        Ok(())
    }

    fn plan(&mut self, _: Duration) -> Result<SourcePlan> {
        Ok(SourcePlan { stream: self.0.clone(), ranges: vec![SourceRange::new("fresh", 0, RECORDS)] })
    }

    fn planned(&mut self, _: &SourcePlan) {}
}

struct Making {
    ranges: Vec<(PartitionId, SourceRange)>,
    copies: Arc<AtomicUsize>,
}

impl Reader<Counted> for Making {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.ranges = ranges.to_vec();
        Ok(())
    }

    fn read(&mut self, _: usize, out: &mut dyn Emit<Counted>) -> Result<Progress> {
        for (partition, range) in self.ranges.drain(..) {
            out.partition(partition);
            (range.from..range.until)
                .for_each(|number| out.record(Counted { number, copies: self.copies.clone() }));
        }
        Ok(Progress::Done)
    }
}

/// How often the records of a batch are copied in the graph that `build` makes.
fn copies(build: impl FnOnce(DStream<Counted>) -> Vec<DStream<u64>>) -> usize {
    let copies = Arc::new(AtomicUsize::new(0));
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let streams = build(ssc.input_stream("fresh", Fresh(copies.clone()))?.clone());
        for (place, stream) in streams.into_iter().enumerate() {
            stream.output_in_place(&format!("output-{place}"), MemoryOutput::new())?;
        }
        Ok(())
    })
    .unwrap();
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    copies.load(Ordering::Relaxed)
}

fn numbers(records: &DStream<Counted>) -> DStream<u64> {
    records.map(|record| record.number)
}

#[test]
fn a_record_that_is_only_looked_at_is_never_copied() {
    let counted_and_filtered = |records: DStream<Counted>| {
        vec![records.count(), records.filter(|record| record.number % 2 == 0).count()]
    };
    assert_eq!(copies(counted_and_filtered), 0);
    assert_eq!(copies(|records| vec![numbers(&records.filter(|_| true))]), 0);
}

#[test]
fn the_last_that_takes_a_record_gets_the_record_itself() {
    assert_eq!(copies(|records| vec![records.count(), numbers(&records)]), 0);
    assert_eq!(copies(|records| vec![numbers(&records), numbers(&records)]), RECORDS as usize);
}

#[test]
fn a_record_that_a_shared_filter_drops_is_not_copied() {
    let a_fifth = |records: DStream<Counted>| {
        vec![numbers(&records.filter(|record| record.number < 2)), numbers(&records)]
    };
    assert_eq!(copies(a_fifth), 2);
}

#[test]
fn a_record_that_a_shared_sample_leaves_out_is_not_copied() {
    let sampled = |fraction: f64| {
        move |records: DStream<Counted>| {
            vec![numbers(&records.transform(|rdd| rdd.sample(false, fraction, 1))), numbers(&records)]
        }
    };
    assert_eq!((copies(sampled(0.0)), copies(sampled(1.0))), (0, RECORDS as usize));
    let few = |records: DStream<Counted>| {
        let limit = records.context().broadcast(3);
        vec![numbers(&records.filter_with(&limit, |limit, record| record.number < *limit)), numbers(&records)]
    };
    assert_eq!(copies(few), 3);
}

#[test]
fn numbering_records_copies_none() {
    let numbered = |records: DStream<Counted>| {
        vec![records.transform(|rdd| rdd.zip_with_index()).map(|(record, number)| record.number - number)]
    };
    assert_eq!(copies(numbered), 0);
}

#[test]
fn an_operator_that_leads_to_no_output_costs_nothing() {
    let unused = |records: DStream<Counted>| {
        let _ = records.map(|_| -> u64 { panic!("run for nobody") });
        vec![numbers(&records)]
    };
    assert_eq!(copies(unused), 0);
}
