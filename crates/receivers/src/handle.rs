//! What a receiver is given: where it stores, and how it speaks to its supervisor.

use crate::marks::{Position, Stored};
use crate::stream::{Identity, Payload, StoredRecord, Stream};
use crate::supervisor::Seat;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Error, ReceiverChange, Result};

/// Where a receiver stores what it gets. Copies are the same; any thread may use one.
///
/// Storing waits while the stream is at its rate limit, or holds as many bytes as it may that are in no committed batch yet
/// (`tidegate.receiver.held_bytes_max`). Whoever must not wait asks [`admits`](ReceiverHandle::admits) before.
///
/// All that store give `Retry` when the job stops: the records are not stored, and must not be acknowledged.
pub struct ReceiverHandle<T> {
    stream: Arc<Stream>,
    seat: Arc<Seat>,
    records: PhantomData<fn(T)>,
}

/// The stream takes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When to ask again.
    pub retry_after: Duration,
}

impl<T> Clone for ReceiverHandle<T> {
    fn clone(&self) -> Self {
        ReceiverHandle { stream: self.stream.clone(), seat: self.seat.clone(), records: PhantomData }
    }
}

impl<T: StoredRecord> ReceiverHandle<T> {
    pub(crate) fn new(stream: &Arc<Stream>, seat: &Arc<Seat>) -> Self {
        ReceiverHandle { stream: stream.clone(), seat: seat.clone(), records: PhantomData }
    }

    /// Stores one record. With a write-ahead log it is durable on return; calls of several threads share one sync.
    ///
    /// # Errors
    /// `Reconfigure` when the log can't be written (disk full) or the record is beyond the bound of a block; then the job ends.
    pub fn store(&self, record: T) -> Result<()> {
        self.store_many([record])
    }

    /// Stores records as one: after a crash all of them are there, or none. Durable as in [`store`](ReceiverHandle::store).
    ///
    /// # Errors
    /// As [`store`](ReceiverHandle::store).
    pub fn store_many(&self, records: impl IntoIterator<Item = T>) -> Result<()> {
        self.stream.store(payload(records)?, &Identity::None).map(drop)
    }

    /// Stores records in as many blocks as they need, one after the other: for many of unknown size. A crash between two blocks leaves
    /// those before it, so an origin that repeats what was not acknowledged repeats these too.
    ///
    /// # Errors
    /// As [`store`](ReceiverHandle::store); what came before is stored.
    pub fn store_in_blocks(&self, records: impl IntoIterator<Item = T>) -> Result<()> {
        let mut payload = Payload::default();
        for record in records {
            let before = (payload.bytes.len(), payload.records);
            payload.add(&record)?;
            if before.1 > 0 && payload.bytes.len() > self.block_bytes_max() {
                let bytes = payload.bytes.split_off(before.0);
                let records = payload.records - before.1;
                payload.records = before.1;
                self.stream.store(payload, &Identity::None)?;
                payload = Payload { bytes, records };
            }
        }
        if payload.records > 0 {
            self.stream.store(payload, &Identity::None)?;
        }
        Ok(())
    }

    /// Stores records of known [`Position`] as one, with the position in the same block: stored again, by whichever receiver of the
    /// job and also after a crash, they are left out.
    ///
    /// # Errors
    /// As [`store`](ReceiverHandle::store).
    pub fn store_at(&self, records: impl IntoIterator<Item = T>, position: Position) -> Result<Stored> {
        self.stream.store(payload(records)?, &Identity::Position(position))
    }

    /// Stores records that go by a `key` as one: what has a key that was stored is left out. The newest 100,000 keys are known, also
    /// after a crash.
    ///
    /// # Errors
    /// As [`store`](ReceiverHandle::store).
    pub fn store_once(&self, records: impl IntoIterator<Item = T>, key: &str) -> Result<Stored> {
        self.stream.store(payload(records)?, &Identity::Key(key.to_owned()))
    }

