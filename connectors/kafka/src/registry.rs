//! Which queues the readers of this process have open, so that the driver knows the ends they saw without asking Kafka.

use crate::native::PartitionQueue;
use crate::topic_partition::TopicPartition;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The open queues of one source. Holds none of them open.
#[derive(Default)]
pub(crate) struct OpenQueues(Mutex<HashMap<TopicPartition, Weak<PartitionQueue>>>);

impl OpenQueues {
    /// A reader opened `queue`. A later one for the same partition takes its place.
    pub(crate) fn add(&self, queue: &Arc<PartitionQueue>) {
        self.lock().insert(queue.name().clone(), Arc::downgrade(queue));
    }

    /// The high watermark that the last fetch of `partition` told, if a reader has it open and has fetched.
    pub(crate) fn high_watermark(&self, partition: &TopicPartition) -> Option<u64> {
        let queue = self.lock().get(partition)?.upgrade()?;
        // The lock is free again here: dropping the last reference may close a client.
        queue.high_watermark()
    }

    /// What fetches of `partition` told does not hold any more, until a reader begins it anew.
    pub(crate) fn forget(&self, partition: &TopicPartition) {
        self.lock().remove(partition);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TopicPartition, Weak<PartitionQueue>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
