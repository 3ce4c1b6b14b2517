//! Kafka as an output against a real broker: what is seen, what is remembered, who may write.
//!
//! They run by name alone (`test = false`); the broker's address is in `TIDEGATE_TEST_KAFKA`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::collections::BTreeMap;
use std::time::Instant;
use support::broker::Broker;
use support::output::*;
use tidegate::testkit::outputs::{Epoch, batch, plan};
use tidegate::testkit::{BATCH, MemoryInput, TestJob};
use tidegate::{Conf, Stop};
use tidegate_core::{BatchId, ErrorKind, JobId, Output, PartitionId, Seat};
use tidegate_kafka::{KafkaOutput, ProducerRecord, SaveToKafka};

fn all_hold(batch: u64) -> BTreeMap<PartitionId, BatchId> {
    (0..4).map(|part| (PartitionId(part), BatchId(batch))).collect()
}

/// Returns when readers see `expected`: a commit is answered a moment before its markers are in the topic.
fn sees(kafka: &Broker, topic: &str, expected: &[String]) {
    wait_until(&format!("{topic}: {expected:?}"), || committed(&kafka.at, topic) == expected);
}

#[test]
fn a_batch_is_seen_when_it_is_committed_and_remembered_with_its_plan() {
    let kafka = Broker::open();
    let topic = kafka.topic("out", 3);
    let mut workers = start(&kafka.at, &topic, 2);
    assert_eq!((workers.held.job.clone(), workers.held.partitions.len()), (Some(JobId::from("job-1")), 0));
    workers.prepare(&batch(1), records(0..50)).unwrap();
    assert_eq!(uncommitted(&kafka.at, &topic), 50, "all is with the broker before any output commits");
    assert_eq!(committed(&kafka.at, &topic), [""; 0]);
    workers.commit(&batch(1)).unwrap();
    sees(&kafka, &topic, &values(0..50));
    workers.run(&batch(2), records(50..60)).unwrap();
    workers.run(&idle(3), Vec::new()).unwrap();
    drop(workers);
    sees(&kafka, &topic, &values(0..60));
    let held = start(&kafka.at, &topic, 1).held;
    assert_eq!((held.job, held.partitions), (Some(JobId::from("job-1")), all_hold(2)));
    assert_eq!(held.newest, Some(plan(2, 20, 30)), "a batch that takes nothing costs nothing");
}

#[test]
fn a_crash_between_prepare_and_commit_leaves_nothing() {
    let kafka = Broker::open();
    let topic = kafka.topic("crash", 2);
    let mut workers = start(&kafka.at, &topic, 2);
    workers.run(&batch(1), records(0..10)).unwrap();
    workers.prepare(&batch(2), records(10..20)).unwrap();
    // As after a kill: nobody takes the transactions back.
    std::mem::forget(std::mem::take(&mut workers.writers));
    let mut again = start(&kafka.at, &topic, 3);
    assert_eq!(
        (again.held.partitions.clone(), again.held.newest.clone()),
        (all_hold(1), Some(plan(1, 10, 20)))
    );
    assert_eq!(committed(&kafka.at, &topic), values(0..10));
    // What was left open holds nobody up: it was ended, so this is seen at once.
    again.run(&batch(2), records(10..20)).unwrap();
    sees(&kafka, &topic, &values(0..20));
}

#[test]
fn a_batch_that_some_writers_committed_is_finished_by_any_number_of_workers() {
    let kafka = Broker::open();
    let topic = kafka.topic("finished", 2);
    let mut workers = start(&kafka.at, &topic, 3);
    workers.run(&batch(1), records(0..100)).unwrap();
    workers.prepare(&batch(2), records(100..200)).unwrap();
    workers.writers[1].commit(&batch(2)).unwrap();
    drop(workers);
    let mut workers = start(&kafka.at, &topic, 1);
    assert_eq!(workers.held.newest, Some(plan(2, 20, 30)));
    assert_eq!(workers.held.partitions[&PartitionId(1)], BatchId(2));
    assert_eq!(workers.held.partitions[&PartitionId(3)], BatchId(1));
    let seen = committed(&kafka.at, &topic).len();
    assert!(seen > 100 && seen < 200, "{seen}");
    workers.run(&batch(2), records(100..200)).unwrap();
    sees(&kafka, &topic, &values(0..200));
    drop(workers);
    // More workers than partitions.
    let mut workers = start(&kafka.at, &topic, 6);
    assert_eq!(workers.held.partitions, all_hold(2));
    workers.run(&batch(3), records(200..300)).unwrap();
    sees(&kafka, &topic, &values(0..300));
}