    /// Adds a record to the block that is being filled and returns at once: for origins that nobody can acknowledge to. The block ends
    /// after the block interval, or when it is full; until then a crash loses it, with a log too.
    ///
    /// # Errors
    /// As [`store`](ReceiverHandle::store), also for blocks of earlier calls.
    pub fn buffer(&self, record: T) -> Result<()> {
        self.stream.buffer(payload([record])?)
    }

    /// The position up to which all records of `origin` are stored, by any receiver of the job; where it goes on.
    pub fn position(&self, origin: &str) -> Option<u64> {
        self.stream.position(origin)
    }

    /// The origins whose names begin with `prefix`, each with the position up to which it is stored, by any receiver of the job.
    pub fn positions_below(&self, prefix: &str) -> BTreeMap<String, u64> {
        self.stream.positions_below(prefix)
    }
}

impl<T> ReceiverHandle<T> {
    /// Whether the stream takes records now.
    ///
    /// # Errors
    /// The log failed before.
    pub fn admits(&self) -> Result<std::result::Result<(), Busy>> {
        Ok(self.admits_up_to(1)?.map(drop))
    }

    /// How many of `wanted` records the stream takes now, one at least: for whoever has many at once and can store them in pieces, so
    /// that the rate limit lets through no more at a time than it means to.
    ///
    /// # Errors
    /// The log failed before.
    pub fn admits_up_to(&self, wanted: u64) -> Result<std::result::Result<u64, Busy>> {
        self.stream.admits(wanted.max(1))
    }

    /// Bytes that one call stores at most (`tidegate.receiver.block_bytes_max`), as records are stored: a text takes at most five more
    /// than it has.
    pub fn block_bytes_max(&self) -> usize {
        self.stream.settings.block_bytes_max
    }

    /// Whether what is stored is durable: there is a write-ahead log.
    pub fn is_logged(&self) -> bool {
        self.stream.is_logged()
    }

    /// Name of the stream.
    pub fn stream(&self) -> &str {
        &self.stream.name
    }

    /// Whether this receiver is to end: the job stops, or the receiver will be started again.
    pub fn is_stopped(&self) -> bool {
        self.seat.is_stopped()
    }

    /// Waits for so long, or until this receiver is to end; says whether it is.
    pub fn wait_stopped(&self, limit: Duration) -> bool {
        self.seat.wait_stopped(limit)
    }

    /// Has the receiver stopped and started again after the delay (`tidegate.receiver.restart_delay_ms`), because of `why`.
    pub fn restart(&self, why: &str) {
        self.seat.restart(Error::retry(why));
    }

    /// Tells of something that went wrong and needs no new start: the log, and listeners by `on_receiver_error`.
    pub fn report_error(&self, what: &str) {
        ::log::warn!("receiver {}: {what}", self.stream.name);
        self.stream.tell(ReceiverChange::Failed(what.to_owned()));
    }

    /// Ends the job with `error`: starting again can't help.
    pub fn fail(&self, error: Error) {
        self.stream.fail(&error.context(format!("receiver {}", self.stream.name)));
    }
}

impl<T: 'static> ReceiverHandle<T> {
    /// Runs `work` on a thread of this receiver, which the supervisor waits for when it stops. An error of kind `Retry` starts the
    /// receiver again; another one, or a panic, ends the job.
    ///
    /// # Errors
    /// `Retry`: no thread can be started.
    pub fn spawn<F>(&self, name: &str, work: F) -> Result<()>
    where
        F: FnOnce(ReceiverHandle<T>) -> Result<()> + Send + 'static,
    {
        let handle = self.clone();
        let told = self.clone();
        self.seat.spawn(
            &format!("{}-{name}", self.stream.name),
            move || work(handle),
            move |error| {
                told.fail(error);
            },
        )
    }
}

fn payload<T: StoredRecord>(records: impl IntoIterator<Item = T>) -> Result<Payload> {
    let mut payload = Payload::default();
    records.into_iter().try_for_each(|record| payload.add(&record))?;
    Ok(payload)
}
