//! Offsets committed to Kafka for those who watch the job by them. The job itself never reads them.

use crate::context::Ear;
use crate::params::Settings;
use crate::topic_partition::{OffsetRange, TopicPartition};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// Commits in the background, one commit at a time; the newest offsets win.
pub(crate) struct Committer {
    settings: Arc<Settings>,
    group: String,
    client: Option<BaseConsumer<Ear>>,
    in_flight: bool,
}

impl Committer {
    pub(crate) fn new(settings: &Arc<Settings>, group: String) -> Self {
        Committer { settings: Arc::clone(settings), group, client: None, in_flight: false }
    }

    /// Begins to look for the group's coordinator, which takes a second: the first commit need not wait for it.
    pub(crate) fn connect(&mut self) {
        if let Err(text) = self.open() {
            self.warn(&text);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.in_flight
    }

    /// Hears what came back and sends `next` if nothing is on its way. Never blocks.
    pub(crate) fn step(&mut self, next: &mut Offsets) {
        self.hear();
        if self.in_flight || next.is_empty() {
            return;
        }
        let offsets = std::mem::take(next);
        if let Err(text) = self.send(&offsets) {
            self.warn(&text);
        }
    }

    fn hear(&mut self) {
        let Some(client) = &self.client else { return };
        while client.poll(Duration::ZERO).is_some() {}
        if let Some(outcome) = client.client().context().take_commit() {
            self.in_flight = false;
            if let Err(text) = outcome {
                self.warn(&text);
            }
        }
    }

    fn open(&mut self) -> Result<&BaseConsumer<Ear>, String> {
        if self.client.is_none() {
            let mut config = self.settings.client();
            config.set("group.id", &self.group);
            let client = config.create_with_context(Ear::default());
            self.client = Some(client.map_err(|error| self.settings.refusal(&error).to_string())?);
        }
        Ok(self.client.as_ref().expect("opened above"))
    }

    fn send(&mut self, offsets: &Offsets) -> Result<(), String> {
        let client = self.open()?;
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (name, offset) in offsets {
            let offset = Offset::Offset(i64::try_from(*offset).unwrap_or(i64::MAX));
            list.add_partition_offset(&name.topic, name.partition, offset)
                .map_err(|error| error.to_string())?;
        }
        client.commit(&list, CommitMode::Async).map_err(|error| error.to_string())?;
        self.in_flight = true;
        Ok(())
    }

    /// A commit that fails is made good by the next one, and the job does not rest on it.
    fn warn(&self, text: &str) {
        let text = self.settings.scrub(text);
        log::warn!(
            "Kafka: offsets were not committed for group {}: {text}; the job does not need them",
            self.group
        );
    }

    /// Gives the last commit until `deadline`.
    pub(crate) fn close(mut self, mut last: Offsets, deadline: Instant) {
        self.step(&mut last);
        while (self.in_flight || !last.is_empty()) && Instant::now() < deadline {
            if let Some(client) = &self.client {
                client.poll(Duration::from_millis(10));
            }
            self.step(&mut last);
            if self.client.is_none() {
                return;
            }
        }
        if self.in_flight {
            self.warn("no answer before the end of the job");
            // Closing waits for the answer, however long that takes: not on this thread.
            std::thread::spawn(move || drop(self.client));
        }
    }
}
