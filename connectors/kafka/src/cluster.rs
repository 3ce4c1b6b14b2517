//! Questions to Kafka that wait for an answer: which partitions there are, where they begin and end.
//!
//! Used at the start, and by the driver's background thread; never on the way of a batch.

use crate::context::Ear;
use crate::params::Settings;
use crate::rights::{self, Granted, GrantedTopics, Operation, Resource};
use crate::security::{self, refused};
use crate::strategy::Selection;
use crate::topic_ids::{self, Question, TopicIds};
use crate::topic_partition::TopicPartition;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_core::{Error, ErrorKind, Result};

/// A client that reads no records.
pub(crate) struct Cluster {
    client: Arc<BaseConsumer<Ear>>,
    settings: Arc<Settings>,
}

/// What is there of what was selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// Topics or partitions asked for by name that do not exist.
    pub(crate) missing: Vec<String>,
}

/// Where partitions begin and end (exclusive). For `read_committed` the end is the last stable offset.
pub(crate) type Ends = BTreeMap<TopicPartition, u64>;

impl Cluster {
    /// A client for `settings`. Connects in the background.
    pub(crate) fn open(settings: &Arc<Settings>) -> Result<Self> {
        let client = settings
            .client()
            .create_with_context(Ear::default())
            .map_err(|error| settings.refusal(&error))?;
        Ok(Cluster { client: Arc::new(client), settings: Arc::clone(settings) })
    }

    /// Asks until there is an answer or `timeout` is over; wrong credentials fail at once.
    pub(crate) fn patiently<T>(
        &self,
        timeout: Duration,
        ask: impl Fn(&Self, Duration) -> Result<T>,
    ) -> Result<T> {
        // Short questions, so that refused credentials are noticed between two of them.
        const STEP: Duration = Duration::from_millis(300);
        let started = Instant::now();
        loop {
            let asked = ask(self, STEP.min(timeout));
            self.check_admitted()?;
            match asked {
                Err(error) if error.kind() == ErrorKind::Retry && started.elapsed() < timeout => {}
                done => return done,
            }
        }
    }

    /// As `patiently`; a broker that does not answer is an error of the settings.
    pub(crate) fn at_start<T>(
        &self,
        timeout: Duration,
        ask: impl Fn(&Self, Duration) -> Result<T>,
    ) -> Result<T> {
        self.patiently(timeout, ask).map_err(|error| match error.kind() {
            ErrorKind::Retry => self.unreachable(timeout, error),
            _ => error,
        })
    }

    /// As `patiently`, for an output: a broker that does not answer is away, and is asked again in the next epoch.
    pub(crate) fn when_there<T>(
        &self,
        timeout: Duration,
        ask: impl Fn(&Self, Duration) -> Result<T>,
    ) -> Result<T> {
        self.patiently(timeout, ask).map_err(|error| match error.kind() {
            ErrorKind::Retry => Error::retry(self.silence(timeout, &error)),
            _ => error,
        })
    }

    fn unreachable(&self, timeout: Duration, error: Error) -> Error {
        Error::reconfigure(self.silence(timeout, &error))
    }

    fn silence(&self, timeout: Duration, error: &Error) -> String {
        let heard = self.client.client().context().newest();
        let heard = heard.map_or_else(|| error.to_string(), |text| self.settings.scrub(&text));
        let hint = security::hint(&self.settings, &heard);
        format!(
            "Kafka at {} did not answer within {:.1} s; check bootstrap.servers and that the brokers run: {heard}{hint}",
            self.settings.bootstrap,
            timeout.as_secs_f64()
        )
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.settings.bootstrap
    }

    /// # Errors
    /// `Reconfigure` when the broker refuses this client.
    pub(crate) fn check_admitted(&self) -> Result<()> {
        // Serves the errors that came in; this client has no records to lose.
        while self.client.poll(Duration::ZERO).is_some() {}
        match self.client.client().context().refused() {
            Some(text) => Err(refused(&self.settings, &text)),
            None => Ok(()),
        }
    }

    /// What is there of `selection` now, to be read.
    pub(crate) fn find(&self, selection: &Selection, timeout: Duration) -> Result<Found> {
        self.find_for(&[Operation::Read], selection, timeout)
    }

