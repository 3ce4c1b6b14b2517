//! Batches into a topic: the writers of a job, as its engine calls them, and what readers of the topic see.

use crate::support::PATIENCE;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_core::{
    Batch, BatchId, BatchPlan, BatchTime, Held, Output, OutputContext, PartitionId, Placement, Result, Seat,
    SourcePlan, SourceRange, Writer,
};
use tidegate_kafka::{KafkaOutput, ProducerRecord};

pub(crate) fn plan(id: u64, from: u64, until: u64) -> BatchPlan {
    let ranges = vec![SourceRange::new("lines-0", from, until)];
    let sources = vec![SourcePlan { stream: "lines".into(), ranges }];
    BatchPlan { id: BatchId(id), time: BatchTime(id * 1000), zero: BatchTime(0), sources }
}

/// A batch that takes ten records.
pub(crate) fn batch(id: u64) -> Batch {
    Batch::new(Arc::new(plan(id, id * 10, id * 10 + 10)))
}

/// A batch that takes none.
pub(crate) fn idle(id: u64) -> Batch {
    Batch::new(Arc::new(plan(id, id * 10, id * 10)))
}

pub(crate) fn record(key: &str, value: &str) -> ProducerRecord {
    ProducerRecord::new().key(key).value(value)
}

/// Records with the keys and values `w{n}`.
pub(crate) fn records(range: std::ops::Range<u32>) -> Vec<ProducerRecord> {
    range.map(|n| record(&format!("w{n:04}"), &format!("w{n:04}"))).collect()
}

pub(crate) fn values(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("w{n:04}")).collect()
}

pub(crate) fn context(name: &str, job: Option<&str>) -> OutputContext {
    OutputContext { output: name.into(), job: job.map(Into::into), new_job: "job-1".into() }
}

/// The writers of `workers` workers: partition p belongs to worker p % workers.
pub(crate) struct Workers {
    pub(crate) output: KafkaOutput,
    pub(crate) held: Held,
    pub(crate) writers: Vec<Box<dyn Writer<ProducerRecord>>>,
}

impl Workers {
    /// An exactly-once output to `topic`, under its name, opened for `job-1`.
    pub(crate) fn start(at: &str, topic: &str, workers: usize) -> Workers {
        Self::open(KafkaOutput::new([("bootstrap.servers", at)], topic).unwrap(), topic, workers).unwrap()
    }

    pub(crate) fn open(output: KafkaOutput, name: &str, workers: usize) -> Result<Workers> {
        let held = output.open(&context(name, Some("job-1")))?;
        let seat = |worker| Seat { output: name.into(), worker, workers };
        let writers = (0..workers).map(|worker| output.writer(&seat(worker))).collect::<Result<_>>()?;
        Ok(Workers { output, held, writers })
    }

    fn holds(&self, partition: PartitionId, batch: &Batch) -> bool {
        self.held.partitions.get(&partition).is_some_and(|held| *held >= batch.id())
    }

    pub(crate) fn write(&mut self, batch: &Batch, rows: Vec<ProducerRecord>) -> Result<()> {
        let (partitions, hash) = placed(&self.output);
        let mut parts: BTreeMap<PartitionId, Vec<ProducerRecord>> = BTreeMap::new();
        for row in rows {
            let place = PartitionId((hash(&row) % u64::from(partitions)) as u32);
            parts.entry(place).or_default().push(row);
        }
        let workers = self.writers.len();
        for (partition, rows) in parts {
            if !self.holds(partition, batch) {
                self.writers[partition.0 as usize % workers].write(batch, partition, rows)?;
            }
        }
        Ok(())
    }

    pub(crate) fn prepare(&mut self, batch: &Batch, rows: Vec<ProducerRecord>) -> Result<()> {
        self.write(batch, rows)?;
        let workers = self.writers.len();
        let (partitions, _) = placed(&self.output);
        for worker in 0..workers {
            let missing: Vec<PartitionId> = (0..partitions)
                .map(PartitionId)
                .filter(|part| part.0 as usize % workers == worker && !self.holds(*part, batch))
                .collect();
            if !missing.is_empty() {
                self.writers[worker].prepare(batch, &missing)?;
            }
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.writers.iter_mut().try_for_each(|writer| writer.commit(batch))
    }

    pub(crate) fn run(&mut self, batch: &Batch, rows: Vec<ProducerRecord>) -> Result<()> {
        self.prepare(batch, rows)?;
        self.commit(batch)
    }
}

type Hash = Arc<dyn Fn(&ProducerRecord) -> u64 + Send + Sync>;

fn placed(output: &KafkaOutput) -> (u32, Hash) {
    match output.placement() {
        Placement::Hash { partitions, hash } => (partitions, hash),
        Placement::AsIs => (1, Arc::new(|_| 0)),
    }
}

/// Keys and values that a reader of the whole topic gets, in the order of their offsets within each partition.
pub(crate) fn read(at: &str, topic: &str, isolation: &str) -> Vec<(String, String)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", at)
        .set("group.id", "none")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation)
        .create()
        .unwrap();
    let told = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = told.topics()[0].partitions().len();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions as i32 {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut rows, mut ended, started) = (Vec::new(), 0, Instant::now());
    while ended < partitions {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let text = |bytes: Option<&[u8]>| {
                    bytes.map_or_else(|| "-".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
                };
                rows.push((text(message.key()), text(message.payload())));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(KafkaError::MessageConsumption(code)))
                if code != RDKafkaErrorCode::UnknownTopicOrPartition => {}
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => {}
        }
        assert!(started.elapsed() < PATIENCE, "{topic}: {} records, {ended} partitions ended", rows.len());
    }
    rows
}

/// The values of committed records, sorted.
pub(crate) fn committed(at: &str, topic: &str) -> Vec<String> {
    let mut values: Vec<_> = read(at, topic, "read_committed").into_iter().map(|(_, value)| value).collect();
    values.sort();
    values
}

/// The values of all records, those of open and ended transactions too.
pub(crate) fn uncommitted(at: &str, topic: &str) -> usize {
    read(at, topic, "read_uncommitted").len()
}

/// Waits until `seen` holds: markers of a commit reach the topic a moment after it is answered.
pub(crate) fn wait_until(what: &str, mut seen: impl FnMut() -> bool) {
    let started = Instant::now();
    while !seen() {
        assert!(started.elapsed() < PATIENCE, "{what}");
    }
}
