//! Puts topics and records into a broker, and asks how far it is.
//!
//! Every call returns when the broker has acknowledged everything, or says what was not. The producer is idempotent: a
//! broker that is killed and started again in between still holds each record once.

use crate::ServerError;
use crate::lines::{Lines, SEED, timestamp_ms};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig, FromClientConfigAndContext};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::util::Timeout;
use rdkafka::{ClientContext, Message};
use std::ops::Range;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(30);
/// Long enough for a broker that is started again in between.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);

/// Creates a topic and returns when its partitions can be written to. An error if it is there already.
pub fn create_topic(
    bootstrap: &str,
    topic: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Result<(), ServerError> {
    let what = || format!("cannot create topic {topic}");
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in configs {
        new = new.set(name, value);
    }
    let results = block_on(admin(bootstrap)?.create_topics([&new], &admin_options()))
        .map_err(|error| ServerError::client(what(), error))?;
    all_done(results).map_err(|code| ServerError::client(what(), code))?;
    let client = consumer(bootstrap)?;
    let expected = usize::try_from(partitions).unwrap_or_default();
    wait_until(what, || Ok(led_partitions(&client, topic)? == expected))
}

/// Deletes a topic and returns when the broker no longer knows it. An error if it is not there.
pub fn delete_topic(bootstrap: &str, topic: &str) -> Result<(), ServerError> {
    let what = || format!("cannot delete topic {topic}");
    let results = block_on(admin(bootstrap)?.delete_topics(&[topic], &admin_options()))
        .map_err(|error| ServerError::client(what(), error))?;
    all_done(results).map_err(|code| ServerError::client(what(), code))?;
    let client = consumer(bootstrap)?;
    wait_until(what, || {
        let metadata =
            client.fetch_metadata(Some(topic), LIMIT).map_err(|error| ServerError::client(what(), error))?;
        Ok(metadata.topics().iter().all(|found| found.error().is_some()))
    })
}

/// Writes these lines of [`SEED`], each to partition `i % partitions` with its own create time, without a key.
pub fn produce_lines(bootstrap: &str, topic: &str, lines: Range<u64>) -> Result<(), ServerError> {
    let source = Lines::new(SEED);
    let writer = LineWriter::new(bootstrap, topic, 50)?;
    let mut line = String::new();
    for i in lines {
        line.clear();
        source.append(i, &mut line);
        writer.send(i, timestamp_ms(i), &line)?;
    }
    writer.finish().map(drop)
}

/// Writes lines from number 0 on at `rate` a second for `duration`, each with the time at which it was due as its create time,
/// and returns how many there were. They go out at that pace on average, in steps of some milliseconds.
///
/// The due time and not the time of sending: where this program is late, the lateness belongs to what is measured.
pub fn produce_paced(
    bootstrap: &str,
    topic: &str,
    rate: u32,
    duration: Duration,
) -> Result<u64, ServerError> {
    let source = Lines::new(SEED);
    let writer = LineWriter::new(bootstrap, topic, 0)?;
    let total = (f64::from(rate) * duration.as_secs_f64()).round() as u64;
    let mut line = String::new();
    let mut send = |i: u64, created: SystemTime| {
        let created = created.duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis();
        line.clear();
        source.append(i, &mut line);
        writer.send(i, i64::try_from(created).expect("milliseconds fit into i64"), &line)
    };
    // Connecting takes a producer a quarter of a second; the pace begins when one record has arrived.
    if total > 0 {
        send(0, SystemTime::now())?;
        writer.flush()?;
    }
    let (start, start_wall) = (Instant::now(), SystemTime::now());
    for i in 1..total {
        let due = Duration::from_secs_f64(i as f64 / f64::from(rate));
        if let Some(early) = due.checked_sub(start.elapsed()) {
            thread::sleep(early.max(Duration::from_millis(1)));
        }
        send(i, start_wall + due)?;
    }
    writer.finish()
}

/// The offset after the last record of each partition, in the order of partitions. Records of open or aborted transactions
/// and their markers count, as they do in Kafka.
pub fn end_offsets(bootstrap: &str, topic: &str) -> Result<Vec<i64>, ServerError> {
    let client = consumer(bootstrap)?;
    let partitions = partition_count(&client, topic)?;
    (0..partitions)
        .map(|partition| {
            let (_, end) = client.fetch_watermarks(topic, partition, LIMIT).map_err(|error| {
                ServerError::client(format!("cannot read the end of {topic}/{partition}"), error)
            })?;
            Ok(end)
        })
        .collect()
}

/// A producer that remembers the first record that did not arrive.
struct LineWriter<'a> {
    producer: ThreadedProducer<Deliveries>,
    topic: &'a str,
    partitions: u64,
}

