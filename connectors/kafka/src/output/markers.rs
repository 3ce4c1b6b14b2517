//! The topic that an output's markers are in: made when it is missing, and read from its end.

use super::failure::failure;
use super::marker::Memory;
use super::replicas;
use super::session::Origin;
use crate::cluster::Cluster;
use crate::context::{Ear, passes};
use crate::native::{Event, PartitionQueue, Space};
use crate::rights::{self, Operation, Resource};
use crate::strategy::Selection;
use crate::topic_partition::TopicPartition;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tidegate_core::{Error, ErrorKind, Result};

/// For the brokers to answer before the output counts as away.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// librdkafka waits for as long for records beyond those that are there.
const TAKE_WAIT: Duration = Duration::from_millis(5);
/// Records that are looked at first, for each partition of the output.
const TAIL: u64 = 32;

/// What is done with the markers topic.
const RIGHTS: &[Operation] = &[Operation::Read, Operation::Write];

/// The markers of one output.
pub(super) struct Markers {
    origin: Arc<Origin>,
    place: TopicPartition,
    cluster: Cluster,
    client: Arc<BaseConsumer<Ear>>,
}

impl Markers {
    /// Connects, looks for the output's topic and for that of the markers, and makes the latter where it is missing.
    pub(super) fn open(origin: &Arc<Origin>, output_topic: &str, topic: &str) -> Result<Markers> {
        check_name(topic)?;
        let settings = Arc::new(origin.settings.asking.clone());
        let client = settings
            .client()
            .create_with_context(Ear::default())
            .map_err(|error| settings.refusal(&error))?;
        let markers = Markers {
            origin: Arc::clone(origin),
            place: TopicPartition::new(topic, 0),
            cluster: Cluster::open(&settings)?,
            client: Arc::new(client),
        };
        check_topic(&markers.cluster, origin, output_topic)?;
        if !markers.is_there()? {
            markers.make()?;
        }
        check_rights(&markers.cluster, origin, RIGHTS, &markers.place.topic)?;
        Ok(markers)
    }

    fn is_there(&self) -> Result<bool> {
        let wanted = Selection::Topics(vec![self.place.topic.clone()]);
        let find = |cluster: &Cluster, timeout| cluster.find_for(RIGHTS, &wanted, timeout);
        let found = self.cluster.when_there(PATIENCE, find).map_err(|error| match error.kind() {
            ErrorKind::Reconfigure => Error::reconfigure(format!(
                "{}, its markers: {error}. The topic is made at the first start, which takes CREATE on it too, unless somebody else \
                 makes it",
                self.origin.place()
            )),
            _ => error,
        })?;
        match found.partitions.len() {
            0 => Ok(false),
            1 => Ok(true),
            many => Err(Error::reconfigure(format!(
                "{}: the markers topic {} has {many} partitions, and must have one: it is a topic of something else. Name \
                 another one (markers_topic)",
                self.origin.place(),
                self.place.topic
            ))),
        }
    }

