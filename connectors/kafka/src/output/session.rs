//! One producer: what it sends is acknowledged, and what it is refused is told by batch and key.
//!
//! Verified in librdkafka 2.12.1: a record that can't be added to the transaction, or is refused, fails the transaction, and all
//! other records come back as purged; the reason is in the client's log and in the answer to a commit. A flush sends at once what
//! `linger.ms` would keep. `commit_transaction` that ran out of time may be asked again and goes on where it was.
#![allow(unsafe_code)]

use super::failure::{failure, is_fenced, is_purged, taken_over};
use super::record::{ProducerRecord, shown};
use super::replicas;
use super::settings::ProducerSettings;
use crate::cluster::Cluster;
use crate::context::Ear;
use crate::rights::{self, Operation, Resource};
use crate::security::refused;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::bindings as sys;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegate_core::{BatchId, Error, OutputId, Result};

/// Between two looks at what came in.
const STEP: Duration = Duration::from_millis(10);
/// For a question that librdkafka goes on with when it is asked again.
const ASK_STEP: Duration = Duration::from_millis(500);
/// The first of those for a transactional id, doubled from one to the next. A coordinator that still ends what an earlier run left
/// open says so, and librdkafka comes back half a second later; asked again, it does so at once.
const ASK_STEP_FIRST: Duration = Duration::from_millis(25);
/// To be told what a user may do, for an error.
const RIGHTS_PATIENCE: Duration = Duration::from_secs(5);
/// For a transaction to be committed, the coordinator away included.
const COMMIT_PATIENCE: Duration = Duration::from_secs(20);
/// For a transaction to be taken back, or to say why it failed. What is left open is ended by the next opening.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);
/// Beyond the time that a message may take.
const SETTLE_MARGIN: Duration = Duration::from_secs(10);

/// Hears what one producer is told.
#[derive(Default)]
pub(super) struct Deliveries {
    ear: Ear,
    /// The first record that was refused for its own sake; else the first that was given up with others.
    lost: Mutex<Option<Lost>>,
    /// The newest error in librdkafka's log: why a transaction failed.
    why: Mutex<Option<String>>,
}

#[derive(Clone)]
struct Lost {
    code: Code,
    topic: String,
    record: String,
    /// Those of all records that were given up.
    topics: BTreeSet<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if level as i32 <= RDKafkaLogLevel::Error as i32
            && matches!(facility, "ADDPARTS" | "TXNERR" | "FATAL")
        {
            lock(&self.why).get_or_insert_with(|| text.to_owned());
        }
        self.ear.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ear.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = delivered else { return };
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        let (topic, mut lost) = (message.topic(), lock(&self.lost));
        if lost.as_ref().is_none_or(|before| is_purged(before.code) && !is_purged(code)) {
            let key = message
                .key()
                .map_or_else(|| "without a key".to_owned(), |key| format!("with key {}", shown(key)));
            let bytes = message.payload_len() + message.key_len();
            let record = format!("a record for topic {topic} {key}, {bytes} bytes");
            let topics = lost.take().map(|before| before.topics).unwrap_or_default();
            *lost = Some(Lost { code, topic: topic.to_owned(), record, topics });
        }
        if let Some(lost) = lost.as_mut()
            && !lost.topics.contains(topic)
        {
            lost.topics.insert(topic.to_owned());
        }
    }
}

/// Who writes: for errors.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) settings: ProducerSettings,
    pub(super) output: OutputId,
}

impl Origin {
    pub(super) fn place(&self) -> String {
        format!("Kafka at {}, output {}", self.settings.asking.bootstrap, self.output)
    }

    fn place_of(&self, batch: BatchId) -> String {
        format!("{}, batch {batch}", self.place())
    }
}

/// One producer.
pub(super) struct Session {
    producer: BaseProducer<Deliveries>,
    origin: Arc<Origin>,
    transactional_id: Option<String>,
    /// When the transaction began, while one is open.
    began: Option<Instant>,
}

impl Session {
    /// A producer, with transactions if it is given an id. Connects in the background.
    pub(super) fn open(origin: &Arc<Origin>, transactional_id: Option<String>) -> Result<Session> {
        let config = origin.settings.producer(transactional_id.as_deref());
        let producer = config
            .create_with_context(Deliveries::default())
            .map_err(|error| origin.settings.asking.refusal(&error))?;
        Ok(Session { producer, origin: Arc::clone(origin), transactional_id, began: None })
    }

