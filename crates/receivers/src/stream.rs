//! The blocks of one stream: what was stored, what is on its way, what a batch may take. All waiting is here.

use crate::log::{LogReader, LoggedBlock};
use crate::marks::{Mark, Marks, Position, Seen, Stored};
use crate::rate::Permits;
use crate::{Busy, ReceiverSettings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidegate_core::{
    Error, ErrorKind, ReceiverChange, ReceiverEvent, ReceiverReport, Result, SourceRange, crash_point,
};

/// What a receiver can store: it is kept as bytes until its batch is committed.
pub trait StoredRecord: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> StoredRecord for T {}

/// Longest wait between two looks at what else may have changed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Bytes in the name of an origin or a key at most.
const NAME_BYTES_MAX: usize = 512;

/// Records of one call, as bytes.
#[derive(Default)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: u32,
}

impl Payload {
    pub(crate) fn add<T: Serialize>(&mut self, record: &T) -> Result<()> {
        let bytes = std::mem::take(&mut self.bytes);
        self.bytes = postcard::to_extend(record, bytes)
            .map_err(|e| Error::reconfigure("a record can't be stored in a block").because(e))?;
        self.records += 1;
        Ok(())
    }
}

/// What says whether records were stored before.
pub(crate) enum Identity {
    None,
    Position(Position),
    Key(String),
}

/// What the writer takes next.
pub(crate) struct Request {
    pub(crate) payload: Payload,
    pub(crate) mark: Option<Mark>,
    pub(crate) ticket: u64,
}

struct Block {
    first: u64,
    records: u32,
    bytes: usize,
    /// Where it is in the log.
    segment: u64,
    /// `None`: in the log only.
    payload: Option<Arc<Vec<u8>>>,
}

impl Block {
    fn end(&self) -> u64 {
        self.first + u64::from(self.records)
    }
}

pub(crate) struct State {
    blocks: VecDeque<Block>,
    /// The number of the next record.
    pub(crate) next: u64,
    /// Everything below is in a committed batch.
    committed: u64,
    /// Nothing below is ever read again.
    pub(crate) released: u64,
    /// Bytes that are in no committed batch, with those on their way.
    held: usize,
    pub(crate) queue: VecDeque<Request>,
    /// The newest request, and the newest that is stored.
    ticket: u64,
    pub(crate) done: u64,
    /// Records of single calls, until a block of them is full or old enough.
    pub(crate) open: Payload,
    pub(crate) open_since: Option<Instant>,
    permits: Permits,
    /// What back-pressure allows, in records a second.
    pub(crate) rate: Option<f64>,
    failure: Option<(ErrorKind, String)>,
    /// Nothing more is taken.
    pub(crate) stopping: bool,
    /// The writer ends once nothing is left.
    pub(crate) closing: bool,
}

/// One stream of a receiver.
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) settings: ReceiverSettings,
    marks: Marks,
    /// Its number among the streams of the job, once it has joined.
    number: std::sync::OnceLock<usize>,
    log: Option<LogReader>,
    /// What the receiver is, and who is told what happens to it.
    report: std::sync::OnceLock<(String, ReceiverReport)>,
    state: Mutex<State>,
    pub(crate) changed: Condvar,
}

impl Stream {
    /// A stream whose log holds `blocks`.
    pub(crate) fn new(
        name: String,
        settings: ReceiverSettings,
        marks: Marks,
        log: Option<LogReader>,
        blocks: Vec<LoggedBlock>,
    ) -> Stream {
        let block = |it: LoggedBlock| Block {
            first: it.first,
            records: it.records,
            bytes: it.bytes,
            segment: it.segment,
            payload: None,
        };
        let blocks: VecDeque<Block> = blocks.into_iter().map(block).collect();
        let state = State {
            next: blocks.back().map_or(0, Block::end),
            committed: blocks.front().map_or(0, |block| block.first),
            released: 0,
            held: blocks.iter().map(|block| block.bytes).sum(),
            blocks,
            queue: VecDeque::new(),
            ticket: 0,
            done: 0,
            open: Payload::default(),
            open_since: None,
            permits: Permits::new(settings.max_rate, Instant::now()),
            rate: None,
            failure: None,
            stopping: false,
            closing: false,
        };
        let (number, report) = (std::sync::OnceLock::new(), std::sync::OnceLock::new());
        let changed = Condvar::new();
        Stream { name, settings, marks, number, log, report, state: Mutex::new(state), changed }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.log.is_some()
    }

