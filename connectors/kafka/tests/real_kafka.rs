//! Driver and worker against a real broker: transactions, retention, topics that change while a job runs.
//!
//! They run by name alone (`test = false`); the broker's address is in `TIDEGATE_TEST_KAFKA`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use rdkafka::producer::Producer;
use std::time::Instant;
use support::broker::{Broker, SOON};
use support::{Job, PATIENCE, Writer, earliest, numbers, positions};
use tidegate_core::{ErrorKind, Source, SourceRange};
use tidegate_kafka::ConsumerStrategy;

#[test]
fn aborted_records_are_left_out_and_a_range_may_end_in_markers() {
    let kafka = Broker::open();
    let topic = kafka.topic("aborted", 1);
    let writer = kafka.transactional(&topic);
    let mut job = Job::start(kafka.earliest(&topic), None).unwrap();
    for (round, commit) in [(0, true), (1, false), (2, true), (3, false)] {
        writer.0.begin_transaction().unwrap();
        writer.write(&topic, 0, numbers(round * 10..round * 10 + 10));
        if commit {
            writer.0.commit_transaction(PATIENCE).unwrap();
            let kept = job.batches_until(10).unwrap();
            assert_eq!(kept.texts(), numbers(round * 10..round * 10 + 10));
        } else {
            writer.0.abort_transaction(PATIENCE).unwrap();
        }
    }
    // The last transaction was aborted: its 10 records and its marker are planned, give nothing, and the batch ends.
    let end = 4 * 11;
    let started = Instant::now();
    while job.last.as_ref().unwrap().ranges[0].until < end {
        assert_eq!(job.batch().unwrap().records.len(), 0);
        assert!(started.elapsed() < PATIENCE);
    }
    // The same as one batch of a new job, and with single offsets as batches.
    let mut whole = Job::start(kafka.earliest(&topic), None).unwrap();
    assert_eq!(
        positions(&whole.planner.plan(SOON).unwrap()),
        [SourceRange::new(format!("{topic}-0"), 0, end)]
    );
    assert_eq!(whole.batch().unwrap().records.len(), 20);
    let mut slow = Job::start(kafka.earliest(&topic).max_rate_per_partition(1), None).unwrap();
    let sizes: usize = (0..end).map(|_| slow.batch().unwrap().records.len()).sum();
    assert_eq!((sizes, slow.last.unwrap().ranges[0].until), (20, end));
}

#[test]
fn an_open_transaction_holds_no_batch_up() {
    let kafka = Broker::open();
    let topic = kafka.topic("open", 1);
    Writer::open(&kafka.at).write(&topic, 0, numbers(0..5));
    let open = kafka.transactional(&topic);
    open.0.begin_transaction().unwrap();
    open.write(&topic, 0, numbers(5..10));
    Writer::open(&kafka.at).write(&topic, 0, numbers(10..15));
    let mut job = Job::start(kafka.earliest(&topic), None).unwrap();
    assert_eq!(job.batches_until(5).unwrap().texts(), numbers(0..5));
    for _ in 0..20 {
        assert_eq!(job.batch().unwrap().records.len(), 0, "nothing behind an open transaction is read");
    }
    open.0.commit_transaction(PATIENCE).unwrap();
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(5..15));

    let uncommitted = earliest(&kafka.at, &topic, &[("isolation.level", "read_uncommitted")]);
    open.0.begin_transaction().unwrap();
    open.write(&topic, 0, numbers(15..20));
    let mut job = Job::start(uncommitted, None).unwrap();
    assert_eq!(job.batches_until(20).unwrap().texts(), numbers(0..20), "read_uncommitted reads what is open");
    open.0.abort_transaction(PATIENCE).unwrap();
}

#[test]
fn new_partitions_are_read_from_their_beginning() {
    let kafka = Broker::open();
    let topic = kafka.topic("grows", 1);
    let latest = ConsumerStrategy::subscribe([topic.as_str()], [("bootstrap.servers", kafka.at.as_str())]);
    let mut job = Job::start(latest.partition_discovery(SOON), None).unwrap();
    kafka.grow(&topic, 3);
    let writer = Writer::with(&kafka.at, &[("topic.metadata.refresh.interval.ms", "100")]);
    writer.write(&topic, 2, numbers(0..10));
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(0..10));
    assert_eq!(job.last.as_ref().unwrap().ranges.len(), 3);
    writer.write(&topic, 0, numbers(10..12));
    assert_eq!(job.batches_until(2).unwrap().texts(), numbers(10..12));
}

