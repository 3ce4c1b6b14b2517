//! The driver's background thread: asks Kafka what planning must not wait for.
//!
//! It learns ends where no fetch of this process tells them (no reader yet, a reader in another process, and
//! `read_committed`, whose last stable offset librdkafka tells nobody), finds new partitions, and notices
//! topics that are gone or were made again.

use crate::cluster::{Cluster, Ends};
use crate::known::{Known, Shared};
use crate::loss::{self, Loss};
use crate::registry::OpenQueues;
use crate::source::Inner;
use crate::topic_ids::TopicIds;
use crate::topic_partition::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate_core::{Error, ErrorKind, Result};

/// Longest wait for one answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often ends are asked for while no fetch tells them.
const ENDS_EVERY: Duration = Duration::from_millis(20);
/// How often it is looked whether a fetch saw more than the last stable offset covers. Costs no round trip.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often the last stable offset is asked for while a transaction is open.
const OPEN_TRANSACTION_EVERY: Duration = Duration::from_millis(50);
/// Rest when the fetches tell all there is to know.
const REST: Duration = Duration::from_millis(100);
/// How soon bad news is looked at a second time before it is believed: a new leader may lag for a moment.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(300);

pub(crate) struct Watcher {
    source: Arc<Inner>,
    shared: Arc<Shared>,
    cluster: Cluster,
    next_discovery: Instant,
    asked_at: Option<Instant>,
    /// The high watermarks that fetches had told when ends were last asked for.
    asked_highs: BTreeMap<TopicPartition, u64>,
    /// Bad news seen once: partitions that are gone or end below their position.
    doubtful: BTreeSet<TopicPartition>,
    /// Partitions whose topic had another id at the last look, with that id.
    other_ids: BTreeMap<TopicPartition, String>,
    /// Up to where each partition was read when its topic was last seen to be the one the job began with.
    verified: BTreeMap<TopicPartition, u64>,
}

impl Watcher {
    pub(crate) fn new(source: &Arc<Inner>, shared: &Arc<Shared>, cluster: Cluster) -> Self {
        Watcher {
            next_discovery: Instant::now() + source.options.discovery(),
            source: Arc::clone(source),
            shared: Arc::clone(shared),
            cluster,
            asked_at: None,
            asked_highs: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            other_ids: BTreeMap::new(),
            verified: shared.lock().partitions.iter().map(|it| (it.name.clone(), it.position)).collect(),
        }
    }

