//! Kafka as an output: each batch in a transaction with a marker that says which batch it is.
//!
//! `record` and `placement` are what is written and where it belongs; `settings` the producers' settings; `marker` what is
//! remembered, as bytes, and `markers` the topic it is in; `session` one producer; `takeover` what opening does; `writer` and
//! `plain` the two ways to write; `failure` what errors mean, and `replicas` what a topic lacks.
//!
//! What must not be here: a transactional id that depends on the number of workers, and a commit of records that are not all
//! acknowledged.

mod failure;
mod marker;
mod markers;
mod placement;
mod plain;
mod record;
mod replicas;
mod save;
mod session;
mod settings;
mod takeover;
mod writer;

use crate::cluster::Cluster;
use crate::params::Params;
use marker::Registered;
use markers::Markers;
pub use record::ProducerRecord;
pub use save::SaveToKafka;
use session::{Origin, Session};
use settings::ProducerSettings;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_core::{
    Delivery, Error, Held, Output, OutputContext, OutputId, Placement, Result, Seat, Writer, Writers,
};

/// Most partitions an output may have: each is a producer while the output is opened.
const PARTITIONS_MAX: u32 = 64;
/// What the names of markers topics and of transactional ids begin with.
const PREFIX: &str = "tidegate-output-";

/// Records into a topic, each batch once: its records, its number and the ranges it took are in one transaction of each writer.
///
/// Readers must read with `isolation.level=read_committed`; others see records of batches that were never committed.
///
/// Keys are spread over the output's partitions, which have nothing to do with those of the topic: as many workers write at the
/// same time. Their number is decided when the output is first used.
///
/// ```
/// use tidegate::DStream;
/// use tidegate_kafka::{KafkaOutput, ProducerRecord, SaveToKafka};
///
/// # fn job(words: DStream<(String, i64)>) -> tidegate::Result<()> {
/// let counts = KafkaOutput::new([("bootstrap.servers", "broker:9092")], "word-counts")?.partitions(8);
/// words.save_to_kafka_as("counts", counts, |(word, count)| {
///     ProducerRecord::new().key(word).value(count.to_string())
/// })?;
/// # Ok(()) }
/// ```
pub struct KafkaOutput {
    settings: ProducerSettings,
    topic: Arc<str>,
    partitions: u32,
    exactly_once: bool,
    markers_topic: Option<String>,
    opening: Mutex<Option<Opened>>,
}

/// What opening left for the writers.
struct Opened {
    markers_topic: Arc<str>,
    registered: Registered,
    /// By number of the worker that takes it.
    sessions: Vec<Option<Session>>,
}

impl KafkaOutput {
    /// An output to `topic`, which must exist when the job starts. Connects to nothing yet.
    ///
    /// `params` are librdkafka's settings, as for [`ConsumerStrategy`](crate::ConsumerStrategy); one set of them may serve for
    /// reading and writing.
    ///
    /// # Errors
    /// `Reconfigure`: a setting is missing, unknown or can't be used.
    pub fn new(params: impl Into<Params>, topic: &str) -> Result<Self> {
        Ok(KafkaOutput {
            settings: ProducerSettings::check(&params.into())?,
            topic: topic.into(),
            partitions: 4,
            exactly_once: true,
            markers_topic: None,
            opening: Mutex::new(None),
        })
    }

