//! What a program builds: nodes that know their consumers, inputs at the top, outputs at the bottom. Nothing runs here.

use crate::blame::Blame;
use crate::context::WorkerContext;
use crate::lower::{Lowering, Segment};
use crate::push::{FanOut, Next};
use crate::state::{StateDescription, StateEntries, StateEntry, StateHandle};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_core::{
    BatchPlan, Delivery, Error, Held, InputContext, InputGuarantee, OperatorId, OutputContext, OutputId,
    Planner, Result, Storage, StreamId,
};

/// Number of partitions of a dataset in the batch of a plan: the same on every worker. None where there is no dataset.
pub type PartitionCount = Arc<dyn Fn(&BatchPlan) -> u32 + Send + Sync>;

/// Whether there is a dataset in the batch of a plan: the same on every worker.
pub type Presence = Arc<dyn Fn(&BatchPlan) -> bool + Send + Sync>;

/// In which batches a stream has a dataset. No dataset is not an empty one: nothing below it happens in such a batch.
#[derive(Clone)]
pub struct Cadence {
    slide_ms: u64,
    present: Presence,
}

impl Cadence {
    /// A dataset where `present` says so, which is at most every `slide_ms`.
    pub fn new(slide_ms: u64, present: Presence) -> Cadence {
        Cadence { slide_ms, present }
    }

    /// A dataset every `slide_ms`, counted from the time before the job's first batch: as a window slides.
    pub fn every(slide_ms: u64) -> Cadence {
        let at = move |plan: &BatchPlan| plan.time.0.abs_diff(plan.zero.0).is_multiple_of(slide_ms.max(1));
        Cadence::new(slide_ms, Arc::new(at))
    }

    /// Time between two datasets at least.
    pub fn slide_ms(&self) -> u64 {
        self.slide_ms
    }

    /// Whether there is a dataset in the batch of `plan`.
    pub fn is_present(&self, plan: &BatchPlan) -> bool {
        (self.present)(plan)
    }

    /// A dataset where any of `parents` has one.
    fn of_any(parents: &[Parent]) -> Option<Cadence> {
        let (first, others) = parents.split_first()?;
        let mut all: Vec<Presence> = vec![first.cadence.present.clone()];
        for other in others {
            // Most parents share theirs: what is asked once a batch stays one question.
            if !all.iter().any(|known| Arc::ptr_eq(known, &other.cadence.present)) {
                all.push(other.cadence.present.clone());
            }
        }
        let present = match <[Presence; 1]>::try_from(all) {
            Ok([one]) => one,
            Err(several) => Arc::new(move |plan: &BatchPlan| several.iter().any(|present| present(plan))),
        };
        Some(Cadence::new(first.cadence.slide_ms, present))
    }
}

impl fmt::Debug for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every {} ms", self.slide_ms)
    }
}

/// A parent as the node below it sees it, whatever its records are.
#[derive(Clone)]
pub(crate) struct Parent {
    name: Arc<str>,
    used: Arc<Used>,
    cadence: Cadence,
}

/// Builds the first stage of a consumer, in the segment that feeds it.
pub(crate) type Consumer<T> = Arc<dyn for<'s> Fn(&mut Segment<'s>) -> Next<T> + Send + Sync>;

/// Builds all that one input feeds.
pub(crate) type Root = Arc<dyn for<'s> Fn(&mut Lowering<'s>) + Send + Sync>;

pub(crate) type OpenPlanner = Arc<dyn Fn(&InputContext) -> Result<Box<dyn Planner>> + Send + Sync>;
type OpenOutput = Arc<dyn Fn(&OutputContext) -> Result<Held> + Send + Sync>;

/// The whole graph of a job.
#[derive(Clone)]
pub struct Graph {
    shared: Arc<Shared>,
    inputs: Arc<Mutex<Vec<Input>>>,
}

/// A graph as far as it can be compared: two processes that built different ones must not exchange records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GraphShape {
    operators: u32,
    inputs: Vec<StreamId>,
    outputs: Vec<OutputId>,
}

impl fmt::Display for GraphShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let inputs = names(self.inputs.iter().map(ToString::to_string).collect());
        let outputs = names(self.outputs.iter().map(ToString::to_string).collect());
        write!(f, "{} operators, inputs {inputs}, outputs {outputs}", self.operators)
    }
}

pub(crate) struct Shared {
    interval_ms: u64,
    frozen: AtomicBool,
    operators: AtomicU32,
    outputs: Mutex<Vec<OutputDoor>>,
    flaw: Mutex<Option<Error>>,
    needed: Mutex<Vec<Needed>>,
    states: StateEntries,
    names: Mutex<Vec<Arc<str>>>,
}