    /// Runs until the planner is closed.
    pub(crate) fn run(mut self) {
        while !self.shared.rest(self.rest()) {
            match self.round() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Retry => log::debug!("{error}; asking again"),
                Err(error) => self.fail(&error),
            }
        }
    }

    fn fail(&self, error: &Error) {
        let mut state = self.shared.lock();
        state.failure.get_or_insert_with(|| (error.kind(), error.to_string()));
    }

    fn open(&self) -> &OpenQueues {
        &self.source.open
    }

    fn rest(&self) -> Duration {
        if self.source.settings.read_committed {
            LOOK_EVERY
        } else if self
            .shared
            .lock()
            .partitions
            .iter()
            .all(|it| self.open().high_watermark(&it.name).is_some())
        {
            REST
        } else {
            ENDS_EVERY
        }
    }

    fn round(&mut self) -> Result<()> {
        self.cluster.check_admitted()?;
        let discover = Instant::now() >= self.next_discovery;
        if discover {
            // Set first: a question that fails is not repeated without rest.
            self.next_discovery = Instant::now() + self.source.options.discovery();
            self.discover()?;
        }
        if discover || self.wants_ends() {
            self.ask_for_ends()?;
        }
        if !self.doubtful.is_empty() || !self.other_ids.is_empty() {
            self.next_discovery = self.next_discovery.min(Instant::now() + SECOND_LOOK_AFTER);
        }
        Ok(())
    }

    /// Whether asking can tell more than the fetches did.
    fn wants_ends(&self) -> bool {
        let Some(asked_at) = self.asked_at else { return true };
        let waited = asked_at.elapsed();
        self.present().iter().any(|it| match self.open().high_watermark(&it.name) {
            None => waited >= ENDS_EVERY,
            Some(_) if !self.source.settings.read_committed => false,
            Some(high) if self.asked_highs.get(&it.name).is_none_or(|asked| high > *asked) => true,
            Some(high) => high > it.end && waited >= OPEN_TRANSACTION_EVERY,
        })
    }

    fn present(&self) -> Vec<Known> {
        self.shared.lock().partitions.iter().filter(|it| !it.absent).cloned().collect()
    }

    fn ask_for_ends(&mut self) -> Result<()> {
        // Positions as they are before the question: by the answer they may be further.
        let before = self.present();
        let highs =
            before.iter().filter_map(|it| Some((it.name.clone(), self.open().high_watermark(&it.name)?)));
        self.asked_highs = highs.collect();
        self.asked_at = Some(Instant::now());
        let names: Vec<_> = before.iter().map(|it| it.name.clone()).collect();
        let ends = self.cluster.ends(&names, ASK_TIMEOUT)?;
        let behind = self.take_ends(&before, &ends);
        self.look_again_at(&behind)
    }

    /// Notes the ends; gives the partitions that end below their position.
    fn take_ends(&self, before: &[Known], ends: &Ends) -> Vec<Known> {
        let mut state = self.shared.lock();
        let mut behind = Vec::new();
        for was in before {
            let end = ends[&was.name];
            if let Some(known) = state.get_mut(&was.name) {
                known.end = end;
            }
            if end < was.position {
                behind.push(was.clone());
            }
        }
        behind
    }

    fn look_again_at(&mut self, behind: &[Known]) -> Result<()> {
        let names: Vec<_> = behind.iter().map(|it| it.name.clone()).collect();
        let (again, first): (Vec<_>, Vec<_>) = behind.iter().partition(|it| self.doubtful.contains(&it.name));
        let absent: BTreeSet<_> =
            self.shared.lock().partitions.iter().filter(|it| it.absent).map(|it| it.name.clone()).collect();
        self.doubtful.retain(|name| names.contains(name) || absent.contains(name));
        self.doubtful.extend(first.iter().map(|it| it.name.clone()));
        if again.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = again.iter().map(|it| it.name.clone()).collect();
        let begins = self.cluster.begins(&names, ASK_TIMEOUT)?;
        let ends = self.cluster.log_ends(&names, ASK_TIMEOUT)?;
        let ids = self.cluster.topic_ids(&names, ASK_TIMEOUT)?;
        for it in again {
            self.doubtful.remove(&it.name);
            if let Some(lost) = loss::check(it.position, begins[&it.name], ends[&it.name]) {
                let go_on = lost.decide(&it.name, self.source.options.fail_on_data_loss)?;
                self.go_on_in_new_log(&it.name, go_on, ids.get(&it.name.topic).cloned());
            }
        }
        Ok(())
    }

    fn go_on_in_new_log(&mut self, name: &TopicPartition, go_on: u64, topic_id: Option<String>) {
        self.other_ids.remove(name);
        self.verified.insert(name.clone(), go_on);
        // What the reader's fetches told belongs to the old log.
        self.open().forget(name);
        if let Some(known) = self.shared.lock().get_mut(name) {
            known.position = go_on;
            known.topic_id = topic_id;
            known.absent = false;
        }
    }

    fn discover(&mut self) -> Result<()> {
        let found = self.cluster.find(&self.source.selection, ASK_TIMEOUT)?.partitions;
        self.note_made_again(&found)?;
        self.note_absent(&found)?;
        let known: BTreeSet<_> = self.shared.lock().partitions.iter().map(|it| it.name.clone()).collect();
        let new: Vec<_> = found.difference(&known).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let begins = self.cluster.begins(&new, ASK_TIMEOUT)?;
        let ends = self.cluster.ends(&new, ASK_TIMEOUT)?;
        let ids = self.cluster.topic_ids(&new, ASK_TIMEOUT)?;
        let mut state = self.shared.lock();
        for name in new {
            let (position, end) = (begins[&name], ends[&name]);
            log::info!("Kafka: new partition {name}, read from offset {position}");
            let topic_id = ids.get(&name.topic).cloned();
            self.verified.insert(name.clone(), position);
            state.partitions.push(Known { name, position, planned: position, end, topic_id, absent: false });
        }
        Ok(())
    }

    /// A topic that has another id at two looks was made again: one look may be at a broker that lags behind.
    fn note_made_again(&mut self, found: &BTreeSet<TopicPartition>) -> Result<()> {
        // Positions as they are before the question, as in `ask_for_ends`.
        let before: Vec<Known> =
            self.shared.lock().partitions.iter().filter(|it| found.contains(&it.name)).cloned().collect();
        let names: Vec<_> = before.iter().map(|it| it.name.clone()).collect();
        let ids = self.cluster.topic_ids(&names, ASK_TIMEOUT)?;
        let mut made_again = Vec::new();
        for was in before {
            let Some(id) = ids.get(&was.name.topic) else { continue };
            if was.topic_id.as_ref().is_none_or(|known| known == id) {
                self.other_ids.remove(&was.name);
                self.verified.insert(was.name.clone(), was.position);
                if let Some(known) = self.shared.lock().get_mut(&was.name) {
                    known.topic_id = Some(id.clone());
                }
            } else if self.other_ids.insert(was.name.clone(), id.clone()).as_ref() == Some(id) {
                made_again.push(was.name);
            } else if let Some(known) = self.shared.lock().get_mut(&was.name) {
                // No more of it is planned from the first look on.
                known.absent = true;
            }
        }
        self.decide_made_again(&made_again, &ids)
    }

    fn decide_made_again(&mut self, names: &[TopicPartition], ids: &TopicIds) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let begins = self.cluster.begins(names, ASK_TIMEOUT)?;
        let ends = self.cluster.log_ends(names, ASK_TIMEOUT)?;
        for name in names {
            let reached = self.shared.lock().get_mut(name).map_or(0, |it| it.position);
            let position = self.verified.get(name).copied().unwrap_or(reached);
            let lost = Loss::Replaced { position, reached, begin: begins[name], end: ends[name] };
            let go_on = lost.decide(name, self.source.options.fail_on_data_loss)?;
            self.doubtful.remove(name);
            self.go_on_in_new_log(name, go_on, ids.get(&name.topic).cloned());
        }
        Ok(())
    }

    /// A partition that is gone at two looks is believed to be gone.
    fn note_absent(&mut self, found: &BTreeSet<TopicPartition>) -> Result<()> {
        let mut state = self.shared.lock();
        for known in &mut state.partitions {
            if self.other_ids.contains_key(&known.name) {
                // There, and not known to be the same.
            } else if found.contains(&known.name) {
                if std::mem::take(&mut known.absent) {
                    log::info!("Kafka: {} is there again", known.name);
                }
            } else if !known.absent {
                // No more of it is planned from the first look on.
                known.absent = true;
                self.doubtful.insert(known.name.clone());
            } else if self.doubtful.remove(&known.name) {
                let words = format!(
                    "{} does not exist at {} any more (the job has read up to offset {})",
                    known.name, self.source.settings.bootstrap, known.position
                );
                if self.source.options.fail_on_data_loss {
                    return Err(Error::data_lost(format!(
                        "{words}; set fail_on_data_loss(false) to go on without it, or start a new job"
                    )));
                }
                log::warn!("{words}; going on without it");
            }
        }
        Ok(())
    }
}