    /// Makes the topic, and returns when brokers tell of it.
    fn make(&self) -> Result<()> {
        let admin = self.admin()?;
        // What is the newest of its key stays for ever; small segments, so that what is older goes soon.
        let topic = NewTopic::new(&self.place.topic, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            .set("segment.bytes", "16777216")
            .set("max.message.bytes", "8388608");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
        let place = format!("{}: the markers topic {} can't be made", self.origin.place(), self.place.topic);
        let by_hand = format!(
            "kafka-topics.sh --bootstrap-server {} --create --topic {} --partitions 1 --config cleanup.policy=compact",
            self.cluster.bootstrap(),
            self.place.topic
        );
        let made = wait_for(admin.create_topics([&topic], &options));
        let made = made.map_err(|error| {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            failure(&place, code, "")
        })?;
        match made.into_iter().next() {
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => {}
            Some(Err((_, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed))) => {
                let (settings, topic) = (&self.origin.settings.asking, &self.place.topic);
                let missing = rights::missing(settings, &place, &[Operation::Create], Resource::Topic(topic));
                return Err(Error::reconfigure(format!("{missing}. Or make it: {by_hand}")));
            }
            Some(Err((_, code))) if passes(code) => return Err(failure(&place, code, "")),
            // It does not suit what the brokers are set to.
            Some(Err((_, code))) => {
                return Err(Error::reconfigure(format!("{place}: {code}; make it: {by_hand}")));
            }
            None => return Err(Error::bug(format!("{place}: no answer"))),
        }
        let started = Instant::now();
        while !self.is_there()? {
            if started.elapsed() > PATIENCE {
                return Err(Error::retry(format!("{place}: it was made, and no broker tells of it yet")));
            }
            thread::yield_now();
        }
        log::info!("{}: made the topic {} for its markers", self.origin.place(), self.place.topic);
        Ok(())
    }

    /// Refuses topics with settings under which batches could be written twice, or never, as far as this user may see that.
    pub(super) fn check_settings(&self, output_topic: &str) -> Result<()> {
        let (admin, topic) = (self.admin()?, &self.place.topic);
        match replicas::setting(&admin, topic, "cleanup.policy") {
            Some(policy) if policy != "compact" => {
                return Err(Error::reconfigure(format!(
                    "{}: the markers topic {topic} has cleanup.policy={policy}: once it has deleted the markers, a batch could be \
                     written twice. Set it to compact: kafka-configs.sh --alter --entity-type topics --entity-name {topic} \
                     --add-config cleanup.policy=compact",
                    self.origin.place()
                )));
            }
            Some(_) => {}
            None => log::info!(
                "{}: this user may not see the settings of the markers topic {topic}; its cleanup.policy must be compact",
                self.origin.place()
            ),
        }
        for topic in [topic, output_topic] {
            replicas::check_replicas(&admin, &self.cluster, &self.origin, topic)?;
        }
        Ok(())
    }

    fn admin(&self) -> Result<Admin> {
        let settings = &self.origin.settings.asking;
        settings.client().create().map(|client| Admin(Some(client))).map_err(|error| settings.refusal(&error))
    }

    /// Reads what committed transactions have left, from the end back until nothing older matters.
    pub(super) fn read(&self) -> Result<Memory> {
        let of_one = |offsets: crate::cluster::Ends| offsets.get(&self.place).copied();
        let places = [self.place.clone()];
        let ask = |cluster: &Cluster, timeout| {
            Ok((cluster.begins(&places, timeout)?, cluster.ends(&places, timeout)?))
        };
        let (begin, end) = self.cluster.when_there(PATIENCE, ask)?;
        let (Some(begin), Some(end)) = (of_one(begin), of_one(end)) else {
            return Err(Error::retry(format!("{}: no offsets of {}", self.origin.place(), self.place)));
        };
        let mut back = TAIL;
        loop {
            let from = end.saturating_sub(back).max(begin);
            let memory = self.read_range(from, end)?;
            let partitions = memory.registered.as_ref().map_or(1, |of| u64::from(of.partitions));
            if memory.is_complete() || from == begin {
                return Ok(memory);
            }
            back = back.max(TAIL * partitions).saturating_mul(8);
        }
    }

    fn read_range(&self, from: u64, end: u64) -> Result<Memory> {
        let mut memory = Memory::default();
        if from >= end {
            return Ok(memory);
        }
        let queue = PartitionQueue::open(Arc::clone(&self.client), self.place.clone())?;
        queue.start(from)?;
        let (mut space, mut at, started) = (Space::new(), from, Instant::now());
        let mut failed = None;
        while at < end {
            queue.take(&mut space, Space::MESSAGES_MAX, TAKE_WAIT, |event| match event {
                Event::Record(record) => {
                    at = at.max(record.offset() + 1);
                    if failed.is_none() {
                        failed = memory.take(&self.origin.output, record.key(), record.value()).err();
                    }
                }
                Event::End { offset } => at = at.max(offset),
                Event::Failed { code: Code::TopicAuthorizationFailed, .. } => {
                    failed.get_or_insert_with(|| {
                        let (settings, topic) = (&self.origin.settings.asking, &self.place.topic);
                        rights::missing(settings, "can't be read", &[Operation::Read], Resource::Topic(topic))
                    });
                }
                Event::Failed { code, text } => {
                    if !passes(code) {
                        failed.get_or_insert_with(|| failure("can't be read", code, &text));
                    }
                }
            });
            if let Some(failed) = failed {
                return Err(failed.context(self.at()));
            }
            self.cluster.check_admitted()?;
            if started.elapsed() > PATIENCE {
                return Err(Error::retry(format!(
                    "{}: offsets {at} to {end} were not answered within {} s",
                    self.at(),
                    PATIENCE.as_secs()
                )));
            }
        }
        Ok(memory)
    }

    pub(super) fn at(&self) -> String {
        format!("{}, markers topic {}", self.origin.place(), self.place.topic)
    }
}

/// A client for topics and their settings. At its end it waits for a thread of its own, which looks up every 100 ms: the caller does
/// not.
struct Admin(Option<AdminClient<DefaultClientContext>>);

impl Deref for Admin {
    type Target = AdminClient<DefaultClientContext>;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("it is taken by drop only")
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let client = self.0.take();
        // Without a thread it is dropped here.
        let _ = thread::Builder::new().name("tidegate-kafka-admin".to_owned()).spawn(move || drop(client));
    }
}

/// Refuses a topic that does not exist, or that this user may not write to.
pub(super) fn check_topic(cluster: &Cluster, origin: &Origin, topic: &str) -> Result<()> {
    let wanted = Selection::Topics(vec![topic.to_owned()]);
    let write = &[Operation::Write];
    let found = cluster.when_there(PATIENCE, |cluster, timeout| cluster.find_for(write, &wanted, timeout))?;
    if found.partitions.is_empty() {
        return Err(Error::reconfigure(format!(
            "Kafka at {}: topic {topic} does not exist; create it, or check its name",
            cluster.bootstrap()
        )));
    }
    check_rights(cluster, origin, write, topic)
}

/// Refuses a topic with which this user may not do `operations`, as far as the broker says: else a batch would find out.
fn check_rights(cluster: &Cluster, origin: &Origin, operations: &[Operation], topic: &str) -> Result<()> {
    let topics = BTreeSet::from([topic]);
    let granted = cluster.when_there(PATIENCE, |cluster, timeout| cluster.granted(&topics, timeout))?;
    rights::check_topic(&origin.settings.asking, &origin.place(), &granted, operations, topic)
}

fn check_name(topic: &str) -> Result<()> {
    const LEN_MAX: usize = 249;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !topic.is_empty() && topic.len() <= LEN_MAX && topic.chars().all(fits) {
        return Ok(());
    }
    Err(Error::reconfigure(format!(
        "Kafka: {topic:?} can't be the name of a markers topic, which is made of the output's: give the output a name of at most \
         200 letters, digits, '.', '_' and '-', or name the topic (markers_topic)"
    )))
}

/// The admin client answers by future only, and one call needs no runtime.
pub(super) fn wait_for<T>(answer: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut answer = pin!(answer);
    loop {
        match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_topic_can_have_is_refused_with_the_way_out() {
        check_name("tidegate-output-words_2.x").unwrap();
        for name in ["tidegate-output-täglich", "tidegate-output-a b", &"x".repeat(250)] {
            assert!(check_name(name).unwrap_err().to_string().contains("markers_topic"), "{name}");
        }
    }
}
