//! Offsets committed to Kafka for those who watch the job by them. The job itself never reads them.
//!
//! A thread of its own commits and waits for the answer: librdkafka tells the outcome of an asynchronous commit only to a
//! callback that the `rdkafka` crate does not set (verified in 2.12.1, `rd_kafka_cgrp_propagate_commit_result`).

use crate::context::Ear;
use crate::params::Settings;
use crate::topic_partition::{OffsetRange, TopicPartition};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tidegate_core::{Error, Result};

/// How long the last commit of a job is waited for.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Offsets by partition.
pub(crate) type Offsets = BTreeMap<TopicPartition, u64>;

/// What the user asked to commit: kept until the next batch is in every output.
#[derive(Default)]
pub(crate) struct Asked(Mutex<Offsets>);

impl Asked {
    pub(crate) fn add(&self, ranges: &[OffsetRange]) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.extend(ranges.iter().map(|range| (range.topic_partition(), range.until_offset)));
    }

    pub(crate) fn take(&self) -> Offsets {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Commits in the background, one commit at a time. What comes while one is on its way is joined, the newest offset of
/// each partition winning: at most one offset a partition waits.
pub(crate) struct Committer {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Desk {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    waiting: Offsets,
    closing: bool,
    /// The thread is through with all it will do.
    ended: bool,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Committer {
    /// Starts the thread. The group's coordinator is looked for at once: it takes about a second.
    pub(crate) fn start(settings: &Arc<Settings>, group: &str) -> Result<Self> {
        let mut config = settings.client();
        config.set("group.id", group);
        let client = config.create_with_context(Ear::default()).map_err(|error| settings.refusal(&error))?;
        let desk = Arc::<Desk>::default();
        let group = Group { client, settings: Arc::clone(settings), name: group.to_owned() };
        let theirs = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("kafka-commits".to_owned())
            .spawn(move || group.run(&theirs))
            .map_err(|error| Error::reconfigure("can't start a thread").because(error))?;
        Ok(Committer { desk, thread: Some(thread) })
    }

    /// Commits `offsets` soon. Never blocks.
    pub(crate) fn commit(&self, offsets: Offsets) {
        self.desk.lock().waiting.extend(offsets);
        self.desk.changed.notify_all();
    }
}

impl Drop for Committer {
    /// Gives the last commit a short time.
    fn drop(&mut self) {
        self.desk.lock().closing = true;
        self.desk.changed.notify_all();
        let work = self.desk.lock();
        let waited = self.desk.changed.wait_timeout_while(work, LAST_COMMIT_TIMEOUT, |work| !work.ended);
        let ended = waited.unwrap_or_else(PoisonError::into_inner).0.ended;
        if !ended {
            // The thread ends by itself when librdkafka gives up, too late to be waited for.
            log::warn!("Kafka: the last offsets were not committed in time; the job does not need them");
        } else if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("Kafka: the thread that commits offsets panicked");
        }
    }
}

/// The thread's side.
struct Group {
    client: BaseConsumer<Ear>,
    settings: Arc<Settings>,
    name: String,
}

impl Group {
    fn run(self, desk: &Desk) {
        let mut failing = false;
        while let Some(offsets) = next(desk) {
            let sent = self.send(&offsets);
            // A commit that fails is made good by the next one. Said once: it may go on so for many batches.
            let level = if failing { log::Level::Debug } else { log::Level::Warn };
            failing = sent.is_err();
            if let Err(text) = sent {
                let text = self.settings.scrub(&text);
                log::log!(
                    level,
                    "Kafka: offsets were not committed for group {}: {text}; the job does not need them",
                    self.name
                );
            }
            // Serves librdkafka's own events, which would pile up.
            while self.client.poll(Duration::ZERO).is_some() {}
        }
        desk.lock().ended = true;
        desk.changed.notify_all();
    }

    fn send(&self, offsets: &Offsets) -> Result<(), String> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (name, offset) in offsets {
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            list.add_partition_offset(&name.topic, name.partition, offset)
                .map_err(|error| error.to_string())?;
        }
        self.client.commit(&list, CommitMode::Sync).map_err(|error| error.to_string())
    }
}

/// What to commit next; `None` when there is no more and the job ends.
fn next(desk: &Desk) -> Option<Offsets> {
    let wait = desk.changed.wait_while(desk.lock(), |work| work.waiting.is_empty() && !work.closing);
    let mut work = wait.unwrap_or_else(PoisonError::into_inner);
    Some(std::mem::take(&mut work.waiting)).filter(|offsets| !offsets.is_empty())
}