/// A stream that must lead to an output.
struct Needed {
    used: Arc<Used>,
    /// If this does.
    when: Arc<Used>,
    flaw: Error,
}

/// An input stream, whatever its records are.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) stream: StreamId,
    pub(crate) describe: String,
    pub(crate) guarantee: InputGuarantee,
    pub(crate) used: Arc<Used>,
    pub(crate) planner: OpenPlanner,
    pub(crate) root: Root,
}

/// An output as the driver sees it.
#[derive(Clone)]
pub struct OutputDoor {
    /// Its name.
    pub id: OutputId,
    /// What it is.
    pub describe: String,
    /// What it does with a batch that is run again.
    pub delivery: Delivery,
    /// Opens it for an epoch.
    pub open: OpenOutput,
    /// The operator that it writes.
    pub(crate) used: Arc<Used>,
}

impl Graph {
    /// An empty graph of a job that makes a batch every `interval_ms`.
    pub fn new(interval_ms: u64) -> Graph {
        let shared = Shared {
            interval_ms,
            frozen: AtomicBool::new(false),
            operators: AtomicU32::new(0),
            outputs: Mutex::default(),
            flaw: Mutex::default(),
            needed: Mutex::default(),
            states: StateEntries::default(),
            names: Mutex::default(),
        };
        Graph { shared: Arc::new(shared), inputs: Arc::default() }
    }

    /// Whether the graph can run.
    ///
    /// # Errors
    /// The first flaw that was found while it was built; a stream that leads to no output and must; two states of one name.
    pub fn check(&self) -> Result<()> {
        let again = |flaw: &Error| Err(Error::new(flaw.kind(), flaw.to_string()));
        if let Some(flaw) = &*lock(&self.shared.flaw) {
            return again(flaw);
        }
        let is_missing = |needed: &&Needed| needed.when.get() && !needed.used.get();
        match lock(&self.shared.needed).iter().find(is_missing) {
            Some(needed) => again(&needed.flaw),
            None => self.shared.states.check(),
        }
    }

    /// Records that the graph can't run: building goes on, and the start is refused with the first flaw.
    pub fn flaw(&self, flaw: Error) {
        self.shared.flaw(flaw);
    }

    /// Whether something was built that will run: at least one output.
    pub fn has_output(&self) -> bool {
        !lock(&self.shared.outputs).is_empty()
    }

    /// The outputs, in the order in which they were added.
    pub fn outputs(&self) -> Vec<OutputDoor> {
        lock(&self.shared.outputs).clone()
    }

    /// The inputs that lead to an output, with what they are.
    pub fn inputs(&self) -> Vec<(StreamId, String)> {
        self.used_inputs().into_iter().map(|input| (input.stream, input.describe)).collect()
    }

    /// What the inputs that lead to an output promise.
    pub fn input_guarantees(&self) -> Vec<(StreamId, InputGuarantee)> {
        self.used_inputs().into_iter().map(|input| (input.stream, input.guarantee)).collect()
    }

    /// Opens the planner of each input that leads to an output, in the order of the graph.
    ///
    /// # Errors
    /// As the source gives them.
    pub fn planners(&self, storage: Option<&Arc<dyn Storage>>) -> Result<Vec<(StreamId, Box<dyn Planner>)>> {
        let batch_interval = Duration::from_millis(self.shared.interval_ms);
        let open = |input: Input| {
            let (stream, storage) = (input.stream, storage.cloned());
            let planner = (input.planner)(&InputContext { stream: stream.clone(), storage, batch_interval })?;
            Ok((stream, planner))
        };
        self.used_inputs().into_iter().map(open).collect()
    }

    /// The states of operators that lead to an output.
    ///
    /// # Errors
    /// `Reconfigure` when two have the same name.
    pub(crate) fn states_in_use(&self) -> Result<Vec<Arc<StateEntry>>> {
        self.shared.states.check()?;
        Ok(self.shared.states.used())
    }

    /// The operators, in the order in which they were built.
    pub fn operators(&self) -> Vec<String> {
        lock(&self.shared.names).iter().map(ToString::to_string).collect()
    }

    /// What the states of operators that lead to an output are.
    pub fn states(&self) -> Vec<StateDescription> {
        let describe =
            |entry: Arc<StateEntry>| StateDescription { shape: entry.shape(), older: entry.older() };
        self.shared.states.used().into_iter().map(describe).collect()
    }

    /// From now on the graph can't be changed.
    pub fn freeze(&self) {
        self.shared.frozen.store(true, Ordering::Release);
    }

    pub(crate) fn used_inputs(&self) -> Vec<Input> {
        lock(&self.inputs).iter().filter(|input| input.used.get()).cloned().collect()
    }

