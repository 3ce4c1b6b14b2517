//! Kafka as an output while its broker is stopped and killed, and jobs die: each test has a broker of its own.
//!
//! It runs by name alone (`test = false`).
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::time::Instant;
use support::PATIENCE;
use support::output::*;
use tempfile::TempDir;
use tidegate::testkit::outputs::{Epoch, batch, plan};
use tidegate_core::{ErrorKind, Output};
use tidegate_kafka::{KafkaOutput, ProducerRecord};
use tidegate_servers::load::create_topic;
use tidegate_servers::{Kafka, java_read_committed};

/// A broker with a topic `out` of two partitions.
fn broker() -> (TempDir, Kafka) {
    let directory = TempDir::new().unwrap();
    // How often the broker looks for transactions that have run out.
    let options =
        Kafka::options().property("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500");
    let kafka = options.heap_mib(256).start(directory.path()).unwrap();
    create_topic(&kafka.bootstrap(), "out", 2, &[]).unwrap();
    (directory, kafka)
}

/// Opens the output when the broker answers again, as epoch follows epoch.
fn open_when_back(kafka: &Kafka, workers: usize) -> Epoch<ProducerRecord> {
    let started = Instant::now();
    loop {
        let output = KafkaOutput::new([("bootstrap.servers", kafka.bootstrap())], "out").unwrap();
        match Epoch::open(&output, workers) {
            Ok(workers) => return workers,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                assert!(started.elapsed() < 3 * PATIENCE, "{error}");
            }
        }
    }
}

fn sees(kafka: &Kafka, expected: &[String]) {
    let at = kafka.bootstrap();
    wait_until("what is committed is seen", || committed(&at, "out") == expected);
}

#[test]
fn a_broker_that_restarts_between_prepare_and_commit_loses_nothing() {
    let (_directory, mut kafka) = broker();
    let mut workers = start(&kafka.bootstrap(), "out", 2);
    workers.run(&batch(1), records(0..10)).unwrap();
    workers.prepare(&batch(2), records(10..20)).unwrap();
    kafka.restart().unwrap();
    if let Err(error) = workers.commit(&batch(2)) {
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        drop(workers);
        workers = open_when_back(&kafka, 1);
        workers.run(&batch(2), records(10..20)).unwrap();
    }
    workers.run(&batch(3), records(20..30)).unwrap();
    sees(&kafka, &values(0..30));
}

#[test]
fn a_commit_that_finds_no_broker_is_asked_again_when_it_is_back() {
    let (_directory, mut kafka) = broker();
    let mut workers = start(&kafka.bootstrap(), "out", 2);
    workers.run(&batch(1), records(0..10)).unwrap();
    workers.prepare(&batch(2), records(10..20)).unwrap();
    // One writer has committed, the other can't.
    workers.writers[0].commit(&batch(2)).unwrap();
    kafka.kill();
    let error = workers.writers[1].commit(&batch(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("batch 2: it was to be committed"), "{error}");
    workers.writers.iter_mut().for_each(|writer| writer.abort());
    let output = KafkaOutput::new([("bootstrap.servers", kafka.bootstrap())], "out").unwrap();
    let error = output.open(&context("out", Some("job-1"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains(&format!("Kafka at {} did not answer", kafka.bootstrap())), "{error}");
    drop(workers);
    kafka.start_again().unwrap();
    let mut workers = open_when_back(&kafka, 3);
    assert_eq!(workers.held.newest, Some(plan(2, 20, 30)), "the first writer's part is in");
    workers.run(&batch(2), records(10..20)).unwrap();
    sees(&kafka, &values(0..20));
}

#[test]
fn a_commit_under_which_the_broker_dies_is_there_once() {
    let (_directory, mut kafka) = broker();
    let mut workers = start(&kafka.bootstrap(), "out", 1);
    for id in 1..6 {
        workers.prepare(&batch(id), records(id as u32 * 10..id as u32 * 10 + 10)).unwrap();
        let committed = std::thread::scope(|scope| {
            let kafka = &mut kafka;
            scope.spawn(move || {
                kafka.kill();
                kafka.start_again().unwrap();
            });
            workers.commit(&batch(id))
        });
        drop(workers);
        workers = open_when_back(&kafka, 1 + id as usize % 3);
        if committed.is_ok() {
            assert_eq!(
                workers.held.newest,
                Some(plan(id, id * 10, id * 10 + 10)),
                "what was answered is kept"
            );
        }
        workers.run(&batch(id), records(id as u32 * 10..id as u32 * 10 + 10)).unwrap();
        sees(&kafka, &values(10..id as u32 * 10 + 10));
    }
}

#[test]
fn java_s_consumer_sees_each_committed_record_once() {
    let (_directory, kafka) = broker();
    let at = kafka.bootstrap();
    let mut workers = start(&at, "out", 2);
    workers.run(&batch(1), records(0..20)).unwrap();
    workers.prepare(&batch(2), records(20..30)).unwrap();
    std::mem::forget(std::mem::take(&mut workers.writers));
    let mut workers = start(&at, "out", 1);
    workers.run(&batch(2), records(20..40)).unwrap();
    sees(&kafka, &values(0..40));
    workers.prepare(&batch(3), records(40..50)).unwrap();
    let mut rows = java_read_committed(&at, "out").unwrap();
    rows.sort();
    let expected: Vec<_> = values(0..40).into_iter().map(|value| (value.clone(), value)).collect();
    assert_eq!(rows, expected);
    // Markers are texts that any consumer shows.
    let markers = java_read_committed(&at, "tidegate-output-out").unwrap();
    assert_eq!(markers[0].0, "output");
    assert!(markers.iter().any(|(key, value)| key == "0" && value.contains("\"batch\":2")), "{markers:?}");
}

#[test]
fn a_batch_that_outlasts_its_transaction_is_run_again() {
    let (_directory, kafka) = broker();
    let output = || {
        let settings =
            [("bootstrap.servers", kafka.bootstrap()), ("transaction.timeout.ms", "5000".to_owned())];
        KafkaOutput::new(settings, "out").unwrap()
    };
    let mut workers = Epoch::open(&output(), 1).unwrap();
    let began = Instant::now();
    workers.prepare(&batch(1), records(0..10)).unwrap();
    wait_until("the broker ends the transaction", || last_stable_is_end(&kafka.bootstrap()));
    assert!(began.elapsed().as_millis() >= 5000);
    let error = workers.commit(&batch(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("took longer than transaction.timeout.ms=5000"), "{error}");
    drop(workers);
    let mut workers = Epoch::open(&output(), 1).unwrap();
    assert_eq!(workers.held.newest, None);
    workers.run(&batch(1), records(0..10)).unwrap();
    sees(&kafka, &values(0..10));
}

/// Whether no transaction holds readers of `out` up.
fn last_stable_is_end(at: &str) -> bool {
    let end = |isolation: &str| {
        use rdkafka::consumer::Consumer;
        let client: rdkafka::consumer::BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", at)
            .set("isolation.level", isolation)
            .create()
            .unwrap();
        let mut list = rdkafka::TopicPartitionList::new();
        for partition in 0..2 {
            list.add_partition_offset("out", partition, rdkafka::Offset::End).unwrap();
        }
        let ends = client.offsets_for_times(list, PATIENCE).unwrap();
        ends.elements().iter().map(|it| it.offset()).collect::<Vec<_>>()
    };
    end("read_committed") == end("read_uncommitted")
}
