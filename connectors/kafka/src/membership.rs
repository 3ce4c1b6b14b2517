//! What a member of a consumer group is told by its group: which partitions it reads, from where, and when they are taken away.
//!
//! All of it runs inside of the member's own `poll`.

use crate::cluster::Cluster;
use crate::context::Ear;
use crate::group_commit::GroupCommit;
use crate::params::OffsetReset;
use crate::record::KafkaRecord;
use crate::rights::{Operation, Resource};
use crate::topic_ids::TopicIds;
use crate::topic_partition::TopicPartition;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, statistics::Statistics};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate::ReceiverHandle;
use tidegate_core::{Error, Result};

/// Time for the group's offsets and the ends of partitions, when partitions are assigned.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the commit of what is stored, when partitions are taken away.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Offsets by partition: behind the last record.
pub(crate) type Offsets = BTreeMap<TopicPartition, u64>;

pub(crate) struct Membership {
    ear: Ear,
    handle: ReceiverHandle<KafkaRecord>,
    group: String,
    reset: OffsetReset,
    /// Tells the ids of topics; the member's own client is within its `poll` when they are needed.
    cluster: Cluster,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// What is stored of the partitions that this member has.
    pub(crate) stored: Offsets,
    /// Partitions that were taken away since it was looked last.
    pub(crate) revoked: Vec<TopicPartition>,
    /// Partitions were given since it was looked last.
    pub(crate) assigned: bool,
    /// The ids of the topics that this member has had partitions of, where Kafka tells them.
    ids: TopicIds,
    /// Why the member can't go on.
    pub(crate) failure: Option<Error>,
}

impl Membership {
    pub(crate) fn new(
        handle: ReceiverHandle<KafkaRecord>,
        group: &str,
        reset: OffsetReset,
        cluster: Cluster,
    ) -> Self {
        let (ear, state) = (Ear::default(), Mutex::default());
        Membership { ear, handle, group: group.to_owned(), reset, cluster, state }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ear(&self) -> &Ear {
        &self.ear
    }

    /// The name under which positions of a partition are remembered: with the id of its topic, where Kafka tells it.
    pub(crate) fn origin(&self, partition: &TopicPartition) -> String {
        let name = self.origin_without_id(partition);
        match self.lock().ids.get(&partition.topic) {
            Some(id) => format!("{name}/{id}"),
            None => name,
        }
    }

    fn origin_without_id(&self, partition: &TopicPartition) -> String {
        format!("kafka/{}/{partition}", self.group)
    }

    /// Up to where the job has stored a partition.
    fn known(&self, name: &TopicPartition) -> Result<Option<u64>> {
        let without = self.origin_without_id(name);
        let stored = self.handle.positions_below(&format!("{without}/"));
        let id = self.lock().ids.get(&name.topic).cloned();
        let by_id = match id {
            // Kafka does not tell now which topic it is.
            None => stored.into_values().max(),
            Some(id) => match stored.get(&format!("{without}/{id}")) {
                Some(until) => Some(*until),
                None => match stored.into_values().max() {
                    Some(until) => return Err(self.made_again(name, &id, until)),
                    None => None,
                },
            },
        };
        Ok(by_id.max(self.handle.position(&without)))
    }

    /// The error of a user who may not be a member of the group.
    pub(crate) fn missing_on_group(&self) -> Error {
        self.cluster.missing(&[Operation::Read], Resource::Group(&self.group))
    }

    fn made_again(&self, name: &TopicPartition, id: &str, until: u64) -> Error {
        Error::data_lost(format!(
            "{name}: the topic was deleted and made again: its id {id} is another than that of the one that the job has stored \
             up to offset {until}; what was added to the old one after that is lost, how much is not known. Begin with another \
             group.id than {} and a new checkpoint directory: they read the new one by auto.offset.reset",
            self.group
        ))
    }

    /// Sets where each partition begins: where the log of the job ends or where the group is, whichever is further; a partition
    /// that neither knows, by `auto.offset.reset`.
    fn begin(&self, client: &BaseConsumer<Self>, given: &mut TopicPartitionList) -> Result<()> {
        let asked = |error: KafkaError| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => self.missing_on_group(),
            _ => Error::retry(format!("offsets of group {}: {error}", self.group)),
        };
        let names: Vec<_> =
            given.elements().iter().map(|it| TopicPartition::new(it.topic(), it.partition())).collect();
        let ids = self.cluster.topic_ids(&names, ASK_TIMEOUT)?;
        self.lock().ids.extend(ids);
        let told = client.committed_offsets(given.clone(), ASK_TIMEOUT).map_err(asked)?;
        let mut stored = Offsets::new();
        for it in told.elements() {
            it.error().map_err(asked)?;
            let name = TopicPartition::new(it.topic(), it.partition());
            let committed = match it.offset() {
                Offset::Offset(offset) => u64::try_from(offset).ok(),
                _ => None,
            };
            let known = self.known(&name)?;
            let begin = match committed.max(known) {
                Some(begin) => begin,
                None => {
                    let begin = self.begin_anew(client, &name)?;
                    // The group is told at once: a partition that moves on before its first record must not begin elsewhere.
                    stored.insert(name.clone(), begin);
                    begin
                }
            };
            if known.is_some_and(|known| committed.is_none_or(|committed| committed < known)) {
                stored.insert(name.clone(), begin);
            }
            log::info!("receiver {}: {name} is read from offset {begin}", self.handle.stream());
            let offset = Offset::Offset(i64::try_from(begin).unwrap_or(i64::MAX));
            given.set_partition_offset(&name.topic, name.partition, offset).map_err(asked)?;
        }
        self.lock().stored.extend(stored);
        Ok(())
    }

