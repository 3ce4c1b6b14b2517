//! The writers of outputs, each on a thread of its own, so that a batch is committed while the next is processed.
//!
//! A writer takes one batch at a time: rows, the end of the rows (prepare), the word to commit. Rows of the next batch
//! wait in a bounded inbox meanwhile. What an output holds already is left out here, once for all outputs; and so is a batch in
//! which its stream has no dataset. In a careful epoch, which only looks for a failure, nothing is written at all.

use crate::blame::{at_batch, in_batch, panic_text};
use crate::context::WorkerContext;
use crate::graph::{Cadence, PartitionCount};
use crate::push::Data;
use crate::tally::Reports;
use crate::timing::timed;
use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use tidegate_core::{
    Batch, BatchId, Delivery, Error, Output, OutputId, OutputReport, Packed, PartitionId, Result, Seat,
    Writer, Writers,
};

/// Chunks that wait for a writer at most; then the worker waits.
const INBOX_CHUNKS_MAX: usize = 64;

/// Where the rows of one seat go.
pub(crate) struct WriterInbox<T>(Sender<Mail<T>>);

enum Mail<T> {
    Rows(Batch, PartitionId, Vec<T>),
    Packed(Batch, PartitionId, Packed),
    /// All rows of the batch were sent.
    End(Batch),
}

impl<T: Data> WriterInbox<T> {
    /// Hands rows over, waiting when the inbox is full. Rows of one batch never overtake the end of the one before.
    pub(crate) fn rows(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<T>) {
        // A writer that is gone has reported why; its epoch is ending.
        let _ = self.0.send(Mail::Rows(batch.clone(), partition, rows));
    }

    /// As [`rows`](WriterInbox::rows), with rows that are packed.
    pub(crate) fn packed(&mut self, batch: &Batch, partition: PartitionId, rows: Packed) {
        let _ = self.0.send(Mail::Packed(batch.clone(), partition, rows));
    }
}

/// What the driver tells a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriterOrder {
    Commit(BatchId),
    /// All writers of all outputs have committed it.
    Complete(BatchId),
    Stop,
}

/// One writer as its worker and the driver see it.
pub(crate) struct WriterSeat {
    pub(crate) end: Box<dyn Fn(&Batch) + Send>,
    pub(crate) orders: Sender<WriterOrder>,
    pub(crate) thread: JoinHandle<()>,
}

/// What a writer is opened for.
#[derive(Clone)]
pub(crate) struct SeatFor<T> {
    pub(crate) id: OutputId,
    pub(crate) output: Arc<dyn Output<T>>,
    /// When the stream has a dataset, and of how many partitions.
    pub(crate) cadence: Cadence,
    pub(crate) count: PartitionCount,
}

/// Starts the writer of this worker. `partitions` are the output's own that fall to this seat; `None`: the output has those
/// of the dataset.
pub(crate) fn open_seat<T: Data>(
    cx: &WorkerContext,
    SeatFor { id, output, cadence, count }: SeatFor<T>,
    partitions: Option<Vec<PartitionId>>,
) -> WriterInbox<T> {
    let (mail, inbox) = bounded(INBOX_CHUNKS_MAX);
    let (orders, ordered) = unbounded();
    let seat = Seat { output: id.clone(), worker: cx.worker, workers: cx.workers };
    let held = cx.beginning.held.get(&id).cloned().unwrap_or_default();
    let (tally, careful, committed) = (cx.tally.clone(), cx.beginning.careful, cx.beginning.committed);
    let completes = cx.worker == 0 && output.completes();
    if completes && !careful {
        tally.completes(orders.clone());
    }
    let run = move || {
        let work = || -> Result<()> {
            if careful {
                tally.ready();
                discard(&inbox, &ordered, &*tally);
                return Ok(());
            }
            let writer = output.writer(&seat)?;
            tally.ready();
            let (delivery, alone) = (output.delivery(), output.writers() == Writers::One);
            let tally = &*tally;
            let done = OutputReport::new(id);
            Desk {
                writer,
                inbox,
                ordered,
                held,
                committed,
                partitions,
                cadence,
                count,
                delivery,
                alone,
                completes,
                tally,
                done,
            }
            .run()
        };
        let error = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => Error::user_code(format!("panicked{}: {}", in_batch(), panic_text(&*panic))),
        };
        tally.fail(error.context(format!("output \"{}\"", seat.output)));
    };
    let name = format!("tidegate-out-{}", cx.worker);
    let end = {
        let mail = mail.clone();
        Box::new(move |batch: &Batch| {
            let _ = mail.send(Mail::End(batch.clone()));
        })
    };
    match std::thread::Builder::new().name(name).spawn(run) {
        Ok(thread) => cx.writers.borrow_mut().push(WriterSeat { end, orders, thread }),
        Err(error) => cx.fail(Error::retry("can't start a thread for an output").because(error)),
    }
    WriterInbox(mail)
}

/// What a writer does in a careful epoch: takes all rows, so that nobody waits for it, and lets go of them.
fn discard<T>(inbox: &Receiver<Mail<T>>, ordered: &Receiver<WriterOrder>, tally: &dyn Reports) {
    loop {
        let mail = select_biased! {
            recv(ordered) -> _ => return,
            recv(inbox) -> mail => mail,
        };
        match mail {
            Ok(Mail::Rows(..) | Mail::Packed(..)) => {}
            Ok(Mail::End(batch)) => tally.prepared(batch.id()),
            Err(_) => return,
        }
    }
}

