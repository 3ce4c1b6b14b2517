//! Records by the thousand out of librdkafka, without a copy and without a call a record.
//!
//! The one place here with `unsafe`: rdkafka's safe consumer hands out one message at a time, which is not the least that this
//! work can cost. What must not be here: anything that looks into a record.

#![allow(unsafe_code)]

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaMessage, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use rdkafka_sys as sys;
use std::time::Duration;
use std::{ptr, slice};
use tidegate_benches::Failure;

const LIMIT: Duration = Duration::from_secs(10);
const MESSAGES: usize = 4096;
/// How long one call waits for its buffer to fill: long where only the rate counts.
pub(crate) const WAIT_FOR_MANY_MS: i32 = 100;
/// As short as can be, where each record counts.
pub(crate) const WAIT_FOR_ONE_MS: i32 = 1;

/// Read from the start of the partitions. With a full prefetch queue librdkafka waits `fetch.queue.backoff.ms`, whose default
/// of a second would halve the rate; a prefetch of 8 MiB is enough and stays in the cache better than more.
const SETTINGS: &[(&str, &str)] = &[
    ("group.id", "raw"),
    ("enable.auto.commit", "false"),
    ("check.crcs", "false"),
    ("fetch.wait.max.ms", "10"),
    ("fetch.message.max.bytes", "4194304"),
    ("fetch.queue.backoff.ms", "1"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "8192"),
];

/// A record as librdkafka holds it.
pub(crate) struct Record<'a> {
    pub(crate) payload: &'a [u8],
    pub(crate) timestamp_ms: i64,
}

/// A consumer of fixed partitions from their start.
pub(crate) struct Reader {
    /// Valid from [`Reader::open`] until `drop`, which comes before the consumer's.
    queue: *mut sys::rd_kafka_queue_t,
    consumer: BaseConsumer,
    assignment: TopicPartitionList,
    messages: Vec<*mut RDKafkaMessage>,
    wait_ms: i32,
    /// How many records the partitions held when they were opened.
    pub(crate) records: u64,
}

impl Reader {
    /// Connects and looks up how much there is; nothing is fetched before [`Reader::start`].
    /// `wait_ms` is one of the two constants above.
    pub(crate) fn open(
        brokers: &str,
        topic: &str,
        partitions: &[i32],
        wait_ms: i32,
    ) -> Result<Self, Failure> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        for (name, value) in SETTINGS {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer = config.create()?;
        let mut assignment = TopicPartitionList::new();
        let mut records = 0;
        for &partition in partitions {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
            let (low, high) = consumer.fetch_watermarks(topic, partition, LIMIT)?;
            records += u64::try_from(high - low)?;
        }
        // SAFETY: the handle is that of a live consumer; the queue's reference is given back in `drop`.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        if queue.is_null() {
            return Err("the consumer has no queue".into());
        }
        Ok(Self { queue, consumer, assignment, messages: vec![ptr::null_mut(); MESSAGES], wait_ms, records })
    }

    /// Begins to fetch.
    pub(crate) fn start(&self) -> Result<(), Failure> {
        Ok(self.consumer.assign(&self.assignment)?)
    }

    /// Hands each record at hand to `take` and returns how many there were, after a short wait perhaps none.
    pub(crate) fn read(&mut self, mut take: impl FnMut(Record<'_>)) -> Result<u64, RDKafkaErrorCode> {
        let room = self.messages.len();
        // SAFETY: the queue is alive, and the buffer has room for that many pointers.
        let got = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue, self.wait_ms, self.messages.as_mut_ptr(), room)
        };
        let got = usize::try_from(got).map_err(|_| RDKafkaErrorCode::Fail)?;
        let mut records = 0;
        let mut failed = None;
        for &message in &self.messages[..got] {
            // SAFETY: librdkafka filled in the first `got` pointers; each message is ours until it is destroyed, once, below,
            // and `take` cannot keep what it borrows.
            unsafe {
                if (*message).err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    take(Record { payload: payload(&*message), timestamp_ms: timestamp(message) });
                    records += 1;
                } else {
                    failed = Some((*message).err.into());
                }
                sys::rd_kafka_message_destroy(message);
            }
        }
        failed.map_or(Ok(records), Err)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // SAFETY: the reference from `open`, given back once; the consumer is still there.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

fn payload(message: &RDKafkaMessage) -> &[u8] {
    if message.payload.is_null() {
        return &[];
    }
    // SAFETY: librdkafka's payload is `len` bytes that live as long as the message.
    unsafe { slice::from_raw_parts(message.payload.cast::<u8>(), message.len) }
}

/// # Safety
/// `message` is alive.
unsafe fn timestamp(message: *const RDKafkaMessage) -> i64 {
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: by the caller's promise, and `kind` outlives the call.
    unsafe { sys::rd_kafka_message_timestamp(message, &mut kind) }
}
