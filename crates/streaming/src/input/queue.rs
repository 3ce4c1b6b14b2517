//! A queue of datasets, each of which is one batch's.

use crate::Data;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_core::{
    BatchPlan, Emit, Error, InputContext, PartitionId, Planner, Progress, Reader, Result, Source, SourcePlan,
    SourceRange, StreamId,
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
}

impl<T> QueueSource<T> {
    pub(crate) fn new(queue: QueueInput<T>, one_at_a_time: bool) -> Self {
        QueueSource { queue, one_at_a_time }
    }
}

impl<T: Data + Sync> Source<T> for QueueSource<T> {
    fn describe(&self) -> String {
        "a queue in memory".to_owned()
    }

    fn planner(&self, context: &InputContext) -> Result<Box<dyn Planner>> {
        let (queue, one_at_a_time) = (self.queue.clone(), self.one_at_a_time);
        Ok(Box::new(QueuePlanner { stream: context.stream.clone(), queue, one_at_a_time, position: 0 }))
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<T>>> {
        Ok(Box::new(QueueReader { queue: self.queue.clone(), reading: Vec::new() }))
    }
}

struct QueuePlanner<T> {
    stream: StreamId,
    queue: QueueInput<T>,
    one_at_a_time: bool,
    position: u64,
}

impl<T: Data + Sync> Planner for QueuePlanner<T> {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        let position = last.and_then(|last| last.ranges.first()).map_or(0, |range| range.until);
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
        let range = SourceRange::new("queue", self.position, until);
        Ok(SourcePlan { stream: self.stream.clone(), ranges: vec![range] })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        self.position = plan.ranges.first().map_or(self.position, |range| range.until);
    }

    fn committed(&mut self, _: &BatchPlan, plan: &SourcePlan) {
        let mut waiting = self.queue.lock();
        let until = plan.ranges.first().map_or(0, |range| range.until);
        while waiting.first < until && waiting.datasets.pop_front().is_some() {
            waiting.first += 1;
        }
    }
}

struct QueueReader<T> {
    queue: QueueInput<T>,
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
