//! Writes batches exactly once: the records of a batch and its markers in one transaction.

use super::marker::{Marker, Registered};
use super::record::ProducerRecord;
use super::session::Session;
use std::sync::Arc;
use tidegate_core::{Batch, Error, OutputId, PartitionId, Result, Writer};

/// Sends records into an open transaction as they come; they are seen when it is committed.
pub(super) struct TransactionWriter {
    /// None: more workers than the output has partitions.
    pub(super) session: Option<Session>,
    pub(super) output: OutputId,
    pub(super) topic: Arc<str>,
    pub(super) markers_topic: Arc<str>,
    pub(super) registered: Registered,
    /// Whether the newest batch is in is not known.
    pub(super) in_doubt: bool,
}

impl TransactionWriter {
    fn session(&mut self) -> Result<&mut Session> {
        let output = &self.output;
        self.session.as_mut().ok_or_else(|| {
            Error::bug(format!("output {output}: records for a worker that has none of its partitions"))
        })
    }
}

impl Writer<ProducerRecord> for TransactionWriter {
    fn write(&mut self, batch: &Batch, _: PartitionId, records: Vec<ProducerRecord>) -> Result<()> {
        let topic = Arc::clone(&self.topic);
        let session = self.session()?;
        session.begin(batch.id())?;
        records.iter().try_for_each(|record| session.send(batch.id(), &topic, record))
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        let began = self.session()?.in_transaction();
        if !began && batch.plan().is_empty() {
            // An idle stream costs no transaction. Run again, the batch gives nothing again.
            return Ok(());
        }
        let (topic, output, registered) =
            (Arc::clone(&self.markers_topic), self.output.clone(), self.registered.clone());
        let session = self.session()?;
        session.begin(batch.id())?;
        for (place, partition) in partitions.iter().enumerate() {
            let marker = Marker::of_batch(&output, &registered, batch.plan(), place == 0);
            let record = ProducerRecord::new().key(partition.0.to_string()).value(marker.to_json()?);
            session.send(batch.id(), &topic, &record)?;
        }
        session.settle(batch.id())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let done = session.commit(batch.id());
        self.in_doubt = done.is_err();
        done
    }

    fn abort(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|_| !self.in_doubt) {
            session.abort();
        }
    }
}
