//! All of a batch brought to the first worker, in the order of its partitions: rows, or what was made of each partition.

use crate::blame::Blame;
use crate::graph::{Node, PartitionCount};
use crate::lower::{CHUNK_ROWS_MAX, Edge, Owner, Receive, Segment};
use crate::push::{Data, ExchangeData, Next, Push};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// All rows of each dataset in one place: `arrange` is given its partitions in order, empty ones too, and gives those of the
/// result, which has `partitions`: those that it does not give are empty, more are not allowed.
///
/// A dataset must fit in the memory of the first worker; the result stays there.
pub fn gather<T, U, F>(parent: &Node<T>, kind: &str, partitions: PartitionCount, arrange: F) -> Node<U>
where
    T: ExchangeData,
    U: Data,
    F: Fn(&Batch, Vec<(PartitionId, Vec<T>)>) -> Vec<Vec<U>> + Send + Sync + 'static,
{
    let arrange = move |_: &Blame, batch: &Batch, parts: Parts<T>| arrange(batch, parts);
    gathered(parent, kind, partitions, arrange, |_, out| Box::new(SendRows::new(out)))
}

/// One value of each dataset, or some, made where the records are: for each partition `start` gives a value and `add` puts
/// each record into it; `finish` is given the values of all partitions in order and gives the records of the result, which
/// has one partition. A dataset without partitions gives `finish` no value.
///
/// Depends on the order of records and partitions only, never on the number of workers, whatever the functions are.
pub fn aggregate<T, A, U, I, S, G, F>(parent: &Node<T>, kind: &str, start: S, add: G, finish: F) -> Node<U>
where
    T: Data,
    A: ExchangeData,
    U: Data,
    I: IntoIterator<Item = U>,
    S: Fn() -> A + Send + Sync + 'static,
    G: Fn(&mut A, T) + Send + Sync + 'static,
    F: Fn(&Batch, Vec<A>) -> I + Send + Sync + 'static,
{
    let functions = Arc::new((start, add));
    let finish = move |_: &Blame, batch: &Batch, parts: Parts<A>| {
        let parts = parts.into_iter().flat_map(|(_, part)| part).collect();
        vec![finish(batch, parts).into_iter().collect()]
    };
    gathered(parent, kind, Arc::new(|_| 1), finish, move |blame, out| {
        Box::new(SendParts {
            functions: functions.clone(),
            blame,
            at: PartitionId(0),
            parts: BTreeMap::new(),
            out,
        })
    })
}

/// Partitions in order, with what there is of each.
pub(super) type Parts<M> = Vec<(PartitionId, Vec<M>)>;

/// What `sender` sends of each partition, arranged on the first worker.
pub(super) fn gathered<T, M, U, F, S>(
    parent: &Node<T>,
    kind: &str,
    partitions: PartitionCount,
    arrange: F,
    sender: S,
) -> Node<U>
where
    T: Data,
    M: ExchangeData,
    U: Data,
    F: Fn(&Blame, &Batch, Parts<M>) -> Vec<Vec<U>> + Send + Sync + 'static,
    S: Fn(Blame, Edge<M>) -> Next<T> + Send + Sync + 'static,
{
    let node: Node<U> = Node::below(parent.graph(), kind, &[parent.parent()], partitions);
    let (below, arrange) = (node.clone(), Arc::new(arrange));
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let (far, arrange) = (below.clone(), arrange.clone());
        let out = segment.edge(move |lowering, chunks| {
            let here = lowering.cx().worker == 0;
            lowering.exchange(far.name(), chunks, Owner::First, |segment| {
                let (blame, next) = (far.blame(segment.cx()), segment.stages(&far));
                Box::new(Arrange { node: far.clone(), arrange, here, parts: BTreeMap::new(), blame, next })
            });
        });
        sender(below.blame(segment.cx()), out)
    });
    node
}

/// Sends rows as they come.
pub(super) struct SendRows<T> {
    at: PartitionId,
    rows: BTreeMap<PartitionId, Vec<T>>,
    out: Edge<T>,
}

impl<T> SendRows<T> {
    pub(super) fn new(out: Edge<T>) -> Self {
        SendRows { at: PartitionId(0), rows: BTreeMap::new(), out }
    }
}

impl<T: Data> Push<T> for SendRows<T> {
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.at = partition;
        self.rows.entry(partition).or_default();
    }

    fn push(&mut self, record: T) {
        let rows = self.rows.entry(self.at).or_default();
        rows.push(record);
        if rows.len() == CHUNK_ROWS_MAX {
            self.out.send(self.at, std::mem::take(rows));
        }
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    /// Sends empty chunks too: a partition exists though it has no rows.
    fn flush(&mut self, _: &Batch) {
        for (partition, rows) in std::mem::take(&mut self.rows) {
            self.out.send(partition, rows);
        }
    }
}

/// Makes one value of each partition and sends that.
struct SendParts<S, G, A> {
    functions: Arc<(S, G)>,
    blame: Blame,
    at: PartitionId,
    parts: BTreeMap<PartitionId, A>,
    out: Edge<A>,
}

impl<T, A, S, G> Push<T> for SendParts<S, G, A>
where
    T: Data,
    A: ExchangeData,
    S: Fn() -> A,
    G: Fn(&mut A, T),
{
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.at = partition;
        let SendParts { functions, blame, parts, .. } = self;
        parts.entry(partition).or_insert_with(|| blame.call((), |()| (functions.0)()));
    }

    fn push(&mut self, record: T) {
        let part = self.parts.get_mut(&self.at).expect("a partition is opened before its records");
        self.blame.call(record, |record| (self.functions.1)(part, record));
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        for (partition, part) in std::mem::take(&mut self.parts) {
            self.out.send(partition, vec![part]);
        }
    }
}

/// The first worker's side.
struct Arrange<M, U, F> {
    node: Node<U>,
    arrange: Arc<F>,
    here: bool,
    parts: BTreeMap<PartitionId, Vec<M>>,
    blame: Blame,
    next: Next<U>,
}

impl<M, U, F> Receive<M> for Arrange<M, U, F>
where
    M: ExchangeData,
    U: Data,
    F: Fn(&Blame, &Batch, Parts<M>) -> Vec<Vec<U>>,
{
    fn chunk(&mut self, _: &Batch, partition: PartitionId, mut rows: Vec<M>) {
        self.parts.entry(partition).or_default().append(&mut rows);
    }

    fn flush(&mut self, batch: &Batch) {
        if self.here && self.node.cadence().is_present(batch.plan()) {
            let parts: Vec<_> = std::mem::take(&mut self.parts).into_iter().collect();
            let Arrange { arrange, blame, .. } = self;
            let arranged = blame.call_with_all(parts, |parts| arrange(blame, batch, parts));
            let partitions = (self.node.partitions())(batch.plan());
            assert!(arranged.len() <= partitions as usize, "{} gave too many partitions", self.node.name());
            let mut arranged = arranged.into_iter();
            for partition in (0..partitions).map(PartitionId) {
                self.next.open(batch, partition);
                arranged.next().unwrap_or_default().into_iter().for_each(|row| self.next.push(row));
            }
        }
        self.next.flush(batch);
    }
}
