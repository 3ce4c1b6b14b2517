//! The step loop of one worker: take a plan, step until the probe passes it, report.

use crate::blame::unwound;
use crate::context::{Beginning, WorkerContext};
use crate::graph::Graph;
use crate::lower::lower;
use crate::output::{WriterOrder, WriterSeat};
use crate::state::Delivery;
use crate::tally::Reports;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tidegate_core::{Batch, BatchId, Error};
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::worker::Worker;

/// What the driver tells a worker.
pub(crate) enum WorkerOrder {
    Run(Batch),
    /// Take views of all state, as of this batch, the last that was run.
    Snapshot(BatchId),
    Stop,
}

/// Where the writers' orders go, as the workers build them.
pub(crate) type WriterOrders = Arc<Mutex<Vec<Sender<WriterOrder>>>>;

/// What a worker needs to begin.
#[derive(Clone)]
pub(crate) struct WorkerStart {
    pub(crate) graph: Graph,
    pub(crate) beginning: Beginning,
    pub(crate) tally: Arc<dyn Reports>,
    pub(crate) writers: WriterOrders,
    /// Where views of state go.
    pub(crate) recorder: Option<Sender<Delivery>>,
}

impl WorkerStart {
    /// Builds the graph and steps it until told to stop or failing. The writers are stopped and joined before it returns.
    pub(crate) fn run(self, allocator: Allocator, orders: &Receiver<WorkerOrder>) {
        let tally = self.tally.clone();
        let mut seats = Vec::new();
        let mut worker = Worker::new(WorkerConfig::default(), allocator, Some(Instant::now()));
        let outcome = catch_unwind(AssertUnwindSafe(|| self.steps(&mut worker, orders, &mut seats)));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tally.fail(error),
            Err(payload) => tally.fail(unwound(payload)),
        }
        // Never while a panic unwinds: that would poison the queues to timely's network threads.
        if catch_unwind(AssertUnwindSafe(|| drop(worker))).is_err() {
            log::error!("a worker that was stopped panicked while it was dropped");
        }
        for seat in seats {
            let _ = seat.orders.send(WriterOrder::Stop);
            // A writer has reported its own end.
            let _ = seat.thread.join();
        }
    }

    fn steps(
        self,
        worker: &mut Worker,
        orders: &Receiver<WorkerOrder>,
        seats: &mut Vec<WriterSeat>,
    ) -> Result<(), Error> {
        let cx = WorkerContext::new(worker.index(), worker.peers(), self.beginning, self.tally);
        let graph = self.graph;
        let probe = worker.dataflow(|scope| lower(&graph, scope, cx.clone()));
        *seats = cx.writers.take();
        if let Some(error) = cx.take_failure() {
            return Err(error);
        }
        let mine = seats.iter().map(|seat| seat.orders.clone());
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).extend(mine);
        cx.tally.built(seats.len());
        let mut running: Option<Batch> = None;
        loop {
            match orders.try_recv() {
                Ok(WorkerOrder::Run(batch)) => {
                    cx.begin(batch.clone());
                    running = Some(batch);
                }
                Ok(WorkerOrder::Snapshot(batch)) => {
                    let delivery = Delivery { batch, views: cx.views()? };
                    // A recorder that is gone has reported why.
                    let _ = self.recorder.as_ref().map(|recorder| recorder.send(delivery));
                    // One unpark may stand for two orders: the next may be there already.
                    continue;
                }
                Ok(WorkerOrder::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            // Whoever sends an order unparks this thread, so nothing is waited for in vain.
            worker.step_or_park(None);
            if let Some(error) = cx.take_failure() {
                return Err(error);
            }
            if let Some(batch) = running.take_if(|batch| !probe.less_equal(&batch.id().0)) {
                let counts = cx.take_counts();
                for seat in seats.iter() {
                    (seat.end)(&batch);
                }
                cx.tally.processed(batch.id(), counts);
            }
        }
    }
}
