//! The engine's runtime on timely: worker threads in this process, orders out, reports back.

use crate::context::{Beginning, WorkerState};
use crate::graph::Graph;
use crate::output::WriterOrder;
use crate::state::{Delivery, Recorder, StateSettings, Upgrade};
use crate::tally::{Reports, Tally};
use crate::worker::{WorkerOrder, WorkerStart, WriterOrders};
use crossbeam_channel::{Sender, unbounded};
use std::any::Any;
use std::sync::{Arc, PoisonError};
use tidegate_core::{Batch, BatchId, BatchPlan, EpochStart, Error, Result, Runtime, RuntimeFactory};
use timely::CommunicationConfig;
use timely::communication::{Allocator, AllocatorBuilder, WorkerGuards, initialize_from};

/// Starts epochs of `workers` threads in this process.
pub struct TimelyRuntimes {
    graph: Graph,
    workers: usize,
    state: Option<StateSettings>,
}

impl TimelyRuntimes {
    /// A factory for `graph`.
    ///
    /// # Panics
    /// When `workers` is 0.
    pub fn local(graph: Graph, workers: usize) -> Self {
        assert!(workers > 0, "a job needs a worker");
        TimelyRuntimes { graph, workers, state: None }
    }

    /// Says where state is, for a graph that has any.
    #[must_use]
    pub fn with_state(mut self, settings: StateSettings) -> Self {
        self.state = Some(settings);
        self
    }

    /// What the workers of an epoch begin with, and the thread that writes views of their state.
    fn with_their_state(
        &self,
        start: &EpochStart,
        tally: &Arc<Tally>,
    ) -> Result<(Beginning, Option<Recorder>)> {
        let mut beginning = Beginning::of(start);
        let states = self.graph.states_in_use()?;
        if states.is_empty() {
            return Ok((beginning, None));
        }
        let Some(settings) = &self.state else {
            return Err(Error::reconfigure("the job has operators with state and nowhere to keep it"));
        };
        if let Some(checkpoint) = &start.restore {
            let upgrade = Upgrade::between(checkpoint, &self.graph.states(), &settings.dropped);
            upgrade.check(&format!("{}, batch {}", settings.storage.describe(), checkpoint.batch()))?;
            for (uid, difference) in &upgrade.0 {
                log::info!("state \"{uid}\": {difference}");
            }
        }
        let stores = settings.stores.open()?;
        beginning.state = Some(WorkerState { storage: settings.storage.clone(), stores });
        let restore = start.restore.as_deref();
        let recorder = Recorder::start(settings.clone(), states, restore, self.workers, tally.clone())?;
        Ok((beginning, Some(recorder)))
    }
}

impl RuntimeFactory for TimelyRuntimes {
    fn start(&mut self, start: EpochStart) -> Result<Box<dyn Runtime>> {
        let threads = CommunicationConfig::Process(self.workers).try_build();
        let threads = threads.map_err(|text| Error::bug(format!("timely: {text}")))?;
        let tally = Tally::of(&start);
        let (beginning, recorder) = self.with_their_state(&start, &tally)?;
        let views = recorder.as_ref().and_then(Recorder::views);
        let workers = WorkerThreads::spawn(&self.graph, threads, 0, beginning, tally.clone(), views)?;
        let runtime = LocalRuntime { workers, _recorder: recorder };
        tally.await_ready(self.workers)?;
        Ok(Box::new(runtime))
    }
}

/// An epoch in this process. The workers end before the thread that writes their views.
struct LocalRuntime {
    workers: WorkerThreads,
    _recorder: Option<Recorder>,
}

impl Runtime for LocalRuntime {
    fn run(&mut self, plan: Arc<BatchPlan>) {
        self.workers.run(plan);
    }

    fn commit(&mut self, batch: BatchId) {
        self.workers.commit(batch);
    }

    fn snapshot(&mut self, batch: BatchId) {
        self.workers.snapshot(batch);
    }
}

/// The workers of this process. Dropping it stops and joins them.
pub(crate) struct WorkerThreads {
    orders: Vec<Sender<WorkerOrder>>,
    writers: WriterOrders,
    threads: Option<WorkerGuards<()>>,
}

impl WorkerThreads {
    /// Starts a thread for each of `builders`; the first is worker `first_index` of all.
    pub(crate) fn spawn(
        graph: &Graph,
        (builders, guard): (Vec<AllocatorBuilder>, Box<dyn Any + Send>),
        first_index: usize,
        beginning: Beginning,
        tally: Arc<dyn Reports>,
        recorder: Option<Sender<Delivery>>,
    ) -> Result<WorkerThreads> {
        let (orders, ordered): (Vec<_>, Vec<_>) = builders.iter().map(|_| unbounded()).unzip();
        let writers = WriterOrders::default();
        let worker =
            WorkerStart { graph: graph.clone(), beginning, tally, writers: writers.clone(), recorder };
        let run = move |allocator: Allocator| {
            let ordered = &ordered[allocator.index() - first_index];
            worker.clone().run(allocator, ordered);
        };
        let threads = initialize_from(builders, guard, run)
            .map_err(|text| Error::retry(format!("can't start a worker thread: {text}")))?;
        Ok(WorkerThreads { orders, writers, threads: Some(threads) })
    }

    fn order(&self, order: impl Fn() -> WorkerOrder) {
        for orders in &self.orders {
            // A worker that is gone has reported why.
            let _ = orders.send(order());
        }
        for thread in self.threads.iter().flat_map(|threads| threads.guards()) {
            thread.thread().unpark();
        }
    }
}

impl Runtime for WorkerThreads {
    fn run(&mut self, plan: Arc<BatchPlan>) {
        let batch = Batch::new(plan);
        self.order(|| WorkerOrder::Run(batch.clone()));
    }

    fn commit(&mut self, batch: BatchId) {
        for writer in self.writers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writer.send(WriterOrder::Commit(batch));
        }
    }

    fn snapshot(&mut self, batch: BatchId) {
        self.order(|| WorkerOrder::Snapshot(batch));
    }
}

impl Drop for WorkerThreads {
    fn drop(&mut self) {
        // A worker may wait for its writer, whose inbox is full: writers first.
        for writer in self.writers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writer.send(WriterOrder::Stop);
        }
        self.order(|| WorkerOrder::Stop);
        // Joins them. What a worker panicked with was reported by the worker.
        self.threads = None;
    }
}
