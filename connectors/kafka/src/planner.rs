//! The driver's side: cuts the next batch from what is known. Never waits for Kafka once the job runs.

use crate::cluster::{Cluster, Found};
use crate::commits::Committer;
use crate::known::{Known, Shared};
use crate::planning::{self, Beginning, Log};
use crate::source::Inner;
use crate::topic_partition::TopicPartition;
use crate::watcher::Watcher;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate_core::{BatchPlan, Error, Planner, Result, SourcePlan, StreamId};

pub(crate) struct KafkaPlanner {
    source: Arc<Inner>,
    stream: StreamId,
    shared: Arc<Shared>,
    /// Until the job runs; then the background thread has it.
    cluster: Option<Cluster>,
    found: Found,
    watcher: Option<JoinHandle<()>>,
    committer: Option<Committer>,
    /// Records a second over all partitions, as back-pressure told last.
    total_per_second: Option<f64>,
}

impl KafkaPlanner {
    /// Connects, and finds what is selected.
    pub(crate) fn open(source: &Arc<Inner>, stream: &StreamId) -> Result<Self> {
        let cluster = Cluster::open(&source.settings)?;
        let found = source.find_at_start(&cluster)?;
        Ok(KafkaPlanner {
            source: Arc::clone(source),
            stream: stream.clone(),
            shared: Arc::default(),
            cluster: Some(cluster),
            found,
            watcher: None,
            committer: None,
            total_per_second: None,
        })
    }

    fn first_positions(&self, cluster: &Cluster, last: Option<&SourcePlan>) -> Result<Vec<Known>> {
        let resumed = last.map(planning::positions).transpose()?;
        let before: Vec<TopicPartition> = resumed.iter().flatten().map(|(name, _)| name.clone()).collect();
        let names = planning::order(&before, &self.found.partitions);
        for name in before.iter().filter(|name| !names.contains(name)) {
            log::warn!("Kafka: {name} was read before and is not selected any more, or does not exist");
        }
        self.source.check_rights(cluster, &names)?;
        let timeout = self.source.options.start_timeout;
        let begins = cluster.at_start(timeout, |it, wait| it.begins(&names, wait))?;
        let ends = cluster.at_start(timeout, |it, wait| it.ends(&names, wait))?;
        let log_ends = cluster.at_start(timeout, |it, wait| it.log_ends(&names, wait))?;
        let ids = cluster.at_start(timeout, |it, wait| it.topic_ids(&names, wait))?;
        let planned_ids = last.map(planning::planned_ids).transpose()?.unwrap_or_default();
        let resumed: Option<BTreeMap<_, _>> = resumed.map(|positions| positions.into_iter().collect());
        let beginning = Beginning {
            resumed: resumed.as_ref(),
            from_offsets: &self.source.from_offsets,
            reset: self.source.settings.reset,
            fail_on_data_loss: self.source.options.fail_on_data_loss,
        };
        let known = |name: TopicPartition| {
            let end = ends[&name];
            let topic_id = ids.get(&name.topic).cloned();
            let log = Log {
                begin: begins[&name],
                end: log_ends[&name],
                reachable: end,
                replaced: topic_id.is_some()
                    && planned_ids.get(&name).is_some_and(|id| topic_id.as_ref() != Some(id)),
            };
            let position = beginning.of(&name, log)?;
            let planned =
                beginning.resumed.and_then(|resumed| resumed.get(&name).copied()).unwrap_or(position);
            Ok(Known { position, planned, end, name, topic_id, absent: false })
        };
        names.into_iter().map(known).collect()
    }

    fn stop(&mut self) {
        self.committer = None;
        let Some(watcher) = self.watcher.take() else { return };
        self.shared.close();
        if watcher.join().is_err() {
            log::error!("Kafka: the background thread of {} panicked", self.stream);
        }
    }
}

impl Planner for KafkaPlanner {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        let cluster = self.cluster.take().ok_or_else(|| Error::bug("a planner is resumed once"))?;
        let known = self.first_positions(&cluster, last).map_err(|error| self.source.at_host(error))?;
        for it in &known {
            log::info!("Kafka: {} is read from offset {}", it.name, it.position);
        }
        self.shared.lock().partitions = known;
        let group = self.source.settings.group.as_deref();
        self.committer = group.map(|group| Committer::start(&self.source.settings, group)).transpose()?;
        let watcher = Watcher::new(&self.source, &self.shared, cluster);
        let named = std::thread::Builder::new().name(format!("kafka-{}", self.stream));
        let thread = named.spawn(move || watcher.run());
        self.watcher =
            Some(thread.map_err(|error| Error::reconfigure("can't start a thread").because(error))?);
        Ok(())
    }

    fn plan(&mut self, interval: Duration) -> Result<SourcePlan> {
        let state = self.shared.lock();
        if let Some(failure) = state.failure() {
            return Err(failure);
        }
        let limit = self.source.options.limit(self.total_per_second);
        let ranges = state.ranges(&self.source.open, self.source.settings.read_committed, limit, interval);
        Ok(SourcePlan { stream: self.stream.clone(), ranges })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        let mut state = self.shared.lock();
        for (place, (name, position)) in planning::positions(plan).unwrap_or_default().into_iter().enumerate()
        {
            state.move_to(place, &name, position);
        }
    }

    fn limit_rate(&mut self, records_per_second: f64) {
        self.total_per_second = Some(records_per_second);
    }

    fn committed(&mut self, _batch: &BatchPlan, plan: &SourcePlan) {
        let Some(committer) = &self.committer else { return };
        let mut offsets = self.source.asked.take();
        if self.source.options.commit_offsets {
            offsets.extend(planning::positions(plan).unwrap_or_default());
        }
        if !offsets.is_empty() {
            committer.commit(offsets);
        }
    }

    fn close(&mut self) {
        self.stop();
    }
}

impl Drop for KafkaPlanner {
    fn drop(&mut self) {
        self.stop();
    }
}
