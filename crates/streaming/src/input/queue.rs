//! A queue of datasets, each of which is one batch's.

use crate::Data;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_core::{
    BatchPlan, Emit, Error, Guarantee, InputContext, InputGuarantee, PartitionId, Planner, Progress, Reader,
    Result, Source, SourcePlan, SourceRange, StreamId,
};

/// The queue of a [`queue_stream`](crate::StreamingContext::queue_stream): push datasets before the start or while it runs.
/// Copies are the same queue.
///
/// ```
/// # use tidegate::{Conf, QueueInput, StreamingContext, Stop};
/// # use std::time::Duration;
/// # fn main() -> tidegate::Result<()> {
/// let queue = QueueInput::new();
/// queue.push(vec![1, 2]);
/// queue.push(vec![3]);
/// let ssc = StreamingContext::new(Conf::new().set_master("local[2]"), Duration::from_millis(10))?;
/// let (tell, told) = std::sync::mpsc::channel();
/// ssc.queue_stream(&queue, true)?.foreach_rdd(|rdd| rdd.collect(move |_, rows: Vec<i32>| { tell.send(rows).ok(); }))?;
/// ssc.start()?;
/// assert_eq!([told.recv().unwrap(), told.recv().unwrap()], [vec![1, 2], vec![3]]);
/// ssc.stop(Stop::Gracefully)
/// # }
/// ```
pub struct QueueInput<T> {
    shared: Arc<Mutex<Waiting<T>>>,
}

/// Datasets that are not in every output yet, and the position of the first.
struct Waiting<T> {
    first: u64,
    datasets: VecDeque<Arc<Vec<T>>>,
}

impl<T> QueueInput<T> {
    /// An empty queue.
    pub fn new() -> Self {
        QueueInput { shared: Arc::new(Mutex::new(Waiting { first: 0, datasets: VecDeque::new() })) }
    }

    /// Adds a dataset behind the others.
    pub fn push(&self, records: Vec<T>) {
        self.lock().datasets.push_back(Arc::new(records));
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for QueueInput<T> {
    fn default() -> Self {
        QueueInput::new()
    }
}

impl<T> Clone for QueueInput<T> {
    fn clone(&self) -> Self {
        QueueInput { shared: self.shared.clone() }
    }
}

pub(crate) struct QueueSource<T> {
    queue: QueueInput<T>,
    one_at_a_time: bool,
    /// What a batch has for which nothing waits, as a second partition: a position there is a number of such batches.
    default: Option<Arc<Vec<T>>>,
}

/// Names of the partitions.
const QUEUE: &str = "queue";
const DEFAULT: &str = "default";

impl<T> QueueSource<T> {
    pub(crate) fn new(queue: QueueInput<T>, one_at_a_time: bool, default: Option<Vec<T>>) -> Self {
        QueueSource { queue, one_at_a_time, default: default.map(Arc::new) }
    }
}

impl<T: Data + Sync> Source<T> for QueueSource<T> {
    fn describe(&self) -> String {
        "a queue in memory".to_owned()
    }

    fn guarantee(&self) -> InputGuarantee {
        InputGuarantee::new(
            Guarantee::AtMostOnce,
            "what waits in it, or is in no output yet, is gone when its process ends; read from what keeps its records",
        )
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        Ok(Box::new(QueuePlanner {
            stream: context.stream.clone(),
            queue: self.queue.clone(),
            one_at_a_time: self.one_at_a_time,
            has_default: self.default.is_some(),
            position: 0,
            defaults: 0,
        }))
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<T>>> {
        let (queue, default) = (self.queue.clone(), self.default.clone());
        Ok(Box::new(QueueReader { queue, default, reading: Vec::new() }))
    }
}

struct QueuePlanner<T> {
    stream: StreamId,
    queue: QueueInput<T>,
    one_at_a_time: bool,
    has_default: bool,
    position: u64,
    /// Batches so far that had the default.
    defaults: u64,
}

/// Where `plan` ends in the partition `name`.
fn end_of(plan: &SourcePlan, name: &str) -> Option<u64> {
    plan.ranges.iter().find(|range| range.partition == name).map(|range| range.until)
}

impl<T: Data + Sync> Planner for QueuePlanner<T> {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        let end = |name| last.and_then(|last| end_of(last, name)).unwrap_or(0);
        let position = end(QUEUE);
        self.defaults = end(DEFAULT);
        let first = self.queue.lock().first;
        if position != first {
            return Err(Error::data_lost(format!(
                "the checkpoint had taken {position} datasets from a queue that is gone; a queue stream can't go on after its \
                 process ends (as in Spark): start with an empty checkpoint directory"
            )));
        }
        self.position = position;
        Ok(())
    }

    fn plan(&mut self, _: Duration) -> Result<SourcePlan> {
        let waiting = self.queue.lock();
        let end = waiting.first + waiting.datasets.len() as u64;
        let until = if self.one_at_a_time { end.min(self.position + 1) } else { end };
        let mut ranges = vec![SourceRange::new(QUEUE, self.position, until)];
        if self.has_default {
            let none_waits = u64::from(until == self.position);
            ranges.push(SourceRange::new(DEFAULT, self.defaults, self.defaults + none_waits));
        }
        Ok(SourcePlan { stream: self.stream.clone(), ranges })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        self.position = end_of(plan, QUEUE).unwrap_or(self.position);
        self.defaults = end_of(plan, DEFAULT).unwrap_or(self.defaults);
    }

    fn committed(&mut self, _: &BatchPlan, plan: &SourcePlan) {
        let mut waiting = self.queue.lock();
        let until = end_of(plan, QUEUE).unwrap_or(0);
        while waiting.first < until && waiting.datasets.pop_front().is_some() {
            waiting.first += 1;
        }
    }
}

struct QueueReader<T> {
    queue: QueueInput<T>,
    default: Option<Arc<Vec<T>>>,
    reading: Vec<(PartitionId, SourceRange)>,
}

impl<T: Data + Sync> Reader<T> for QueueReader<T> {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.reading = ranges.to_vec();
        Ok(())
    }

    fn read(&mut self, _: usize, out: &mut dyn Emit<T>) -> Result<Progress> {
        for (partition, range) in self.reading.drain(..) {
            out.partition(partition);
            for position in range.from..range.until {
                if let (DEFAULT, Some(default)) = (range.partition.as_str(), &self.default) {
                    default.iter().cloned().for_each(|record| out.record(record));
                    continue;
                }
                let dataset = {
                    let waiting = self.queue.lock();
                    position
                        .checked_sub(waiting.first)
                        .and_then(|place| waiting.datasets.get(place as usize).cloned())
                };
                let dataset = dataset.ok_or_else(|| {
                    Error::data_lost(format!(
                        "dataset {position} of a queue stream is gone: its process ended"
                    ))
                })?;
                dataset.iter().cloned().for_each(|record| out.record(record));
            }
        }
        Ok(Progress::Done)
    }
}
