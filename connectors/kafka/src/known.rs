//! What the driver knows of each partition, shared between planning and the background thread. Held for moments only.

use crate::planning::{self, Limit};
use crate::registry::OpenQueues;
use crate::topic_partition::TopicPartition;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_core::{Error, ErrorKind, SourceRange};

/// One partition.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) name: TopicPartition,
    /// Where the next batch goes on.
    pub(crate) position: u64,
    /// Where the newest plan ended. Beyond `position` when the topic was made again and the job may go on.
    pub(crate) planned: u64,
    /// Up to where it can be read, as the last question told.
    pub(crate) end: u64,
    /// What tells its topic from a later one of the same name, where Kafka tells.
    pub(crate) topic_id: Option<String>,
    /// The partition is not there at the moment, or it is not clear whether it is the same one: it gives empty ranges.
    pub(crate) absent: bool,
}

impl Known {
    /// Up to where it can be read, by all that is known without asking.
    fn reachable(&self, open: &OpenQueues, read_committed: bool) -> u64 {
        if self.absent {
            return self.position;
        }
        // The high watermark covers records of open transactions too, which a committed reader never reaches.
        let fetched = if read_committed { None } else { open.high_watermark(&self.name) };
        fetched.map_or(self.end, |high| high.max(self.end))
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) partitions: Vec<Known>,
    /// Why the job can't go on.
    pub(crate) failure: Option<(ErrorKind, String)>,
    pub(crate) closing: bool,
}

impl State {
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.as_ref().map(|(kind, text)| Error::new(*kind, text.clone()))
    }

    pub(crate) fn get_mut(&mut self, name: &TopicPartition) -> Option<&mut Known> {
        self.partitions.iter_mut().find(|it| it.name == *name)
    }

    /// The next batch goes on at `position`. `place` is where `name` is, unless the plan is an old one.
    pub(crate) fn move_to(&mut self, place: usize, name: &TopicPartition, position: u64) {
        let there = self.partitions.get(place).is_some_and(|it| it.name == *name);
        let known = if there { self.partitions.get_mut(place) } else { self.get_mut(name) };
        if let Some(known) = known {
            known.position = position;
            known.planned = position;
        }
    }

    /// What a batch takes now.
    pub(crate) fn ranges(
        &self,
        open: &OpenQueues,
        read_committed: bool,
        limit: Limit,
        interval: Duration,
    ) -> Vec<SourceRange> {
        let ends: Vec<_> = self.partitions.iter().map(|it| it.reachable(open, read_committed)).collect();
        let lags: Vec<_> =
            self.partitions.iter().zip(&ends).map(|(it, end)| end.saturating_sub(it.position)).collect();
        let most = limit.per_batch(&lags, interval);
        let range = |((it, end), most): ((&Known, u64), u64)| SourceRange {
            begins_anew: it.position < it.planned,
            mark: it.topic_id.clone(),
            ..planning::range(&it.name, it.position, end, most)
        };
        self.partitions.iter().zip(ends).zip(most).map(range).collect()
    }
}

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the background thread.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    /// Waits for `timeout`, or until the job ends; says whether it does.
    pub(crate) fn rest(&self, timeout: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |state| !state.closing);
        waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }
}
