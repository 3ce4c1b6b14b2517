//! A receiver as an input of the engine: a batch takes whole blocks, named by the numbers of their records.

use crate::log::{self, BlockLog, Found};
use crate::marks::{Marks, Remembered};
use crate::receiver::Receiver;
use crate::settings::ReceiverSettings;
use crate::stream::{StoredRecord, Stream};
use crate::supervisor::Supervisor;
use crate::writer::Writer;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate_core::{
    BatchPlan, Emit, Error, InputContext, InputGuarantee, PartitionId, Planner, Progress, Reader,
    ReceiverReport, Result, Source, SourcePlan, SourceRange, StreamId,
};

/// An input whose records a [`Receiver`] stores.
pub struct ReceiverSource<T> {
    receiver: Mutex<Option<Box<dyn Receiver<T>>>>,
    describe: String,
    promise: InputGuarantee,
    settings: ReceiverSettings,
    marks: Marks,
    stream: Mutex<Option<Arc<Stream>>>,
}

impl<T: StoredRecord> ReceiverSource<T> {
    /// An input of `receiver`. `marks` are those of the job, shared by all its receivers.
    pub fn new(receiver: impl Receiver<T>, settings: ReceiverSettings, marks: &Marks) -> Self {
        ReceiverSource {
            describe: receiver.describe(),
            promise: receiver.promise(settings.is_logged()),
            receiver: Mutex::new(Some(Box::new(receiver))),
            settings,
            marks: marks.clone(),
            stream: Mutex::new(None),
        }
    }

    fn opened(&self) -> Result<Arc<Stream>> {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stream.ok_or_else(|| Error::bug("a receiver is read before it is planned"))
    }
}

impl<T: StoredRecord> Source<T> for ReceiverSource<T> {
    fn describe(&self) -> String {
        self.describe.clone()
    }

    fn guarantee(&self) -> InputGuarantee {
        self.promise.clone()
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        let name = context.stream.to_string();
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let receiver = receiver.ok_or_else(|| Error::bug("a receiver is planned twice"))?;
        let storage = self.settings.log_storage(context.storage.as_ref());
        let storage = storage.map_err(|e| e.context(format!("input {name}")))?;
        let (log, found) = match &storage {
            None => (None, Found { blocks: Vec::new(), remembered: Remembered::default(), next: None }),
            Some(storage) => {
                let medium = log::medium(storage, &format!("{}/log", context.folder()))?;
                let (log, found) = BlockLog::open(medium, self.settings.segment_bytes)
                    .map_err(|e| e.context(format!("input {name}")))?;
                (Some(log), found)
            }
        };
        let reader = log.as_ref().map(BlockLog::reader);
        let Found { blocks, remembered, next } = found;
        let stream = Arc::new(Stream::new(name, self.settings.clone(), self.marks.clone(), reader, blocks));
        let waited = Arc::downgrade(&stream);
        // A stream that is gone has nothing on its way.
        let barrier = move || waited.upgrade().map_or(Ok(()), |stream| stream.await_all());
        stream.joined(self.marks.join(remembered, Arc::new(barrier)));
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream.clone());
        Ok(Box::new(ReceiverPlanner {
            id: context.stream.clone(),
            describe: self.describe.clone(),
            stream,
            log_ends: next,
            log,
            receiver: Some(receiver),
            supervisor: None,
            writer: None,
            position: 0,
        }))
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<T>>> {
        let (stream, cache) = (self.opened()?, HashMap::new());
        Ok(Box::new(BlockReader { stream, cache, blocks: VecDeque::new() }))
    }
}

/// Where a plan ends; `None` for one without ranges.
fn end_of(plan: &SourcePlan) -> Option<u64> {
    plan.ranges.iter().map(|range| range.until).max()
}

struct ReceiverPlanner<T> {
    id: StreamId,
    describe: String,
    stream: Arc<Stream>,
    log: Option<BlockLog>,
    log_ends: Option<u64>,
    receiver: Option<Box<dyn Receiver<T>>>,
    supervisor: Option<Supervisor>,
    writer: Option<JoinHandle<()>>,
    position: u64,
}

