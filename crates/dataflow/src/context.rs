//! What all operators of one worker share.

use crate::blame::at_batch;
use crate::counts::Counts;
use crate::output::WriterSeat;
use crate::state::{StateView, Views};
use crate::tally::Reports;
use std::any::Any;
use std::cell::{RefCell, RefMut};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{
    Batch, BatchId, Checkpoint, EpochStart, Error, OperatorId, OutputId, PartitionId, Result, Storage,
};
use tidegate_state::Stores;
use timely::scheduling::Activator;

/// With what the workers of an epoch begin.
#[derive(Clone)]
pub(crate) struct Beginning {
    /// The first batch that will be run.
    pub(crate) first: BatchId,
    /// What each output holds already.
    pub(crate) held: Arc<BTreeMap<OutputId, BTreeMap<PartitionId, BatchId>>>,
    /// Batches up to this one are run for state alone.
    pub(crate) committed: BatchId,
    /// What state begins with.
    pub(crate) restore: Option<Arc<Checkpoint>>,
    /// Whether a sample of each record is kept for the error its function may fail with.
    pub(crate) careful: bool,
    /// Where state is; `None` for a job without.
    pub(crate) state: Option<WorkerState>,
}

/// Where the state of an epoch is.
#[derive(Clone)]
pub(crate) struct WorkerState {
    /// Checkpoints.
    pub(crate) storage: Arc<dyn Storage>,
    /// State at work.
    pub(crate) stores: Stores,
}

impl Beginning {
    pub(crate) fn of(start: &EpochStart) -> Beginning {
        Beginning {
            first: start.first,
            held: Arc::new(start.held.clone()),
            committed: start.committed,
            restore: start.restore.clone(),
            careful: start.careful,
            state: None,
        }
    }
}

/// What all operators of one worker share. One batch is processed at a time, so there is one current batch.
pub(crate) struct WorkerContext {
    pub(crate) worker: usize,
    pub(crate) workers: usize,
    pub(crate) beginning: Beginning,
    pub(crate) tally: Arc<dyn Reports>,
    current: RefCell<Option<Batch>>,
    activators: RefCell<Vec<Activator>>,
    failure: RefCell<Option<Error>>,
    counts: RefCell<Counts>,
    pub(crate) writers: RefCell<Vec<WriterSeat>>,
    queues: RefCell<HashMap<OperatorId, Box<dyn Any>>>,
    states: RefCell<Vec<Box<dyn Views>>>,
}

impl WorkerContext {
    pub(crate) fn new(
        worker: usize,
        workers: usize,
        beginning: Beginning,
        tally: Arc<dyn Reports>,
    ) -> Rc<WorkerContext> {
        Rc::new(WorkerContext {
            worker,
            workers,
            beginning,
            tally,
            current: RefCell::default(),
            activators: RefCell::default(),
            failure: RefCell::default(),
            counts: RefCell::default(),
            writers: RefCell::default(),
            queues: RefCell::default(),
            states: RefCell::default(),
        })
    }

    /// Where state is.
    pub(crate) fn state(&self) -> Result<&WorkerState> {
        let none = || Error::bug("an operator with state was started without a place for it");
        self.beginning.state.as_ref().ok_or_else(none)
    }

    /// From now on views of `state` are part of every checkpoint.
    pub(crate) fn register(&self, state: Box<dyn Views>) {
        self.states.borrow_mut().push(state);
    }

    /// Views of all state on this worker, as of now.
    pub(crate) fn views(&self) -> Result<Vec<StateView>> {
        let mut views = Vec::new();
        for state in self.states.borrow_mut().iter_mut() {
            views.extend(state.views()?);
        }
        Ok(views)
    }

    /// The batch being processed, if it is `id`. Records of a batch can arrive from another process before this worker
    /// was told of it.
    pub(crate) fn batch(&self, id: BatchId) -> Option<Batch> {
        self.current.borrow().clone().filter(|batch| batch.id() == id)
    }

    /// Begins a batch and wakes every operator.
    pub(crate) fn begin(&self, batch: Batch) {
        at_batch(batch.id());
        *self.current.borrow_mut() = Some(batch);
        self.activators.borrow().iter().for_each(Activator::activate);
    }

    pub(crate) fn wakes(&self, activator: Activator) {
        self.activators.borrow_mut().push(activator);
    }

    /// The first failure counts; the operators that come after it only follow from it.
    pub(crate) fn fail(&self, error: Error) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.failure.borrow_mut().take()
    }

    /// What is counted of the batch at work.
    pub(crate) fn counts(&self) -> RefMut<'_, Counts> {
        self.counts.borrow_mut()
    }

    /// What was counted of the batch; the next begins at nothing.
    pub(crate) fn take_counts(&self) -> Counts {
        self.counts.take()
    }

    /// The queue by which parts of one operator on this worker hand each other data: made by the first that asks.
    pub(crate) fn queue<Q: Default + 'static>(&self, operator: OperatorId) -> Rc<RefCell<Q>> {
        let mut queues = self.queues.borrow_mut();
        let queue = queues.entry(operator).or_insert_with(|| Box::new(Rc::new(RefCell::new(Q::default()))));
        queue.downcast_ref::<Rc<RefCell<Q>>>().expect("one type of queue an operator").clone()
    }
}
