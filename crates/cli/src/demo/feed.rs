//! The broker in this process and the thread that feeds it. What was produced is known to the word.

use super::lines::Lines;
use super::pacing::{self, BATCH_BYTES_MAX};
use super::{PARTITIONS, TOPIC};
use crate::exit::Failure;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DefaultProducerContext, DeliveryResult, Producer, ProducerContext,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at what is due. The broker's answers are heard meanwhile.
const PAUSE: Duration = Duration::from_millis(5);
/// Far longer than the broker ever takes for a line.
const DELIVERY_MAX: Duration = Duration::from_secs(15);
const FLUSH_MAX: Duration = Duration::from_secs(20);

/// Kafka in this process, with the topic of lines.
pub(super) struct Broker(MockCluster<'static, DefaultProducerContext>);

impl Broker {
    pub(super) fn start() -> Result<Broker, Failure> {
        let cluster =
            MockCluster::new(1).and_then(|it| it.create_topic(TOPIC, PARTITIONS as i32, 1).map(|()| it));
        cluster.map(Broker).map_err(|error| Failure::of("can't start Kafka in this process", error))
    }

    pub(super) fn address(&self) -> String {
        self.0.bootstrap_servers()
    }
}

/// How far the producer and the job are, by partition. Written by one side each, read by both.
#[derive(Default)]
pub(super) struct Levels {
    sent: [AtomicU64; PARTITIONS],
    committed: [AtomicU64; PARTITIONS],
}

impl Levels {
    /// Tells how far the job is.
    pub(super) fn committed(&self, ends: [u64; PARTITIONS]) {
        for (level, end) in self.committed.iter().zip(ends) {
            level.fetch_max(end, Ordering::Relaxed);
        }
    }

    /// Lines sent and not committed, by partition.
    pub(super) fn unread(&self) -> [u64; PARTITIONS] {
        let level = |level: &AtomicU64| level.load(Ordering::Relaxed);
        std::array::from_fn(|place| level(&self.sent[place]).saturating_sub(level(&self.committed[place])))
    }
}

/// What was produced in all, each line acknowledged.
#[derive(Debug)]
pub(super) struct Produced {
    /// Lines of each partition.
    pub(super) lines: [u64; PARTITIONS],
    /// How often each word is in them.
    pub(super) words: BTreeMap<String, u64>,
}

/// The thread that produces lines until it is told to stop.
pub(super) struct Feed {
    pub(super) levels: Arc<Levels>,
    stop: SyncSender<()>,
    thread: JoinHandle<Result<Produced, String>>,
}

impl Feed {
    pub(super) fn start(address: &str, rate: u64, seed: u64) -> Result<Feed, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::of("can't start the producer", error);
        let levels = Arc::new(Levels::default());
        let (stop, stopped) = sync_channel(1);
        let producer = ClientConfig::new()
            .set("bootstrap.servers", address)
            .set("linger.ms", "5")
            .set("batch.size", BATCH_BYTES_MAX.to_string())
            // A line that is sent again after its answer was lost would be in the topic twice.
            .set("retries", "0")
            .set("message.timeout.ms", DELIVERY_MAX.as_millis().to_string())
            .create_with_context(Deliveries::default())
            .map_err(|error| failed(&error))?;
        let producing = Producing { producer, lines: Lines::seeded(seed), rate, levels: levels.clone() };
        let named = std::thread::Builder::new().name("demo-feed".to_owned());
        let thread = named.spawn(move || producing.run(&stopped)).map_err(|error| failed(&error))?;
        Ok(Feed { levels, stop, thread })
    }

    /// Whether it ended although nobody told it to: [`finish`](Feed::finish) says why.
    pub(super) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Stops producing, and waits until the broker has every line.
    pub(super) fn finish(self) -> Result<Produced, Failure> {
        // A thread that has failed hears nothing; its error is the answer.
        let _ = self.stop.send(());
        match self.thread.join() {
            Ok(produced) => produced.map_err(|text| Failure::of("producing lines", text)),
            Err(_) => Err(Failure::of("producing lines", "the thread panicked")),
        }
    }
}

struct Producing {
    producer: BaseProducer<Deliveries>,
    lines: Lines,
    rate: u64,
    levels: Arc<Levels>,
}

impl Producing {
    fn run(mut self, stopped: &Receiver<()>) -> Result<Produced, String> {
        let started = Instant::now();
        let mut sent = 0;
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            let due = pacing::due(self.rate, started.elapsed()).saturating_sub(sent);
            for (partition, lines) in pacing::portions(due, self.levels.unread()).into_iter().enumerate() {
                for _ in 0..lines {
                    self.send(partition)?;
                }
                sent += lines;
            }
            self.producer.poll(PAUSE);
            self.producer.context().failure()?;
        }
        self.producer.flush(FLUSH_MAX).map_err(|error| format!("not every line was taken: {error}"))?;
        self.producer.context().failure()?;
        let lines = std::array::from_fn(|place| self.levels.sent[place].load(Ordering::Relaxed));
        let kept = self.producer.context().ends();
        if kept != lines {
            return Err(format!("lines {lines:?} were sent, the broker has taken {kept:?}"));
        }
        let words = self.lines.counts().filter(|(_, count)| *count > 0);
        Ok(Produced { lines, words: words.map(|(word, count)| (word.to_owned(), count)).collect() })
    }

    fn send(&mut self, partition: usize) -> Result<(), String> {
        // Counted before it is sent: the job is never further than the producer.
        self.levels.sent[partition].fetch_add(1, Ordering::Relaxed);
        let record = BaseRecord::<(), str>::to(TOPIC).partition(partition as i32).payload(self.lines.make());
        let mut outcome = self.producer.send(record);
        while let Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) = outcome {
            // Lines leave the queue once their answers are heard, be it that they were not taken in time.
            self.producer.poll(PAUSE);
            outcome = self.producer.send(record);
        }
        outcome.map_err(|(error, _)| error.to_string())
    }
}

/// What the broker answered.
#[derive(Default)]
struct Deliveries {
    ends: [AtomicU64; PARTITIONS],
    failure: Mutex<Option<String>>,
}

impl Deliveries {
    fn failure(&self) -> Result<(), String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Where each partition ends by the newest answer.
    fn ends(&self) -> [u64; PARTITIONS] {
        std::array::from_fn(|place| self.ends[place].load(Ordering::Relaxed))
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        match delivered {
            Ok(message) => {
                let end = u64::try_from(message.offset() + 1).unwrap_or(0);
                self.ends[message.partition() as usize].fetch_max(end, Ordering::Relaxed);
            }
            Err((error, _)) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert_with(|| format!("the broker did not take a line: {error}"));
            }
        }
    }
}