#[test]
fn writers_of_an_earlier_run_can_commit_nothing() {
    let kafka = Broker::open();
    let topic = kafka.topic("fenced", 1);
    let mut old = start(&kafka.at, &topic, 2);
    old.prepare(&batch(1), records(0..10)).unwrap();
    let mut new = start(&kafka.at, &topic, 4);
    for writer in &mut old.writers {
        let error = writer.commit(&batch(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains("was taken over by another run"), "{error}");
    }
    new.run(&batch(1), records(0..10)).unwrap();
    sees(&kafka, &topic, &values(0..10));
    // One that sends only now is told too.
    let mut newest = start(&kafka.at, &topic, 1);
    let error = new.prepare(&batch(2), records(10..20)).unwrap_err();
    assert!(error.to_string().contains("was taken over by another run"), "{error}");
    newest.run(&batch(2), records(10..20)).unwrap();
    sees(&kafka, &topic, &values(0..20));
}

#[test]
fn the_number_of_partitions_is_kept_for_life() {
    let kafka = Broker::open();
    let topic = kafka.topic("kept", 1);
    let output = || KafkaOutput::new([("bootstrap.servers", kafka.at.as_str())], &topic).unwrap();
    let mut first = Epoch::open_as(&output().partitions(6), &context(&topic, Some("job-1")), 6).unwrap();
    first.prepare(&batch(1), records(0..60)).unwrap();
    std::mem::forget(std::mem::take(&mut first.writers));
    // Fewer are asked for: the ids of all six were taken over all the same, and none holds readers up.
    let mut second = Epoch::open_as(&output().partitions(2), &context(&topic, Some("job-1")), 1).unwrap();
    second.run(&batch(1), records(0..60)).unwrap();
    sees(&kafka, &topic, &values(0..60));
    assert_eq!(start(&kafka.at, &topic, 1).held.partitions.len(), 6);
}

#[test]
fn an_output_of_another_job_is_left_alone() {
    let kafka = Broker::open();
    let topic = kafka.topic("jobs", 1);
    let mut ours = start(&kafka.at, &topic, 1);
    ours.prepare(&batch(1), records(0..10)).unwrap();
    let other = KafkaOutput::new([("bootstrap.servers", kafka.at.as_str())], &topic).unwrap();
    let held = other.open(&context(&topic, Some("job-2"))).unwrap();
    assert_eq!((held.job, held.newest), (Some(JobId::from("job-1")), None));
    ours.commit(&batch(1)).unwrap();
    sees(&kafka, &topic, &values(0..10));
    // A job that has no name of its own takes the one that is found.
    let held = other.open(&context(&topic, None)).unwrap();
    assert_eq!((held.job, held.newest), (Some(JobId::from("job-1")), Some(plan(1, 10, 20))));
}

#[test]
fn markers_are_found_though_many_batches_came_after() {
    let kafka = Broker::open();
    let topic = kafka.topic("long", 1);
    let mut workers = start(&kafka.at, &topic, 4);
    workers.run(&batch(1), records(0..40)).unwrap();
    // Partition 3 is stuck at batch 1 while its neighbours go on, as no engine would let it.
    for id in 2..60 {
        for worker in 0..3 {
            workers.writers[worker].prepare(&batch(id), &[PartitionId(worker as u32)]).unwrap();
            workers.writers[worker].commit(&batch(id)).unwrap();
        }
    }
    drop(workers);
    let held = start(&kafka.at, &topic, 1).held;
    assert_eq!(held.newest, Some(plan(59, 590, 600)));
    assert_eq!(held.partitions[&PartitionId(3)], BatchId(1));
}

#[test]
fn records_of_a_key_keep_their_order_and_carry_all_that_was_set() {
    let kafka = Broker::open();
    let (topic, other) = (kafka.topic("order", 3), kafka.topic("order-other", 2));
    let mut workers = start(&kafka.at, &topic, 2);
    let mut rows: Vec<_> = (0..3000).map(|n| record(&format!("k{}", n % 7), &format!("{n:05}"))).collect();
    rows.push(ProducerRecord::to(&other).key("gone").header("h", "1").partition(1).timestamp_ms(77));
    workers.run(&batch(1), rows).unwrap();
    wait_until("all are seen", || committed(&kafka.at, &topic).len() == 3000);
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in read(&kafka.at, &topic, "read_committed") {
        by_key.entry(key).or_default().push(value);
    }
    assert!(by_key.len() == 7 && by_key.values().all(|values| values.is_sorted()));
    wait_until("the tombstone", || read(&kafka.at, &other, "read_committed").len() == 1);
    assert_eq!(read(&kafka.at, &other, "read_committed"), [("gone".to_owned(), "-".to_owned())]);
}

#[test]
fn a_record_that_kafka_refuses_fails_when_it_is_prepared() {
    let kafka = Broker::open();
    let topic = kafka.topic("refused", 1);
    let mut workers = start(&kafka.at, &topic, 2);
    let long = record("the key of a record that is far too long for its topic", &"x".repeat(2_000_000));
    let mut rows = records(0..10);
    rows.push(long);
    let error = workers.prepare(&batch(1), rows).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    let text = error.to_string();
    assert!(text.contains("batch 1: a record for topic test-refused-"), "{text}");
    assert!(text.contains("with key \"the key of a record that is far too long\"…, 2000054 bytes"), "{text}");
    assert!(text.contains("max.message.bytes of the topic"), "{text}");
    workers.writers.iter_mut().for_each(|writer| writer.abort());
    drop(workers);
    let mut workers = start(&kafka.at, &topic, 2);
    assert_eq!(committed(&kafka.at, &topic), [""; 0]);
    let missing = ProducerRecord::to(format!("{topic}-none")).key("k").value("v").partition(7);
    let started = Instant::now();
    let error = workers.prepare(&batch(1), vec![missing]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error} after {:?}", started.elapsed());
    assert!(error.to_string().contains("create the topic"), "{error}");
}

#[test]
fn what_can_not_work_is_told_when_the_output_is_opened() {
    let kafka = Broker::open();
    let topic = kafka.topic("start", 1);
    let open = |output: KafkaOutput, name: &str| output.open(&context(name, None)).unwrap_err();
    let output = |topic: &str, settings: &[(&str, &str)]| {
        let mut params = tidegate_kafka::Params::from([("bootstrap.servers", kafka.at.as_str())]);
        for (name, value) in settings {
            params = params.set(*name, *value);
        }
        KafkaOutput::new(params, topic).unwrap()
    };
    let error = open(output("no-such-topic", &[]), "out");
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("topic no-such-topic does not exist; create it"), "{error}");
    let error = open(output(&topic, &[("transaction.timeout.ms", "7200000")]), &topic);
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("transaction.max.timeout.ms allows: lower it"), "{error}");
    let error = open(output(&topic, &[]).partitions(65), &topic).to_string();
    assert!(error.contains("65 partitions, needed are 1 to 64"), "{error}");
    let error = open(output(&topic, &[]), "täglich").to_string();
    assert!(error.contains("give the output a name"), "{error}");
    let deleting = kafka.topic("deleting", 1);
    let error = open(output(&topic, &[]).markers_topic(&deleting), &topic).to_string();
    assert!(error.contains("cleanup.policy=delete") && error.contains("kafka-configs.sh --alter"), "{error}");
    let wide = kafka.topic("wide", 2);
    let error = open(output(&topic, &[]).markers_topic(&wide), &topic).to_string();
    assert!(error.contains("has 2 partitions, and must have one"), "{error}");
}

