//! One value a key, combined on the sending side first.

use crate::blame::blaming;
use crate::graph::Node;
use crate::lower::{CHUNK_ROWS_MAX, Edge, Owner, Receive, Segment};
use crate::push::{ExchangeData, Next, Push};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// Keys combined on the sending side at most before they are sent on: bounds what one worker holds for a shuffle.
const COMBINED_KEYS_MAX: usize = 256 * 1024;

/// The same on every worker, in every process and every run.
#[derive(Clone, Copy, Default)]
struct Hasher;

impl BuildHasher for Hasher {
    type Hasher = rapidhash::fast::RapidHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        rapidhash::fast::RapidHasher::default()
    }
}

/// For each key of a batch one value: all its values reduced by `f`, which must be associative and commutative. The result
/// has `partitions` partitions, by the key's hash.
pub fn reduce_by_key<K, V, F>(parent: &Node<(K, V)>, partitions: u32, f: F) -> Node<(K, V)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    F: Fn(V, V) -> V + Send + Sync + 'static,
{
    let count = Arc::new(move |_: &_| partitions);
    let node = Node::below(parent.graph(), "reduce_by_key", vec![parent.used().clone()], count);
    let (f, below) = (Arc::new(f), node.clone());
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let name = below.name().clone();
        let (far_f, far) = (f.clone(), below.clone());
        let out = segment.edge(move |lowering, chunks| {
            let owned = Owner::Spread.owned(partitions, lowering.cx().worker, lowering.cx().workers);
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let table = |partition| (partition, Table::new(far_f.clone(), far.name().clone()));
                let totals = owned.into_iter().map(table).collect();
                Box::new(Reduce { totals, next: segment.stages(&far) })
            });
        });
        Box::new(Combine { table: Table::new(f.clone(), name), partitions, out })
    });
    node
}

/// Values by key.
struct Table<K, V, F> {
    values: HashMap<K, Option<V>, Hasher>,
    f: Arc<F>,
    name: Arc<str>,
}

impl<K: Hash + Eq, V, F: Fn(V, V) -> V> Table<K, V, F> {
    fn new(f: Arc<F>, name: Arc<str>) -> Self {
        Table { values: HashMap::with_hasher(Hasher), f, name }
    }

    #[inline]
    fn add(&mut self, key: K, value: V) {
        match self.values.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Some(value));
            }
            Entry::Occupied(mut entry) => {
                let slot = entry.get_mut();
                // Empty only while `f` runs; a panic in it ends the epoch.
                if let Some(before) = slot.take() {
                    *slot = Some(blaming(&self.name, || (self.f)(before, value)));
                }
            }
        }
    }

    fn drain(&mut self) -> impl Iterator<Item = (K, V)> + '_ {
        self.values.drain().filter_map(|(key, value)| value.map(|value| (key, value)))
    }
}

/// The sending side.
struct Combine<K, V, F> {
    table: Table<K, V, F>,
    partitions: u32,
    out: Edge<(K, V)>,
}

impl<K: ExchangeData + Hash + Eq, V: ExchangeData, F: Fn(V, V) -> V> Combine<K, V, F> {
    fn send(&mut self) {
        let mut chunks: Vec<Vec<(K, V)>> = (0..self.partitions).map(|_| Vec::new()).collect();
        for (key, value) in self.table.drain() {
            // The high bits: a table on the far side uses the low ones of the same hash.
            let partition = ((Hasher.hash_one(&key) >> 32) % u64::from(self.partitions)) as usize;
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
    fn push(&mut self, (key, value): (K, V)) {
        self.table.add(key, value);
        if self.table.values.len() >= COMBINED_KEYS_MAX {
            self.send();
        }
    }

    fn push_ref(&mut self, record: &(K, V)) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        self.send();
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
        rows.into_iter().for_each(|(key, value)| table.add(key, value));
    }

    fn flush(&mut self, batch: &Batch) {
        for (partition, table) in &mut self.totals {
            self.next.open(batch, *partition);
            table.drain().for_each(|row| self.next.push(row));
        }
        self.next.flush(batch);
    }
}
