//! `KafkaUtils.createDirectStream`: a source of this crate as a stream of a job.

use crate::record::KafkaRecord;
use crate::source::KafkaSource;
use crate::strategy::{ConsumerStrategy, LocationStrategy};
use crate::topic_partition::{OffsetRange, TopicPartition};
use std::ops::Deref;
use std::time::Duration;
use tidegate::core::{Batch, Error, Result};
use tidegate::{Conf, DStream, InputDStream, StreamId, StreamingContext};

/// A stream of the records of Kafka topics, in which each batch is a recorded range of offsets of each partition.
///
/// Partition `n` of a batch holds the records of range `n`, up to the first shuffle. What a job writes of a batch
/// together with the batch's number is in the output once, however often the job is killed.
///
/// Settings of the context that are used where the strategy says nothing: `tidegate.kafka.max_rate_per_partition`
/// (records a second; Spark's `spark.streaming.kafka.maxRatePerPartition`), `tidegate.kafka.min_rate_per_partition`
/// (records a batch; Spark's `spark.streaming.kafka.minRatePerPartition`), `tidegate.kafka.partition_discovery_ms`.
///
/// ```no_run
/// use tidegate::{Conf, StreamingContext};
/// use tidegate_kafka::{ConsumerStrategy, LocationStrategy, create_direct_stream};
/// use std::time::Duration;
///
/// # fn main() -> tidegate::Result<()> {
/// let ssc = StreamingContext::new(Conf::new().set_app_name("words"), Duration::from_millis(100))?;
/// let params = [("bootstrap.servers", "127.0.0.1:9092"), ("auto.offset.reset", "earliest")];
/// let lines =
///     create_direct_stream(&ssc, LocationStrategy::PreferConsistent, ConsumerStrategy::subscribe(["lines"], params))?;
/// let ranges = lines.offsets();
/// lines.foreach_rdd(move |rdd| {
///     rdd.foreach_partition(move |batch, partition, records| {
///         let range = &ranges.of(batch)[partition.0 as usize];
///         println!("{range}: {} records", records.count());
///     })
/// })?;
/// ssc.start()?;
/// ssc.await_termination()
/// # }
/// ```
///
/// # Errors
/// `Reconfigure`: a setting is missing, unknown or can't be used, or the context has a stream of this name already
/// (then [`ConsumerStrategy::named`] gives another). Whether Kafka is there is seen when the context starts.
pub fn create_direct_stream(
    ssc: &StreamingContext,
    location: LocationStrategy,
    strategy: ConsumerStrategy,
) -> Result<DirectStream> {
    let strategy = with_settings(strategy, ssc.conf())?;
    let name = strategy.name.clone();
    let source = KafkaSource::new(&location, strategy)?;
    let stream = ssc.input_stream(&name, source.clone()).map_err(|error| {
        error.context(format!(
            "Kafka stream {name} (a second one needs a name of its own: ConsumerStrategy::named)"
        ))
    })?;
    Ok(DirectStream { offsets: Offsets { stream: stream.stream_id().clone(), source }, stream })
}

/// A stream of Kafka records. Made by [`create_direct_stream`]; used as the [`DStream`] it derefs to.
pub struct DirectStream {
    stream: InputDStream<KafkaRecord>,
    offsets: Offsets,
}

impl DirectStream {
    /// The stream's name, the same after a restart.
    pub fn stream_id(&self) -> &StreamId {
        self.stream.stream_id()
    }

    /// What asks for offsets inside of an output operation: cheap to clone, and free of the context.
    pub fn offsets(&self) -> Offsets {
        self.offsets.clone()
    }

    /// As [`Offsets::of`].
    pub fn offset_ranges(&self, batch: &Batch) -> Vec<OffsetRange> {
        self.offsets.of(batch)
    }

    /// As [`Offsets::commit_async`].
    pub fn commit_async(&self, ranges: &[OffsetRange]) {
        self.offsets.commit_async(ranges);
    }

    /// As [`KafkaSource::end_offsets`].
    ///
    /// # Errors
    /// Kafka can't be reached, or a topic does not exist.
    pub fn end_offsets(&self) -> Result<Vec<(TopicPartition, u64)>> {
        self.offsets.source.end_offsets()
    }
}

impl Deref for DirectStream {
    type Target = DStream<KafkaRecord>;

    fn deref(&self) -> &DStream<KafkaRecord> {
        &self.stream
    }
}

/// The offsets of one direct stream: Spark's `HasOffsetRanges` and `CanCommitOffsets`.
#[derive(Clone)]
pub struct Offsets {
    stream: StreamId,
    source: KafkaSource,
}

impl Offsets {
    /// What `batch` takes of the stream: range `n` is partition `n` of the batch.
    pub fn of(&self, batch: &Batch) -> Vec<OffsetRange> {
        let ranges = batch.ranges(&self.stream).iter();
        ranges
            .map(|range| OffsetRange::try_from(range).expect("a plan of this stream names its partitions"))
            .collect()
    }

    /// Commits the ends of `ranges` to Kafka, in the background, once the batch is in every output. Does nothing
    /// without the setting `group.id`; not needed unless [`ConsumerStrategy::commit_offsets`] is switched off.
    pub fn commit_async(&self, ranges: &[OffsetRange]) {
        self.source.commit_async(ranges);
    }
}

/// The context's settings, where the strategy says nothing.
fn with_settings(mut strategy: ConsumerStrategy, conf: &Conf) -> Result<ConsumerStrategy> {
    let options = &mut strategy.options;
    if options.max_rate_per_partition.is_none() {
        options.max_rate_per_partition = number(conf, &["tidegate.kafka.max_rate_per_partition"])?;
    }
    if options.min_per_batch.is_none() {
        const MIN: [&str; 2] =
            ["tidegate.kafka.min_rate_per_partition", "spark.streaming.kafka.minRatePerPartition"];
        options.min_per_batch = number(conf, &MIN)?;
    }
    if options.discovery.is_none() {
        options.discovery =
            number(conf, &["tidegate.kafka.partition_discovery_ms"])?.map(Duration::from_millis);
    }
    Ok(strategy)
}

/// The first of `keys` that is set.
pub(crate) fn number(conf: &Conf, keys: &[&str]) -> Result<Option<u64>> {
    let Some((key, value)) = keys.iter().find_map(|key| Some((key, conf.get(key)?))) else { return Ok(None) };
    match value.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Error::reconfigure(format!("setting {key}={value} must be a whole number above 0"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strategy_wins_over_the_context() {
        let conf = Conf::new()
            .set("spark.streaming.kafka.maxRatePerPartition", "100")
            .set("spark.streaming.kafka.minRatePerPartition", "5")
            .set("tidegate.kafka.partition_discovery_ms", "250");
        let plain = ConsumerStrategy::subscribe(["lines"], [("bootstrap.servers", "x")]);
        let options = with_settings(plain.clone(), &conf).unwrap().options;
        assert_eq!((options.max_rate_per_partition, options.min_per_batch), (Some(100), Some(5)));
        assert_eq!(options.discovery, Some(Duration::from_millis(250)));
        let options = with_settings(plain.clone().max_rate_per_partition(7), &conf).unwrap().options;
        assert_eq!(options.max_rate_per_partition, Some(7));
        let bad = Conf::new().set("tidegate.kafka.max_rate_per_partition", "fast");
        let error = with_settings(plain, &bad).unwrap_err().to_string();
        assert_eq!(
            error,
            "setting tidegate.kafka.max_rate_per_partition=fast must be a whole number above 0"
        );
    }
}
