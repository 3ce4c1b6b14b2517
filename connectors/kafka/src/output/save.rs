//! `save_to_kafka` on a stream.

use super::{KafkaOutput, ProducerRecord};
use crate::params::Params;
use tidegate::{DStream, Data};
use tidegate_core::{OutputId, Result};

/// Output operations that write a stream into a topic, each batch once.
pub trait SaveToKafka<T> {
    /// Output: writes what `record` makes of each element into `topic`, each batch in a transaction with its number and its
    /// plan, so that whoever reads with `isolation.level=read_committed` sees each batch once.
    ///
    /// The output takes the topic's name for its own, by which it is found again after a restart: two outputs to one topic,
    /// of one job or of two, need [`save_to_kafka_as`](SaveToKafka::save_to_kafka_as) and a name each.
    ///
    /// ```
    /// use tidegate::DStream;
    /// use tidegate_kafka::{ProducerRecord, SaveToKafka};
    ///
    /// # fn job(words: DStream<(String, i64)>) -> tidegate::Result<()> {
    /// words.save_to_kafka([("bootstrap.servers", "broker:9092")], "word-counts", |(word, count)| {
    ///     ProducerRecord::new().key(word).value(count.to_string())
    /// })?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when a setting is missing, unknown or can't be used, the name is taken, or the context was started. What is
    /// wrong with brokers and topic is told at start.
    fn save_to_kafka(
        &self,
        params: impl Into<Params>,
        topic: &str,
        record: impl Fn(T) -> ProducerRecord + Send + Sync + 'static,
    ) -> Result<OutputId>;

    /// Output: writes what `record` makes of each element to `output`, under `name`.
    ///
    /// ```
    /// use tidegate::DStream;
    /// use tidegate_kafka::{KafkaOutput, ProducerRecord, SaveToKafka};
    ///
    /// # fn job(words: DStream<(String, i64)>) -> tidegate::Result<()> {
    /// let audit = KafkaOutput::new([("bootstrap.servers", "broker:9092")], "audit")?.at_least_once();
    /// words.save_to_kafka_as("words-audit", audit, |(word, _)| ProducerRecord::new().value(word))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`save_to_kafka`](SaveToKafka::save_to_kafka).
    fn save_to_kafka_as(
        &self,
        name: &str,
        output: KafkaOutput,
        record: impl Fn(T) -> ProducerRecord + Send + Sync + 'static,
    ) -> Result<OutputId>;
}

impl<T: Data> SaveToKafka<T> for DStream<T> {
    fn save_to_kafka(
        &self,
        params: impl Into<Params>,
        topic: &str,
        record: impl Fn(T) -> ProducerRecord + Send + Sync + 'static,
    ) -> Result<OutputId> {
        self.save_to_kafka_as(topic, KafkaOutput::new(params, topic)?, record)
    }

    fn save_to_kafka_as(
        &self,
        name: &str,
        output: KafkaOutput,
        record: impl Fn(T) -> ProducerRecord + Send + Sync + 'static,
    ) -> Result<OutputId> {
        output.check_interval(self.context().batch_interval())?;
        self.map(record).output(name, output)
    }
}
