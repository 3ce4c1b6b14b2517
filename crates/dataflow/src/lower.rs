//! From the graph to timely operators. A segment is one timely operator: an input (a source, an exchange, a union), the
//! fused pipeline below it, and an edge for each place where the pipeline leaves the worker or the segment.

use crate::context::WorkerContext;
use crate::graph::{Graph, Node};
use crate::push::{ExchangeData, Next};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use tidegate_core::{Batch, BatchId, OperatorId, PartitionId};
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::channels::pushers;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Concatenate, Probe, probe};
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;

/// Rows of one partition on their way.
pub(crate) type Chunk<M> = (u32, Vec<M>);

/// Rows in a chunk at most, so that what is on its way is bounded.
pub(crate) const CHUNK_ROWS_MAX: usize = 1024;

pub(crate) type Chunks<'s, M> = Stream<'s, u64, Vec<Chunk<M>>>;
pub(crate) type Signal<'s> = Chunks<'s, ()>;
type After<'s> = Box<dyn FnOnce(&mut Lowering<'s>) + 's>;
type CapabilitySlot = Rc<RefCell<Option<Capability<u64>>>>;

/// A graph on its way to operators, on one worker.
pub(crate) struct Lowering<'s> {
    scope: Scope<'s, u64>,
    cx: Rc<WorkerContext>,
    done: Vec<Stream<'s, u64, Vec<()>>>,
    after: VecDeque<After<'s>>,
    joined: HashMap<OperatorId, Vec<Signal<'s>>>,
}

/// Lowers `graph` into `scope`. The probe passes a batch when every segment is through with it.
pub(crate) fn lower(graph: &Graph, scope: Scope<'_, u64>, cx: Rc<WorkerContext>) -> probe::Handle<u64> {
    let mut lowering =
        Lowering { scope, cx, done: Vec::new(), after: VecDeque::new(), joined: HashMap::new() };
    graph.lower(&mut lowering);
    while let Some(after) = lowering.after.pop_front() {
        after(&mut lowering);
    }
    let (probe, _) = scope.concatenate(lowering.done).probe();
    probe
}