    pub(crate) fn joined(&self, number: usize) {
        let _ = self.number.set(number);
    }

    fn number(&self) -> usize {
        self.number.get().copied().unwrap_or_default()
    }

    pub(crate) fn position(&self, origin: &str) -> Option<u64> {
        self.marks.position(origin)
    }

    pub(crate) fn positions_below(&self, prefix: &str) -> BTreeMap<String, u64> {
        self.marks.positions_below(prefix)
    }

    /// From now on `report` is told what happens to the receiver, which is `receiver`.
    pub(crate) fn report_to(&self, receiver: &str, report: ReceiverReport) {
        let _ = self.report.set((receiver.to_owned(), report));
    }

    pub(crate) fn tell(&self, change: ReceiverChange) {
        if let Some((receiver, report)) = self.report.get() {
            report(ReceiverEvent { receiver: receiver.clone(), change });
        }
    }

    // ---- storing

    /// Stores records; with a log they are durable on return.
    pub(crate) fn store(&self, payload: Payload, identity: &Identity) -> Result<Stored> {
        crash_point("block-received");
        self.check(&payload, identity)?;
        let mut settled = None;
        loop {
            let state = self.admitted()?;
            let seen = match identity {
                Identity::None => Seen::New,
                Identity::Position(position) => self.marks.take_position(self.number(), position, settled),
                Identity::Key(key) => self.marks.take_key(self.number(), key),
            };
            match seen {
                Seen::New => {
                    let ticket = self.enqueue(state, payload, identity);
                    #[cfg(feature = "sabotage")]
                    if crate::sabotage::store_early() {
                        return Ok(Stored::New);
                    }
                    self.await_ticket(ticket)?;
                    crash_point("block-durable");
                    return Ok(Stored::New);
                }
                Seen::Before(stream) => {
                    drop(state);
                    // It may still be on its way, and must not be acknowledged before.
                    self.marks.barrier(stream)()?;
                    return Ok(Stored::Before);
                }
                Seen::Behind(stream, until) => {
                    drop(state);
                    self.marks.barrier(stream)()?;
                    settled = Some(until);
                }
                Seen::Partly(until) => return Ok(Stored::Partly(until)),
                Seen::Gap(expected) => return Ok(Stored::Gap(expected)),
            }
        }
    }

    fn check(&self, payload: &Payload, identity: &Identity) -> Result<()> {
        let most = self.settings.block_bytes_max;
        if payload.bytes.len() > most {
            return Err(Error::reconfigure(format!(
                "receiver {}: {} records of {} bytes in one call; a block takes at most {most} \
                 (tidegate.receiver.block_bytes_max). Store them in several calls",
                self.name,
                payload.records,
                payload.bytes.len()
            )));
        }
        let name = match identity {
            Identity::None => "",
            Identity::Position(position) => &position.origin,
            Identity::Key(key) => key,
        };
        if name.len() > NAME_BYTES_MAX {
            return Err(Error::reconfigure(format!(
                "receiver {}: a key or the name of an origin has {} bytes, at most {NAME_BYTES_MAX} are taken",
                self.name,
                name.len()
            )));
        }
        Ok(())
    }