/// One writer at work.
struct Desk<'a, T> {
    writer: Box<dyn Writer<T>>,
    inbox: Receiver<Mail<T>>,
    ordered: Receiver<WriterOrder>,
    held: BTreeMap<PartitionId, BatchId>,
    committed: BatchId,
    partitions: Option<Vec<PartitionId>>,
    cadence: Cadence,
    count: PartitionCount,
    delivery: Delivery,
    /// It has the rows of all workers.
    alone: bool,
    /// It completes what all have committed.
    completes: bool,
    tally: &'a dyn Reports,
    /// What was done with the batch at hand.
    done: OutputReport,
}

impl<T: Data> Desk<'_, T> {
    /// Works until the epoch ends, and then takes back what is not committed.
    fn run(&mut self) -> Result<()> {
        let done = self.work();
        self.writer.abort();
        done
    }

    fn work(&mut self) -> Result<()> {
        let mut seen = BTreeSet::new();
        loop {
            let mail = select_biased! {
                recv(self.ordered) -> _ => return Ok(()), // nothing is prepared: the epoch ends
                recv(self.inbox) -> mail => mail,
            };
            match mail {
                Ok(Mail::Rows(batch, partition, rows)) => {
                    at_batch(batch.id());
                    seen.insert(partition);
                    if !rows.is_empty() && !self.holds(&batch, partition) {
                        self.done.rows += rows.len() as u64;
                        timed(&mut self.done.write, || self.writer.write(&batch, partition, rows))?;
                    }
                }
                Ok(Mail::Packed(batch, partition, rows)) => {
                    at_batch(batch.id());
                    seen.insert(partition);
                    if rows.rows > 0 && !self.holds(&batch, partition) {
                        self.done.rows += rows.rows;
                        timed(&mut self.done.write, || self.writer.write_packed(&batch, partition, rows))?;
                    }
                }
                Ok(Mail::End(batch)) => {
                    at_batch(batch.id());
                    if !self.finish(&batch, std::mem::take(&mut seen))? {
                        return Ok(());
                    }
                }
                Err(_) => return Ok(()),
            }
        }
    }

    /// Prepares the batch, waits for the word and commits it. False: the epoch ends instead.
    fn finish(&mut self, batch: &Batch, seen: BTreeSet<PartitionId>) -> Result<bool> {
        // Run for state alone, or to find a record that fails: there is nothing to write, and nobody gives the word.
        if batch.id() <= self.committed {
            return Ok(true);
        }
        let (open, writes) = self.open(batch, seen);
        if writes {
            timed(&mut self.done.prepare, || self.writer.prepare(batch, &open))?;
        }
        self.tally.prepared(batch.id());
        if !self.is_told(batch, WriterOrder::Commit)? {
            return Ok(false);
        }
        if writes {
            timed(&mut self.done.commit, || self.writer.commit(batch))?;
        }
        let done = self.take_done();
        self.tally.committed(batch.id(), done);
        if !self.completes {
            return Ok(true);
        }
        if !self.is_told(batch, WriterOrder::Complete)? {
            return Ok(false);
        }
        if self.cadence.is_present(batch.plan()) {
            let partitions = (self.count)(batch.plan());
            timed(&mut self.done.commit, || self.writer.complete(batch, partitions))?;
        }
        let done = self.take_done();
        self.tally.completed(batch.id(), done);
        Ok(true)
    }

    /// Waits for the next order, which is the one for this batch. False: the epoch ends instead.
    fn is_told(&self, batch: &Batch, order: fn(BatchId) -> WriterOrder) -> Result<bool> {
        let expected = order(batch.id());
        match self.ordered.recv() {
            Ok(WriterOrder::Stop) | Err(_) => Ok(false),
            Ok(told) if told == expected => Ok(true),
            Ok(told) => Err(Error::bug(format!("a writer was told {told:?} while {expected:?} was due"))),
        }
    }

    fn take_done(&mut self) -> OutputReport {
        let next = OutputReport::new(self.done.output.clone());
        std::mem::replace(&mut self.done, next)
    }

    /// The partitions that do not hold the batch yet, and whether the writer is told of it at all.
    fn open(&self, batch: &Batch, seen: BTreeSet<PartitionId>) -> (Vec<PartitionId>, bool) {
        let present = self.cadence.is_present(batch.plan());
        let mut all = self.partitions.clone().unwrap_or_else(|| seen.into_iter().collect());
        let alone = self.alone || self.completes && (self.count)(batch.plan()) == 0;
        if present && all.is_empty() && alone {
            // A dataset that has no partition at all is an empty one all the same.
            all.push(PartitionId(0));
        }
        all.retain(|partition| !self.holds(batch, *partition));
        // Who remembers batches must know of every one, or it seems to have missed some.
        let remembers = self.delivery == Delivery::ExactlyOnce;
        let writes = if present { !all.is_empty() } else { remembers };
        (all, writes)
    }

    /// Whether `partition` of the output has `batch` already, from before a crash. What is known to be in every output is run
    /// again for state alone.
    fn holds(&self, batch: &Batch, partition: PartitionId) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::dedup_skipped() {
            return false;
        }
        batch.id() <= self.committed || self.held.get(&partition).is_some_and(|held| *held >= batch.id())
    }
}