    /// What is there of `selection` now. An error about a topic that may not even be seen names `purpose`, which includes that.
    pub(crate) fn find_for(
        &self,
        purpose: &[Operation],
        selection: &Selection,
        timeout: Duration,
    ) -> Result<Found> {
        match selection {
            Selection::Pattern(pattern) => self.find_matching(pattern, timeout),
            Selection::Topics(topics) => self.find_topics(purpose, topics, timeout),
            Selection::Partitions(partitions) => {
                let topics: BTreeSet<String> = partitions.iter().map(|it| it.topic.clone()).collect();
                let topics: Vec<String> = topics.into_iter().collect();
                let there = self.find_topics(purpose, &topics, timeout)?.partitions;
                let wanted = partitions.iter().cloned();
                let (found, missing): (Vec<_>, Vec<_>) = wanted.partition(|it| there.contains(it));
                Ok(Found {
                    partitions: found.into_iter().collect(),
                    missing: missing.iter().map(TopicPartition::to_string).collect(),
                })
            }
        }
    }

    fn find_topics(&self, purpose: &[Operation], topics: &[String], timeout: Duration) -> Result<Found> {
        let mut found = Found::default();
        for topic in topics {
            match self.partitions_of(purpose, topic, timeout)? {
                Some(partitions) => found.partitions.extend(partitions),
                None => found.missing.push(topic.clone()),
            }
        }
        Ok(found)
    }

