//! One partition in a reader: takes from its queue what belongs to the range, and holds what came early.

use crate::context::passes;
use crate::cursor::{Begin, Cursor, Place};
use crate::loss;
use crate::native::{Event, PartitionQueue, Space};
use crate::record::KafkaRecord;
use crate::topic_partition::TopicPartition;
use rdkafka::error::RDKafkaErrorCode;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Emit, Error, PartitionId, Result, SourceRange};

pub(crate) struct PartitionReader {
    queue: Arc<PartitionQueue>,
    id: PartitionId,
    cursor: Cursor,
    /// What came out of the queue beyond the range: at most one `Space` full, as nothing is taken while it is not empty.
    held: VecDeque<Event>,
    measure_ages: bool,
    /// The id of the topic that the ranges were planned for, if they say.
    topic_id: Option<String>,
    /// Kafka has not yet said whether it is still that topic.
    unverified: bool,
}

/// What a queue reported instead of a record.
pub(crate) enum Trouble {
    /// The offset that was asked for is not in the log.
    OutOfRange,
    /// The topic or the partition does not exist.
    NotThere,
    /// The user may not read it.
    Refused,
    /// Anything else that waiting does not mend.
    Stop(Error),
}

impl PartitionReader {
    pub(crate) fn start(queue: Arc<PartitionQueue>, range: &SourceRange, measure_ages: bool) -> Result<Self> {
        queue.start(range.from)?;
        Ok(PartitionReader {
            queue,
            id: PartitionId(0),
            cursor: Cursor::at(range.from),
            held: VecDeque::new(),
            measure_ages,
            topic_id: range.mark.clone(),
            unverified: range.mark.is_some(),
        })
    }

    pub(crate) fn name(&self) -> &TopicPartition {
        self.queue.name()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.cursor.is_done()
    }

    pub(crate) fn stop(&self) {
        self.queue.stop();
    }

    pub(crate) fn queue(&self) -> &Arc<PartitionQueue> {
        &self.queue
    }

    /// Begins a range, with what was fetched ahead if it goes on where the last one ended; says which it was.
    pub(crate) fn begin(&mut self, id: PartitionId, range: &SourceRange) -> Result<Begin> {
        self.id = id;
        if self.topic_id != range.mark {
            // Another topic of the same name: what was fetched ahead is not of it.
            self.topic_id.clone_from(&range.mark);
            self.unverified = range.mark.is_some();
            self.cursor = Cursor::at(range.from);
            self.cursor.begin(range.from, range.until);
            self.restart(range.from)?;
            return Ok(Begin::StartAt(range.from));
        }
        let begin = self.cursor.begin(range.from, range.until);
        if let Begin::StartAt(offset) = begin {
            self.restart(offset)?;
        }
        Ok(begin)
    }

    /// The topic to ask Kafka about before anything is read of it.
    pub(crate) fn unverified(&self) -> Option<&str> {
        (self.unverified && !self.is_done()).then_some(self.queue.name().topic.as_str())
    }

    /// Kafka says that the topic's id is `id` now; `None` when it tells none, or the topic is not there.
    pub(crate) fn verify(&mut self, id: Option<&String>, fail: bool) -> Result<()> {
        self.unverified = false;
        match id {
            Some(id) if self.topic_id.as_ref() != Some(id) => {
                self.lost("was deleted and made again since they were planned", fail)
            }
            // What is not there is noticed by reading.
            _ => Ok(()),
        }
    }

    fn restart(&mut self, offset: u64) -> Result<()> {
        log::debug!("{}: fetching from offset {offset}", self.name());
        self.held.clear();
        self.queue.start(offset)
    }

    /// Hands on records of the range, about `limit`. Waits for the first one only where `wait` says so.
    pub(crate) fn read(
        &mut self,
        space: &mut Space,
        limit: usize,
        wait: Duration,
        out: &mut dyn Emit<KafkaRecord>,
    ) -> Result<usize, Trouble> {
        let mut sink =
            Sink { id: self.id, out, measure_ages: self.measure_ages, last_time_ms: None, records: 0 };
        while let Some(event) = self.held.pop_front() {
            if let Some(event) = sink.take(&mut self.cursor, event)? {
                self.held.push_front(event);
                return Ok(sink.records);
            }
        }
        if self.cursor.is_done() {
            return Ok(sink.records);
        }
        let PartitionReader { queue, cursor, held, .. } = self;
        let mut trouble = None;
        queue.take(space, limit.min(cursor.wanted()).max(1), wait, |event| {
            if trouble.is_some() || !held.is_empty() {
                held.push_back(event);
                return;
            }
            match sink.take(cursor, event) {
                Ok(None) => {}
                Ok(Some(early)) => held.push_back(early),
                Err(it) => trouble = Some(it),
            }
        });
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        // A range that ends in transaction markers, which do not come out, is ended by the next report of the partition's
        // end. `rd_kafka_position` would know sooner, but it is one too far after such a report: librdkafka takes the
        // report for a record, and the record that is really there would pass for known.
        Ok(sink.records)
    }

