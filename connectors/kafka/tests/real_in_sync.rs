//! Kafka as an output to a topic that has too few replicas in sync: for a while, or for ever.
//!
//! They run by name alone (`test = false`).
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use std::time::Instant;
use support::PATIENCE;
use support::output::*;
use tempfile::TempDir;
use tidegate::testkit::outputs::{Epoch, batch, plan};
use tidegate_core::{Error, ErrorKind};
use tidegate_kafka::{KafkaOutput, ProducerRecord};
use tidegate_servers::load::block_on;
use tidegate_servers::{Kafka, KafkaOptions};

/// Two brokers that have a replica each of whatever there is. The first one is the controller.
struct Pair {
    first: Kafka,
    second: Kafka,
    _directory: TempDir,
}

impl Pair {
    /// With a topic `out` that acknowledges what both have.
    fn start() -> Pair {
        let directory = TempDir::new().unwrap();
        let twice = |options: KafkaOptions| {
            let internal = ["offsets.topic", "transaction.state.log"];
            let options = options.heap_mib(256).property("default.replication.factor", "2");
            internal
                .iter()
                .fold(options, |options, topic| options.property(&format!("{topic}.replication.factor"), "2"))
        };
        let first = twice(Kafka::options()).start(&directory.path().join("first")).unwrap();
        let second = twice(first.another(2)).start(&directory.path().join("second")).unwrap();
        let topic = NewTopic::new("out", 2, TopicReplication::Fixed(2)).set("min.insync.replicas", "2");
        let pair = Pair { first, second, _directory: directory };
        block_on(pair.admin().create_topics([&topic], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
        pair
    }

    fn at(&self) -> String {
        self.first.bootstrap()
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", self.at()).create().unwrap()
    }

    fn open(&self) -> Result<Epoch<ProducerRecord>, Error> {
        let settings = [("bootstrap.servers", self.at()), ("message.timeout.ms", "2000".to_owned())];
        Epoch::open_as(&KafkaOutput::new(settings, "out").unwrap(), &context("out", Some("job-1")), 2)
    }

    /// Opens the output when the brokers answer again, as epoch follows epoch.
    fn open_when_back(&self) -> Epoch<ProducerRecord> {
        let started = Instant::now();
        loop {
            match self.open() {
                Ok(workers) => return workers,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
                    assert!(started.elapsed() < 2 * PATIENCE, "{error}");
                }
            }
        }
    }

    fn sees(&self, expected: &[String]) {
        wait_until("what is committed is seen", || committed(&self.at(), "out") == expected);
    }
}

#[test]
fn a_batch_waits_for_replicas_and_is_there_once() {
    let mut pair = Pair::start();
    let mut workers = pair.open().unwrap();
    workers.run(&batch(1), records(0..10)).unwrap();
    pair.sees(&values(0..10));
    pair.second.stop().unwrap();
    let error = workers.prepare(&batch(2), records(10..20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    let text = error.to_string();
    assert!(text.contains("batch 2: a record for topic out"), "{text}");
    assert!(text.contains("1 of 2 replicas in sync") && text.contains("min.insync.replicas"), "{text}");
    workers.writers.iter_mut().for_each(|writer| writer.abort());
    drop(workers);
    assert_eq!(committed(&pair.at(), "out"), values(0..10));
    // Until the replica is back the brokers can't end the transaction, and so give its id to nobody.
    pair.second.start_again().unwrap();
    let mut workers = pair.open_when_back();
    assert_eq!(workers.held.newest, Some(plan(1, 10, 20)));
    let started = Instant::now();
    while let Err(error) = workers.prepare(&batch(2), records(10..20)) {
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        assert!(started.elapsed() < PATIENCE, "{error}");
        drop(workers);
        workers = pair.open_when_back();
    }
    workers.commit(&batch(2)).unwrap();
    pair.sees(&values(0..20));
}

#[test]
fn a_topic_that_can_never_have_enough_replicas_is_refused_at_the_start() {
    let pair = Pair::start();
    let set = |topic: &str, replicas: &str| {
        // It replaces all settings.
        let policy = if topic == "out" { "delete" } else { "compact" };
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic))
            .set("min.insync.replicas", replicas)
            .set("cleanup.policy", policy);
        block_on(pair.admin().alter_configs([&change], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    };
    pair.open().unwrap().run(&batch(1), records(0..10)).unwrap();
    for topic in ["out", "tidegate-output-out"] {
        set(topic, "3");
        let started = Instant::now();
        // Brokers learn of it a moment later.
        let error = loop {
            match pair.open() {
                Ok(_) => assert!(started.elapsed() < PATIENCE, "{topic} is not refused"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        let text = error.to_string();
        let expected = format!("topic {topic} has min.insync.replicas=3, but only 2 replicas");
        assert!(text.contains(&expected) && text.contains("kafka-configs.sh"), "{text}");
        set(topic, "2");
    }
    let mut workers = pair.open_when_settled();
    assert_eq!(workers.held.newest, Some(plan(1, 10, 20)));
    workers.run(&batch(2), records(10..20)).unwrap();
    pair.sees(&values(0..20));
}

impl Pair {
    /// Opens the output once brokers have learned of a changed setting.
    fn open_when_settled(&self) -> Epoch<ProducerRecord> {
        let started = Instant::now();
        loop {
            match self.open() {
                Ok(workers) => return workers,
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
        }
    }
}