#[test]
fn partitions_added_while_the_job_was_stopped_are_read_from_their_beginning() {
    let kafka = Broker::open();
    let topic = kafka.topic("grown", 1);
    Writer::open(&kafka.at).write(&topic, 0, numbers(0..10));
    let latest = || ConsumerStrategy::subscribe([topic.as_str()], [("bootstrap.servers", kafka.at.as_str())]);
    let mut job = Job::start(latest().from_offsets([(tp(&topic), 0)]), None).unwrap();
    job.batches_until(10).unwrap();
    let last = job.last.clone();
    drop(job);
    kafka.grow(&topic, 3);
    Writer::open(&kafka.at).write(&topic, 1, numbers(10..20));
    let mut job = Job::start(latest(), last.as_ref()).unwrap();
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(10..20), "though the setting says latest");
    let places: Vec<_> = job.last.unwrap().ranges.into_iter().map(|it| it.partition).collect();
    assert_eq!(places, [format!("{topic}-0"), format!("{topic}-1"), format!("{topic}-2")]);
}

#[test]
fn retention_that_overtakes_a_stopped_job_is_an_error_or_a_counted_skip() {
    let kafka = Broker::open();
    let topic = kafka.topic("retention", 1);
    let writer = Writer::open(&kafka.at);
    writer.write(&topic, 0, numbers(0..10));
    let mut job = Job::start(kafka.earliest(&topic), None).unwrap();
    job.batches_until(10).unwrap();
    let last = job.last.clone();
    drop(job);
    writer.write(&topic, 0, numbers(10..30));
    kafka.remove_before(&topic, 0, 25);
    let error = Job::start(kafka.earliest(&topic), last.as_ref()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLost);
    let text = error.to_string();
    assert!(text.contains(&format!("{topic}-0: 15 records are lost: offsets 10 to 25")), "{text}");
    let mut job = Job::start(kafka.earliest(&topic).fail_on_data_loss(false), last.as_ref()).unwrap();
    assert_eq!(job.batches_until(5).unwrap().texts(), numbers(25..30));
}

#[test]
fn retention_that_overtakes_a_planned_batch_is_an_error_or_a_counted_skip() {
    let kafka = Broker::open();
    let topic = kafka.topic("overtaken", 1);
    Writer::open(&kafka.at).write(&topic, 0, numbers(0..30));
    for (fail, rate) in [(true, 10), (false, 10)] {
        let strategy = kafka.earliest(&topic).fail_on_data_loss(fail).max_rate_per_partition(rate);
        let mut job = Job::start(strategy.from_offsets([(tp(&topic), 0)]), None);
        if fail {
            kafka.remove_before(&topic, 0, 25);
            let error = job.as_mut().unwrap().failure();
            assert_eq!(error.kind(), ErrorKind::DataLost);
            assert!(error.to_string().contains("25 records are lost: offsets 0 to 25"), "{error}");
        } else {
            let mut job = job.unwrap();
            assert_eq!(job.batches_until(5).unwrap().texts(), numbers(25..30));
        }
    }
}

fn tp(topic: &str) -> tidegate_kafka::TopicPartition {
    tidegate_kafka::TopicPartition::new(topic, 0)
}

#[test]
fn a_planned_range_that_retention_cut_gives_what_is_left() {
    let kafka = Broker::open();
    let topic = kafka.topic("cut", 1);
    Writer::open(&kafka.at).write(&topic, 0, numbers(0..30));
    let mut job = Job::start(kafka.earliest(&topic).fail_on_data_loss(false), None).unwrap();
    let plan = job.planner.plan(SOON).unwrap();
    kafka.remove_before(&topic, 0, 25);
    assert_eq!(support::read(job.reader.as_mut(), &plan.ranges).texts(), numbers(25..30));
}

#[test]
fn a_topic_that_is_deleted_is_an_error() {
    let kafka = Broker::open();
    let topic = kafka.topic("deleted", 1);
    Writer::open(&kafka.at).write(&topic, 0, numbers(0..10));
    let mut job = Job::start(kafka.earliest(&topic), None).unwrap();
    job.batches_until(10).unwrap();
    kafka.delete(&topic);
    let error = job.failure();
    assert_eq!(error.kind(), ErrorKind::DataLost);
    assert!(error.to_string().contains(&format!("{topic}-0 does not exist")), "{error}");
}

#[test]
fn a_topic_made_again_is_an_error_or_read_from_its_beginning() {
    let kafka = Broker::open();
    for fail in [true, false] {
        let topic = kafka.topic("again", 1);
        Writer::open(&kafka.at).write(&topic, 0, numbers(0..10));
        let mut job = Job::start(kafka.earliest(&topic).fail_on_data_loss(fail), None).unwrap();
        job.batches_until(10).unwrap();
        kafka.delete(&topic);
        kafka.create(&topic, 1);
        Writer::open(&kafka.at).write(&topic, 0, numbers(100..104));
        if fail {
            assert_eq!(job.failure().kind(), ErrorKind::DataLost);
        } else {
            assert_eq!(job.batches_until(4).unwrap().texts(), numbers(100..104));
        }
    }
}

/// A topic of 10 records of which all were read, made again with 20.
fn made_again(kafka: &Broker, name: &str, job: impl FnOnce(&str) -> Job) -> (String, Job) {
    let topic = kafka.topic(name, 1);
    Writer::open(&kafka.at).write(&topic, 0, numbers(0..10));
    let mut job = job(&topic);
    job.batches_until(10).unwrap();
    kafka.delete(&topic);
    kafka.create(&topic, 1);
    Writer::open(&kafka.at).write(&topic, 0, numbers(100..120));
    (topic, job)
}

