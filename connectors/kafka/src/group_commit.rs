//! A commit to a group that is on its way: its outcome is told, and waiting for it has an end.
//!
//! The `rdkafka` crate has neither: its asynchronous commit tells no outcome, its synchronous one waits as long as it takes.
#![allow(unsafe_code)]

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;
use std::ptr::NonNull;
use std::time::Duration;

/// One commit. Must not outlive its client.
pub(crate) struct GroupCommit {
    queue: NonNull<sys::rd_kafka_queue_t>,
}

// SAFETY: a queue may be used from any thread, and this reference to it is given back once, in `drop`.
unsafe impl Send for GroupCommit {}

impl GroupCommit {
    /// Sends `offsets` to the group of `client`.
    ///
    /// # Errors
    /// librdkafka's code: nothing was sent.
    pub(crate) fn send<C: ConsumerContext>(
        client: &BaseConsumer<C>,
        offsets: &TopicPartitionList,
    ) -> Result<GroupCommit, RDKafkaErrorCode> {
        let native = client.client().native_ptr();
        // SAFETY: the client is alive; the reference is given back in `drop`.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_new(native) }).ok_or(RDKafkaErrorCode::Fail)?;
        let commit = GroupCommit { queue };
        // SAFETY: client, offsets (which are copied) and queue are alive. Without a callback the outcome is an event of the queue.
        let code = unsafe {
            sys::rd_kafka_commit_queue(native, offsets.ptr(), queue.as_ptr(), None, std::ptr::null_mut())
        };
        match code.into() {
            RDKafkaErrorCode::NoError => Ok(commit),
            code => Err(code),
        }
    }

    /// The outcome, if it comes within `wait`. It comes once.
    pub(crate) fn outcome(&self, wait: Duration) -> Option<Result<(), RDKafkaErrorCode>> {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive. The event that comes out of it is ours, is read, and is destroyed once.
        let code = unsafe {
            let event = NonNull::new(sys::rd_kafka_queue_poll(self.queue.as_ptr(), wait_ms))?;
            let code = sys::rd_kafka_event_error(event.as_ptr());
            sys::rd_kafka_event_destroy(event.as_ptr());
            code
        };
        Some(match code.into() {
            // There was nothing that the group did not have.
            RDKafkaErrorCode::NoError | RDKafkaErrorCode::NoOffset => Ok(()),
            code => Err(code),
        })
    }
}

impl Drop for GroupCommit {
    fn drop(&mut self) {
        // SAFETY: made in `send`, given back once.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}
