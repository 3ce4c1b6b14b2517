//! How many replicas of a topic there are, and how many are in sync: for errors that name it.

use super::markers::{PATIENCE, wait_for};
use super::session::Origin;
use crate::cluster::Cluster;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::metadata::Metadata;
use tidegate_core::{Error, Result};

/// Partitions that are named at most.
const NAMED_MAX: usize = 3;

/// A setting of `topic`, as far as this user may see it.
pub(super) fn setting(admin: &AdminClient<DefaultClientContext>, topic: &str, name: &str) -> Option<String> {
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let told = wait_for(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
    let config = told.ok()?.into_iter().next()?.ok()?;
    config.get(name)?.value.clone()
}

/// Refuses a topic that can never have as many replicas in sync as it asks for: nothing that is written to it would ever be
/// acknowledged. Says nothing where this user may not see its settings.
pub(super) fn check_replicas(
    admin: &AdminClient<DefaultClientContext>,
    cluster: &Cluster,
    origin: &Origin,
    topic: &str,
) -> Result<()> {
    const NAME: &str = "min.insync.replicas";
    let Some(needed) = setting(admin, topic, NAME).and_then(|value| value.parse::<usize>().ok()) else {
        return Ok(());
    };
    let replicas = cluster.when_there(PATIENCE, |cluster, timeout| cluster.replicas(topic, timeout))?;
    match replicas {
        Some(replicas) if replicas < needed => Err(Error::reconfigure(format!(
            "{}: topic {topic} has {NAME}={needed}, but only {replicas} replicas: nothing that is written to it is ever \
             acknowledged. Give it more replicas (kafka-reassign-partitions.sh), or lower the setting: kafka-configs.sh --bootstrap-server {} --alter \
             --entity-type topics --entity-name {topic} --add-config {NAME}={replicas}",
            origin.place(),
            cluster.bootstrap()
        ))),
        _ => Ok(()),
    }
}

/// The partitions of a topic that lack a leader, or replicas that are in sync.
pub(super) fn lagging(metadata: &Metadata, topic: &str) -> Option<String> {
    let told = metadata.topics().iter().find(|told| told.name() == topic)?;
    let short = told.partitions().iter().filter(|it| it.leader() < 0 || it.isr().len() < it.replicas().len());
    let mut said: Vec<_> = short
        .map(|it| {
            let (id, all, leader) =
                (it.id(), it.replicas().len(), if it.leader() < 0 { ", no leader" } else { "" });
            format!("partition {id}: {} of {all} replicas in sync{leader}", it.isr().len())
        })
        .collect();
    if said.len() > NAMED_MAX {
        let more = said.split_off(NAMED_MAX).len();
        said.push(format!("{more} partitions more"));
    }
    (!said.is_empty()).then(|| format!("topic {topic} has now: {}", said.join("; ")))
}
