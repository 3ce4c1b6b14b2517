//! The contract of outputs (`tidegate::testkit::outputs`) against a real broker, in both ways to write.
//!
//! They run by name alone (`test = false`); the broker's address is in `TIDEGATE_TEST_KAFKA`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use support::PATIENCE;
use support::broker::Broker;
use support::output::{read, record};
use tidegate::testkit::outputs::{self, Subject};
use tidegate_core::{
    Batch, Delivery, Held, Output, OutputContext, PartitionId, Placement, Result, Seat, Writer,
};
use tidegate_kafka::{KafkaOutput, ProducerRecord};

/// A topic of its own, written to in one of the two ways.
struct Topic {
    at: String,
    name: String,
    exactly_once: bool,
    committed: Arc<AtomicUsize>,
}

impl Topic {
    fn new(name: &str, exactly_once: bool) -> Topic {
        let kafka = Broker::open();
        Topic { name: kafka.topic(name, 3), at: kafka.at, exactly_once, committed: Arc::default() }
    }
}

impl Subject for Topic {
    type Row = ProducerRecord;
    type Output = Counted;

    fn output(&self) -> Result<Counted> {
        let output = KafkaOutput::new([("bootstrap.servers", self.at.as_str())], &self.name)?
            // Each start finds the same markers, whatever the suite calls the output.
            .markers_topic(format!("markers-{}", self.name));
        let output = if self.exactly_once { output } else { output.at_least_once() };
        Ok(Counted { output, committed: Arc::clone(&self.committed) })
    }

    fn row(&self, number: u64) -> ProducerRecord {
        record(&format!("k{number}"), &format!("v{number}"))
    }

    /// Kafka answers a commit when it is decided; its markers reach the topic a moment later. So what was committed is waited for;
    /// what is there beyond it is given too.
    fn visible(&self) -> Vec<ProducerRecord> {
        let started = Instant::now();
        loop {
            let rows = read(&self.at, &self.name, "read_committed");
            if rows.len() >= self.committed.load(Ordering::SeqCst) || started.elapsed() > PATIENCE {
                return rows.iter().map(|(key, value)| record(key, value)).collect();
            }
        }
    }

    fn refused(&self) -> Option<ProducerRecord> {
        // The broker refuses what is over 1 MiB, the client what is over 8 MiB.
        let bytes = if self.exactly_once { 2 << 20 } else { 9 << 20 };
        Some(record("refused", &"x".repeat(bytes)))
    }
}

/// Counts the rows of commits that were answered.
struct Counted {
    output: KafkaOutput,
    committed: Arc<AtomicUsize>,
}

impl Output<ProducerRecord> for Counted {
    fn describe(&self) -> String {
        self.output.describe()
    }

    fn delivery(&self) -> Delivery {
        self.output.delivery()
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        self.output.open(context)
    }

    fn placement(&self) -> Placement<ProducerRecord> {
        self.output.placement()
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<ProducerRecord>>> {
        let writer = self.output.writer(seat)?;
        Ok(Box::new(CountedWriter { writer, written: 0, committed: Arc::clone(&self.committed) }))
    }
}

struct CountedWriter {
    writer: Box<dyn Writer<ProducerRecord>>,
    written: usize,
    committed: Arc<AtomicUsize>,
}

impl Writer<ProducerRecord> for CountedWriter {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<ProducerRecord>) -> Result<()> {
        self.written += rows.len();
        self.writer.write(batch, partition, rows)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        self.writer.prepare(batch, partitions)
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let written = std::mem::take(&mut self.written);
        self.writer.commit(batch)?;
        self.committed.fetch_add(written, Ordering::SeqCst);
        Ok(())
    }

    fn abort(&mut self) {
        self.writer.abort();
    }
}

#[test]
fn an_exactly_once_output_keeps_the_contract() {
    outputs::all(|| Topic::new("contract", true));
}

#[test]
fn an_at_least_once_output_keeps_what_the_contract_asks_of_it() {
    outputs::all(|| Topic::new("contract-plain", false));
}
