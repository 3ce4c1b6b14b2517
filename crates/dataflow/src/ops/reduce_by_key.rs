//! One value a key, combined on the sending side first.

use super::keyed::Table;
use super::repartition::shuffled;
use crate::blame::Blame;
use crate::graph::Node;
use crate::lower::{CHUNK_ROWS_MAX, Edge, Owner, Receive, Segment};
use crate::partitioner::{Partitioner, Placing};
use crate::push::{Data, ExchangeData, Next, Push};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// Keys combined on the sending side at most before they are sent on: bounds what one worker holds for a shuffle.
const COMBINED_KEYS_MAX: usize = 256 * 1024;

/// For each key of a batch one value: all its values reduced by `f`, which must be associative and commutative, because
/// they meet in no particular order.
pub fn reduce_by_key<K, V, F>(
    parent: &Node<(K, V)>,
    partitioner: impl Into<Partitioner<K>>,
    f: F,
) -> Node<(K, V)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    F: Fn(V, V) -> V + Send + Sync + 'static,
{
    reduced(parent, "reduce_by_key", &partitioner.into(), f, |combine| Box::new(combine))
}

/// [`flat_map_with`](super::flat_map_with) and [`reduce_by_key`] in one: `emit` gives keys as what they borrow as, and a
/// key is made only where it is not in the table yet. For words of lines that is most of the work saved.
pub fn flat_map_reduce_by_key<T, Q, K, V, E, F>(
    parent: &Node<T>,
    partitioner: impl Into<Partitioner<K>>,
    emit: E,
    f: F,
) -> Node<(K, V)>
where
    T: Data,
    Q: Hash + Eq + ?Sized + 'static,
    K: ExchangeData + Hash + Eq + Borrow<Q> + for<'a> From<&'a Q>,
    V: ExchangeData,
    E: Fn(T, &mut dyn FnMut(&Q, V)) + Send + Sync + 'static,
    F: Fn(V, V) -> V + Send + Sync + 'static,
{
    let emit = Arc::new(emit);
    reduced(parent, "flat_map_reduce_by_key", &partitioner.into(), f, move |combine| {
        let blame = combine.table.blame().clone();
        Box::new(CombineEmitted { emit: emit.clone(), blame, combine, key: PhantomData })
    })
}

fn reduced<T, K, V, F, S>(
    parent: &Node<T>,
    kind: &str,
    partitioner: &Partitioner<K>,
    f: F,
    sender: S,
) -> Node<(K, V)>
where
    T: Data,
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    F: Fn(V, V) -> V + Send + Sync + 'static,
    S: Fn(Combine<K, V, F>) -> Next<T> + Send + Sync + 'static,
{
    let partitions = partitioner.num_partitions();
    let node: Node<(K, V)> = shuffled(parent, kind, partitions);
    let (f, below, partitioner) = (Arc::new(f), node.clone(), partitioner.clone());
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let (far_f, far) = (f.clone(), below.clone());
        let out = segment.edge(move |lowering, chunks| {
            let owned = Owner::Spread.owned(partitions, lowering.cx().worker, lowering.cx().workers);
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let blame = far.blame(segment.cx());
                let table = |partition| (partition, Table::new(far_f.clone(), blame.clone()));
                let totals = owned.into_iter().map(table).collect();
                Box::new(Reduce { node: far.clone(), totals, next: segment.stages(&far) })
            });
        });
        let blame = below.blame(segment.cx());
        let placing = Placing::new(partitioner.clone(), blame.clone());
        sender(Combine { table: Table::new(f.clone(), blame), placing, out })
    });
    node
}

/// The sending side.
struct Combine<K, V, F> {
    table: Table<K, V, F>,
    placing: Placing<K>,
    out: Edge<(K, V)>,
}

impl<K: ExchangeData + Hash + Eq, V: ExchangeData, F: Fn(V, V) -> V> Combine<K, V, F> {
    fn send_if_full(&mut self) {
        if self.table.len() >= COMBINED_KEYS_MAX {
            self.send();
        }
    }

    fn send(&mut self) {
        let mut chunks: Vec<Vec<(K, V)>> = (0..self.placing.partitions()).map(|_| Vec::new()).collect();
        for row in self.table.drain() {
            let partition = self.placing.of(&row.0);
            let chunk = &mut chunks[partition.0 as usize];
            chunk.push(row);
            if chunk.len() == CHUNK_ROWS_MAX {
                self.out.send(partition, std::mem::take(chunk));
            }
        }
        for (partition, chunk) in chunks.into_iter().enumerate().filter(|(_, chunk)| !chunk.is_empty()) {
            self.out.send(PartitionId(partition as u32), chunk);
        }
    }
}

impl<K, V, F> Push<(K, V)> for Combine<K, V, F>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    F: Fn(V, V) -> V,
{
    fn open(&mut self, _: &Batch, _: PartitionId) {}

    #[inline]
    fn push(&mut self, record: (K, V)) {
        self.table.add(record);
        self.send_if_full();
    }

    fn push_ref(&mut self, record: &(K, V)) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        self.send();
    }
}

/// The sending side, fed by a function that emits borrowed keys.
struct CombineEmitted<E, Q: ?Sized, K, V, F> {
    emit: Arc<E>,
    blame: Blame,
    combine: Combine<K, V, F>,
    key: PhantomData<fn(&Q)>,
}

impl<T, E, Q, K, V, F> Push<T> for CombineEmitted<E, Q, K, V, F>
where
    T: Data,
    Q: Hash + Eq + ?Sized,
    K: ExchangeData + Hash + Eq + Borrow<Q> + for<'a> From<&'a Q>,
    V: ExchangeData,
    E: Fn(T, &mut dyn FnMut(&Q, V)),
    F: Fn(V, V) -> V,
{
    fn open(&mut self, _: &Batch, _: PartitionId) {}

    fn push(&mut self, record: T) {
        let CombineEmitted { emit, combine, blame, .. } = self;
        let table = &mut combine.table;
        blame.call(record, |record| emit(record, &mut |key, value| table.add_borrowed(key, value)));
        combine.send_if_full();
    }

    fn push_ref(&mut self, record: &T) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        self.combine.send();
    }
}

/// The receiving side.
struct Reduce<K, V, F> {
    node: Node<(K, V)>,
    totals: BTreeMap<PartitionId, Table<K, V, F>>,
    next: Next<(K, V)>,
}

impl<K: ExchangeData + Hash + Eq, V: ExchangeData, F: Fn(V, V) -> V> Receive<(K, V)> for Reduce<K, V, F> {
    fn chunk(&mut self, _: &Batch, partition: PartitionId, rows: Vec<(K, V)>) {
        let table =
            self.totals.get_mut(&partition).expect("an exchange brings only partitions of this worker");
        rows.into_iter().for_each(|row| table.add(row));
    }

    fn flush(&mut self, batch: &Batch) {
        if self.node.cadence().is_present(batch.plan()) {
            for (partition, table) in &mut self.totals {
                self.next.open(batch, *partition);
                table.drain_sorted().for_each(|row| self.next.push(row));
            }
        }
        self.next.flush(batch);
    }
}
