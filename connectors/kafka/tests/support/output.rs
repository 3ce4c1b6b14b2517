//! Batches into a topic: the writers of a job, as its engine calls them, and what readers of the topic see.

use crate::support::PATIENCE;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate::testkit::outputs::{Epoch, plan};
use tidegate_core::{Batch, OutputContext};
use tidegate_kafka::{KafkaOutput, ProducerRecord};

/// A batch that takes none.
pub(crate) fn idle(id: u64) -> Batch {
    Batch::new(Arc::new(plan(id, id * 10, id * 10)))
}

pub(crate) fn record(key: &str, value: &str) -> ProducerRecord {
    ProducerRecord::new().key(key).value(value)
}

/// Records with the keys and values `w{n}`.
pub(crate) fn records(range: std::ops::Range<u32>) -> Vec<ProducerRecord> {
    range.map(|n| record(&format!("w{n:04}"), &format!("w{n:04}"))).collect()
}

pub(crate) fn values(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("w{n:04}")).collect()
}

pub(crate) fn context(name: &str, job: Option<&str>) -> OutputContext {
    OutputContext { output: name.into(), job: job.map(Into::into), new_job: "job-1".into() }
}

/// The writers of an exactly-once output to `topic`, under its name, opened for `job-1`.
pub(crate) fn start(at: &str, topic: &str, workers: usize) -> Epoch<ProducerRecord> {
    let output = KafkaOutput::new([("bootstrap.servers", at)], topic).unwrap();
    Epoch::open_as(&output, &context(topic, Some("job-1")), workers).unwrap()
}

/// Keys and values that a reader of the whole topic gets, in the order of their offsets within each partition.
pub(crate) fn read(at: &str, topic: &str, isolation: &str) -> Vec<(String, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", at)
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation)
        .create()
        .unwrap();
    let told = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = told.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut rows, mut ended, started) = (Vec::new(), 0, Instant::now());
    while ended < partitions {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let text = |bytes: Option<&[u8]>| {
                    bytes.map_or_else(|| "-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
                };
                rows.push((text(message.key()), text(message.payload())));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(KafkaError::MessageConsumption(code)))
                if code != RDKafkaErrorCode::UnknownTopicOrPartition => {}
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => {}
        }
        assert!(started.elapsed() < PATIENCE, "{topic}: {} records, {ended} partitions ended", rows.len());
    }
    rows
}

/// The values of committed records, sorted.
pub(crate) fn committed(at: &str, topic: &str) -> Vec<String> {
    let mut values: Vec<_> = read(at, topic, "read_committed").into_iter().map(|(_, value)| value).collect();
    values.sort();
    values
}

/// The values of all records, those of open and ended transactions too.
pub(crate) fn uncommitted(at: &str, topic: &str) -> usize {
    read(at, topic, "read_uncommitted").len()
}

/// Waits until `seen` holds: markers of a commit reach the topic a moment after it is answered.
pub(crate) fn wait_until(what: &str, mut seen: impl FnMut() -> bool) {
    let started = Instant::now();
    while !seen() {
        assert!(started.elapsed() < PATIENCE, "{what}");
    }
}