    /// Takes the transactional id over: whoever had it can commit nothing from now on, and a transaction that it left open is
    /// ended. That waits until `topics`, which it has written to, take its end.
    pub(super) fn take_over(&self, topics: [&str; 2], patience: Duration) -> Result<()> {
        // Without a connection librdkafka looks for the coordinator half a second later. The first question is answered by an
        // address of bootstrap.servers, whose connection may then be closed; the second one by a broker. That there is none is
        // told below.
        for _ in 0..2 {
            let _ = self.producer.client().fetch_metadata(Some(topics[0]), ASK_STEP);
        }
        let id = self.transactional_id.as_deref().unwrap_or("none");
        let place = format!("{}, transactional id {id}", self.origin.place());
        let (started, mut step) = (Instant::now(), ASK_STEP_FIRST);
        loop {
            let error = match self.producer.init_transactions(step) {
                Ok(()) => return Ok(()),
                Err(error) => told(error),
            };
            step = (step * 2).min(ASK_STEP);
            self.check_admitted()?;
            if !error.goes_on {
                return Err(self.explained(&place, &error));
            }
            if started.elapsed() >= patience {
                let heard = self.producer.context().ear.newest().unwrap_or(error.text);
                let lagging: Vec<_> = topics.iter().filter_map(|topic| self.lagging(topic)).collect();
                let lagging = match lagging.as_slice() {
                    [] => String::new(),
                    all => format!("; an open transaction may be waiting for replicas: {}", all.join("; ")),
                };
                return Err(Error::retry(format!(
                    "{place}: the transaction coordinator did not give it within {} s: {}{lagging}",
                    patience.as_secs(),
                    self.origin.settings.asking.scrub(&heard)
                )));
            }
        }
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.began.is_some()
    }

    /// Begins a transaction, if none is open.
    pub(super) fn begin(&mut self, batch: BatchId) -> Result<()> {
        if self.began.is_none() {
            let begun = self.producer.begin_transaction().map_err(told);
            begun.map_err(|error| self.explained(&self.origin.place_of(batch), &error))?;
            self.began = Some(Instant::now());
        }
        Ok(())
    }