    /// Whether the last fetch saw the log end before the range does.
    pub(crate) fn log_ends_below_range(&self) -> bool {
        self.queue.high_watermark().is_none_or(|high| high < self.cursor.until())
    }

    /// Goes on in a log that holds `begin` .. `end`.
    pub(crate) fn go_on_within(&mut self, begin: u64, end: u64, fail: bool) -> Result<()> {
        let reached = self.cursor.reached();
        match loss::check(reached, begin, end) {
            None if end >= self.cursor.until() => {
                // There after all: an outdated report, or a new leader that lagged behind.
                self.restart(reached)
            }
            None => {
                let lost = loss::Loss::MadeAgain { position: self.cursor.until(), begin, end };
                lost.decide(self.queue.name(), fail)?;
                self.skip_range();
                Ok(())
            }
            Some(lost) => {
                let go_on = lost.decide(self.queue.name(), fail)?;
                if go_on > reached {
                    self.cursor.reach(go_on);
                    self.restart(go_on)
                } else {
                    self.skip_range();
                    Ok(())
                }
            }
        }
    }

    /// The partition does not exist any more.
    pub(crate) fn gone(&mut self, fail: bool) -> Result<()> {
        self.lost("does not exist any more", fail)
    }

    fn lost(&mut self, why: &str, fail: bool) -> Result<()> {
        let (name, reached, until) = (self.name().clone(), self.cursor.reached(), self.cursor.until());
        let words = format!("{name} {why}; offsets {reached} to {until} (exclusive) were planned");
        if fail {
            return Err(Error::data_lost(format!(
                "{words}; set fail_on_data_loss(false) to go on without them, or start a new job without the topic"
            )));
        }
        log::warn!("{words}; going on without them");
        self.skip_range();
        Ok(())
    }

    /// What is left of the range is lost; the planner decides where the next one begins.
    fn skip_range(&mut self) {
        self.held.clear();
        self.cursor.reach(self.cursor.until());
    }
}

/// Puts events where they belong.
struct Sink<'a> {
    id: PartitionId,
    out: &'a mut dyn Emit<KafkaRecord>,
    measure_ages: bool,
    last_time_ms: Option<i64>,
    records: usize,
}

impl Sink<'_> {
    /// Gives back what lies beyond the range.
    #[inline]
    fn take(&mut self, cursor: &mut Cursor, event: Event) -> Result<Option<Event>, Trouble> {
        match event {
            Event::Record(record) => {
                match cursor.place(record.offset()) {
                    Place::InRange => self.emit(record),
                    Place::Beyond => return Ok(Some(Event::Record(record))),
                    Place::Known => return Err(unexpected(&record, cursor.reached())),
                }
                Ok(None)
            }
            Event::End { offset } => {
                cursor.reach(offset);
                Ok(None)
            }
            Event::Failed { code, text } => trouble(code, &text).map_or(Ok(None), Err),
        }
    }

    #[inline]
    fn emit(&mut self, record: KafkaRecord) {
        if self.records == 0 {
            self.out.partition(self.id);
        }
        if self.measure_ages {
            let time_ms = record.timestamp_ms();
            if time_ms != self.last_time_ms
                && let Some(time_ms) = time_ms
            {
                self.out.made_at(time_ms);
            }
            self.last_time_ms = time_ms;
        }
        self.records += 1;
        self.out.record(record);
    }
}

/// Offsets only rise. A record that comes below what was read is either doubled or was passed over: neither may be silent.
#[cold]
fn unexpected(record: &KafkaRecord, reached: u64) -> Trouble {
    Trouble::Stop(Error::bug(format!(
        "Kafka handed out {}-{} offset {} after everything below {reached} was read",
        record.topic(),
        record.partition(),
        record.offset()
    )))
}

/// `None`: it passes.
fn trouble(code: RDKafkaErrorCode, text: &str) -> Option<Trouble> {
    use RDKafkaErrorCode as Code;
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Some(Trouble::OutOfRange),
        Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition => {
            Some(Trouble::NotThere)
        }
        Code::TopicAuthorizationFailed => Some(Trouble::Refused),
        code if passes(code) => {
            log::debug!("Kafka: {text}");
            None
        }
        Code::BadMessage | Code::InvalidMessage | Code::BadCompression | Code::MessageSizeTooLarge => {
            Some(Trouble::Stop(Error::data_lost(format!(
                "Kafka: records can't be read: {code}: {text}; mend or remove them in Kafka, or raise \
                 fetch.message.max.bytes if they are too large"
            ))))
        }
        code => Some(Trouble::Stop(Error::retry(format!("Kafka: {code}: {text}")))),
    }
}
