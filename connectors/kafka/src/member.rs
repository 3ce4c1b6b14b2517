//! One member of a consumer group: takes records, stores them in blocks with their offsets, and tells the group.
//!
//! With a write-ahead log offsets go to the group after their block is durable; without one, before anything is stored, so that a
//! crash loses and never doubles.

use crate::cluster::Cluster;
use crate::context::passes;
use crate::group_commit::GroupCommit;
use crate::membership::{Membership, Offsets, commit_within, list_of};
use crate::params::Settings;
use crate::record::{KafkaRecord, OwnedRecord};
use crate::rights::{self, Operation, Resource};
use crate::security::refused;
use crate::topic_partition::TopicPartition;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::util::Timeout;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tidegate::{Position, ReceiverHandle, Stored};
use tidegate_core::{Error, Result, crash_point};

/// How long is waited for a record when none is at hand, and how often it is looked whether the job stops.
const WAIT: Duration = Duration::from_millis(100);
/// How often offsets go to the group.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// Time for a commit that must be through before records are stored, and for the last one.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to leave the group.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a record takes in a block beside its texts, at most: six numbers, lengths and marks.
const RECORD_OVERHEAD_BYTES: usize = 64;

pub(crate) struct Member {
    /// Before the client: a commit must be gone before it is.
    commits: Commits,
    client: BaseConsumer<Membership>,
    handle: ReceiverHandle<KafkaRecord>,
    settings: Arc<Settings>,
    group: String,
    /// The client commits what it is told is stored, at its own interval.
    auto_commit: bool,
    pending: Pending,
    paused: bool,
}

/// Records that are taken and not stored.
struct Pending {
    partitions: BTreeMap<TopicPartition, Taken>,
    count: usize,
    bytes: usize,
    take_max: TakeMax,
}

/// What is taken before it is stored, at most.
#[derive(Clone, Copy)]
pub(crate) struct TakeMax {
    records: usize,
    /// One record may be larger.
    bytes: usize,
}

impl TakeMax {
    /// With a log 10,000 records or 1 MiB: storing waits for the disk, and what is taken is held twice meanwhile. Without one four times
    /// as much, because before each store the group is asked, and not a record is taken until it answers. In any case what fits into a block.
    pub(crate) fn of(logged: bool, block_bytes_max: usize) -> TakeMax {
        let times = if logged { 1 } else { 4 };
        TakeMax { records: times * 10_000, bytes: block_bytes_max.min(times * 1024 * 1024) }
    }
}

/// Of one partition: records with their sizes, in order.
#[derive(Default)]
struct Taken {
    records: VecDeque<(KafkaRecord, usize)>,
    bytes: usize,
}

/// Records of one partition that are stored as one.
struct Piece {
    name: TopicPartition,
    count: usize,
    /// Behind the last of them.
    until: u64,
}

/// Commits to the group: at most one is on its way.
#[derive(Default)]
struct Commits {
    under_way: Option<GroupCommit>,
    sent: Offsets,
    sent_at: Option<Instant>,
}

impl Pending {
    fn is_full(&self) -> bool {
        self.count >= self.take_max.records || self.bytes >= self.take_max.bytes
    }

    fn insert(&mut self, record: OwnedRecord) {
        let bytes = size(&record);
        let name = TopicPartition::new(record.topic.clone(), record.partition);
        let taken = self.partitions.entry(name).or_default();
        taken.records.push_back((record.into(), bytes));
        taken.bytes += bytes;
        self.count += 1;
        self.bytes += bytes;
    }

    fn remove(&mut self, name: &TopicPartition) {
        let Some(taken) = self.partitions.remove(name) else { return };
        self.count -= taken.records.len();
        self.bytes -= taken.bytes;
    }

    /// The next of each partition, `most` records together at most, in equal shares: how many, and where each goes on.
    fn piece(&self, most: usize) -> Vec<Piece> {
        let share = most.div_ceil(self.partitions.len().max(1));
        let mut left = most;
        let mut pieces = Vec::new();
        for (name, taken) in &self.partitions {
            let count = taken.records.len().min(share).min(left);
            if let Some((last, _)) = count.checked_sub(1).and_then(|last| taken.records.get(last)) {
                left -= count;
                pieces.push(Piece { name: name.clone(), count, until: last.offset() + 1 });
            }
        }
        pieces
    }

    fn take(&mut self, piece: &Piece) -> Vec<KafkaRecord> {
        let Some(taken) = self.partitions.get_mut(&piece.name) else { return Vec::new() };
        let (records, sizes): (Vec<_>, Vec<_>) = taken.records.drain(..piece.count).unzip();
        let bytes = sizes.iter().sum::<usize>();
        taken.bytes -= bytes;
        self.bytes -= bytes;
        self.count -= records.len();
        if taken.records.is_empty() {
            self.partitions.remove(&piece.name);
        }
        records
    }
}