    /// What must be the same in all processes of a job.
    pub(crate) fn shape(&self) -> GraphShape {
        GraphShape {
            operators: self.shared.operators.load(Ordering::Acquire),
            inputs: self.used_inputs().into_iter().map(|input| input.stream).collect(),
            outputs: lock(&self.shared.outputs).iter().map(|output| output.id.clone()).collect(),
        }
    }

    pub(crate) fn lower(&self, lowering: &mut Lowering<'_>) {
        for input in self.used_inputs() {
            (input.root)(lowering);
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn add_input(&self, input: Input) -> Result<()> {
        self.shared.refuse_if_frozen("an input")?;
        let mut inputs = lock(&self.inputs);
        if inputs.iter().any(|other| other.stream == input.stream) {
            return Err(Error::reconfigure(format!(
                "two input streams are named \"{}\"; a stream's name is how it is found again after a restart, so give each \
                 its own",
                input.stream
            )));
        }
        inputs.push(input);
        Ok(())
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("operators", &self.shared.operators).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn states(&self) -> &StateEntries {
        &self.states
    }

    pub(crate) fn refuse_if_frozen(&self, what: &str) -> Result<()> {
        if self.frozen.load(Ordering::Acquire) {
            return Err(Error::reconfigure(format!(
                "{what} was added after the context was started; build the whole graph before start()"
            )));
        }
        Ok(())
    }

    /// Length of a batch.
    pub(crate) fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// Records that the graph can't run: building goes on, and the start is refused with the first flaw.
    pub(crate) fn flaw(&self, flaw: Error) {
        lock(&self.flaw).get_or_insert(flaw);
    }

    /// The start is refused with `flaw` if `when` leads to an output and `used` does not.
    pub(crate) fn must_be_used(&self, used: &Arc<Used>, when: &Arc<Used>, flaw: Error) {
        lock(&self.needed).push(Needed { used: used.clone(), when: when.clone(), flaw });
    }

    pub(crate) fn add_output(&self, door: OutputDoor) -> Result<()> {
        self.refuse_if_frozen("an output")?;
        let mut outputs = lock(&self.outputs);
        if outputs.iter().any(|other| other.id == door.id) {
            return Err(Error::reconfigure(format!(
                "two outputs are named \"{}\"; an output's name is how its batches are found again after a restart, so \
                 give each its own",
                door.id
            )));
        }
        outputs.push(door);
        Ok(())
    }
}

/// Whether an operator leads to an output. What does not is never run.
#[derive(Default)]
pub(crate) struct Used {
    used: AtomicBool,
    parents: Vec<Arc<Used>>,
}

impl Used {
    pub(crate) fn get(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// The operators right above.
    pub(crate) fn parents(&self) -> &[Arc<Used>] {
        &self.parents
    }

    pub(crate) fn mark(&self) {
        if !self.used.swap(true, Ordering::AcqRel) {
            self.parents.iter().for_each(|parent| parent.mark());
        }
    }
}

/// A dataset per batch: what an operator gives. Holds no data; cheap to copy.
pub struct Node<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    graph: Arc<Shared>,
    id: OperatorId,
    name: Arc<str>,
    partitions: PartitionCount,
    cadence: Cadence,
    used: Arc<Used>,
    consumers: Mutex<Vec<(Arc<Used>, Consumer<T>)>>,
    state: Mutex<Option<StateHandle>>,
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        Node { inner: self.inner.clone() }
    }
}

impl<T> fmt::Debug for Node<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (operator {})", self.inner.name, self.inner.id.0)
    }
}

