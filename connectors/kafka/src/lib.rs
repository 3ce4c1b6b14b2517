//! Kafka direct streams: each batch a recorded range of offsets.

mod cluster;
mod context;
mod cursor;
mod loss;
mod native;
mod params;
mod partition_reader;
mod reader;
mod record;
mod registry;
mod strategy;
mod topic_partition;

pub use params::Params;
pub use record::{KafkaRecord, OwnedRecord};
pub use strategy::{ConsumerStrategy, LocationStrategy};
pub use topic_partition::{OffsetRange, TopicPartition};