impl<T: StoredRecord> Planner for ReceiverPlanner<T> {
    fn report_to(&mut self, report: ReceiverReport) {
        self.stream.report_to(&self.describe, report);
    }

    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        let until = last.and_then(end_of);
        let position = until.or(self.first_in_log()).unwrap_or(0);
        if let Some(ends) = self.log_ends
            && ends < position
        {
            return Err(Error::data_lost(format!(
                "the write-ahead log ends at record {ends}, and batches were planned up to record {position}: a part of it is \
                 lost. Restore it from a copy, or begin with an empty checkpoint directory"
            )));
        }
        self.position = position;
        self.stream.go_on_at(position);
        self.writer = Some(Writer::start(&self.stream, self.log.take())?);
        let receiver = self.receiver.take().ok_or_else(|| Error::bug("a planner is resumed once"))?;
        self.supervisor = Some(Supervisor::start(&self.stream, receiver)?);
        Ok(())
    }

    fn plan(&mut self, interval: Duration) -> Result<SourcePlan> {
        let rate = self.stream.lock().rate;
        let most = rate.map_or(u64::MAX, |rate| (rate * interval.as_secs_f64()) as u64);
        Ok(SourcePlan { stream: self.id.clone(), ranges: self.stream.ranges(self.position, most)? })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        self.position = end_of(plan).unwrap_or(0).max(self.position);
    }

    fn limit_rate(&mut self, records_per_second: f64) {
        self.stream.limit_rate(records_per_second);
    }

    fn drain(&mut self) -> bool {
        self.stop();
        let state = self.stream.lock();
        // After a failure there is nothing to wait for: the next plan says what it was.
        self.position >= state.next || state.refuse_if_failed().is_err()
    }

    fn committed(&mut self, _: &BatchPlan, plan: &SourcePlan) {
        if let Some(until) = end_of(plan) {
            self.stream.committed(until);
        }
    }

    fn released(&mut self, plan: &SourcePlan) {
        if let Some(until) = end_of(plan) {
            self.stream.released(until);
        }
    }

    fn close(&mut self) {
        self.stop();
    }
}

impl<T> ReceiverPlanner<T> {
    fn first_in_log(&self) -> Option<u64> {
        let range = SourceRange::new("", 0, u64::MAX);
        self.stream.blocks_of(&range).0.first().copied().or(self.log_ends)
    }

    /// First nothing more is taken, then receivers end, then what was taken is written.
    fn stop(&mut self) {
        self.stream.lock().stopping = true;
        self.stream.changed.notify_all();
        self.supervisor = None;
        self.stream.lock().closing = true;
        self.stream.changed.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl<T> Drop for ReceiverPlanner<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

struct BlockReader {
    stream: Arc<Stream>,
    cache: HashMap<u64, Vec<u8>>,
    /// What is to be read: partition, first record.
    blocks: VecDeque<(PartitionId, u64)>,
}

impl<T: StoredRecord> Reader<T> for BlockReader {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.blocks.clear();
        for (partition, range) in ranges {
            let (firsts, missing) = self.stream.blocks_of(range);
            if missing > 0 && self.stream.is_logged() {
                return Err(Error::data_lost(format!(
                    "receiver {}: {missing} records of {range} are not in the write-ahead log. Was it switched on after them, or \
                     deleted? Restore it from a copy, or begin with an empty checkpoint directory",
                    self.stream.name
                )));
            }
            if missing > 0 {
                ::log::warn!(
                    "receiver {}: {missing} records of {range} were in the memory of a process that ended, and are lost; \
                     tidegate.receiver.write_ahead_log.enable keeps them",
                    self.stream.name
                );
            }
            self.blocks.extend(firsts.into_iter().map(|first| (*partition, first)));
        }
        Ok(())
    }

    fn read(&mut self, limit: usize, out: &mut dyn Emit<T>) -> Result<Progress> {
        let mut read = 0;
        while read < limit {
            let Some((partition, first)) = self.blocks.pop_front() else { return Ok(Progress::Done) };
            let block = self.stream.load(first, &mut self.cache)?;
            out.partition(partition);
            let mut rest = &block[..];
            while !rest.is_empty() {
                let (record, left) = postcard::take_from_bytes(rest).map_err(|e| {
                    Error::reconfigure(format!(
                        "receiver {}: the block of record {first} holds no records of this type; was the type changed? Let the \
                         program that wrote them take them first",
                        self.stream.name
                    ))
                    .because(e)
                })?;
                out.record(record);
                read += 1;
                // A record of no bytes, such as `()`, has nothing to advance by.
                if left.len() == rest.len() {
                    return Err(Error::reconfigure(format!(
                        "receiver {}: records that take no bytes can't be stored",
                        self.stream.name
                    )));
                }
                rest = left;
            }
        }
        Ok(if self.blocks.is_empty() { Progress::Done } else { Progress::More })
    }
}
