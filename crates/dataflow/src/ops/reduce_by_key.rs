//! One value a key, combined on the sending side first.

use crate::blame::blaming;
use crate::graph::Node;
use crate::lower::{CHUNK_ROWS_MAX, Edge, Owner, Receive, Segment};
use crate::push::{ExchangeData, Next, Push};
use hashbrown::HashTable;
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

/// Values by key. A record is looked up where it lies: a key that is there already is never moved.
struct Table<K, V, F> {
    rows: HashTable<(K, V)>,
    f: Arc<F>,
    name: Arc<str>,
}

impl<K: Hash + Eq, V: Clone, F: Fn(V, V) -> V> Table<K, V, F> {
    fn new(f: Arc<F>, name: Arc<str>) -> Self {
        Table { rows: HashTable::new(), f, name }
    }

    #[inline]
    fn add(&mut self, row: (K, V)) {
        let hash = Hasher.hash_one(&row.0);
        match self.rows.find_entry(hash, |known| known.0 == row.0) {
            // A value that owns nothing is reduced in its place.
            Ok(mut known) if !std::mem::needs_drop::<V>() => {
                let total = &mut known.get_mut().1;
                *total = blaming(&self.name, || (self.f)(total.clone(), row.1));
            }
            Ok(known) => {
                let ((key, before), place) = known.remove();
                place.insert((key, blaming(&self.name, || (self.f)(before, row.1))));
            }
            Err(_) => {
                self.rows.insert_unique(hash, row, |known| Hasher.hash_one(&known.0));
            }
        }
    }

    fn drain(&mut self) -> impl Iterator<Item = (K, V)> + '_ {
        self.rows.drain()
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
    fn push(&mut self, record: (K, V)) {
        self.table.add(record);
        if self.table.rows.len() >= COMBINED_KEYS_MAX {
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