    /// Hands a record over, waiting while the client's buffer is full. An error may be about a record before it.
    pub(super) fn send(&self, batch: BatchId, topic: &str, record: &ProducerRecord) -> Result<()> {
        let mut out = BaseRecord::<[u8], [u8]>::to(record.topic_name().unwrap_or(topic));
        (out.key, out.payload) = (record.key_bytes(), record.value_bytes());
        (out.partition, out.timestamp) = (record.partition_number(), record.time());
        if !record.headers().is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers().len());
            out.headers = Some(record.headers().iter().fold(headers, |headers, (name, value)| {
                headers.insert(Header { key: name, value: value.as_ref() })
            }));
        }
        let started = Instant::now();
        loop {
            let (error, again) = match self.producer.send(out) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            self.check(batch)?;
            let code = error.rdkafka_error_code().unwrap_or(Code::InvalidArgument);
            if code != Code::QueueFull {
                let key = record
                    .key_bytes()
                    .map_or_else(|| "without a key".to_owned(), |key| format!("with key {}", shown(key)));
                let place = format!(
                    "{}: a record for topic {} {key}, {} bytes",
                    self.origin.place_of(batch),
                    again.topic,
                    record.size()
                );
                return Err(failure(&place, code, ""));
            }
            if started.elapsed() > self.origin.settings.message_timeout + SETTLE_MARGIN {
                return Err(self.not_settled(batch));
            }
            self.producer.poll(Duration::from_millis(1));
            out = again;
        }
    }

    /// Waits until all that was sent is acknowledged.
    ///
    /// # Errors
    /// The first record that was refused.
    pub(super) fn settle(&self, batch: BatchId) -> Result<()> {
        let started = Instant::now();
        loop {
            let done = self.flush(STEP);
            self.producer.poll(Duration::ZERO);
            self.check(batch)?;
            if done && self.producer.in_flight_count() == 0 {
                return Ok(());
            }
            if started.elapsed() > self.origin.settings.message_timeout + SETTLE_MARGIN {
                return Err(self.not_settled(batch));
            }
        }
    }

    /// Not the crate's own flush: that one asks librdkafka without waiting, and then sleeps.
    fn flush(&self, wait: Duration) -> bool {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client is alive.
        let code = unsafe { sys::rd_kafka_flush(self.producer.client().native_ptr(), wait_ms) };
        Code::from(code) == Code::NoError
    }

    /// Commits the transaction, if one is open.
    ///
    /// # Errors
    /// `Retry`: it is not known whether it is in.
    pub(super) fn commit(&mut self, batch: BatchId) -> Result<()> {
        let Some(began) = self.began else { return Ok(()) };
        let started = Instant::now();
        loop {
            let error = match self.producer.commit_transaction(ASK_STEP) {
                Ok(()) => {
                    self.began = None;
                    return Ok(());
                }
                Err(error) => told(error),
            };
            self.producer.poll(Duration::ZERO);
            let place = format!("{}: it was to be committed", self.origin.place_of(batch));
            if is_fenced(error.code) {
                return Err(self.lost_the_id(&self.origin.place_of(batch), began));
            }
            if !error.goes_on || started.elapsed() >= COMMIT_PATIENCE {
                let heard = self.producer.context().ear.newest().filter(|_| error.goes_on);
                let text = heard.unwrap_or(error.text);
                // Whatever it was, whether the batch is in is for the next opening to say.
                return Err(Error::retry(self.origin.settings.asking.scrub(&format!("{place}: {text}"))));
            }
        }
    }

    /// Takes the open transaction back, as far as that can be done now.
    pub(super) fn abort(&mut self) {
        if self.began.take().is_none() {
            return;
        }
        self.producer.purge(PurgeConfig::default().queue().inflight());
        let started = Instant::now();
        loop {
            self.producer.poll(Duration::ZERO);
            match self.producer.abort_transaction(Duration::from_millis(100)).map_err(told) {
                Err(error) if error.goes_on && started.elapsed() < ABORT_PATIENCE => {}
                Err(error) => {
                    log::debug!(
                        "{}: a transaction is left to the next opening: {}",
                        self.origin.place(),
                        error.text
                    );
                    return;
                }
                Ok(()) => return,
            }
        }
    }

    /// What came in so far says that something failed.
    fn check(&self, batch: BatchId) -> Result<()> {
        self.check_admitted()?;
        let context = self.producer.context();
        let place = self.origin.place_of(batch);
        if let Some((code, text)) = self.producer.client().fatal_error() {
            return Err(match self.began {
                Some(began) if is_fenced(code) => self.lost_the_id(&place, began),
                _ => self
                    .denied(&place, code, "")
                    .unwrap_or_else(|| failure(&place, code, &self.origin.settings.asking.scrub(&text))),
            });
        }
        let Some(lost) = lock(&context.lost).clone() else { return Ok(()) };
        if !is_purged(lost.code) || self.transactional_id.is_none() {
            let mut place = format!("{place}: {}", lost.record);
            if matches!(
                lost.code,
                Code::MessageTimedOut | Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend
            ) {
                place.extend(self.lagging(&lost.topic).map(|text| format!(" ({text})")));
            }
            return Err(self
                .denied(&place, lost.code, &lost.topic)
                .unwrap_or_else(|| failure(&place, lost.code, "")));
        }
        // The transaction failed: once nothing is on its way, the answer to a commit says why, and commits nothing.
        let started = Instant::now();
        while !self.flush(STEP) && started.elapsed() < ABORT_PATIENCE {
            self.producer.poll(Duration::ZERO);
        }
        // It comes from a thread of librdkafka: without patience a busy machine would answer that there is none yet.
        let Err(error) = self.producer.commit_transaction(ABORT_PATIENCE).map_err(told) else {
            return Err(Error::bug(format!(
                "{place}: a transaction whose records were given up was committed"
            )));
        };
        let why = lock(&context.why).clone().unwrap_or(error.text);
        let denied = match error.code {
            // Of all topics of a transaction, or one of them that is not the one.
            Code::TopicAuthorizationFailed => {
                // More were given up meanwhile.
                let topics = lock(&context.lost).as_ref().map(|lost| lost.topics.clone());
                self.denied_topic(&place, &topics.unwrap_or(lost.topics))
            }
            code => self.denied(&place, code, ""),
        };
        Err(denied.unwrap_or_else(|| failure(&place, error.code, &self.origin.settings.asking.scrub(&why))))
    }

    /// Why a topic may acknowledge nothing, if a broker can say.
    fn lagging(&self, topic: &str) -> Option<String> {
        let metadata = self.producer.client().fetch_metadata(Some(topic), ASK_STEP);
        replicas::lagging(&metadata.ok()?, topic)
    }

    /// The error of a user who may not write to one of `topics`: the one that brokers say, else the one that they do not show to him.
    fn denied_topic(&self, place: &str, topics: &BTreeSet<String>) -> Option<Error> {
        let settings = &self.origin.settings.asking;
        let topics: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
        let cluster = Cluster::open(&Arc::new(settings.clone())).ok()?;
        let granted = cluster.granted(&topics, RIGHTS_PATIENCE).ok().filter(|granted| !granted.is_empty())?;
        let write = &[Operation::Write];
        let lacking = |topic: &&str| rights::check_topic(settings, place, &granted, write, topic).err();
        let hidden = || topics.iter().find(|topic| !granted.contains_key(**topic));
        topics
            .iter()
            .find_map(lacking)
            .or_else(|| hidden().map(|topic| rights::missing(settings, place, write, Resource::Topic(topic))))
    }

    /// The error of a user who may not do this, if `code` says so.
    fn denied(&self, place: &str, code: Code, topic: &str) -> Option<Error> {
        let settings = &self.origin.settings.asking;
        let write = |resource| Some(rights::missing(settings, place, &[Operation::Write], resource));
        match (code, &self.transactional_id) {
            (Code::TopicAuthorizationFailed, _) if !topic.is_empty() => write(Resource::Topic(topic)),
            // An id is a name and the number of a partition.
            (Code::TransactionalIdAuthorizationFailed, Some(id)) => {
                write(Resource::TransactionalIds(id.trim_end_matches(|c: char| c.is_ascii_digit())))
            }
            _ => None,
        }
    }

    fn check_admitted(&self) -> Result<()> {
        self.producer.poll(Duration::ZERO);
        match self.producer.context().ear.refused() {
            Some(text) => Err(refused(&self.origin.settings.asking, &text)),
            None => Ok(()),
        }
    }

    fn explained(&self, place: &str, error: &Told) -> Error {
        if is_fenced(error.code) {
            return taken_over(place);
        }
        let denied = self.denied(place, error.code, "");
        denied.unwrap_or_else(|| failure(place, error.code, &self.origin.settings.asking.scrub(&error.text)))
    }

    /// Another run has the id, or the broker has ended a transaction that was open for too long.
    fn lost_the_id(&self, place: &str, began: Instant) -> Error {
        let limit = self.origin.settings.transaction_timeout;
        if began.elapsed() + STEP < limit {
            return taken_over(place);
        }
        Error::retry(format!(
            "{place}: the batch took longer than transaction.timeout.ms={}, so Kafka ended its transaction; it is run again. \
             Raise the setting (and the brokers' transaction.max.timeout.ms), or make batches smaller",
            limit.as_millis()
        ))
    }

    fn not_settled(&self, batch: BatchId) -> Error {
        let heard = self.producer.context().ear.newest().unwrap_or_default();
        failure(
            &self.origin.place_of(batch),
            Code::MessageTimedOut,
            &self.origin.settings.asking.scrub(&format!("records are not acknowledged: {heard}")),
        )
    }
}

/// What librdkafka says of a transaction.
struct Told {
    code: Code,
    text: String,
    /// Asked again, it goes on.
    goes_on: bool,
}

fn told(error: KafkaError) -> Told {
    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
    match error {
        KafkaError::Transaction(error) => Told {
            code: error.code(),
            text: error.string(),
            goes_on: error.is_retriable() || error.code() == Code::OperationTimedOut,
        },
        // The crate flushes before it commits.
        other => Told { code, text: other.to_string(), goes_on: code == Code::OperationTimedOut },
    }
}