    /// In how many partitions the output remembers its batches, and so how many transactional ids it has: 4 unless set, 64 at
    /// most. Decided when the output is first used; from then on the number found in its markers holds.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Writes without transactions: cheaper, seen by every reader at once, and after a crash the last batch may be there twice.
    ///
    /// The records of a batch are kept in memory until every output of the job has prepared. One that Kafka refuses for what it
    /// is (too long for the topic) stops the job when other outputs have published the batch already.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.exactly_once = false;
        self
    }

    /// The topic that the output's markers are in, and what its transactional ids begin with: `tidegate-output-` and the name of
    /// the output unless set. It belongs to this output alone.
    #[must_use]
    pub fn markers_topic(mut self, topic: impl Into<String>) -> Self {
        self.markers_topic = Some(topic.into());
        self
    }

    fn check_interval(&self, interval: Duration) -> Result<()> {
        if self.exactly_once { self.settings.check_interval(interval) } else { Ok(()) }
    }

    fn origin(&self, output: &OutputId) -> Arc<Origin> {
        Arc::new(Origin { settings: self.settings.clone(), output: output.clone() })
    }

    fn opening(&self) -> std::sync::MutexGuard<'_, Option<Opened>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_over(&self, context: &OutputContext) -> Result<Held> {
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(Error::reconfigure(format!(
                "output {}, Kafka topic {}: {} partitions, needed are 1 to {PARTITIONS_MAX}",
                context.output, self.topic, self.partitions
            )));
        }
        let first = self.opening().take().is_none();
        let origin = self.origin(&context.output);
        let markers_topic =
            self.markers_topic.clone().unwrap_or_else(|| format!("{PREFIX}{}", context.output));
        let markers = Markers::open(&origin, &self.topic, &markers_topic)?;
        if first {
            markers.check_settings(&self.topic)?;
        }
        let (taken, held) =
            takeover::take_over(&origin, &markers, &markers_topic, &self.topic, self.partitions, context)?;
        let Some(taken) = taken else { return Ok(held) };
        if taken.registered.partitions != self.partitions {
            log::info!(
                "{}: keeps its {} partitions; {} would be for one that was never used",
                origin.place(),
                taken.registered.partitions,
                self.partitions
            );
        }
        *self.opening() = Some(Opened {
            markers_topic: markers_topic.into(),
            registered: taken.registered,
            sessions: taken.sessions.into_iter().map(Some).collect(),
        });
        Ok(held)
    }

    fn transaction_writer(&self, seat: &Seat) -> Result<writer::TransactionWriter> {
        let mut opening = self.opening();
        let opened = opening.as_mut().ok_or_else(|| {
            Error::bug(format!("output {}: a writer was asked for before it was opened", seat.output))
        })?;
        // Worker w has the partitions p with p % workers = w, so the id of partition w is its alone.
        let session = opened.sessions.get_mut(seat.worker).and_then(Option::take);
        let unused =
            opened.sessions.iter_mut().skip(seat.workers).filter_map(Option::take).collect::<Vec<_>>();
        let writer = writer::TransactionWriter {
            session,
            output: seat.output.clone(),
            topic: Arc::clone(&self.topic),
            markers_topic: Arc::clone(&opened.markers_topic),
            registered: opened.registered.clone(),
            in_doubt: false,
        };
        drop(opening);
        drop(unused);
        Ok(writer)
    }
}

impl fmt::Debug for KafkaOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaOutput")
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .field("exactly_once", &self.exactly_once)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Output<ProducerRecord> for KafkaOutput {
    fn describe(&self) -> String {
        format!("Kafka topic {} at {}", self.topic, self.settings.asking.bootstrap)
    }

    fn delivery(&self) -> Delivery {
        if self.exactly_once { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce }
    }

    fn writers(&self) -> Writers {
        Writers::EachWorker
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        if self.exactly_once {
            return self.take_over(context);
        }
        let cluster = Cluster::open(&Arc::new(self.settings.asking.clone()))?;
        markers::check_topic(&cluster, &self.origin(&context.output), &self.topic)?;
        Ok(Held::default())
    }

    fn placement(&self) -> Placement<ProducerRecord> {
        if !self.exactly_once {
            return Placement::AsIs;
        }
        let partitions =
            self.opening().as_ref().map_or(self.partitions, |opened| opened.registered.partitions);
        Placement::Hash { partitions, hash: Arc::new(placement::hash) }
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<ProducerRecord>>> {
        if self.exactly_once {
            return Ok(Box::new(self.transaction_writer(seat)?));
        }
        let origin = self.origin(&seat.output);
        let session = Session::open(&origin, None)?;
        let topic = Arc::clone(&self.topic);
        Ok(Box::new(plain::PlainWriter { session, origin, topic, records: Vec::new() }))
    }
}
