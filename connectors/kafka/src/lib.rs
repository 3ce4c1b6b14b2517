//! Kafka direct streams: each batch a recorded range of offsets.

mod cluster;
mod commits;
mod context;
mod cursor;
mod direct_stream;
mod known;
mod loss;
mod native;
mod params;
mod partition_reader;
mod planner;
mod planning;
mod reader;
mod record;
mod registry;
mod source;
mod strategy;
mod topic_partition;
mod watcher;

pub use direct_stream::{DirectStream, Offsets, create_direct_stream};
pub use params::Params;
pub use record::{KafkaRecord, OwnedRecord};
pub use source::KafkaSource;
pub use strategy::{ConsumerStrategy, LocationStrategy};
pub use topic_partition::{OffsetRange, TopicPartition};
