//! The one place, with `record`, that calls librdkafka directly: the queue of one partition.
//!
//! The simple consumer is used (`rd_kafka_consume_start`), not group assignment: it needs no group and no coordinator,
//! a partition is started, stopped and started again by itself, and its fetch queue is its own from the start.
//!
//! Verified in librdkafka 2.12.1: a message holds a reference to its partition, topic and (through them) the client;
//! `rd_kafka_destroy` waits for all of them, so a client destroyed before its messages hangs. Hence each record keeps
//! its `PartitionQueue`, and that its client, alive.
#![allow(unsafe_code)]

use crate::context::Ear;
use crate::record::KafkaRecord;
use crate::topic_partition::TopicPartition;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::{RDKafkaMessage, RDKafkaRespErr, RDKafkaTopic};
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tidegate_core::{Error, Result};

/// The fetch queue of one partition in one client.
pub(crate) struct PartitionQueue {
    client: Arc<BaseConsumer<Ear>>,
    name: TopicPartition,
    name_c: CString,
    topic: NonNull<RDKafkaTopic>,
    queue: NonNull<sys::rd_kafka_queue_t>,
    started: AtomicBool,
    /// The high watermark known before fetching was started anew: it may be that of a log that is no more.
    outdated_high: AtomicI64,
}

// SAFETY: librdkafka's objects may be used from any thread at once ("completely thread-safe", its INTRODUCTION.md);
// both pointers are references counted by librdkafka and given back once, in `drop`.
unsafe impl Send for PartitionQueue {}
// SAFETY: as above.
unsafe impl Sync for PartitionQueue {}

/// What comes out of a partition's queue, in the order of its offsets.
pub(crate) enum Event {
    Record(KafkaRecord),
    /// Everything before this offset was handed out.
    End {
        offset: u64,
    },
    Failed {
        code: RDKafkaErrorCode,
        text: String,
    },
}

/// The space that messages are taken into, used again and again. Bounds what is taken at once.
pub(crate) struct Space(Vec<*mut RDKafkaMessage>);

// SAFETY: outside of `PartitionQueue::take` the pointers are stale and never read.
unsafe impl Send for Space {}

impl Space {
    pub(crate) const MESSAGES_MAX: usize = 4096;

    pub(crate) fn new() -> Self {
        Space(vec![std::ptr::null_mut(); Self::MESSAGES_MAX])
    }
}

impl PartitionQueue {
    /// The queue of `name`. Nothing is fetched before `start`.
    pub(crate) fn open(client: Arc<BaseConsumer<Ear>>, name: TopicPartition) -> Result<Arc<Self>> {
        let name_c = CString::new(name.topic.as_str()).map_err(|_| {
            Error::reconfigure(format!("Kafka topic {:?}: no such name is possible", name.topic))
        })?;
        let native = client.client().native_ptr();
        // SAFETY: the client is alive (`client`), the name ends in NUL; librdkafka copies it. A null configuration
        // means the client's own.
        let topic = unsafe { sys::rd_kafka_topic_new(native, name_c.as_ptr(), std::ptr::null_mut()) };
        // SAFETY: as above.
        let queue = unsafe { sys::rd_kafka_queue_get_partition(native, name_c.as_ptr(), name.partition) };
        match (NonNull::new(topic), NonNull::new(queue)) {
            (Some(topic), Some(queue)) => Ok(Arc::new(PartitionQueue {
                client,
                name,
                name_c,
                topic,
                queue,
                started: AtomicBool::new(false),
                outdated_high: AtomicI64::new(-1),
            })),
            (topic, _) => {
                if let Some(topic) = topic {
                    // SAFETY: the reference was made above and is given back once.
                    unsafe { sys::rd_kafka_topic_destroy(topic.as_ptr()) };
                }
                Err(Error::bug(format!("librdkafka has no queue for {name}")))
            }
        }
    }

