//! One value a key, combined on the sending side first.

use super::keyed::{Table, hash_of};
use crate::blame::blaming;
use crate::graph::Node;
use crate::lower::{CHUNK_ROWS_MAX, Edge, Owner, Receive, Segment};
use crate::push::{Data, ExchangeData, Next, Push};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// Keys combined on the sending side at most before they are sent on: bounds what one worker holds for a shuffle.
const COMBINED_KEYS_MAX: usize = 256 * 1024;

/// For each key of a batch one value: all its values reduced by `f`, which must be associative and commutative. The result
/// has `partitions` partitions, by the key's hash.
pub fn reduce_by_key<K, V, F>(parent: &Node<(K, V)>, partitions: u32, f: F) -> Node<(K, V)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    F: Fn(V, V) -> V + Send + Sync + 'static,
{
    reduced(parent, "reduce_by_key", partitions, f, |combine| Box::new(combine))
}

/// [`flat_map_with`](super::flat_map_with) and [`reduce_by_key`] in one: `emit` gives keys as what they borrow as, and a
/// key is made only where it is not in the table yet. For words of lines that is most of the work saved.
pub fn flat_map_reduce_by_key<T, Q, K, V, E, F>(
    parent: &Node<T>,
    partitions: u32,
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
    reduced(parent, "flat_map_reduce_by_key", partitions, f, move |combine| {
        Box::new(CombineEmitted {
            emit: emit.clone(),
            name: combine.table.name().clone(),
            combine,
            key: PhantomData,
        })
    })
}

fn reduced<T, K, V, F, S>(parent: &Node<T>, kind: &str, partitions: u32, f: F, sender: S) -> Node<(K, V)>
where
    T: Data,
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    F: Fn(V, V) -> V + Send + Sync + 'static,
    S: Fn(Combine<K, V, F>) -> Next<T> + Send + Sync + 'static,
{
    let count = Arc::new(move |_: &_| partitions);
    let node = Node::below(parent.graph(), kind, vec![parent.used().clone()], count);
    let (f, below) = (Arc::new(f), node.clone());
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let (far_f, far) = (f.clone(), below.clone());
        let out = segment.edge(move |lowering, chunks| {
            let owned = Owner::Spread.owned(partitions, lowering.cx().worker, lowering.cx().workers);
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let table = |partition| (partition, Table::new(far_f.clone(), far.name().clone()));
                let totals = owned.into_iter().map(table).collect();
                Box::new(Reduce { totals, next: segment.stages(&far) })
            });
        });
        sender(Combine { table: Table::new(f.clone(), below.name().clone()), partitions, out })
    });
    node
}

/// The sending side.
struct Combine<K, V, F> {
    table: Table<K, V, F>,
    partitions: u32,
    out: Edge<(K, V)>,
}

impl<K: ExchangeData + Hash + Eq, V: ExchangeData, F: Fn(V, V) -> V> Combine<K, V, F> {
    fn send_if_full(&mut self) {
        if self.table.len() >= COMBINED_KEYS_MAX {
            self.send();
        }
    }

    fn send(&mut self) {
        let mut chunks: Vec<Vec<(K, V)>> = (0..self.partitions).map(|_| Vec::new()).collect();
        for (key, value) in self.table.drain() {
            // The high bits: a table on the far side uses the low ones of the same hash.
            let partition = ((hash_of(&key) >> 32) % u64::from(self.partitions)) as usize;
            let chunk = &mut chunks[partition];
            chunk.push((key, value));
            if chunk.len() == CHUNK_ROWS_MAX {
                self.out.send(PartitionId(partition as u32), std::mem::take(chunk));
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
    name: Arc<str>,
    combine: Combine<K, V, F>,
    key: PhantomData<fn(&Q)>,
}

impl<T, E, Q, K, V, F> Push<T> for CombineEmitted<E, Q, K, V, F>
where
    T: Clone,
    Q: Hash + Eq + ?Sized,
    K: ExchangeData + Hash + Eq + Borrow<Q> + for<'a> From<&'a Q>,
    V: ExchangeData,
    E: Fn(T, &mut dyn FnMut(&Q, V)),
    F: Fn(V, V) -> V,
{
    fn open(&mut self, _: &Batch, _: PartitionId) {}

    fn push(&mut self, record: T) {
        let CombineEmitted { emit, combine, name, .. } = self;
        let table = &mut combine.table;
        blaming(name, || emit(record, &mut |key, value| table.add_borrowed(key, value)));
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
        for (partition, table) in &mut self.totals {
            self.next.open(batch, *partition);
            table.drain().for_each(|row| self.next.push(row));
        }
        self.next.flush(batch);
    }
}
