//! What tells a topic from one of the same name that was made after it was deleted: the id that Kafka gives to each.
//!
//! Offsets alone do not tell: a new topic that has grown beyond where the job was looks like the old one.
#![allow(unsafe_code)]

use crate::context::Ear;
use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Error, Result};

/// The ids of topics, as Kafka's tools print them. What does not exist has none, and so has everything on a broker that gives
/// none (before Kafka 2.8, some that only speak its protocol, and librdkafka's mock cluster): there nothing can be told.
pub(crate) type TopicIds = BTreeMap<String, String>;

/// How Kafka prints the id of what has none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The broker that librdkafka takes for the controller, by the newest metadata.
pub(crate) fn controller(client: &BaseConsumer<Ear>) -> i32 {
    // SAFETY: the client is alive. Waits for nothing.
    unsafe { sys::rd_kafka_controllerid(client.client().native_ptr(), 0) }
}

/// A question for the ids of topics that is on its way.
pub(crate) struct Question {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// librdkafka wants queues to be gone before the client.
    _client: Arc<BaseConsumer<Ear>>,
}

// SAFETY: a queue may be used from any thread ("completely thread-safe", librdkafka's INTRODUCTION.md), and this reference to
// it is given back once, in `drop`.
unsafe impl Send for Question {}

impl Question {
    /// Asks for the ids of `topics`; gives up after `timeout`.
    ///
    /// # Errors
    /// A bug: librdkafka has no queue.
    pub(crate) fn ask(
        client: &Arc<BaseConsumer<Ear>>,
        topics: &BTreeSet<&str>,
        timeout: Duration,
    ) -> Result<Question> {
        let native = client.client().native_ptr();
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // A name with a NUL inside is that of no topic.
        let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the client is alive; the reference is given back in `drop`.
        let queue = unsafe { sys::rd_kafka_queue_new(native) };
        let queue = NonNull::new(queue).ok_or_else(|| Error::bug("librdkafka makes no queue"))?;
        // SAFETY: client and queue are alive; the names end in NUL and are copied; what is made here is given back here, once.
        // The answer comes to the queue, or an error when the time is over.
        unsafe {
            let names = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = sys::rd_kafka_AdminOptions_new(native, kind);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, std::ptr::null_mut(), 0);
            sys::rd_kafka_DescribeTopics(native, names, options, queue.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(names);
        }
        Ok(Question { queue, _client: Arc::clone(client) })
    }

    /// The answer, if it comes within `wait`; librdkafka's code when there is none to be had.
    pub(crate) fn answer(&self, wait: Duration) -> Option<Result<TopicIds, RDKafkaErrorCode>> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive. What comes out of it is ours.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), wait_ms) };
        let answer = Answer(NonNull::new(event)?);
        // SAFETY: the event is ours until `answer` is dropped.
        let code = unsafe { sys::rd_kafka_event_error(answer.0.as_ptr()) };
        Some(match code.into() {
            RDKafkaErrorCode::NoError => Ok(answer.ids()),
            RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion => {
                Ok(TopicIds::new())
            }
            code => Err(code),
        })
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        // SAFETY: made in `ask`, given back once, before the client is.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// An event that says what topics are.
struct Answer(NonNull<sys::rd_kafka_event_t>);

impl Answer {
    fn ids(&self) -> TopicIds {
        let mut count = 0;
        let mut ids = TopicIds::new();
        // SAFETY: the event is ours until `drop`, and all that is asked of it lives as long; names and ids end in NUL. A result
        // of another kind gives a null, which is not read.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(self.0.as_ptr());
            if result.is_null() {
                return ids;
            }
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            for place in 0..count {
                let topic = *topics.add(place);
                let id = sys::rd_kafka_TopicDescription_topic_id(topic);
                if id.is_null() {
                    continue;
                }
                let id = CStr::from_ptr(sys::rd_kafka_Uuid_base64str(id)).to_string_lossy();
                let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
                if id != NO_ID {
                    ids.insert(name.into_owned(), id.into_owned());
                }
            }
        }
        ids
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the event was ours and is not used after this.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}