/// Offsets alone say nothing in these two: the new topic has more records than were read of the old one.
#[test]
fn a_topic_made_again_while_the_job_was_stopped_is_told_by_its_id() {
    let kafka = Broker::open();
    let (topic, job) = made_again(&kafka, "longer", |topic| Job::start(kafka.earliest(topic), None).unwrap());
    let last = job.last.clone();
    drop(job);
    let error = Job::start(kafka.earliest(&topic), last.as_ref()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLost);
    assert!(error.to_string().contains("its id is another"), "{error}");
    let mut job = Job::start(kafka.earliest(&topic).fail_on_data_loss(false), last.as_ref()).unwrap();
    assert_eq!(job.batches_until(20).unwrap().texts(), numbers(100..120));
}

#[test]
fn a_topic_made_again_while_the_job_runs_is_told_by_its_id() {
    let kafka = Broker::open();
    let start = |fail| {
        let kafka = &kafka;
        move |topic: &str| Job::start(kafka.earliest(topic).fail_on_data_loss(fail), None).unwrap()
    };
    let (_, mut job) = made_again(&kafka, "stops", start(true));
    assert_eq!(job.failure().kind(), ErrorKind::DataLost);

    let (topic, mut job) = made_again(&kafka, "goes-on", start(false));
    let old = job.last.as_ref().unwrap().ranges[0].mark.clone();
    let started = Instant::now();
    let mut texts = Vec::new();
    loop {
        texts.extend(job.batch().unwrap().texts());
        let range = &job.last.as_ref().unwrap().ranges[0];
        if range.mark != old && range.until == 20 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{topic}: {range}");
    }
    // Which of the new one are passed over depends on how soon it is noticed.
    texts.sort();
    let read = texts.len();
    texts.dedup();
    assert_eq!(texts.len(), read, "nothing is read twice");
    assert!(texts.iter().all(|text| numbers(100..120).contains(text)), "{texts:?}");
    assert_eq!(texts[read - 1], numbers(119..120)[0]);
}

#[test]
fn a_planned_range_of_a_topic_that_was_made_again_is_not_read_from_the_new_one() {
    let kafka = Broker::open();
    for fail in [true, false] {
        let topic = kafka.topic("planned", 1);
        Writer::open(&kafka.at).write(&topic, 0, numbers(0..10));
        let mut job = Job::start(kafka.earliest(&topic), None).unwrap();
        let plan = job.planner.plan(SOON).unwrap();
        drop(job);
        kafka.delete(&topic);
        kafka.create(&topic, 1);
        Writer::open(&kafka.at).write(&topic, 0, numbers(100..120));
        let source = support::source(kafka.earliest(&topic).fail_on_data_loss(fail));
        let mut reader = source.reader(&support::stream(), 0, 1).unwrap();
        match support::try_read(reader.as_mut(), &plan.ranges) {
            Ok(kept) => assert_eq!((fail, kept.records.len()), (false, 0)),
            Err(error) => {
                assert_eq!((fail, error.kind()), (true, ErrorKind::DataLost));
                assert!(
                    error.to_string().contains("made again since they were planned; offsets 0 to 10"),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn headers_keys_and_tombstones_come_through() {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::BaseRecord;
    let kafka = Broker::open();
    let topic = kafka.topic("headers", 1);
    let writer = Writer::open(&kafka.at);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header::<&str> { key: "b", value: None });
    writer.0.send(BaseRecord::<str, str>::to(&topic).key("k").timestamp(5).headers(headers)).unwrap();
    writer.write(&topic, 0, ["x"]);
    let mut job = Job::start(kafka.earliest(&topic), None).unwrap();
    let kept = job.batches_until(2).unwrap();
    for record in [&kept.records[0], &kept.records[0].clone()] {
        assert_eq!((record.key(), record.value(), record.timestamp_ms()), (Some(&b"k"[..]), None, Some(5)));
        assert_eq!(record.headers(), [("a", Some(&b"1"[..])), ("b", None)]);
    }
    assert_eq!(kept.records[1].headers(), []);
}

#[test]
fn wrong_credentials_fail_at_once_without_the_password() {
    let Ok(at) = std::env::var("TIDEGATE_TEST_KAFKA_SASL") else { return };
    let with = |password| {
        earliest(
            &at,
            "any",
            &[
                ("security.protocol", "sasl_plaintext"),
                ("sasl.mechanism", "PLAIN"),
                ("sasl.username", "tester"),
                ("sasl.password", password),
            ],
        )
    };
    let started = Instant::now();
    let error = Job::start(with("wrong-password"), None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "fails fast");
    let text = error.to_string();
    assert!(text.contains("uthentication") && !text.contains("wrong-password"), "{text}");
    let error = Job::start(with("tester-password"), None).err().unwrap().to_string();
    assert!(error.contains("topic any does not exist"), "{error}");
}
