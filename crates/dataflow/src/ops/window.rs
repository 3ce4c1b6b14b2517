//! The records of the last batches, as one dataset every slide.

use super::repartition::refuse_none;
use super::scatter::{Arrived, Scatter, Tagged};
use crate::graph::{Cadence, Node};
use crate::lower::{Owner, Receive, Segment};
use crate::push::{ExchangeData, Next, Push};
use crate::state::{StateDefinition, WindowLog};
use std::sync::Arc;
use tidegate_core::{Batch, Error, PartitionId};

/// A window's length and how far it moves from one dataset to the next, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpan {
    /// Length.
    pub length_ms: u64,
    /// Slide.
    pub slide_ms: u64,
}

impl WindowSpan {
    /// Batches up to this time are not in the window that ends with `batch`.
    pub(super) fn before(self, batch: &Batch) -> u64 {
        batch.time().0.saturating_sub(self.length_ms)
    }

    /// Records a flaw when a dataset of `parent` could fall between two windows.
    pub(super) fn check<T: 'static>(self, operator: &str, parent: &Node<T>) {
        let slide = parent.cadence().slide_ms();
        for (what, ms) in [("window", self.length_ms), ("slide", self.slide_ms)] {
            if ms == 0 || !ms.is_multiple_of(slide) {
                parent.graph().flaw(Error::reconfigure(format!(
                    "{operator}: a {what} of {ms} ms on {}, which has a dataset every {slide} ms; the {what} must be a \
                     multiple of {slide} ms",
                    parent.name()
                )));
            }
        }
    }
}

/// Every slide, the records of all batches of the last `span.length_ms`, oldest batch first, in `partitions` partitions: a
/// record of partition p of its batch is in partition p modulo `partitions`.
pub fn window<T: ExchangeData>(parent: &Node<T>, span: WindowSpan, partitions: u32) -> Node<T> {
    span.check("window", parent);
    let cadence = Cadence::every(span.slide_ms);
    let graph = parent.graph();
    let node: Node<T> =
        Node::with_cadence(graph, "window", &[parent.parent()], cadence, Arc::new(move |_: &_| partitions));
    refuse_none(&node, partitions);
    let place = move |partition: PartitionId, _: &_| partition.0 % partitions.max(1);
    let placement = "by partition".to_owned();
    let definition =
        StateDefinition::only(graph.states(), "window", node.used(), partitions, placement, place);
    node.has_state(definition.handle());
    let (above, below) = (parent.clone(), node.clone());
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let (above, far, definition) = (above.clone(), below.clone(), definition.clone());
        let out = segment.edge(move |lowering, chunks| {
            let cx = lowering.cx().clone();
            let owned = Owner::Spread.owned(partitions, cx.worker, cx.workers);
            let log = match WindowLog::open(&definition, &cx, &owned, span.length_ms) {
                Ok(log) => log,
                Err(error) => return cx.fail(error.context(far.name())),
            };
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let next = segment.stages(&far);
                Box::new(Windowed { log, span, arrived: Arrived::default(), above, node: far.clone(), next })
            });
        });
        Box::new(ToPartitions { partitions, to: PartitionId(0), scatter: Scatter::new(partitions, out) })
    });
    node
}

struct Windowed<T> {
    log: WindowLog<T>,
    span: WindowSpan,
    arrived: Arrived<T>,
    above: Node<T>,
    node: Node<T>,
    next: Next<T>,
}

impl<T: ExchangeData> Receive<Tagged<T>> for Windowed<T> {
    fn chunk(&mut self, _: &Batch, partition: PartitionId, rows: Vec<Tagged<T>>) {
        self.arrived.add(partition, rows);
    }

    fn flush(&mut self, batch: &Batch) {
        let emits = self.node.cadence().is_present(batch.plan());
        if self.above.cadence().is_present(batch.plan()) || emits {
            for partition in self.log.owned() {
                self.log.append(partition, batch.time().0, self.arrived.take(partition));
                drop(self.log.leaving(partition, self.span.before(batch)));
                if emits {
                    self.next.open(batch, partition);
                    self.log.for_each(partition, &mut |row| self.next.push_ref(row));
                }
            }
        }
        self.next.flush(batch);
    }
}

/// The sending side: a partition to the one of its number modulo theirs.
struct ToPartitions<T> {
    partitions: u32,
    to: PartitionId,
    scatter: Scatter<T>,
}

impl<T: ExchangeData> Push<T> for ToPartitions<T> {
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.to = PartitionId(partition.0 % self.partitions);
        self.scatter.open(partition);
    }

    fn push(&mut self, record: T) {
        self.scatter.row(self.to, record);
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        self.scatter.flush();
    }
}