impl<'s> Lowering<'s> {
    /// Begins a segment. Its inputs come before its stages.
    pub(crate) fn segment(&self, name: &str) -> Segment<'s> {
        let builder = OperatorBuilder::new(name.to_owned(), self.scope);
        Segment { builder, capabilities: Vec::new(), after: Vec::new(), cx: self.cx.clone() }
    }

    pub(crate) fn cx(&self) -> &Rc<WorkerContext> {
        &self.cx
    }

    /// Wakes `segment` when it has more to do though nothing arrived.
    pub(crate) fn activator(&self, segment: &Segment<'s>) -> Activator {
        Activator::new(segment.builder.operator_info().address, self.scope.activations())
    }

    /// A segment that takes chunks from all workers: each partition to the worker that owns it.
    pub(crate) fn exchange<M, B>(&mut self, name: &str, chunks: Chunks<'s, M>, owner: Owner, build: B)
    where
        M: ExchangeData,
        B: FnOnce(&mut Segment<'s>) -> Box<dyn Receive<M>>,
    {
        let mut segment = self.segment(name);
        let to = move |chunk: &Chunk<M>| owner.key(chunk.0);
        let mut input = segment.builder.new_input(chunks, Exchange::new(to));
        let mut receiver = build(&mut segment);
        let cx = self.cx.clone();
        let mut early: Vec<Chunk<M>> = Vec::new();
        segment.finish(self, move |batch, frontiers, at| {
            input.for_each(|_, chunks| early.append(chunks));
            let Some(batch) = batch.or_else(|| cx.batch(at)) else { return false };
            for (partition, rows) in early.drain(..) {
                receiver.chunk(&batch, PartitionId(partition), rows);
            }
            let through = !frontiers[0].less_equal(&at.0);
            if through {
                receiver.flush(&batch);
            }
            through
        });
    }

    /// Waits for all `parts` of `operator`, then builds a segment that `step`s when any of them signals. Data does not
    /// go through timely here: the parts are on one worker.
    pub(crate) fn join<B, S>(
        &mut self,
        operator: OperatorId,
        name: &str,
        part: Signal<'s>,
        parts: usize,
        build: B,
    ) where
        B: FnOnce(&mut Segment<'s>) -> S,
        S: FnMut(&Batch, bool) + 'static,
    {
        let joined = self.joined.entry(operator).or_default();
        joined.push(part);
        if joined.len() < parts {
            return;
        }
        let signals = self.joined.remove(&operator).unwrap_or_default();
        let mut segment = self.segment(name);
        let mut inputs: Vec<_> =
            signals.into_iter().map(|signal| segment.builder.new_input(signal, Pipeline)).collect();
        let mut step = build(&mut segment);
        segment.finish(self, move |batch, frontiers, at| {
            for input in &mut inputs {
                input.for_each(|_, signals| signals.clear());
            }
            let Some(batch) = batch else { return false };
            let through = frontiers.iter().all(|frontier| !frontier.less_equal(&at.0));
            step(&batch, through);
            through
        });
    }
}

/// Which worker owns a partition.
#[derive(Clone, Copy)]
pub(crate) enum Owner {
    /// Partition `p` belongs to worker `p` modulo the number of workers.
    Spread,
    /// All belong to the first worker.
    First,
}

impl Owner {
    /// Timely sends to the key modulo the number of workers.
    fn key(self, partition: u32) -> u64 {
        match self {
            Owner::Spread => u64::from(partition),
            Owner::First => 0,
        }
    }

    /// Those of `partitions` that `worker` of `workers` owns.
    pub(crate) fn owned(self, partitions: u32, worker: usize, workers: usize) -> Vec<PartitionId> {
        let mine = |partition: &u32| self.key(*partition) % workers as u64 == worker as u64;
        (0..partitions).filter(mine).map(PartitionId).collect()
    }
}

/// The far side of an exchange.
pub(crate) trait Receive<M> {
    /// Rows of a partition that this worker owns, in no particular order.
    fn chunk(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<M>);

    /// No more rows for this batch.
    fn flush(&mut self, batch: &Batch);
}

/// One timely operator while it is built.
pub(crate) struct Segment<'s> {
    pub(crate) builder: OperatorBuilder<'s, u64>,
    capabilities: Vec<CapabilitySlot>,
    after: Vec<After<'s>>,
    cx: Rc<WorkerContext>,
}

impl<'s> Segment<'s> {
    pub(crate) fn cx(&self) -> &Rc<WorkerContext> {
        &self.cx
    }

    /// As [`stages`](Segment::stages), for one of several nodes that an operator gives.
    pub(crate) fn stages_if_any<T: 'static>(&mut self, node: &Node<T>) -> Option<Next<T>> {
        node.stages_if_any(self)
    }

    /// The fused pipeline of all that consumes `node`.
    pub(crate) fn stages<T: 'static>(&mut self, node: &Node<T>) -> Next<T> {
        node.stages(self)
    }

    /// An edge out of this segment, and what to build at its far end once this segment is finished.
    pub(crate) fn edge<M, F>(&mut self, far: F) -> Edge<M>
    where
        M: Clone + 'static,
        F: FnOnce(&mut Lowering<'s>, Chunks<'s, M>) + 's,
    {
        let (output, stream) = self.builder.new_output();
        let capability = CapabilitySlot::default();
        self.capabilities.push(capability.clone());
        self.after.push(Box::new(move |lowering| far(lowering, stream)));
        Edge { output, capability }
    }

    /// Builds the operator. `step` is called with the current batch, if this worker was told of the one the segment is
    /// at, and says whether it is through with it: then the segment is at the next.
    pub(crate) fn finish<F>(mut self, lowering: &mut Lowering<'s>, mut step: F)
    where
        F: FnMut(Option<Batch>, &[MutableAntichain<u64>], BatchId) -> bool + 'static,
    {
        let (_done, stream) = self.builder.new_output::<Vec<()>>();
        lowering.done.push(stream);
        let activator = lowering.activator(&self);
        lowering.after.extend(self.after);
        let (cx, slots) = (self.cx, self.capabilities);
        cx.wakes(activator);
        self.builder.build(move |mut capabilities| {
            let mut at = cx.beginning.first;
            capabilities.iter_mut().for_each(|capability| capability.downgrade(&at.0));
            let mut done = capabilities.pop().expect("the last output is the one added above");
            for (slot, capability) in slots.iter().zip(capabilities) {
                *slot.borrow_mut() = Some(capability);
            }
            move |frontiers| {
                if step(cx.batch(at), frontiers, at) {
                    at = at.next();
                    for slot in &slots {
                        if let Some(capability) = slot.borrow_mut().as_mut() {
                            capability.downgrade(&at.0);
                        }
                    }
                    done.downgrade(&at.0);
                }
            }
        });
    }
}

/// The way out of a segment.
pub(crate) struct Edge<M> {
    output: pushers::Output<u64, Vec<Chunk<M>>>,
    capability: CapabilitySlot,
}

impl<M: Clone + 'static> Edge<M> {
    /// Sends rows of `partition` with the batch the segment is at.
    pub(crate) fn send(&mut self, partition: PartitionId, rows: Vec<M>) {
        let capability = self.capability.borrow();
        let capability = capability.as_ref().expect("an edge is used after its segment was built");
        self.output.activate().give(capability, &mut vec![(partition.0, rows)]);
    }
}