    fn begin_anew(&self, client: &BaseConsumer<Self>, name: &TopicPartition) -> Result<u64> {
        let (low, high) = client
            .fetch_watermarks(&name.topic, name.partition, ASK_TIMEOUT)
            .map_err(|error| Error::retry(format!("ends of {name}: {error}")))?;
        let begin = match self.reset {
            OffsetReset::Earliest => low,
            OffsetReset::Latest => high,
            OffsetReset::None => {
                return Err(Error::reconfigure(format!(
                    "{name}: auto.offset.reset=none, and group {} has no offset; commit one, or use earliest or latest",
                    self.group
                )));
            }
        };
        Ok(u64::try_from(begin).unwrap_or(0))
    }

    fn assign(&self, client: &BaseConsumer<Self>, given: &mut TopicPartitionList) {
        if let Err(error) = self.begin(client, given) {
            self.lock().failure.get_or_insert(error);
            // Read from nowhere; the member is started again.
            let _ = client.unassign();
            return;
        }
        let done = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_assign(given),
            _ => client.assign(given),
        };
        let mut state = self.lock();
        state.assigned = true;
        if let Err(error) = done {
            state.failure.get_or_insert(Error::retry(format!("partitions can't be assigned: {error}")));
        }
    }

    /// What is stored of these partitions is committed before another member has them: with a write-ahead log it would leave out
    /// what is stored anyway, if it is one of this job.
    fn revoke(&self, client: &BaseConsumer<Self>, taken: &TopicPartitionList) {
        let names: Vec<_> =
            taken.elements().iter().map(|it| TopicPartition::new(it.topic(), it.partition())).collect();
        let offsets: Offsets = {
            let mut state = self.lock();
            names.iter().filter_map(|name| Some((name.clone(), state.stored.remove(name)?))).collect()
        };
        if !offsets.is_empty()
            && !client.assignment_lost()
            && let Err(code) = commit_within(client, &offsets, COMMIT_TIMEOUT)
        {
            self.handle.report_error(&format!("offsets of group {} were not committed: {code}", self.group));
        }
        log::info!("receiver {}: {} partitions were taken away", self.handle.stream(), names.len());
        self.lock().revoked.extend(names);
        let done = match client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => client.incremental_unassign(taken),
            _ => client.unassign(),
        };
        if let Err(error) = done {
            log::debug!("receiver {}: {error}", self.handle.stream());
        }
    }
}

/// Commits and waits for the outcome, for at most `limit`.
pub(crate) fn commit_within<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    offsets: &Offsets,
    limit: Duration,
) -> Result<(), RDKafkaErrorCode> {
    let outcome = GroupCommit::send(client, &list_of(offsets))?.outcome(limit);
    outcome.unwrap_or(Err(RDKafkaErrorCode::OperationTimedOut))
}

/// As librdkafka takes them.
pub(crate) fn list_of(offsets: &Offsets) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (name, offset) in offsets {
        let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
        // Refuses only offsets that are none.
        let _ = list.add_partition_offset(&name.topic, name.partition, offset);
    }
    list
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.ear.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ear.error(error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        client: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(client, partitions),
            _ => self.revoke(client, partitions),
        }
    }
}