impl<T: 'static> Node<T> {
    /// A node named `kind` below `parents`, which must have the same slide: it has a dataset where any of them has one (a
    /// parent without one counts as empty), of `partitions`.
    ///
    /// # Panics
    /// When there is no parent, or the graph is running.
    pub(crate) fn below(
        graph: &Arc<Shared>,
        kind: &str,
        parents: &[Parent],
        partitions: PartitionCount,
    ) -> Node<T> {
        let cadence = Cadence::of_any(parents).expect("an operator has a parent");
        let node = Node::with_cadence(graph, kind, parents, cadence, partitions);
        let slide_of = |parent: &Parent| parent.cadence.slide_ms;
        if let Some(other) = parents.iter().find(|parent| slide_of(parent) != node.cadence().slide_ms) {
            graph.flaw(Error::reconfigure(format!(
                "{}: {} has a dataset every {} ms, {} every {} ms; give both the same slide",
                node.name(),
                parents[0].name,
                slide_of(&parents[0]),
                other.name,
                slide_of(other)
            )));
        }
        node
    }

    /// A node that has datasets of its own accord: an input, a window.
    ///
    /// # Panics
    /// When the graph is running.
    pub(crate) fn with_cadence(
        graph: &Arc<Shared>,
        kind: &str,
        parents: &[Parent],
        cadence: Cadence,
        partitions: PartitionCount,
    ) -> Node<T> {
        let present = cadence.present.clone();
        let counted = Arc::new(move |plan: &BatchPlan| if present(plan) { partitions(plan) } else { 0 });
        Node::made(graph, kind, parents, cadence, counted)
    }

    /// A node below this one with the same partitions.
    pub(crate) fn narrow<U: 'static>(&self, kind: &str) -> Node<U> {
        let (cadence, partitions) = (self.cadence().clone(), self.partitions().clone());
        Node::made(&self.inner.graph, kind, &[self.parent()], cadence, partitions)
    }

    fn made(
        graph: &Arc<Shared>,
        kind: &str,
        parents: &[Parent],
        cadence: Cadence,
        partitions: PartitionCount,
    ) -> Node<T> {
        if let Err(refusal) = graph.refuse_if_frozen(&format!("the operator {kind}")) {
            panic!("{refusal}");
        }
        let id = OperatorId(graph.operators.fetch_add(1, Ordering::Relaxed));
        let parents = parents.iter().map(|parent| parent.used.clone()).collect();
        let used = Arc::new(Used { used: AtomicBool::new(false), parents });
        let name: Arc<str> = format!("{kind} #{}", id.0).into();
        lock(&graph.names).push(name.clone());
        let (consumers, state, graph) = (Mutex::default(), Mutex::default(), graph.clone());
        Node { inner: Arc::new(Inner { graph, id, name, partitions, cadence, used, consumers, state }) }
    }

    /// Adds a consumer, which is lowered if `used` says so.
    pub(crate) fn feed<F>(&self, used: &Arc<Used>, consumer: F)
    where
        F: for<'s> Fn(&mut Segment<'s>) -> Next<T> + Send + Sync + 'static,
    {
        lock(&self.inner.consumers).push((used.clone(), Arc::new(consumer)));
    }

    /// The first stages of all consumers, as one.
    ///
    /// # Panics
    /// When there is none: an operator that leads to no output is not lowered.
    pub(crate) fn stages(&self, segment: &mut Segment<'_>) -> Next<T> {
        self.stages_if_any(segment).expect("a lowered operator leads to an output")
    }

    /// As [`stages`](Node::stages), for one of several nodes that an operator gives.
    pub(crate) fn stages_if_any(&self, segment: &mut Segment<'_>) -> Option<Next<T>> {
        let consumers = lock(&self.inner.consumers).clone();
        let used = consumers.iter().filter(|(used, _)| used.get());
        let stages: Vec<_> = used.map(|(_, consumer)| consumer(segment)).collect();
        (!stages.is_empty()).then(|| FanOut::over(stages))
    }

    /// The operator has this state.
    pub(crate) fn has_state(&self, state: &StateHandle) {
        *lock(&self.inner.state) = Some(state.clone());
    }

    /// Names the operator's state. What is wrong with that is told by the start.
    pub fn name_state(&self, uid: &str) {
        let named = match &*lock(&self.inner.state) {
            Some(state) => state.name(uid),
            None => Err(Error::reconfigure(format!(
                "uid \"{uid}\" on an operator that has no state; leave it out"
            ))),
        };
        if let Err(flaw) = named {
            self.graph().flaw(flaw.context(self.name()));
        }
    }

    /// Name for messages: what it is and its place in the graph.
    pub fn name(&self) -> &Arc<str> {
        &self.inner.name
    }

    /// Its place in the graph.
    pub fn id(&self) -> OperatorId {
        self.inner.id
    }

    /// Number of partitions in a batch.
    pub fn partitions(&self) -> &PartitionCount {
        &self.inner.partitions
    }

    /// In which batches it has a dataset.
    pub fn cadence(&self) -> &Cadence {
        &self.inner.cadence
    }

    pub(crate) fn used(&self) -> &Arc<Used> {
        &self.inner.used
    }

    /// This node, for one below it.
    pub(crate) fn parent(&self) -> Parent {
        Parent { name: self.name().clone(), used: self.used().clone(), cadence: self.cadence().clone() }
    }

    /// Who is blamed when a function of this operator fails.
    pub(crate) fn blame(&self, cx: &WorkerContext) -> Blame {
        Blame::new(self.name().clone(), cx.beginning.careful)
    }

    pub(crate) fn graph(&self) -> &Arc<Shared> {
        &self.inner.graph
    }
}

/// A panic while a graph was being built leaves it as it was, so a poisoned lock is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