impl<'a> LineWriter<'a> {
    fn new(bootstrap: &str, topic: &'a str, linger_ms: u32) -> Result<Self, ServerError> {
        let partitions = partition_count(&consumer(bootstrap)?, topic)?;
        let config = config(bootstrap)
            .set("linger.ms", linger_ms.to_string())
            .set("batch.size", "524288")
            .set("batch.num.messages", "100000")
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", "262144")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", DELIVERY_LIMIT.as_millis().to_string())
            .clone();
        let producer = ThreadedProducer::from_config_and_context(&config, Deliveries::default())
            .map_err(|error| ServerError::client("cannot create a producer", error))?;
        let partitions = u64::try_from(partitions).expect("a count of partitions is not negative");
        Ok(Self { producer, topic, partitions })
    }

    fn send(&self, i: u64, timestamp_ms: i64, line: &str) -> Result<(), ServerError> {
        let partition = i32::try_from(i % self.partitions).expect("a partition fits into i32");
        let mut record =
            BaseRecord::<(), str>::to(self.topic).partition(partition).timestamp(timestamp_ms).payload(line);
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    // A broker that is gone for good would keep the queue full for ever; its first failed record ends this.
                    self.first_failure()?;
                    record = back;
                    thread::sleep(POLL);
                }
                Err((error, _)) => {
                    return Err(ServerError::client(format!("cannot write to {}", self.topic), error));
                }
            }
        }
    }

    /// Waits until the broker has acknowledged all that was sent.
    fn flush(&self) -> Result<(), ServerError> {
        self.producer.flush(Timeout::After(DELIVERY_LIMIT)).map_err(|error| {
            ServerError::client(format!("cannot finish writing to {}", self.topic), error)
        })?;
        self.first_failure()
    }

    fn finish(self) -> Result<u64, ServerError> {
        self.flush()?;
        Ok(self.producer.context().delivered.load(Ordering::Acquire))
    }

    fn first_failure(&self) -> Result<(), ServerError> {
        match self.producer.context().failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(cause) => Err(ServerError::client(format!("a record did not reach {}", self.topic), cause)),
        }
    }
}

#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Release);
            }
            Err((error, record)) => {
                let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| format!("{error} (partition {})", record.partition()));
            }
        }
    }
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

fn admin(bootstrap: &str) -> Result<AdminClient<DefaultClientContext>, ServerError> {
    AdminClient::from_config(&config(bootstrap))
        .map_err(|error| ServerError::client(format!("cannot reach {bootstrap}"), error))
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(LIMIT)).operation_timeout(Some(LIMIT))
}

fn consumer(bootstrap: &str) -> Result<BaseConsumer, ServerError> {
    BaseConsumer::from_config(&config(bootstrap))
        .map_err(|error| ServerError::client(format!("cannot reach {bootstrap}"), error))
}

fn all_done(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<(), RDKafkaErrorCode> {
    results.into_iter().try_for_each(|result| result.map(drop).map_err(|(_, code)| code))
}

fn partition_count(client: &BaseConsumer, topic: &str) -> Result<i32, ServerError> {
    match led_partitions(client, topic)? {
        0 => Err(ServerError::client(format!("cannot use topic {topic}"), "it is not there")),
        count => Ok(i32::try_from(count).expect("a count of partitions fits into i32")),
    }
}

/// How many partitions of `topic` have a leader; 0 if there is no such topic.
fn led_partitions(client: &BaseConsumer, topic: &str) -> Result<usize, ServerError> {
    let metadata = client
        .fetch_metadata(Some(topic), LIMIT)
        .map_err(|error| ServerError::client(format!("cannot look up topic {topic}"), error))?;
    Ok(metadata
        .topics()
        .iter()
        .filter(|found| found.error().is_none())
        .flat_map(|found| found.partitions())
        .filter(|partition| partition.error().is_none() && partition.leader() >= 0)
        .count())
}

fn wait_until(
    what: impl Fn() -> String,
    mut done: impl FnMut() -> Result<bool, ServerError>,
) -> Result<(), ServerError> {
    let deadline = Instant::now() + LIMIT;
    while !done()? {
        if Instant::now() > deadline {
            return Err(ServerError::client(what(), format!("not done in {} s", LIMIT.as_secs())));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// Waits for a future on this thread: the admin client answers by future only, and one call needs no runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => thread::park(),
        }
    }
}
