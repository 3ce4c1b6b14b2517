//! What tells a topic from one of the same name that was made after it was deleted: the id that Kafka gives to each. The same
//! question tells what this user may do with topics, and one like it what with a group.
//!
//! Offsets alone do not tell: a new topic that has grown beyond where the job was looks like the old one.
#![allow(unsafe_code)]

use crate::context::Ear;
use crate::rights::{Granted, GrantedTopics, Operation};
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

/// A question about topics, or a group, that is on its way.
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
        Self::about_topics(client, topics, timeout, false)
    }

    /// As `ask`, for what this user may do with `topics`: costs the brokers a look at all ACLs of each.
    pub(crate) fn ask_for_rights(
        client: &Arc<BaseConsumer<Ear>>,
        topics: &BTreeSet<&str>,
        timeout: Duration,
    ) -> Result<Question> {
        Self::about_topics(client, topics, timeout, true)
    }

    /// Asks what this user may do with a group; gives up after `timeout`.
    pub(crate) fn ask_for_rights_on_group(
        client: &Arc<BaseConsumer<Ear>>,
        group: &str,
        timeout: Duration,
    ) -> Result<Question> {
        let native = client.client().native_ptr();
        let queue = Self::queue(client)?;
        // A name with a NUL inside is that of no group.
        let name = CString::new(group).unwrap_or_default();
        let mut names = [name.as_ptr()];
        let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        // SAFETY: client and queue are alive; the name ends in NUL and is copied; the options are made and given back here, once.
        unsafe {
            let options = options(native, kind, timeout, true);
            sys::rd_kafka_DescribeConsumerGroups(native, names.as_mut_ptr(), 1, options, queue.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
        }
        Ok(Question { queue, _client: Arc::clone(client) })
    }

    fn queue(client: &Arc<BaseConsumer<Ear>>) -> Result<NonNull<sys::rd_kafka_queue_t>> {
        // SAFETY: the client is alive; the reference is given back in `drop`.
        let queue = unsafe { sys::rd_kafka_queue_new(client.client().native_ptr()) };
        NonNull::new(queue).ok_or_else(|| Error::bug("librdkafka makes no queue"))
    }

    fn about_topics(
        client: &Arc<BaseConsumer<Ear>>,
        topics: &BTreeSet<&str>,
        timeout: Duration,
        with_rights: bool,
    ) -> Result<Question> {
        let native = client.client().native_ptr();
        // A name with a NUL inside is that of no topic.
        let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let queue = Self::queue(client)?;
        // SAFETY: client and queue are alive; the names end in NUL and are copied; what is made here is given back here, once.
        // The answer comes to the queue, or an error when the time is over.
        unsafe {
            let names = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = options(native, kind, timeout, with_rights);
            sys::rd_kafka_DescribeTopics(native, names, options, queue.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_TopicCollection_destroy(names);
        }
        Ok(Question { queue, _client: Arc::clone(client) })
    }

    /// The answer, if it comes within `wait`; librdkafka's code when there is none to be had.
    pub(crate) fn answer(&self, wait: Duration) -> Option<Result<TopicIds, RDKafkaErrorCode>> {
        self.read(wait, |answer| Ok(answer.ids()))
    }

    /// As `answer`, to `ask_for_rights`.
    pub(crate) fn granted(&self, wait: Duration) -> Option<Result<GrantedTopics, RDKafkaErrorCode>> {
        self.read(wait, |answer| Ok(answer.granted()))
    }

    /// As `answer`, to `ask_for_rights_on_group`; `None` within when the broker does not say.
    pub(crate) fn granted_on_group(
        &self,
        wait: Duration,
    ) -> Option<Result<Option<Granted>, RDKafkaErrorCode>> {
        self.read(wait, Answer::granted_on_group)
    }

    fn read<T: Default>(
        &self,
        wait: Duration,
        read: impl FnOnce(&Answer) -> Result<T, RDKafkaErrorCode>,
    ) -> Option<Result<T, RDKafkaErrorCode>> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive. What comes out of it is ours.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue.as_ptr(), wait_ms) };
        let answer = Answer(NonNull::new(event)?);
        // SAFETY: the event is ours until `answer` is dropped.
        let code = unsafe { sys::rd_kafka_event_error(answer.0.as_ptr()) };
        Some(match code.into() {
            RDKafkaErrorCode::NoError => read(&answer),
            RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion => Ok(T::default()),
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

/// The options of a question. They are the caller's to give back.
///
/// # Safety
/// The client is alive.
unsafe fn options(
    native: *mut sys::rd_kafka_t,
    kind: sys::rd_kafka_admin_op_t,
    timeout: Duration,
    with_rights: bool,
) -> *mut sys::rd_kafka_AdminOptions_t {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client is alive, and the options that are made here too. An error of the last call is ours; null is none.
    unsafe {
        let options = sys::rd_kafka_AdminOptions_new(native, kind);
        sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, std::ptr::null_mut(), 0);
        let error =
            sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, i32::from(with_rights));
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        options
    }
}