    pub(crate) fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// Fetches from `offset` on. Stops first what was fetched from elsewhere: `stop` waits until it is over, and what
    /// is left in the queue is outdated and never comes out (librdkafka's version barrier).
    pub(crate) fn start(&self, offset: u64) -> Result<()> {
        self.stop();
        self.outdated_high.store(self.cached_high(), Ordering::Relaxed);
        let offset = i64::try_from(offset)
            .map_err(|_| Error::bug(format!("{}: {offset} is not an offset", self.name)))?;
        // SAFETY: the topic is alive as long as `self`.
        let started =
            unsafe { sys::rd_kafka_consume_start(self.topic.as_ptr(), self.name.partition, offset) };
        if started != 0 {
            // SAFETY: reads librdkafka's error of this thread.
            let code: RDKafkaErrorCode = unsafe { sys::rd_kafka_last_error() }.into();
            return Err(Error::bug(format!("{}: can't be fetched from {offset}: {code}", self.name)));
        }
        self.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Ends fetching. Records already handed out stay.
    pub(crate) fn stop(&self) {
        if self.started.swap(false, Ordering::Relaxed) {
            // SAFETY: the topic is alive as long as `self`; the partition was started.
            unsafe { sys::rd_kafka_consume_stop(self.topic.as_ptr(), self.name.partition) };
        }
    }

    /// Hands up to `max` events to `each`, waiting up to `wait` for the first one; returns how many there were.
    ///
    /// Not `rd_kafka_consume_queue`: that one would hand out transaction markers as if they were records.
    pub(crate) fn take(
        self: &Arc<Self>,
        space: &mut Space,
        max: usize,
        wait: Duration,
        mut each: impl FnMut(Event),
    ) -> usize {
        let max = max.min(Space::MESSAGES_MAX);
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive as long as `self`; `space` holds at least `max` pointers.
        let got = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait_ms, space.0.as_mut_ptr(), max)
        };
        let got = usize::try_from(got).unwrap_or(0);
        let mut untaken = Untaken(space.0[..got].iter());
        for message in untaken.0.by_ref() {
            let message = NonNull::new(*message).expect("librdkafka fills what it counts");
            each(self.event(message));
        }
        got
    }

    /// Takes over `message`.
    fn event(self: &Arc<Self>, message: NonNull<RDKafkaMessage>) -> Event {
        // SAFETY: the message is valid until it is destroyed.
        let (code, offset) = unsafe { (message.as_ref().err, message.as_ref().offset) };
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            // SAFETY: the message came out of this queue, and nobody else has it.
            return Event::Record(unsafe { KafkaRecord::fetched(message, Arc::clone(self)) });
        }
        let event = match code.into() {
            RDKafkaErrorCode::PartitionEOF => Event::End { offset: u64::try_from(offset).unwrap_or(0) },
            code => Event::Failed { code, text: error_text(message) },
        };
        // SAFETY: the message is ours and not used after this.
        unsafe { sys::rd_kafka_message_destroy(message.as_ptr()) };
        event
    }

    /// The high watermark that the last fetch told, if there was one. No round trip. It is not the last stable offset:
    /// what open transactions hold back lies below it.
    pub(crate) fn high_watermark(&self) -> Option<u64> {
        let high = self.cached_high();
        if high == self.outdated_high.load(Ordering::Relaxed) { None } else { u64::try_from(high).ok() }
    }

    fn cached_high(&self) -> i64 {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client is alive, the name ends in NUL, both places outlive the call. When the call fails they
        // keep the value that stands for "not known".
        unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.client.client().native_ptr(),
                self.name_c.as_ptr(),
                self.name.partition,
                &mut low,
                &mut high,
            );
        }
        high
    }
}

/// Messages that came out of a queue and that nobody has taken over yet. A function of the job may unwind between two of
/// them: the rest is destroyed then, or librdkafka would wait for it for ever when the client is closed.
struct Untaken<'a>(std::slice::Iter<'a, *mut RDKafkaMessage>);

impl Drop for Untaken<'_> {
    fn drop(&mut self) {
        for message in self.0.by_ref() {
            // SAFETY: the message came out of the queue, nobody else has it, and it is not used after this.
            unsafe { sys::rd_kafka_message_destroy(*message) };
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        self.stop();
        // SAFETY: both references were made in `open` and are given back once, before the client is (a field is
        // dropped after this).
        unsafe {
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
            sys::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
    }
}

fn error_text(message: NonNull<RDKafkaMessage>) -> String {
    // SAFETY: the message is valid; its text, when there is one, ends in NUL and lives as long as the message.
    unsafe {
        let text = sys::rd_kafka_message_errstr(message.as_ptr());
        if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}
