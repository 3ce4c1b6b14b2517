//! A real broker, and what is done to its topics behind a job's back.

use crate::support::{PATIENCE, Writer, earliest};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::Producer;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::time::{Duration, Instant};
use tidegate_kafka::ConsumerStrategy;
use tidegate_servers::load::block_on;

/// How often new partitions are looked for.
pub(crate) const SOON: Duration = Duration::from_millis(50);

/// The broker that the tests share.
pub(crate) struct Broker {
    pub(crate) at: String,
    pub(crate) admin: AdminClient<DefaultClientContext>,
}

impl Broker {
    pub(crate) fn open() -> Broker {
        let at = std::env::var("TIDEGATE_TEST_KAFKA")
            .expect("TIDEGATE_TEST_KAFKA names a broker; see cargo xtask test");
        Broker::at(&at)
    }

    /// A broker of a test's own.
    pub(crate) fn at(at: &str) -> Broker {
        let admin = ClientConfig::new().set("bootstrap.servers", at).create().unwrap();
        Broker { at: at.to_owned(), admin }
    }

    /// A new topic; its name is used by no other run.
    pub(crate) fn topic(&self, name: &str, partitions: i32) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let name = format!("test-{name}-{}", now.as_micros());
        self.create(&name, partitions);
        name
    }

    /// Returns when the broker tells others of it.
    pub(crate) fn create(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let started = Instant::now();
        // A topic of this name may still be on its way out.
        while block_on(self.admin.create_topics([&topic], &AdminOptions::new())).unwrap()[0].is_err() {
            assert!(started.elapsed() < PATIENCE, "{name} can't be created");
        }
        self.await_partitions(name, partitions as usize);
    }

    /// Returns when the broker tells others of the new partitions too.
    pub(crate) fn grow(&self, name: &str, partitions: usize) {
        let grown = NewPartitions::new(name, partitions);
        block_on(self.admin.create_partitions([&grown], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
        self.await_partitions(name, partitions);
    }

    fn await_partitions(&self, name: &str, partitions: usize) {
        let started = Instant::now();
        let known = || {
            let told = self.admin.inner().fetch_metadata(Some(name), PATIENCE).unwrap();
            told.topics()[0].partitions().len()
        };
        while known() < partitions {
            assert!(started.elapsed() < PATIENCE, "{name} has no {partitions} partitions");
        }
    }

    pub(crate) fn delete(&self, name: &str) {
        block_on(self.admin.delete_topics(&[name], &AdminOptions::new())).unwrap()[0].as_ref().unwrap();
    }

    /// Removes all records before `offset`, as retention does.
    pub(crate) fn remove_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        block_on(self.admin.delete_records(&list, &AdminOptions::new())).unwrap();
    }

    pub(crate) fn earliest(&self, topic: &str) -> ConsumerStrategy {
        earliest(&self.at, topic, &[]).partition_discovery(SOON)
    }

    pub(crate) fn transactional(&self, id: &str) -> Writer {
        let writer = Writer::with(&self.at, &[("transactional.id", id)]);
        writer.0.init_transactions(PATIENCE).unwrap();
        writer
    }
}