    /// `None` when there is no such topic.
    fn partitions_of(
        &self,
        purpose: &[Operation],
        topic: &str,
        timeout: Duration,
    ) -> Result<Option<Vec<TopicPartition>>> {
        let metadata = self
            .client
            .fetch_metadata(Some(topic), timeout)
            .map_err(|error| self.failed("topics", &error))?;
        let Some(told) = metadata.topics().iter().find(|told| told.name() == topic) else { return Ok(None) };
        match told.error().map(code) {
            None => {
                Ok(Some(told.partitions().iter().map(|it| TopicPartition::new(topic, it.id())).collect()))
            }
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            // Said of one that does not exist too.
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Err(self.missing(purpose, Resource::Topic(topic)))
            }
            Some(code) => Err(self.of_code(&format!("topic {topic}"), code)),
        }
    }

    /// How many replicas the partitions of `topic` have, the fewest; `None` when there is no such topic.
    pub(crate) fn replicas(&self, topic: &str, timeout: Duration) -> Result<Option<usize>> {
        let metadata = self
            .client
            .fetch_metadata(Some(topic), timeout)
            .map_err(|error| self.failed(&format!("topic {topic}"), &error))?;
        let told = metadata.topics().iter().find(|told| told.name() == topic);
        Ok(told.and_then(|told| told.partitions().iter().map(|it| it.replicas().len()).min()))
    }

    fn find_matching(&self, pattern: &str, timeout: Duration) -> Result<Found> {
        let regex = whole(pattern)?;
        let metadata =
            self.client.fetch_metadata(None, timeout).map_err(|error| self.failed("topics", &error))?;
        let matching = metadata.topics().iter().filter(|topic| {
            topic.error().is_none() && !topic.name().starts_with("__") && regex.is_match(topic.name())
        });
        let partitions = matching
            .flat_map(|topic| topic.partitions().iter().map(|it| TopicPartition::new(topic.name(), it.id())))
            .collect();
        Ok(Found { partitions, missing: Vec::new() })
    }

    /// The ids of the partitions' topics, where they have one.
    pub(crate) fn topic_ids(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<TopicIds> {
        let topics: BTreeSet<&str> = partitions.iter().map(|it| it.topic.as_str()).collect();
        if !self.answers_about(&topics, timeout)? {
            return Ok(TopicIds::new());
        }
        let answer = Question::ask(&self.client, &topics, timeout)?.answer(timeout);
        answer
            .unwrap_or(Err(RDKafkaErrorCode::OperationTimedOut))
            .map_err(|code| self.of_code("topics", code))
    }

    /// Whether there is anything to ask of `topics`, and a broker to ask.
    fn answers_about(&self, topics: &BTreeSet<&str>, timeout: Duration) -> Result<bool> {
        let Some(first) = topics.first() else { return Ok(false) };
        let metadata = self
            .client
            .fetch_metadata(Some(first), timeout)
            .map_err(|error| self.failed("topics", &error))?;
        // librdkafka sends these questions to the controller, and waits for one.
        let controller = topic_ids::controller(&self.client);
        let there = metadata.brokers().iter().any(|broker| broker.id() == controller);
        if !there {
            log::debug!("Kafka at {}: no controller to ask about topics", self.settings.bootstrap);
        }
        Ok(there)
    }

    /// What this user may do with `topics`, as far as the broker says: one without an authorizer says everything, one before 2.3
    /// nothing.
    pub(crate) fn granted(&self, topics: &BTreeSet<&str>, timeout: Duration) -> Result<GrantedTopics> {
        if !self.answers_about(topics, timeout)? {
            return Ok(GrantedTopics::new());
        }
        let answer = Question::ask_for_rights(&self.client, topics, timeout)?.granted(timeout);
        answer
            .unwrap_or(Err(RDKafkaErrorCode::OperationTimedOut))
            .map_err(|code| self.of_code("rights on topics", code))
    }

    /// What this user may do with `group`; `None` when the broker does not say in time.
    pub(crate) fn granted_on_group(&self, group: &str, timeout: Duration) -> Result<Option<Granted>> {
        let question = Question::ask_for_rights_on_group(&self.client, group, timeout)?;
        match question.granted_on_group(timeout) {
            Some(Ok(granted)) => Ok(granted),
            Some(Err(RDKafkaErrorCode::GroupAuthorizationFailed)) => Ok(Some(Granted::new())),
            other => {
                log::debug!("Kafka at {}: group {group}: rights: {other:?}", self.settings.bootstrap);
                Ok(None)
            }
        }
    }

    /// The error of a user who lacks `operations`.
    pub(crate) fn missing(&self, operations: &[Operation], resource: Resource<'_>) -> Error {
        rights::missing(
            &self.settings,
            &format!("Kafka at {}", self.settings.bootstrap),
            operations,
            resource,
        )
    }

    /// The first offset of each partition.
    pub(crate) fn begins(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Ends> {
        self.offsets(partitions, Offset::Beginning, timeout)
    }

    /// The offset after the last record of each partition that a reader can reach.
    pub(crate) fn ends(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Ends> {
        self.offsets(partitions, Offset::End, timeout)
    }

    /// The offset after the last record of each partition, whether a reader can reach it or a transaction is still
    /// open before it.
    pub(crate) fn log_ends(&self, partitions: &[TopicPartition], timeout: Duration) -> Result<Ends> {
        if !self.settings.read_committed {
            return self.ends(partitions, timeout);
        }
        // The isolation level belongs to the client.
        let mut config = self.settings.client();
        config.set("isolation.level", "read_uncommitted");
        let client =
            config.create_with_context(Ear::default()).map_err(|error| self.settings.refusal(&error))?;
        Cluster { client: Arc::new(client), settings: Arc::clone(&self.settings) }.ends(partitions, timeout)
    }

    /// One request for each broker, whatever the number of partitions (ListOffsets with the times -2 and -1, which
    /// stand for the ends; librdkafka adds the isolation level of the client).
    fn offsets(&self, partitions: &[TopicPartition], which: Offset, timeout: Duration) -> Result<Ends> {
        if partitions.is_empty() {
            return Ok(Ends::new());
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for it in partitions {
            list.add_partition_offset(&it.topic, it.partition, which)
                .map_err(|error| self.failed("offsets", &error))?;
        }
        let told =
            self.client.offsets_for_times(list, timeout).map_err(|error| self.failed("offsets", &error))?;
        let mut ends = Ends::new();
        for it in told.elements() {
            let name = TopicPartition::new(it.topic(), it.partition());
            if let Err(error) = it.error() {
                return Err(self.failed(&name.to_string(), &error));
            }
            match it.offset() {
                Offset::Offset(offset) if offset >= 0 => ends.insert(name, offset.unsigned_abs()),
                // No leader answered for it.
                _ => {
                    return Err(Error::retry(format!(
                        "Kafka at {} told no offsets of {name}",
                        self.settings.bootstrap
                    )));
                }
            };
        }
        Ok(ends)
    }

    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        match error.rdkafka_error_code() {
            Some(code) => self.of_code(what, code),
            None => Error::bug(format!("Kafka at {}: {what}: {error}", self.settings.bootstrap)),
        }
    }

    fn of_code(&self, what: &str, code: RDKafkaErrorCode) -> Error {
        let text = format!("Kafka at {}: {what}: {code}", self.settings.bootstrap);
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
                let principal = self.settings.principal();
                let who = principal.as_deref().unwrap_or("this user");
                Error::reconfigure(format!("{text}; grant {who} READ on it, or WRITE for an output"))
            }
            RDKafkaErrorCode::InvalidTopic => {
                Error::reconfigure(format!("{text}; check the name of the topic"))
            }
            _ => Error::retry(text),
        }
    }
}

/// The pattern, made to match whole names, as Java's `Pattern.matches` does.
pub(crate) fn whole(pattern: &str) -> Result<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
        Error::reconfigure(format!("pattern of topics {pattern:?} is no regular expression")).because(error)
    })
}

fn code(error: RDKafkaRespErr) -> RDKafkaErrorCode {
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names() {
        let regex = whole("a|b.*").unwrap();
        let matches: Vec<_> =
            ["a", "ab", "b1", "xb1"].into_iter().filter(|name| regex.is_match(name)).collect();
        assert_eq!(matches, ["a", "b1"]);
        assert!(whole("(").unwrap_err().to_string().contains("no regular expression"));
    }
}
