//! What to read and how: Spark's location and consumer strategies, as data.

use crate::params::Params;
use crate::planning::Limit;
use crate::topic_partition::TopicPartition;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Which worker reads which partition.
///
/// The choice never changes a result. While the workers of a job are threads of one process there is one host only, so
/// the two strategies that prefer hosts spread partitions as `PreferConsistent` does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LocationStrategy {
    /// Spreads partitions evenly, each staying with its worker. The right choice nearly always.
    #[default]
    PreferConsistent,
    /// Reads a partition on the host of its broker.
    PreferBrokers,
    /// Reads the partitions named here on these hosts, the others as `PreferConsistent`.
    PreferFixed(BTreeMap<TopicPartition, String>),
}

/// Which partitions are read.
#[derive(Clone)]
pub(crate) enum Selection {
    /// All partitions of these topics.
    Topics(Vec<String>),
    /// All partitions of the topics whose whole name matches.
    Pattern(String),
    /// These partitions alone.
    Partitions(Vec<TopicPartition>),
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Topics(topics) => write!(f, "topics {}", topics.join(", ")),
            Selection::Pattern(pattern) => write!(f, "topics matching {pattern}"),
            Selection::Partitions(partitions) => {
                let names: Vec<_> = partitions.iter().map(TopicPartition::to_string).collect();
                write!(f, "partitions {}", names.join(", "))
            }
        }
    }
}

/// What a direct stream reads: topics, a pattern or fixed partitions, with the client's settings.
///
/// A job that goes on after a stop reads on where its last batch ended. Else a partition is begun at its offset in
/// [`from_offsets`](Self::from_offsets), else by the setting `auto.offset.reset`: `earliest`, `latest` (the default,
/// as in Kafka and Spark: what is there already is not read) or `none` (an error).
///
/// A partition or topic that appears while the job runs is read from its beginning, whatever `auto.offset.reset`
/// says: nothing of it was read yet, and what came in before it was noticed must not be lost.
///
/// ```
/// use tidegate_kafka::ConsumerStrategy;
///
/// let lines = ConsumerStrategy::subscribe(
///     ["lines"],
///     [("bootstrap.servers", "127.0.0.1:9092"), ("auto.offset.reset", "earliest")],
/// )
/// .max_rate_per_partition(10_000);
/// ```
#[derive(Clone)]
pub struct ConsumerStrategy {
    pub(crate) selection: Selection,
    pub(crate) params: Params,
    pub(crate) from_offsets: BTreeMap<TopicPartition, u64>,
    pub(crate) options: Options,
    pub(crate) name: String,
}

/// What is not a setting of librdkafka.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Records per second; `None`: no limit.
    pub(crate) max_rate_per_partition: Option<u64>,
    /// Records per batch, however small the rate makes it.
    pub(crate) min_per_batch: Option<u64>,
    pub(crate) fail_on_data_loss: bool,
    pub(crate) measure_ages: bool,
    pub(crate) commit_offsets: bool,
    pub(crate) discovery: Option<Duration>,
    pub(crate) start_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_rate_per_partition: None,
            min_per_batch: None,
            fail_on_data_loss: true,
            measure_ages: false,
            commit_offsets: true,
            discovery: None,
            start_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    const DISCOVERY: Duration = Duration::from_secs(5);

    pub(crate) fn discovery(&self) -> Duration {
        self.discovery.unwrap_or(Self::DISCOVERY)
    }

    /// What a batch may take while back-pressure allows `total_per_second` records of all partitions, if it says so.
    pub(crate) fn limit(&self, total_per_second: Option<f64>) -> Limit {
        Limit {
            records_per_second: self.max_rate_per_partition,
            min_per_batch: self.min_per_batch.unwrap_or(1),
            total_per_second,
        }
    }
}

impl ConsumerStrategy {
    /// Reads all partitions of `topics`, new partitions too.
    #[doc(alias = "Subscribe")]
    pub fn subscribe<T: Into<String>>(
        topics: impl IntoIterator<Item = T>,
        params: impl Into<Params>,
    ) -> Self {
        Self::new(Selection::Topics(topics.into_iter().map(Into::into).collect()), params)
    }

    /// Reads all topics whose whole name matches the regular expression, new topics too. Kafka's own topics, whose names
    /// begin with `__`, are left out.
    #[doc(alias = "SubscribePattern")]
    pub fn subscribe_pattern(pattern: impl Into<String>, params: impl Into<Params>) -> Self {
        Self::new(Selection::Pattern(pattern.into()), params)
    }

    /// Reads these partitions and no other.
    #[doc(alias = "Assign")]
    pub fn assign(partitions: impl IntoIterator<Item = TopicPartition>, params: impl Into<Params>) -> Self {
        Self::new(Selection::Partitions(partitions.into_iter().collect()), params)
    }

    fn new(selection: Selection, params: impl Into<Params>) -> Self {
        ConsumerStrategy {
            selection,
            params: params.into(),
            from_offsets: BTreeMap::new(),
            options: Options::default(),
            name: "kafka".to_owned(),
        }
    }

    /// Names the stream: by its name a job finds its offsets again after a restart. Default: `kafka`. A job with two
    /// direct streams gives one of them a name, and must not change it.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Begins these partitions at these offsets when the job is new. A job that goes on after a stop does not use them.
    #[must_use]
    pub fn from_offsets(mut self, offsets: impl IntoIterator<Item = (TopicPartition, u64)>) -> Self {
        self.from_offsets = offsets.into_iter().collect();
        self
    }

    /// Takes at most so many records a second of each partition, from the first batch on. Default: no limit. With
    /// back-pressure the lower of this and the partition's share of what the job can do counts.
    #[must_use]
    pub fn max_rate_per_partition(mut self, records_per_second: u64) -> Self {
        self.options.max_rate_per_partition = Some(records_per_second);
        self
    }

    /// Takes up to this many records of a partition in a batch even where the rate, or back-pressure, would allow fewer.
    /// Default: 1.
    #[must_use]
    pub fn min_per_batch(mut self, records: u64) -> Self {
        self.options.min_per_batch = Some(records.max(1));
        self
    }

    /// Stops the job when records it has not read yet are gone (retention, a topic made again): the default. With
    /// `false` they are skipped, counted and logged as a warning.
    #[must_use]
    pub fn fail_on_data_loss(mut self, fail: bool) -> Self {
        self.options.fail_on_data_loss = fail;
        self
    }

    /// Tells the engine how old records are, by their timestamps in Kafka. Costs a call for each run of equal
    /// timestamps. Default: off.
    #[must_use]
    pub fn measure_ages(mut self, measure: bool) -> Self {
        self.options.measure_ages = measure;
        self
    }

    /// Commits offsets to Kafka after each batch's output, when `group.id` is set: the default. With `false` only
    /// what is given to `commit_async` is committed. Either way they are for lag tools; the job does not need them.
    #[must_use]
    pub fn commit_offsets(mut self, commit: bool) -> Self {
        self.options.commit_offsets = commit;
        self
    }

    /// Looks for new partitions and topics this often. Default: 5 seconds.
    #[must_use]
    pub fn partition_discovery(mut self, every: Duration) -> Self {
        self.options.discovery = Some(every);
        self
    }

    /// Waits so long for a broker at the start. Default: 10 seconds.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.options.start_timeout = timeout;
        self
    }
}

impl fmt::Debug for ConsumerStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerStrategy")
            .field("reads", &format_args!("{}", self.selection))
            .field("params", &self.params)
            .field("from_offsets", &self.from_offsets)
            .field("options", &self.options)
            .finish()
    }
}