impl Member {
    /// Joins the group. Connects in the background.
    pub(crate) fn join(
        settings: &Arc<Settings>,
        config: &rdkafka::ClientConfig,
        topics: &[String],
        handle: ReceiverHandle<KafkaRecord>,
        options: MemberOptions,
    ) -> Result<Member> {
        let group = options.group;
        let cluster = Cluster::open(settings)?;
        let membership = Membership::new(handle.clone(), &group, settings.reset, cluster);
        let client: BaseConsumer<Membership> =
            config.create_with_context(membership).map_err(|error| settings.refusal(&error))?;
        let topics: Vec<_> = topics.iter().map(String::as_str).collect();
        client.subscribe(&topics).map_err(|error| settings.refusal(&error))?;
        Ok(Member {
            client,
            settings: Arc::clone(settings),
            group,
            auto_commit: options.auto_commit && handle.is_logged(),
            handle,
            pending: Pending { partitions: BTreeMap::new(), count: 0, bytes: 0, take_max: options.take_max },
            paused: false,
            commits: Commits::default(),
        })
    }

    /// Runs until the receiver is stopped.
    pub(crate) fn run(mut self) -> Result<()> {
        let done = self.work();
        self.finish();
        let at = format!("Kafka at {}, group {}", self.settings.bootstrap, self.group);
        self.leave();
        done.map_err(|error| error.context(at))
    }

    fn work(&mut self) -> Result<()> {
        while !self.handle.is_stopped() {
            self.take()?;
            if self.pending.count > 0 {
                self.store()?;
            }
            self.tell_the_group();
        }
        Ok(())
    }

    /// Takes what is at hand, or waits a little. Looks at the group's word in any case: a member that does not is put out.
    fn take(&mut self) -> Result<()> {
        if self.pending.is_full() {
            self.pause();
        }
        let mut wait = match (self.paused, self.pending.count) {
            (true, _) => WAIT / 10,
            (false, 0) => WAIT,
            (false, _) => Duration::ZERO,
        };
        loop {
            let came = match self.client.poll(Timeout::After(wait)) {
                None => false,
                Some(Ok(message)) => {
                    self.pending.insert(owned(&message));
                    true
                }
                Some(Err(error)) => {
                    self.look_at(&error)?;
                    false
                }
            };
            self.heed_the_group()?;
            if !came {
                if let Some(text) = self.client.context().ear().refused() {
                    return Err(refused(&self.settings, &text));
                }
                return Ok(());
            }
            wait = Duration::ZERO;
            if self.pending.is_full() || self.paused {
                self.client.context().ear().back();
                return Ok(());
            }
        }
    }

    /// What the group said in the last call of `poll`.
    fn heed_the_group(&mut self) -> Result<()> {
        let (revoked, assigned) = {
            let mut state = self.client.context().lock();
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            (std::mem::take(&mut state.revoked), std::mem::take(&mut state.assigned))
        };
        for name in revoked {
            // Not stored: whoever has the partition now reads them again.
            self.pending.remove(&name);
            self.commits.sent.remove(&name);
        }
        if self.pending.count == 0 {
            self.resume();
        } else if assigned && self.paused {
            self.paused = false;
            self.pause();
        }
        Ok(())
    }

