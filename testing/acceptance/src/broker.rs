//! Topics of a test, and what is done to a broker behind a job's back.

use crate::patience::{PATIENCE, wait_for};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use tidegate_servers::lines::PARTITIONS;
use tidegate_servers::load::{self, block_on};

/// A name that no other test uses.
pub fn new_name(what: &str) -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}

/// A new topic with so many lines in the usual number of partitions; gives its name.
pub fn topic_of_lines(brokers: &str, what: &str, lines: u64) -> String {
    let topic = new_name(what);
    load::create_topic(brokers, &topic, PARTITIONS, &[]).expect("a topic can be made");
    load::produce_lines(brokers, &topic, 0..lines).expect("lines can be written");
    topic
}

/// A new empty topic; gives its name.
pub fn empty_topic(brokers: &str, what: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
    let topic = new_name(what);
    load::create_topic(brokers, &topic, partitions, configs).expect("a topic can be made");
    topic
}

/// A new topic with these lines, each of its partitions on broker 2 and on broker 1, with broker 2 to lead.
pub fn topic_led_by_second(brokers: &str, what: &str, lines: u64) -> String {
    let topic = new_name(what);
    let replicas = vec![&[2, 1][..]; PARTITIONS.unsigned_abs() as usize];
    let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Variable(&replicas));
    let done =
        block_on(admin(brokers).create_topics([&new], &AdminOptions::new())).expect("a topic can be made");
    done.into_iter().for_each(|topic| drop(topic.expect("a topic can be made")));
    wait_for("broker 2 to lead", || (leaders(brokers, &topic) == [2]).then_some(()));
    load::produce_lines(brokers, &topic, 0..lines).expect("lines can be written");
    topic
}

/// The brokers that lead a partition of the topic, in ascending order. A partition without a leader counts as -1.
pub fn leaders(brokers: &str, topic: &str) -> Vec<i32> {
    let client: BaseConsumer = config(brokers).create().expect("a consumer can be made");
    let found = client.fetch_metadata(Some(topic), PATIENCE).expect("a broker answers");
    let leaders =
        found.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.leader());
    BTreeSet::from_iter(leaders).into_iter().collect()
}

/// Removes all records of a partition before `offset`, as retention does.
pub fn remove_before(brokers: &str, topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset is valid");
    let done =
        block_on(admin(brokers).delete_records(&list, &AdminOptions::new())).expect("records can be removed");
    done.elements().iter().for_each(|partition| partition.error().expect("records can be removed"));
}

/// Lets a topic take records of so many bytes at most, in place of what was said before.
pub fn take_at_most(brokers: &str, topic: &str, bytes: u32) {
    let bytes = bytes.to_string();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("max.message.bytes", &bytes);
    let done = block_on(admin(brokers).alter_configs([&change], &AdminOptions::new()))
        .expect("a topic can be changed");
    done.into_iter().for_each(|topic| drop(topic.expect("a topic can be changed")));
}

/// Lets a topic have so many partitions.
pub fn grow(brokers: &str, topic: &str, partitions: usize) {
    let grown = NewPartitions::new(topic, partitions);
    let done =
        block_on(admin(brokers).create_partitions([&grown], &AdminOptions::new())).expect("a topic can grow");
    done.into_iter().for_each(|topic| drop(topic.expect("a topic can grow")));
}

/// The offsets that `group` has committed, by partition.
pub fn committed(brokers: &str, group: &str, topic: &str, partitions: i32) -> BTreeMap<i32, u64> {
    let client: BaseConsumer =
        config(brokers).set("group.id", group).create().expect("a consumer can be made");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    // A group whose coordinator is still being chosen can't be asked yet.
    let told = wait_for("the offsets of a group", || client.committed_offsets(list.clone(), PATIENCE).ok());
    let offset =
        |offset| if let Offset::Offset(offset) = offset { Some(offset.unsigned_abs()) } else { None };
    told.elements().iter().filter_map(|it| Some((it.partition(), offset(it.offset())?))).collect()
}

/// The records that are in partition 0 of a topic now.
pub fn records(brokers: &str, topic: &str) -> Vec<String> {
    let client: BaseConsumer = config(brokers)
        .set("group.id", new_name("reader"))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer can be made");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset is valid");
    client.assign(&list).expect("a partition can be assigned");
    let mut records = Vec::new();
    loop {
        match client.poll(PATIENCE).expect("the broker answers") {
            Ok(record) => {
                records.push(String::from_utf8_lossy(record.payload().unwrap_or_default()).into_owned());
            }
            Err(KafkaError::PartitionEOF(_)) => return records,
            Err(error) => panic!("{topic} can't be read: {error}"),
        }
    }
}

/// Writes records one by one.
pub struct Writer(BaseProducer);

impl Writer {
    /// A plain one.
    pub fn new(brokers: &str) -> Writer {
        let settings =
            config(brokers).set("linger.ms", "0").set("topic.metadata.refresh.interval.ms", "100").clone();
        Writer(settings.create().expect("a producer can be made"))
    }

    /// One that writes transactions.
    pub fn transactional(brokers: &str) -> Writer {
        let settings = config(brokers).set("transactional.id", new_name("writer")).clone();
        let writer = Writer(settings.create().expect("a producer can be made"));
        writer.0.init_transactions(PATIENCE).expect("transactions are to be had");
        writer
    }

    /// Writes records into a partition, and returns when they are there.
    pub fn write<T: AsRef<[u8]>>(&self, topic: &str, partition: i32, records: impl IntoIterator<Item = T>) {
        for record in records {
            self.send(BaseRecord::to(topic).partition(partition).payload(record.as_ref()));
        }
        self.0.flush(PATIENCE).expect("records arrive");
    }

    /// Writes records with a key into partition 0, and returns when they are there.
    pub fn write_keyed<'a>(&self, topic: &str, records: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (key, text) in records {
            self.send(BaseRecord::to(topic).partition(0).key(key.as_bytes()).payload(text.as_bytes()));
        }
        self.0.flush(PATIENCE).expect("records arrive");
    }

    fn send(&self, record: BaseRecord<'_, [u8], [u8]>) {
        self.0.send(record).map_err(|(error, _)| error).expect("the queue has room");
    }

    /// Begins a transaction.
    pub fn begin(&self) {
        self.0.begin_transaction().expect("a transaction begins");
    }

    /// Commits it.
    pub fn commit(&self) {
        self.0.commit_transaction(PATIENCE).expect("a transaction is committed");
    }

    /// Aborts it.
    pub fn abort(&self) {
        self.0.abort_transaction(PATIENCE).expect("a transaction is aborted");
    }
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    config(brokers).create().expect("an admin client can be made")
}
