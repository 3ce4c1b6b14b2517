//! Writes batches at least once: kept until every output has prepared, then sent.

use super::failure::failure;
use super::record::{ProducerRecord, shown};
use super::session::{Origin, Session};
use rdkafka::error::RDKafkaErrorCode as Code;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId, Result, Writer};

/// What a record takes beside its bytes, at most.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// Keeps the records of a batch, so that nobody sees a batch that another output refuses.
pub(super) struct PlainWriter {
    pub(super) session: Session,
    pub(super) origin: Arc<Origin>,
    pub(super) topic: Arc<str>,
    pub(super) records: Vec<ProducerRecord>,
}

impl Writer<ProducerRecord> for PlainWriter {
    fn write(&mut self, batch: &Batch, _: PartitionId, mut records: Vec<ProducerRecord>) -> Result<()> {
        let bytes_max = self.origin.settings.message_bytes_max;
        if let Some(long) = records.iter().find(|record| record.size() + RECORD_OVERHEAD_BYTES > bytes_max) {
            let key = long
                .key_bytes()
                .map_or_else(|| "without a key".to_owned(), |key| format!("with key {}", shown(key)));
            let topic = long.topic_name().unwrap_or(&self.topic);
            let place = format!(
                "{}, batch {}: a record for topic {topic} {key}, {} bytes, is over message.max.bytes={bytes_max}",
                self.origin.place(),
                batch.id(),
                long.size()
            );
            return Err(failure(&place, Code::MessageSizeTooLarge, ""));
        }
        self.records.append(&mut records);
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, _: &[PartitionId]) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let records = std::mem::take(&mut self.records);
        for record in &records {
            self.session.send(batch.id(), &self.topic, record)?;
        }
        self.session.settle(batch.id())
    }

    fn abort(&mut self) {
        self.records.clear();
    }
}