/// The operations that librdkafka lists; of those that it does not know it tells nothing. `None`: the broker does not say.
///
/// # Safety
/// `operations` is null, or there are `count` of them.
unsafe fn granted(operations: *const sys::rd_kafka_AclOperation_t, count: usize) -> Option<Granted> {
    use sys::rd_kafka_AclOperation_t as Told;
    if operations.is_null() {
        return None;
    }
    // SAFETY: there are so many.
    let told = (0..count).map(|place| unsafe { *operations.add(place) });
    let known = told.filter_map(|told| match told {
        Told::RD_KAFKA_ACL_OPERATION_READ => Some(Operation::Read),
        Told::RD_KAFKA_ACL_OPERATION_WRITE => Some(Operation::Write),
        Told::RD_KAFKA_ACL_OPERATION_CREATE => Some(Operation::Create),
        Told::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Operation::Describe),
        _ => None,
    });
    // What can be described at all has DESCRIBE: none is the answer of a broker that does not know of rights.
    let known: Granted = known.collect();
    (!known.is_empty()).then_some(known)
}

/// An event that says what topics are.
struct Answer(NonNull<sys::rd_kafka_event_t>);

impl Answer {
    fn ids(&self) -> TopicIds {
        // SAFETY: the topic is alive, as `of_topics` says, and so is its id; what that prints as ends in NUL.
        self.of_topics(|topic| unsafe {
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            if id.is_null() {
                return None;
            }
            let id = CStr::from_ptr(sys::rd_kafka_Uuid_base64str(id)).to_string_lossy();
            (id != NO_ID).then(|| id.into_owned())
        })
    }

    fn granted(&self) -> GrantedTopics {
        let mut count = 0;
        // SAFETY: the topic is alive, as `of_topics` says, and so are its operations: as many as it writes into `count`.
        self.of_topics(|topic| unsafe {
            let operations = sys::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
            granted(operations, count)
        })
    }

    /// What `read` finds in the description of each topic, by the topic's name. A description is alive while it is read.
    fn of_topics<T>(
        &self,
        mut read: impl FnMut(*const sys::rd_kafka_TopicDescription_t) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let mut count = 0;
        // SAFETY: the event is ours until `drop`, and all that is asked of it lives as long; there are `count` topics, and names
        // end in NUL. A result of another kind gives a null, which is not read.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(self.0.as_ptr());
            if result.is_null() {
                return BTreeMap::new();
            }
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            let described = (0..count).map(|place| *topics.add(place));
            described
                .filter_map(|topic| {
                    let name = CStr::from_ptr(sys::rd_kafka_TopicDescription_name(topic)).to_string_lossy();
                    Some((name.into_owned(), read(topic)?))
                })
                .collect()
        }
    }

    /// What is told of the one group that was asked for.
    fn granted_on_group(&self) -> Result<Option<Granted>, RDKafkaErrorCode> {
        let mut count = 0;
        // SAFETY: as in `of_topics`; a group has its error, or null, for as long.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConsumerGroups_result(self.0.as_ptr());
            if result.is_null() {
                return Ok(None);
            }
            let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
            if count == 0 {
                return Ok(None);
            }
            let error = sys::rd_kafka_ConsumerGroupDescription_error(*groups);
            if !error.is_null() {
                return Err(sys::rd_kafka_error_code(error).into());
            }
            let mut count = 0;
            let operations =
                sys::rd_kafka_ConsumerGroupDescription_authorized_operations(*groups, &mut count);
            Ok(granted(operations, count))
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: the event was ours and is not used after this.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}
