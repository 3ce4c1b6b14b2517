//! Kafka streams: direct ones, each batch a recorded range of offsets, and by receivers, which keep records in blocks. And Kafka as
//! an output, each batch in a transaction.
//!
//! [`create_direct_stream`] is where a job begins; [`KafkaSource`] is the same without a context. The driver's side is
//! `planner` (what a batch takes, never waiting), with `watcher` (the background thread that asks Kafka) and `planning`,
//! `loss` (the decisions, pure). The worker's side is `reader`, with `partition_reader` and `cursor` (where a range ends,
//! pure). `topic_ids` tells a topic from one that was made again under its name. Only it, `native`, `record`,
//! `group_commit` and `output::session` call librdkafka directly.
//!
//! [`create_stream`] is the other beginning: `receiver_stream` makes receivers, each with a `member` of a consumer group, whose
//! `membership` is what the group tells it; `stored` is a record as bytes.
//!
//! [`SaveToKafka`] is the end of a stream; `output` says how a batch is in a topic once.
//!
//! `params` are the settings, `security` those of TLS and logins, and what it means when a broker and a client do not come together.
//!
//! What must not be here: a consumer group below a direct stream (its partitions are planned, not assigned by Kafka), and a jump
//! to another offset that no error, warning or setting speaks of.

mod cluster;
mod commits;
mod context;
mod cursor;
mod direct_stream;
mod group_commit;
mod known;
mod loss;
mod member;
mod membership;
mod native;
mod output;
mod params;
mod partition_reader;
mod planner;
mod planning;
mod reader;
mod receiver_stream;
mod record;
mod registry;
mod rights;
mod security;
mod source;
mod stored;
mod strategy;
mod topic_ids;
mod topic_partition;
mod watcher;

pub use direct_stream::{DirectStream, Offsets, create_direct_stream};
pub use output::{KafkaOutput, ProducerRecord, SaveToKafka};
pub use params::Params;
pub use receiver_stream::{create_stream, create_streams};
pub use record::{KafkaRecord, OwnedRecord};
pub use source::KafkaSource;
pub use strategy::{ConsumerStrategy, LocationStrategy};
pub use topic_partition::{OffsetRange, TopicPartition};
