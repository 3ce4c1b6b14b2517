//! The source: what driver and workers of one stream share.

use crate::cluster::{Cluster, Ends, Found};
use crate::commits::Asked;
use crate::params::Settings;
use crate::planner::KafkaPlanner;
use crate::reader::KafkaReader;
use crate::record::KafkaRecord;
use crate::registry::OpenQueues;
use crate::rights::{self, Operation, Resource};
use crate::strategy::{ConsumerStrategy, LocationStrategy, Options, Selection};
use crate::topic_partition::{OffsetRange, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Error, InputContext, Planner, Reader, Result, Source, SourceRange, StreamId};

/// For the group's coordinator to tell rights. What it does not tell in time is told by a commit.
const GROUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Kafka as a source: each batch a recorded range of offsets of each partition.
///
/// Users get it by `create_direct_stream`. The same source may be asked for one planner and one reader a worker.
#[derive(Clone)]
pub struct KafkaSource {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Arc<Settings>,
    pub(crate) selection: Selection,
    pub(crate) from_offsets: BTreeMap<TopicPartition, u64>,
    pub(crate) options: Options,
    pub(crate) open: Arc<OpenQueues>,
    pub(crate) asked: Asked,
}

impl KafkaSource {
    /// A source for `strategy`. Connects to nothing yet.
    ///
    /// # Errors
    /// `Reconfigure`: a setting is missing, unknown or can't be used.
    pub fn new(location: &LocationStrategy, strategy: ConsumerStrategy) -> Result<Self> {
        let settings = Arc::new(Settings::check(&strategy.params)?);
        if let Selection::Pattern(pattern) = &strategy.selection {
            crate::cluster::whole(pattern)?;
        }
        if *location != LocationStrategy::PreferConsistent {
            log::info!(
                "Kafka: all workers are on this host: {location:?} spreads partitions as PreferConsistent"
            );
        }
        let ConsumerStrategy { selection, from_offsets, options, .. } = strategy;
        let (open, asked) = (Arc::default(), Asked::default());
        Ok(KafkaSource { inner: Arc::new(Inner { settings, selection, from_offsets, options, open, asked }) })
    }

    /// Where each partition ends now: what a job must have read to have caught up. Asks Kafka.
    ///
    /// # Errors
    /// Kafka can't be reached, or a topic does not exist.
    pub fn end_offsets(&self) -> Result<Vec<(TopicPartition, u64)>> {
        let cluster = Cluster::open(&self.inner.settings)?;
        let found = self.inner.find_at_start(&cluster)?;
        let names: Vec<_> = found.partitions.into_iter().collect();
        let ends: Ends =
            cluster.at_start(self.inner.options.start_timeout, |it, wait| it.ends(&names, wait))?;
        Ok(ends.into_iter().collect())
    }

    /// Commits the ends of `ranges` to Kafka, once the next batch is in every output. Needs `group.id`.
    pub fn commit_async(&self, ranges: &[OffsetRange]) {
        if self.inner.settings.group.is_none() {
            log::warn!("Kafka: commit_async does nothing without the setting group.id");
        }
        self.inner.asked.add(ranges);
    }
}

impl Inner {
    /// What is selected, all of it there.
    pub(crate) fn find_at_start(&self, cluster: &Cluster) -> Result<Found> {
        let found =
            cluster.at_start(self.options.start_timeout, |it, wait| it.find(&self.selection, wait))?;
        if let Some(missing) = found.missing.first() {
            let what = if matches!(self.selection, Selection::Partitions(_)) { "partition" } else { "topic" };
            return Err(Error::reconfigure(format!(
                "{what} {missing} does not exist at {}; create it, or correct its name",
                self.settings.bootstrap
            )));
        }
        if found.partitions.is_empty() {
            log::warn!("Kafka at {}: there are no {} yet", self.settings.bootstrap, self.selection);
        }
        Ok(found)
    }

    /// Refuses what this user may not read, before the first batch would find out; and a group to which offsets may not be committed.
    pub(crate) fn check_rights(&self, cluster: &Cluster, names: &[TopicPartition]) -> Result<()> {
        let topics: BTreeSet<&str> = names.iter().map(|it| it.topic.as_str()).collect();
        let granted = cluster.at_start(self.options.start_timeout, |it, wait| it.granted(&topics, wait))?;
        for topic in topics {
            rights::check_topic(&self.settings, "the input", &granted, &[Operation::Read], topic)?;
        }
        let group = self.settings.group.as_deref().filter(|_| self.options.commit_offsets);
        let Some(group) = group else { return Ok(()) };
        match cluster.granted_on_group(group, GROUP_TIMEOUT)? {
            Some(granted) if !granted.contains(&Operation::Read) => {
                let place = "offsets for lag tools can't be committed";
                let missing =
                    rights::missing(&self.settings, place, &[Operation::Read], Resource::Group(group));
                Err(Error::reconfigure(format!(
                    "{missing}. The job itself does not need them: leave group.id out, or set commit_offsets(false)"
                )))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn at_host(&self, error: Error) -> Error {
        error.context(format!("Kafka at {}", self.settings.bootstrap))
    }
}

impl Source<KafkaRecord> for KafkaSource {
    fn describe(&self) -> String {
        format!("Kafka {} at {}", self.inner.selection, self.inner.settings.bootstrap)
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        Ok(Box::new(KafkaPlanner::open(&self.inner, &context.stream)?))
    }

    fn reader(
        &self,
        _stream: &StreamId,
        _worker: usize,
        _workers: usize,
    ) -> Result<Box<dyn Reader<KafkaRecord>>> {
        Ok(Box::new(KafkaReader::open(&self.inner.settings, &self.inner.options, &self.inner.open)?))
    }

    fn worker_of(&self, index: usize, _range: &SourceRange, workers: usize) -> usize {
        index % workers
    }
}