#[test]
fn at_least_once_is_seen_by_everybody_after_the_commit_alone() {
    let kafka = Broker::open();
    let topic = kafka.topic("plain", 2);
    let output =
        || KafkaOutput::new([("bootstrap.servers", kafka.at.as_str())], &topic).unwrap().at_least_once();
    let mut workers = Epoch::open_as(&output(), &context(&topic, Some("job-1")), 2).unwrap();
    assert_eq!(workers.held.job, None);
    workers.prepare(&batch(1), records(0..10)).unwrap();
    assert_eq!(uncommitted(&kafka.at, &topic), 0);
    workers.writers.iter_mut().for_each(|writer| writer.abort());
    workers.run(&batch(1), records(0..10)).unwrap();
    assert_eq!(uncommitted(&kafka.at, &topic), 10);
    workers.run(&batch(1), records(0..10)).unwrap();
    assert_eq!(uncommitted(&kafka.at, &topic), 20, "it does not remember");
    let long = record("k", &"x".repeat(9_000_000));
    let error = workers.write(&batch(2), vec![long]).unwrap_err().to_string();
    assert!(error.contains("9000001 bytes, is over message.max.bytes=8388608"), "{error}");
    let seat = Seat { output: "out".into(), worker: 0, workers: 1 };
    let unopened = KafkaOutput::new([("bootstrap.servers", kafka.at.as_str())], &topic).unwrap();
    assert!(unopened.writer(&seat).err().unwrap().to_string().contains("before it was opened"));
}

#[test]
fn a_job_that_has_only_its_topic_goes_on_with_another_number_of_workers() {
    let kafka = Broker::open();
    let topic = kafka.topic("job", 2);
    let input = MemoryInput::new(2);
    let start = |workers: usize| {
        let conf = Conf::new().set_master(&format!("local[{workers}]"));
        TestJob::start(conf, None, |ssc| {
            let params = [("bootstrap.servers", kafka.at.as_str())];
            let words = ssc.input_stream("words", input.clone())?;
            words.save_to_kafka(params, &topic, |word: String| ProducerRecord::new().key(&word).value(&word))
        })
    };
    let mut job = start(2).unwrap();
    input.push(0, values(0..10));
    job.next_batch().unwrap();
    input.push(1, values(10..30));
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    drop(job);
    input.push(1, values(30..40));
    let mut job = start(3).unwrap();
    // A new clock starts where the first one did, two batches ago.
    job.clock.advance(2 * BATCH);
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    sees(&kafka, &topic, &values(0..40));
}
