//! What the tests of driver and worker share: a topic to write to, an `Emit` that keeps what it is given, patience.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod broker;
pub(crate) mod output;
pub(crate) mod receiving;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::{Duration, Instant};
use tidegate_core::{
    BatchId, BatchPlan, BatchTime, Emit, InputContext, PartitionId, Planner, Progress, Reader, Result,
    Source, SourcePlan, SourceRange, StreamId,
};
use tidegate_kafka::{ConsumerStrategy, KafkaRecord, KafkaSource, LocationStrategy};

/// Far longer than anything here takes: reaching it is a failure, never a way to pass.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn stream() -> StreamId {
    "lines".into()
}

pub(crate) fn source(strategy: ConsumerStrategy) -> KafkaSource {
    KafkaSource::new(&LocationStrategy::PreferConsistent, strategy).unwrap()
}

/// `topic` from its beginning, at `bootstrap`, with more settings.
pub(crate) fn earliest(bootstrap: &str, topic: &str, more: &[(&str, &str)]) -> ConsumerStrategy {
    let mut params = vec![("bootstrap.servers", bootstrap), ("auto.offset.reset", "earliest")];
    params.extend(more);
    ConsumerStrategy::subscribe([topic], params.into_iter().collect::<tidegate_kafka::Params>())
}

/// The ranges of a plan without the ids of their topics, which differ from run to run.
pub(crate) fn positions(plan: &SourcePlan) -> Vec<SourceRange> {
    plan.ranges.iter().map(|range| SourceRange { mark: None, ..range.clone() }).collect()
}

/// What a reader handed on.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) records: Vec<KafkaRecord>,
    pub(crate) partitions: Vec<PartitionId>,
    pub(crate) made_at: Vec<i64>,
    current: Option<PartitionId>,
}

impl Emit<KafkaRecord> for Kept {
    fn partition(&mut self, partition: PartitionId) {
        self.current = Some(partition);
    }

    fn record(&mut self, record: KafkaRecord) {
        self.partitions.push(self.current.expect("a partition comes before its records"));
        self.records.push(record);
    }

    fn made_at(&mut self, time_ms: i64) {
        self.made_at.push(time_ms);
    }
}

impl Kept {
    /// Offsets of one partition, in the order they came.
    pub(crate) fn offsets(&self, partition: i32) -> Vec<u64> {
        self.records.iter().filter(|it| it.partition() == partition).map(KafkaRecord::offset).collect()
    }

    /// All texts, sorted.
    pub(crate) fn texts(&self) -> Vec<String> {
        let mut texts: Vec<_> = self.records.iter().map(|it| it.text().unwrap().to_owned()).collect();
        texts.sort();
        texts
    }
}

/// Reads `ranges` to their end.
pub(crate) fn read(reader: &mut dyn Reader<KafkaRecord>, ranges: &[SourceRange]) -> Kept {
    try_read(reader, ranges).unwrap()
}

pub(crate) fn try_read(reader: &mut dyn Reader<KafkaRecord>, ranges: &[SourceRange]) -> Result<Kept> {
    let mut kept = Kept::default();
    let ranges: Vec<_> =
        ranges.iter().enumerate().map(|(i, it)| (PartitionId(i as u32), it.clone())).collect();
    reader.start(&ranges)?;
    let started = Instant::now();
    while reader.read(1000, &mut kept)? != Progress::Done {
        assert!(
            started.elapsed() < PATIENCE,
            "the batch hangs after {} records: {ranges:?}",
            kept.records.len()
        );
    }
    Ok(kept)
}

/// A driver and a worker in one place.
pub(crate) struct Job {
    pub(crate) source: KafkaSource,
    pub(crate) planner: Box<dyn Planner>,
    pub(crate) reader: Box<dyn Reader<KafkaRecord>>,
    pub(crate) last: Option<SourcePlan>,
    pub(crate) batches: u64,
}

impl Job {
    pub(crate) fn start(strategy: ConsumerStrategy, last: Option<&SourcePlan>) -> Result<Job> {
        let source = source(strategy);
        let mut planner = source.planner(&InputContext::new(stream()))?;
        planner.resume(last)?;
        let reader = source.reader(&stream(), 0, 1)?;
        Ok(Job { source, planner, reader, last: last.cloned(), batches: 0 })
    }

    /// Plans and reads one batch.
    pub(crate) fn batch(&mut self) -> Result<Kept> {
        let plan = self.planner.plan(Duration::from_secs(1))?;
        self.planner.planned(&plan);
        let kept = try_read(self.reader.as_mut(), &plan.ranges)?;
        self.batches += 1;
        let whole = BatchPlan {
            id: BatchId(self.batches),
            time: BatchTime(0),
            zero: BatchTime(0),
            sources: vec![plan.clone()],
        };
        self.planner.committed(&whole, &plan);
        self.last = Some(plan);
        Ok(kept)
    }

    /// Runs batches until `records` records were read in all.
    pub(crate) fn batches_until(&mut self, records: usize) -> Result<Kept> {
        let started = Instant::now();
        let mut all = Kept::default();
        while all.records.len() < records {
            let kept = self.batch()?;
            all.records.extend(kept.records);
            all.partitions.extend(kept.partitions);
            assert!(started.elapsed() < PATIENCE, "{} of {records} records", all.records.len());
            std::thread::yield_now();
        }
        Ok(all)
    }

    /// Runs batches until one fails.
    pub(crate) fn failure(&mut self) -> tidegate_core::Error {
        let started = Instant::now();
        loop {
            match self.batch() {
                Err(error) => return error,
                Ok(_) => assert!(started.elapsed() < PATIENCE, "nothing failed"),
            }
            std::thread::yield_now();
        }
    }
}

/// Writes to one broker.
pub(crate) struct Writer(pub(crate) BaseProducer);

impl Writer {
    pub(crate) fn open(bootstrap: &str) -> Writer {
        Self::with(bootstrap, &[])
    }

    pub(crate) fn with(bootstrap: &str, settings: &[(&str, &str)]) -> Writer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("linger.ms", "0");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        Writer(config.create().unwrap())
    }

    /// Writes `texts` to one partition and waits until they are there.
    pub(crate) fn write<T: AsRef<str>>(
        &self,
        topic: &str,
        partition: i32,
        texts: impl IntoIterator<Item = T>,
    ) {
        for text in texts {
            self.send(topic, partition, text.as_ref(), None);
        }
        self.0.flush(PATIENCE).unwrap();
    }

    pub(crate) fn send(&self, topic: &str, partition: i32, text: &str, time_ms: Option<i64>) {
        let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(text);
        if let Some(time_ms) = time_ms {
            record = record.timestamp(time_ms);
        }
        self.0.send(record).unwrap();
    }
}

pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("line {n:05}")).collect()
}