    /// Adds a record to the block of those that nobody waits for.
    pub(crate) fn buffer(&self, record: Payload) -> Result<()> {
        crash_point("block-received");
        self.check(&record, &Identity::None)?;
        let mut state = self.admitted()?;
        if state.open.bytes.len() + record.bytes.len() > self.settings.block_bytes_max {
            close_open(&mut state);
        }
        state.permits.take(u64::from(record.records));
        state.held += record.bytes.len();
        state.open.bytes.extend_from_slice(&record.bytes);
        state.open.records += record.records;
        if state.open_since.is_none() {
            state.open_since = Some(Instant::now());
            self.changed.notify_all();
        }
        Ok(())
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>, payload: Payload, identity: &Identity) -> u64 {
        let mark = match identity {
            Identity::None => None,
            Identity::Position(position) => Some(Mark::Until(position.origin.clone(), position.until)),
            Identity::Key(key) => Some(Mark::Key(key.clone())),
        };
        close_open(&mut state);
        state.permits.take(u64::from(payload.records));
        state.held += payload.bytes.len();
        state.ticket += 1;
        let ticket = state.ticket;
        state.queue.push_back(Request { payload, mark, ticket });
        drop(state);
        self.changed.notify_all();
        ticket
    }

    fn await_ticket(&self, ticket: u64) -> Result<()> {
        let mut state = self.lock();
        while state.done < ticket {
            state.refuse_if_failed()?;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// Waits until all that was given so far is stored.
    pub(crate) fn await_all(&self) -> Result<()> {
        let ticket = {
            let mut state = self.lock();
            close_open(&mut state);
            state.ticket
        };
        self.changed.notify_all();
        self.await_ticket(ticket)
    }

    /// Waits until the stream takes more.
    fn admitted(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        loop {
            state.refuse_if_failed()?;
            if state.stopping {
                return Err(Error::retry(format!(
                    "receiver {}: the job is stopping, nothing is stored",
                    self.name
                )));
            }
            let wait = self.wait(&mut state);
            if wait.is_zero() {
                return Ok(state);
            }
            let waited = self.changed.wait_timeout(state, wait.min(LOOK_EVERY));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How long it is until the stream takes more, as far as can be told.
    fn wait(&self, state: &mut State) -> Duration {
        if state.held >= self.settings.held_bytes_max {
            LOOK_EVERY
        } else {
            state.permits.wait(Instant::now())
        }
    }

    /// How many of `wanted` records the stream takes now, without waiting.
    pub(crate) fn admits(&self, wanted: u64) -> Result<std::result::Result<u64, Busy>> {
        let mut state = self.lock();
        state.refuse_if_failed()?;
        let piece = if state.held >= self.settings.held_bytes_max {
            // It is emptied by the next batches.
            Err(Duration::from_secs(1))
        } else {
            state.permits.piece(wanted, Instant::now())
        };
        Ok(match piece {
            Ok(_) if state.stopping => Err(Busy { retry_after: Duration::ZERO }),
            Ok(records) => Ok(records),
            Err(retry_after) => Err(Busy { retry_after }),
        })
    }

    // ---- the writer's side

    /// A block is stored: durable, if there is a log.
    pub(crate) fn stored(&self, payload: Vec<u8>, records: u32, segment: u64, ticket: u64) {
        let mut state = self.lock();
        let first = state.next;
        if records > 0 {
            let (bytes, payload) = (payload.len(), Some(Arc::new(payload)));
            state.blocks.push_back(Block { first, records, bytes, segment, payload });
            state.next += u64::from(records);
        }
        state.done = state.done.max(ticket);
        drop(state);
        self.changed.notify_all();
    }

    /// The stream takes no more, and all who wait are told why.
    pub(crate) fn fail(&self, error: &Error) {
        self.lock().failure.get_or_insert_with(|| (error.kind(), error.to_string()));
        self.changed.notify_all();
        self.tell(ReceiverChange::Failed(error.to_string()));
    }

    // ---- the planner's side

    /// Records begin at least with this number; what is below was taken by batches.
    pub(crate) fn go_on_at(&self, position: u64) {
        let mut state = self.lock();
        state.next = state.next.max(position);
        self.committed_up_to(&mut state, position);
    }

    /// What a batch takes from `position` on: whole blocks, of `records_max` records together, one at least.
    pub(crate) fn ranges(&self, position: u64, records_max: u64) -> Result<Vec<SourceRange>> {
        let state = self.lock();
        state.refuse_if_failed()?;
        let mut ends = Vec::new();
        for block in state.blocks.iter().filter(|block| block.end() > position) {
            if !ends.is_empty() && block.end() - position > records_max {
                break;
            }
            ends.push(block.end());
        }
        // As many ranges as there are blocks, up to the bound; then neighbours share one.
        let share = ends.len().div_ceil(self.settings.partitions_max.max(1)).max(1);
        let (mut from, mut ranges) = (position, Vec::new());
        for ends in ends.chunks(share) {
            let until = ends[ends.len() - 1];
            ranges.push(SourceRange::new(self.name.clone(), from, until));
            from = until;
        }
        if ranges.is_empty() {
            ranges.push(SourceRange::new(self.name.clone(), position, position));
        }
        Ok(ranges)
    }

    pub(crate) fn limit_rate(&self, rate: f64) {
        let mut state = self.lock();
        state.rate = Some(rate);
        let rate = self.settings.max_rate.map_or(rate, |most| most.min(rate));
        state.permits.set_rate(Some(rate), Instant::now());
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn committed(&self, until: u64) {
        let mut state = self.lock();
        self.committed_up_to(&mut state, until);
        drop(state);
        self.changed.notify_all();
    }

    fn committed_up_to(&self, state: &mut State, until: u64) {
        let (before, logged) = (state.committed, self.is_logged());
        let mut freed = 0;
        for block in &mut state.blocks {
            if block.end() > until {
                break;
            }
            if block.end() > before {
                freed += block.bytes;
            }
            block.payload = None;
        }
        state.held = state.held.saturating_sub(freed);
        state.committed = before.max(until);
        if !logged {
            while state.blocks.front().is_some_and(|block| block.end() <= until) {
                state.blocks.pop_front();
            }
        }
    }

    pub(crate) fn released(&self, until: u64) {
        let mut state = self.lock();
        state.released = state.released.max(until);
        while state.blocks.front().is_some_and(|block| block.end() <= until) {
            state.blocks.pop_front();
        }
        drop(state);
        self.changed.notify_all();
    }

    // ---- the reader's side

    /// The numbers of the first records of the blocks in `range`; and how many records of it are not there.
    pub(crate) fn blocks_of(&self, range: &SourceRange) -> (Vec<u64>, u64) {
        let state = self.lock();
        let inside = |block: &&Block| block.first >= range.from && block.end() <= range.until;
        let (mut firsts, mut there) = (Vec::new(), 0);
        for block in state.blocks.iter().filter(inside) {
            firsts.push(block.first);
            there += u64::from(block.records);
        }
        (firsts, range.len().saturating_sub(there))
    }

    /// The records of the block that begins with `first`; `cache` keeps what else was read with it.
    pub(crate) fn load(&self, first: u64, cache: &mut HashMap<u64, Vec<u8>>) -> Result<Arc<Vec<u8>>> {
        let gone =
            || Error::data_lost(format!("receiver {}: the block of record {first} is gone", self.name));
        let segment = {
            let state = self.lock();
            let place = state.blocks.binary_search_by_key(&first, |block| block.first).map_err(|_| gone())?;
            match &state.blocks[place].payload {
                Some(payload) => return Ok(payload.clone()),
                None => state.blocks[place].segment,
            }
        };
        if let Some(bytes) = cache.remove(&first) {
            return Ok(Arc::new(bytes));
        }
        let log = self.log.as_ref().ok_or_else(gone)?;
        *cache = log.segment(segment)?.into_iter().collect();
        cache.remove(&first).map(Arc::new).ok_or_else(gone)
    }
}

impl State {
    pub(crate) fn refuse_if_failed(&self) -> Result<()> {
        match &self.failure {
            Some((kind, text)) => Err(Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }
}

/// The block of buffered records ends here.
pub(crate) fn close_open(state: &mut State) {
    if state.open.records > 0 {
        let payload = std::mem::take(&mut state.open);
        state.ticket += 1;
        let ticket = state.ticket;
        state.queue.push_back(Request { payload, mark: None, ticket });
    }
    state.open_since = None;
}
