//! Rows into a topic of Kafka: in a transaction a batch, or idempotent and acknowledged, with the settings that the output has.

use crate::row::{Row, Rows};
use crate::sink::{Client, OUTPUT, Sink};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka_sys as sys;
use std::time::Duration;
use tidegate::{DStream, Result};
use tidegate_benches::Failure;
use tidegate_kafka::{KafkaOutput, ProducerRecord, SaveToKafka};
use tidegate_servers::lines::PARTITIONS;
use tidegate_servers::load;

const LIMIT: Duration = Duration::from_secs(60);

/// What the output sets where its user says nothing.
const SETTINGS: &[(&str, &str)] = &[
    ("retry.backoff.ms", "1"),
    ("linger.ms", "20"),
    ("queue.buffering.max.kbytes", "32768"),
    ("message.max.bytes", "8388608"),
    ("partitioner", "murmur2_random"),
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("delivery.report.only.error", "true"),
];

pub(crate) struct Topic {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) exactly_once: bool,
}

impl Sink for Topic {
    fn make(&self) -> std::result::Result<(), Failure> {
        Ok(load::create_topic(&self.brokers, &self.topic, PARTITIONS, &[])?)
    }

    fn save(&self, rows: &DStream<Row>) -> Result<()> {
        let output = KafkaOutput::new([("bootstrap.servers", self.brokers.as_str())], &self.topic)?;
        let output = if self.exactly_once { output } else { output.at_least_once() };
        let name = format!("{OUTPUT}-{}", self.topic);
        let record = |row: Row| {
            let record = ProducerRecord::new().key(row.id.to_string());
            record.value_with(|bytes| serde_json::to_writer(bytes, &row).expect("a row is JSON"))
        };
        rows.save_to_kafka_as(&name, output, record).map(drop)
    }

    fn client(&self, thread: u64) -> std::result::Result<Box<dyn Client>, Failure> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        for (name, value) in SETTINGS {
            config.set(*name, *value);
        }
        if self.exactly_once {
            config.set("transactional.id", format!("by-hand-{}-{thread}", self.topic));
        }
        let producer: BaseProducer = config.create()?;
        if self.exactly_once {
            producer.init_transactions(LIMIT)?;
        }
        Ok(Box::new(Sending { producer, topic: self.topic.clone(), exactly_once: self.exactly_once }))
    }

    /// As many at least: each transaction leaves a mark in the log, which counts too.
    fn rows(&self) -> std::result::Result<Option<u64>, Failure> {
        if self.exactly_once {
            return Ok(None);
        }
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.brokers).create()?;
        let mut rows = 0;
        for partition in 0..PARTITIONS {
            let (begin, end) = consumer.fetch_watermarks(&self.topic, partition, LIMIT)?;
            rows += (end - begin).cast_unsigned();
        }
        Ok(Some(rows))
    }
}

struct Sending {
    producer: BaseProducer,
    topic: String,
    exactly_once: bool,
}

impl Sending {
    fn send(&self, key: &str, value: &[u8]) -> std::result::Result<(), Failure> {
        let mut record = BaseRecord::to(&self.topic).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    self.producer.poll(Duration::from_millis(1));
                    record = again;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// The crate's own flush sleeps between two looks, which would make the loop slower than it has to be.
    #[allow(unsafe_code)]
    fn flush(&self) -> std::result::Result<(), Failure> {
        let limit_ms = i32::try_from(LIMIT.as_millis())?;
        // SAFETY: the client is alive.
        let code = unsafe { sys::rd_kafka_flush(self.producer.client().native_ptr(), limit_ms) };
        match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => Ok(()),
            other => Err(other.into()),
        }
    }
}

impl Client for Sending {
    fn write(&mut self, _: u64, rows: Rows) -> std::result::Result<(), Failure> {
        if self.exactly_once {
            self.producer.begin_transaction()?;
        }
        let mut value = Vec::new();
        for row in rows {
            value.clear();
            serde_json::to_writer(&mut value, &row)?;
            self.send(&row.id.to_string(), &value)?;
        }
        self.flush()?;
        if self.exactly_once {
            self.producer.commit_transaction(LIMIT)?;
        }
        Ok(())
    }
}
