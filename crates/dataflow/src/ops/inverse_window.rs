//! One value a key over a window, moved on by what enters and what leaves: the cost follows the slide, not the window.

use super::combine_by_key::ByKey;
use super::repartition::refuse_none;
use super::scatter::{Arrived, Tagged};
use super::window::WindowSpan;
use crate::blame::Blame;
use crate::context::WorkerContext;
use crate::graph::{Cadence, Node};
use crate::lower::{Owner, Receive, Segment};
use crate::partitioner::{Partitioner, hash_of};
use crate::push::{ExchangeData, Next};
use crate::state::{KeyedPartitions, StateDefinition, WindowLog};
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId, Result};
use tidegate_state::Kept;

/// Whether a key stays with its value.
pub type Keep<K, V> = dyn Fn(&K, &V) -> bool + Send + Sync;

/// How a window's values are moved on.
pub struct Moving<K, V> {
    /// Adds what enters.
    pub reduce: Arc<dyn Fn(V, V) -> V + Send + Sync>,
    /// Takes out what leaves.
    pub inverse: Arc<dyn Fn(V, V) -> V + Send + Sync>,
    /// Keys for which it does not hold are forgotten at each slide; `None`: a key stays once it was there.
    pub keep: Option<Arc<Keep<K, V>>>,
}

impl<K, V> Clone for Moving<K, V> {
    fn clone(&self) -> Self {
        let Moving { reduce, inverse, keep } = self;
        Moving { reduce: reduce.clone(), inverse: inverse.clone(), keep: keep.clone() }
    }
}

/// Every slide, one value for each key of the window. `parent` must have each key once a batch, as a reduction gives it.
pub fn reduce_by_key_and_window<K, V>(
    parent: &Node<(K, V)>,
    span: WindowSpan,
    partitioner: Partitioner<K>,
    moving: Moving<K, V>,
) -> Node<(K, V)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
{
    const KIND: &str = "reduce_by_key_and_window";
    span.check(KIND, parent);
    let (graph, partitions) = (parent.graph(), partitioner.num_partitions());
    let count = Arc::new(move |_: &_| partitions);
    let node: Node<(K, V)> =
        Node::with_cadence(graph, KIND, &[parent.parent()], Cadence::every(span.slide_ms), count);
    refuse_none(&node, partitions);
    let placement = partitioner.placement();
    let new = vec![
        StateDefinition::<K, V>::describe("", partitions, placement.clone()),
        StateDefinition::<(u64, u64), (K, V)>::describe(".batches", partitions, placement),
    ];
    let handle = graph.states().add(KIND, node.used(), new);
    node.has_state(&handle);
    let of_key = partitioner.clone();
    let totals = StateDefinition::new(&handle, 0, move |_, row: &tidegate_state::Row<K, V>| {
        of_key.partition(&row.key)
    });
    let of_pair = partitioner.clone();
    let batches =
        StateDefinition::new(&handle, 1, move |from, row: &tidegate_state::Row<(u64, u64), (K, V)>| {
            row.value.as_ref().map_or(from.0, |(key, _)| of_pair.partition(key))
        });
    let (above, below) = (parent.clone(), node.clone());
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let (above, far, moving) = (above.clone(), below.clone(), moving.clone());
        let (totals, batches) = (totals.clone(), batches.clone());
        let blame = below.blame(segment.cx());
        let out = segment.edge(move |lowering, chunks| {
            let cx = lowering.cx().clone();
            let owned = Owner::Spread.owned(partitions, cx.worker, cx.workers);
            let opened = KeyedPartitions::open(&totals, &cx, &owned).and_then(|(totals, _)| {
                Ok((totals, WindowLog::open(&batches, &cx, &owned, span.length_ms)?))
            });
            let (totals, log) = match opened {
                Ok(opened) => opened,
                Err(error) => return cx.fail(error.context(far.name())),
            };
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let (next, blame) = (segment.stages(&far), far.blame(&cx));
                let arrived = Arrived::default();
                Box::new(MovingWindow {
                    totals,
                    log,
                    span,
                    moving,
                    arrived,
                    above,
                    node: far.clone(),
                    blame,
                    cx,
                    next,
                })
            });
        });
        Box::new(ByKey::new(&partitioner, blame, out))
    });
    node
}

struct MovingWindow<K, V> {
    totals: KeyedPartitions<K, V>,
    log: WindowLog<(K, V)>,
    span: WindowSpan,
    moving: Moving<K, V>,
    arrived: Arrived<(K, V)>,
    above: Node<(K, V)>,
    node: Node<(K, V)>,
    blame: Blame,
    cx: Rc<WorkerContext>,
    next: Next<(K, V)>,
}

impl<K: ExchangeData + Hash + Eq, V: ExchangeData> MovingWindow<K, V> {
    /// Moves the totals on by one batch: what leaves is taken out, then what enters is added.
    fn move_on(&mut self, batch: &Batch, partition: PartitionId) -> Result<()> {
        let time_ms = batch.time().0;
        let mut totals = self.totals.of(partition);
        for (key, value) in
            self.log.leaving(partition, self.span.before(batch)).into_iter().flat_map(|set| set.rows)
        {
            let (blame, inverse) = (&self.blame, &self.moving.inverse);
            totals.update(key, time_ms, |total| {
                // A key that was forgotten while values of it were in the window has nothing to be taken out of.
                if let Some(before) = total.get().cloned() {
                    total.set(blame.call((before, value), |(before, value)| inverse(before, value)));
                }
            })?;
        }
        let mut entering: Vec<_> = self.arrived.take(partition).collect();
        entering.sort_by_cached_key(|(key, _)| hash_of(key));
        for (key, value) in &entering {
            let (blame, reduce) = (&self.blame, &self.moving.reduce);
            totals.update(key.clone(), time_ms, |total| {
                let entered = match total.get().cloned() {
                    Some(before) => {
                        blame.call((before, value.clone()), |(before, value)| reduce(before, value))
                    }
                    None => value.clone(),
                };
                total.set(entered);
            })?;
        }
        self.log.append(partition, time_ms, entering);
        Ok(())
    }

    fn emit(&mut self, batch: &Batch, partition: PartitionId) -> Result<()> {
        let mut totals = self.totals.of(partition);
        if let Some(keep) = &self.moving.keep {
            let blame = &self.blame;
            totals.update_all(batch.time().0, &mut |key, total| {
                let kept = blame.call((key, &total), |(key, total)| keep(key, total));
                Ok(if kept { Kept::Same(total) } else { Kept::Removed })
            })?;
        }
        self.next.open(batch, partition);
        totals.for_each(&mut |key, total| {
            self.next.push((key.clone(), total.clone()));
            Ok(())
        })
    }

    fn slide(&mut self, batch: &Batch) -> Result<()> {
        let arrives = self.above.cadence().is_present(batch.plan());
        let emits = self.node.cadence().is_present(batch.plan());
        for partition in self.totals.owned() {
            if arrives || emits {
                self.move_on(batch, partition)?;
            }
            if emits {
                self.emit(batch, partition)?;
            }
        }
        Ok(())
    }
}

impl<K: ExchangeData + Hash + Eq, V: ExchangeData> Receive<Tagged<(K, V)>> for MovingWindow<K, V> {
    fn chunk(&mut self, _: &Batch, partition: PartitionId, rows: Vec<Tagged<(K, V)>>) {
        self.arrived.add(partition, rows);
    }

    fn flush(&mut self, batch: &Batch) {
        match self.slide(batch) {
            Ok(()) => self.next.flush(batch),
            Err(error) => self.cx.fail(error.context(self.node.name())),
        }
    }
}