    /// Takes no more until what is pending is stored.
    fn pause(&mut self) {
        if !self.paused
            && let Ok(all) = self.client.assignment()
        {
            self.paused = self.client.pause(&all).is_ok();
        }
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.paused)
            && let Ok(all) = self.client.assignment()
            && let Err(error) = self.client.resume(&all)
        {
            self.handle.restart(&format!("partitions can't be read on: {error}"));
        }
    }

    /// Stores as much of what is pending as the stream takes now.
    fn store(&mut self) -> Result<()> {
        let most = match self.handle.admits_up_to(self.pending.count as u64)? {
            Ok(most) => usize::try_from(most).unwrap_or(usize::MAX),
            Err(busy) => {
                // What came meanwhile is taken up to the bound; then partitions are paused.
                self.handle.wait_stopped(busy.retry_after.min(WAIT));
                return Ok(());
            }
        };
        let pieces = self.pending.piece(most);
        if !self.handle.is_logged() && !self.commit_first(&pieces)? {
            return Ok(());
        }
        for piece in pieces {
            let records = self.pending.take(&piece);
            self.store_one(&piece.name, records, piece.until)?;
            self.client.context().lock().stored.insert(piece.name, piece.until);
        }
        if self.pending.count == 0 {
            self.resume();
        }
        Ok(())
    }

    /// Stores records of one partition, up to the offset `until`.
    fn store_one(&self, name: &TopicPartition, mut records: Vec<KafkaRecord>, until: u64) -> Result<()> {
        let origin = self.client.context().origin(name);
        while let Some(first) = records.first() {
            let position = Position::new(origin.clone(), first.offset(), until);
            match self.handle.store_at(records.iter().cloned(), position)? {
                Stored::New | Stored::Before => break,
                Stored::Partly(known) => records.retain(|record| record.offset() >= known),
                Stored::Gap(expected) => {
                    return Err(Error::bug(format!(
                        "{name}: offset {expected} is asked for, though gaps are natural"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Without a log: what is in no batch yet is lost by a crash, so it must not be read again after one either. False: the group
    /// is being shared out anew, and says first who has the partitions.
    fn commit_first(&mut self, pieces: &[Piece]) -> Result<bool> {
        let offsets: Offsets = pieces.iter().map(|piece| (piece.name.clone(), piece.until)).collect();
        match commit_within(&self.client, &offsets, COMMIT_TIMEOUT) {
            Ok(()) => {
                self.commits.sent.extend(offsets);
                Ok(true)
            }
            Err(Code::RebalanceInProgress | Code::IllegalGeneration | Code::UnknownMemberId) => {
                self.pause();
                Ok(false)
            }
            Err(Code::GroupAuthorizationFailed) => Err(self.client.context().missing_on_group()),
            Err(code) => Err(Error::retry(format!("offsets were not committed: {code}"))),
        }
    }

    /// Tells the group what is stored: soon, and without waiting for its answer.
    fn tell_the_group(&mut self) {
        if let Some(commit) = &self.commits.under_way {
            match commit.outcome(Duration::ZERO) {
                None => return,
                Some(Ok(())) => {}
                // The next one makes it good.
                Some(Err(code)) => {
                    self.commits.sent.clear();
                    log::debug!("receiver {}: offsets were not committed: {code}", self.handle.stream());
                }
            }
            self.commits.under_way = None;
        }
        if self.commits.sent_at.is_some_and(|at| at.elapsed() < COMMIT_EVERY) {
            return;
        }
        let news = self.news();
        if news.is_empty() {
            return;
        }
        self.commits.sent_at = Some(Instant::now());
        if self.auto_commit {
            match self.client.store_offsets(&list_of(&news)) {
                Ok(()) => self.commits.sent.extend(news),
                Err(error) => log::debug!("receiver {}: {error}", self.handle.stream()),
            }
            return;
        }
        if let Ok(commit) = GroupCommit::send(&self.client, &list_of(&news)) {
            self.commits.under_way = Some(commit);
            self.commits.sent.extend(news);
        }
        crash_point("block-acknowledged");
    }

    /// What is stored and was not told.
    fn news(&self) -> Offsets {
        let state = self.client.context().lock();
        let news = state.stored.iter().filter(|(name, until)| self.commits.sent.get(name) != Some(until));
        news.map(|(name, until)| (name.clone(), *until)).collect()
    }

    /// Leaves the group. librdkafka may wait for a broker that is away, and has no limit to it: after a while that is left to a
    /// thread of its own, which touches nothing of the job, and the group puts the member out.
    fn leave(self) {
        let Member { client, handle, .. } = self;
        let (tell, told) = channel();
        let left = std::thread::Builder::new().name("kafka-leave".to_owned()).spawn(move || {
            drop(client);
            let _ = tell.send(());
        });
        if left.is_ok() && told.recv_timeout(LEAVE_TIMEOUT).is_err() {
            handle.report_error("the group was not left in time; it waits for the session to end");
        }
    }

    /// The last commit.
    fn finish(&mut self) {
        self.commits.under_way = None;
        let all = self.client.context().lock().stored.clone();
        if all.is_empty() {
            return;
        }
        if let Err(code) = commit_within(&self.client, &all, COMMIT_TIMEOUT) {
            let so = if self.handle.is_logged() { "; the write-ahead log knows what is stored" } else { "" };
            self.handle.report_error(&format!("the last offsets were not committed: {code}{so}"));
        }
    }

    /// What `poll` said instead of a record.
    fn look_at(&self, error: &KafkaError) -> Result<()> {
        let Some(code) = error.rdkafka_error_code() else {
            return Err(Error::retry(error.to_string()));
        };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => Err(self.lost()),
            Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition => {
                Err(Error::retry("a topic does not exist; create it, or correct its name"))
            }
            Code::GroupAuthorizationFailed => Err(self.client.context().missing_on_group()),
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                Err(self.missing_on_topics(code))
            }
            Code::Fatal | Code::Fenced | Code::FencedInstanceId => Err(Error::reconfigure(format!(
                "{code}: {error}; is another member of the group running under this group.instance.id?"
            ))),
            Code::BadMessage | Code::InvalidMessage | Code::BadCompression | Code::MessageSizeTooLarge => {
                Err(Error::data_lost(format!(
                    "records can't be read: {code}; mend or remove them in Kafka, or raise fetch.message.max.bytes if they are \
                     too large"
                )))
            }
            Code::PollExceeded => {
                self.handle.report_error(
                    "the group had no word for longer than max.poll.interval.ms; joining it again",
                );
                Ok(())
            }
            code if passes(code) => {
                log::debug!("receiver {}: {error}", self.handle.stream());
                Ok(())
            }
            code => Err(Error::retry(format!("{code}: {error}"))),
        }
    }

    /// librdkafka does not say which of the topics it is.
    fn missing_on_topics(&self, code: Code) -> Error {
        let all = self.client.subscription().map(|all| all.to_topic_map()).unwrap_or_default();
        let topics: Vec<_> = all.into_keys().map(|(topic, _)| topic).collect();
        match topics.as_slice() {
            [topic] => {
                rights::missing(&self.settings, &code.to_string(), &[Operation::Read], Resource::Topic(topic))
            }
            topics => {
                let principal = self.settings.principal();
                let who = principal.as_deref().unwrap_or("this user");
                Error::reconfigure(format!(
                    "{code}; {who} needs READ on each of the topics {}",
                    topics.join(", ")
                ))
            }
        }
    }

    /// Where reading goes on is not in the log any more: says of which partition, and what it holds.
    fn lost(&self) -> Error {
        let group = &self.group;
        let way_out = format!(
            "begin with another group.id and a new checkpoint directory, which read by auto.offset.reset; or, if the records were removed by retention, set the \
             offsets of group {group} to what is there"
        );
        let assigned = self.client.assignment().map(|all| all.to_topic_map()).unwrap_or_default();
        for (topic, partition) in assigned.into_keys() {
            let name = TopicPartition::new(topic, partition);
            let at = self.client.context().lock().stored.get(&name).copied();
            let Some(at) = at.max(self.handle.position(&self.client.context().origin(&name))) else {
                continue;
            };
            let Ok((low, high)) = self.client.fetch_watermarks(&name.topic, partition, WAIT * 10) else {
                continue;
            };
            let (low, high) = (u64::try_from(low).unwrap_or(0), u64::try_from(high).unwrap_or(0));
            if let Some(lost) = crate::loss::check(at, low, high) {
                return Error::data_lost(format!("{}; {way_out}", lost.words(&name)));
            }
        }
        Error::data_lost(format!(
            "an offset of group {group} is not in its partition's log any more; {way_out}"
        ))
    }
}

/// What a member is beside its client's settings.
pub(crate) struct MemberOptions {
    pub(crate) group: String,
    pub(crate) auto_commit: bool,
    pub(crate) take_max: TakeMax,
}

fn owned(message: &BorrowedMessage<'_>) -> OwnedRecord {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    OwnedRecord {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: u64::try_from(message.offset()).unwrap_or(0),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
    }
}

/// Bytes of a record in a block, at most.
fn size(record: &OwnedRecord) -> usize {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers: usize =
        record.headers.iter().map(|(name, value)| name.len() + bytes(value) + RECORD_OVERHEAD_BYTES).sum();
    record.topic.len() + bytes(&record.key) + bytes(&record.value) + headers + RECORD_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_holds_no_more_than_is_admitted_in_order_and_of_each_partition() {
        let take_max = TakeMax::of(true, 1000);
        let mut pending = Pending { partitions: BTreeMap::new(), count: 0, bytes: 0, take_max };
        for (partition, records) in [(0, 100), (1, 3), (2, 50)] {
            for offset in 0..records {
                let topic = "lines".to_owned();
                pending.insert(OwnedRecord { topic, partition, offset, ..OwnedRecord::default() });
            }
        }
        let mut taken: BTreeMap<TopicPartition, Vec<u64>> = BTreeMap::new();
        while pending.count > 0 {
            let pieces = pending.piece(10);
            let counts: Vec<_> = pieces.iter().map(|piece| piece.count).collect();
            assert!((1..=10).contains(&counts.iter().sum::<usize>()), "{counts:?}");
            for piece in &pieces {
                let records = pending.take(piece);
                assert_eq!(records.last().map(|last| last.offset() + 1), Some(piece.until));
                taken.entry(piece.name.clone()).or_default().extend(records.iter().map(KafkaRecord::offset));
            }
            if taken.values().map(Vec::len).sum::<usize>() <= 10 {
                assert_eq!(counts, [4, 3, 3], "the first piece has some of each");
            }
        }
        assert_eq!((pending.bytes, pending.partitions.len()), (0, 0));
        let all: Vec<Vec<u64>> = taken.into_values().collect();
        assert_eq!(all, [(0..100).collect::<Vec<_>>(), (0..3).collect(), (0..50).collect()]);
    }
}
