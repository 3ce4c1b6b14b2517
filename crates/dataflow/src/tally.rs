//! Adds up what workers and writers report, and tells the engine when all of them have.

use crate::counts::Counts;
use crate::output::WriterOrder;
use crossbeam_channel::Sender;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tidegate_core::{
    BatchId, BatchReport, EpochStart, Error, OutputId, OutputReport, Result, RuntimeEvent, StateCheckpoint,
    crash_point,
};

type Events = Arc<dyn Fn(RuntimeEvent) + Send + Sync>;

/// To whom the workers and the writers of a process report.
pub(crate) trait Reports: Send + Sync {
    /// A worker has built its part; it has `seats` writers, which report on their own.
    fn built(&self, seats: usize);

    /// A writer is there.
    fn ready(&self);

    /// A worker is through with a batch.
    fn processed(&self, batch: BatchId, counts: Counts);

    /// A writer has prepared a batch.
    fn prepared(&self, batch: BatchId);

    /// A writer has committed a batch.
    fn committed(&self, batch: BatchId, done: OutputReport);

    /// A writer of the first worker completes batches: it is to be told when all writers have committed one.
    fn completes(&self, orders: Sender<WriterOrder>);

    /// That writer has completed a batch.
    fn completed(&self, batch: BatchId, done: OutputReport);

    /// The epoch is over. The first failure is the one that is told; the others follow from it.
    fn fail(&self, error: Error);
}

/// The counts of one epoch. Shared by all its workers, writers and, for other processes, their links.
pub(crate) struct Tally {
    state: Mutex<State>,
    changed: Condvar,
    /// Batches up to this one are run again for something else than their outputs: what they skip was warned of.
    warned_until: BatchId,
    events: Events,
}

#[derive(Default)]
struct State {
    /// Workers that have built their part, and the writers they have.
    workers: usize,
    seats: usize,
    ready: usize,
    failed: Option<Error>,
    over: bool,
    started: bool,
    processed: BTreeMap<BatchId, (usize, Counts)>,
    prepared: BTreeMap<BatchId, usize>,
    committed: BTreeMap<BatchId, Done>,
    /// Batches that all writers have committed and some have yet to complete.
    completed: BTreeMap<BatchId, Done>,
    completers: Vec<Sender<WriterOrder>>,
}

/// How many have done their part of a batch, and what each output did.
#[derive(Default)]
struct Done {
    count: usize,
    outputs: BTreeMap<OutputId, OutputReport>,
}

impl Done {
    fn add(&mut self, done: &OutputReport) {
        self.count += 1;
        let output = self.outputs.entry(done.output.clone());
        output.or_insert_with(|| OutputReport::new(done.output.clone())).merge(done);
    }

    fn into_reports(self) -> Vec<OutputReport> {
        self.outputs.into_values().collect()
    }
}

impl Tally {
    pub(crate) fn of(start: &EpochStart) -> Arc<Tally> {
        let (warned_until, events) = (start.committed, start.events.clone());
        Arc::new(Tally { state: Mutex::default(), changed: Condvar::new(), warned_until, events })
    }

    /// Waits until `workers` have built their part and all their writers are there.
    pub(crate) fn await_ready(&self, workers: usize) -> Result<()> {
        let mut state = self.lock();
        loop {
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if state.workers == workers && state.ready >= state.seats {
                state.started = true;
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All state as of a batch is written.
    pub(crate) fn snapshot(&self, batch: BatchId, states: Vec<StateCheckpoint>) {
        self.tell(self.lock(), RuntimeEvent::Snapshot(batch, states));
    }

    /// The failure of an epoch that has not started.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.lock().failed.take()
    }

    fn tell(&self, state: MutexGuard<'_, State>, event: RuntimeEvent) {
        drop(state);
        (self.events)(event);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reports for Tally {
    fn built(&self, seats: usize) {
        let mut state = self.lock();
        state.workers += 1;
        state.seats += seats;
        self.changed.notify_all();
    }

    fn ready(&self) {
        self.lock().ready += 1;
        self.changed.notify_all();
    }

    fn processed(&self, batch: BatchId, counts: Counts) {
        let mut state = self.lock();
        let (count, sum) = state.processed.entry(batch).or_default();
        *count += 1;
        sum.merge(counts);
        if *count == state.workers
            && let Some((_, counts)) = state.processed.remove(&batch)
        {
            if batch > self.warned_until {
                warn_of_skipped(batch, &counts);
            }
            let skipped = counts.skipped_records();
            let report = BatchReport { batch, records: counts.records, ages: counts.ages, skipped };
            self.tell(state, RuntimeEvent::Processed(report));
        }
    }

    fn prepared(&self, batch: BatchId) {
        let mut state = self.lock();
        let count = state.prepared.entry(batch).or_default();
        *count += 1;
        if *count == state.seats {
            state.prepared.remove(&batch);
            self.tell(state, RuntimeEvent::Prepared(batch));
        }
    }

    fn committed(&self, batch: BatchId, done: OutputReport) {
        let mut state = self.lock();
        if state.completed.contains_key(&batch) {
            drop(state);
            return self
                .fail(Error::bug(format!("batch {batch} was to be completed before all had committed it")));
        }
        let sum = state.committed.entry(batch).or_default();
        sum.add(&done);
        let count = sum.count;
        if count == 1 {
            crash_point("one-writer-committed");
        }
        if count == state.seats
            && let Some(sum) = state.committed.remove(&batch)
        {
            crash_point("all-writers-committed");
            if state.completers.is_empty() {
                return self.tell(state, RuntimeEvent::Committed(batch, sum.into_reports()));
            }
            state.completed.insert(batch, Done { count: 0, ..sum });
            for orders in &state.completers {
                // A writer that is gone has reported why.
                let _ = orders.send(WriterOrder::Complete(batch));
            }
        }
    }

    fn completes(&self, orders: Sender<WriterOrder>) {
        self.lock().completers.push(orders);
    }

    fn completed(&self, batch: BatchId, done: OutputReport) {
        let mut state = self.lock();
        let completers = state.completers.len();
        let Some(sum) = state.completed.get_mut(&batch) else {
            drop(state);
            return self.fail(Error::bug(format!("batch {batch} was completed before all had committed it")));
        };
        sum.add(&done);
        if sum.count == completers
            && let Some(sum) = state.completed.remove(&batch)
        {
            self.tell(state, RuntimeEvent::Committed(batch, sum.into_reports()));
        }
    }

    fn fail(&self, error: Error) {
        let mut state = self.lock();
        if state.over {
            return;
        }
        state.over = true;
        if state.started {
            self.tell(state, RuntimeEvent::Failed(error));
        } else {
            // Whoever starts the epoch waits, and is told.
            state.failed = Some(error);
            self.changed.notify_all();
        }
    }
}

fn warn_of_skipped(batch: BatchId, counts: &Counts) {
    for (operator, skipped) in &counts.skipped {
        let (records, (_, first)) = (skipped.records, &skipped.first);
        log::warn!("batch {batch}: {operator} skipped bad records, {records} in all; the first: {first}");
    }
}
