//! The values of each key brought together, in a fixed order: combined on the way or not.

use super::keyed::Groups;
use super::repartition::shuffled;
use super::scatter::{Arrived, Scatter, Tagged};
use crate::blame::Blame;
use crate::graph::Node;
use crate::lower::{Edge, Owner, Receive, Segment};
use crate::partitioner::{Partitioner, Placing};
use crate::push::{ExchangeData, Next, Push};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use tidegate_core::{Batch, PartitionId};

/// Keys combined of one source partition at most before they are sent on. By partition, not by worker: where a function is
/// not associative, what it gives does not depend on the number of workers all the same.
const COMBINED_KEYS_MAX: usize = 64 * 1024;

/// All values of each key of a batch, in the order of (source partition, position).
pub fn group_by_key<K, V>(parent: &Node<(K, V)>, partitioner: impl Into<Partitioner<K>>) -> Node<(K, Vec<V>)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
{
    let add = |values: Option<Vec<V>>, value| {
        let mut values = values.unwrap_or_default();
        values.push(value);
        values
    };
    shuffled_by_key(parent, "group_by_key", &partitioner.into(), Arc::new(add), |rows| Box::new(rows))
}

/// One combiner for each key of a batch: `create` makes it of the key's first value, `merge_value` adds the others in the order
/// of (source partition, position). With `map_side_combine` that is done in each source partition before the shuffle, and
/// `merge_combiners` joins what they give, in the order of the source partitions; without, `merge_combiners` is not called.
pub fn combine_by_key<K, V, C>(
    parent: &Node<(K, V)>,
    partitioner: impl Into<Partitioner<K>>,
    create: impl Fn(V) -> C + Send + Sync + 'static,
    merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
    merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
    map_side_combine: bool,
) -> Node<(K, C)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    C: ExchangeData,
{
    let add = Arc::new(move |made: Option<C>, value: V| match made {
        None => create(value),
        Some(made) => merge_value(made, value),
    });
    let (kind, partitioner) = ("combine_by_key", partitioner.into());
    if map_side_combine {
        combined_by_key(parent, kind, &partitioner, add, merge_combiners)
    } else {
        shuffled_by_key(parent, kind, &partitioner, add, |rows| Box::new(rows))
    }
}

/// One combiner for each key: `add` makes it of the values in each source partition, `merge` joins those.
pub(super) fn combined_by_key<K, V, C, A>(
    parent: &Node<(K, V)>,
    kind: &str,
    partitioner: &Partitioner<K>,
    add: Arc<A>,
    merge: impl Fn(C, C) -> C + Send + Sync + 'static,
) -> Node<(K, C)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    C: ExchangeData,
    A: Fn(Option<C>, V) -> C + Send + Sync + 'static,
{
    let merge = Arc::new(move |made: Option<C>, other: C| match made {
        None => other,
        Some(made) => merge(made, other),
    });
    shuffled_by_key(parent, kind, partitioner, merge, move |rows| {
        Box::new(Combine { add: add.clone(), groups: BTreeMap::new(), at: PartitionId(0), rows })
    })
}

/// A node below a shuffle of rows (K, X) by key, where `add` makes one value of those of each key.
fn shuffled_by_key<K, V, X, C, F, S>(
    parent: &Node<(K, V)>,
    kind: &str,
    partitioner: &Partitioner<K>,
    add: Arc<F>,
    sender: S,
) -> Node<(K, C)>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    X: ExchangeData,
    C: ExchangeData,
    F: Fn(Option<C>, X) -> C + Send + Sync + 'static,
    S: Fn(ByKey<K, X>) -> Next<(K, V)> + Send + Sync + 'static,
{
    let partitions = partitioner.num_partitions();
    let node: Node<(K, C)> = shuffled(parent, kind, partitions);
    let (below, partitioner) = (node.clone(), partitioner.clone());
    parent.feed(node.used(), move |segment: &mut Segment<'_>| {
        let (far, add) = (below.clone(), add.clone());
        let out = segment.edge(move |lowering, chunks| {
            let owned = Owner::Spread.owned(partitions, lowering.cx().worker, lowering.cx().workers);
            lowering.exchange(far.name(), chunks, Owner::Spread, |segment| {
                let (blame, next) = (far.blame(segment.cx()), segment.stages(&far));
                Box::new(Fold { node: far.clone(), owned, arrived: Arrived::default(), add, blame, next })
            });
        });
        sender(ByKey::new(&partitioner, below.blame(segment.cx()), out))
    });
    node
}

/// The sending side: rows to the partitions of their keys.
pub(super) struct ByKey<K, X> {
    placing: Placing<K>,
    scatter: Scatter<(K, X)>,
    blame: Blame,
}

impl<K: ExchangeData + Hash, X: ExchangeData> ByKey<K, X> {
    pub(super) fn new(partitioner: &Partitioner<K>, blame: Blame, out: Edge<Tagged<(K, X)>>) -> Self {
        let scatter = Scatter::new(partitioner.num_partitions(), out);
        ByKey { placing: Placing::new(partitioner.clone(), blame.clone()), scatter, blame }
    }

    fn row(&mut self, row: (K, X)) {
        self.scatter.row(self.placing.of(&row.0), row);
    }
}

impl<K: ExchangeData + Hash, X: ExchangeData> Push<(K, X)> for ByKey<K, X> {
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.scatter.open(partition);
    }

    fn push(&mut self, record: (K, X)) {
        self.row(record);
    }

    fn push_ref(&mut self, record: &(K, X)) {
        self.row(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        self.scatter.flush();
    }
}

/// The sending side that combines what each source partition has of a key.
struct Combine<K, C, A> {
    add: Arc<A>,
    groups: BTreeMap<PartitionId, Groups<K, Option<C>>>,
    at: PartitionId,
    rows: ByKey<K, C>,
}

impl<K: ExchangeData + Hash + Eq, C: ExchangeData, A> Combine<K, C, A> {
    fn send(&mut self, partition: PartitionId) {
        let Some(mut groups) = self.groups.remove(&partition) else { return };
        self.rows.scatter.open(partition);
        for (key, made) in groups.take() {
            self.rows.row((key, made.expect("a group has a value")));
        }
    }
}

impl<K, V, C, A> Push<(K, V)> for Combine<K, C, A>
where
    K: ExchangeData + Hash + Eq,
    V: ExchangeData,
    C: ExchangeData,
    A: Fn(Option<C>, V) -> C,
{
    fn open(&mut self, _: &Batch, partition: PartitionId) {
        self.at = partition;
    }

    fn push(&mut self, (key, value): (K, V)) {
        let groups = self.groups.entry(self.at).or_insert_with(Groups::new);
        add_to(groups, key, value, &*self.add, &self.rows.blame);
        if groups.len() >= COMBINED_KEYS_MAX {
            self.send(self.at);
        }
    }

    fn push_ref(&mut self, record: &(K, V)) {
        self.push(record.clone());
    }

    fn flush(&mut self, _: &Batch) {
        while let Some(partition) = self.groups.keys().next().copied() {
            self.send(partition);
        }
        self.rows.scatter.flush();
    }
}

fn add_to<K, X, C, F>(groups: &mut Groups<K, Option<C>>, key: K, value: X, add: &F, blame: &Blame)
where
    K: ExchangeData + Hash + Eq,
    X: ExchangeData,
    F: Fn(Option<C>, X) -> C,
{
    let (key, made) = groups.group(key, || None);
    let before = made.take();
    *made = Some(blame.call((key, value), |(_, value)| add(before, value)));
}

/// The receiving side.
struct Fold<K, X, C, F> {
    node: Node<(K, C)>,
    owned: Vec<PartitionId>,
    arrived: Arrived<(K, X)>,
    add: Arc<F>,
    blame: Blame,
    next: Next<(K, C)>,
}

impl<K, X, C, F> Receive<Tagged<(K, X)>> for Fold<K, X, C, F>
where
    K: ExchangeData + Hash + Eq,
    X: ExchangeData,
    C: ExchangeData,
    F: Fn(Option<C>, X) -> C,
{
    fn chunk(&mut self, _: &Batch, partition: PartitionId, tagged: Vec<Tagged<(K, X)>>) {
        self.arrived.add(partition, tagged);
    }

    fn flush(&mut self, batch: &Batch) {
        if self.node.cadence().is_present(batch.plan()) {
            for partition in &self.owned {
                let mut groups = Groups::new();
                for (key, value) in self.arrived.take(*partition) {
                    add_to(&mut groups, key, value, &*self.add, &self.blame);
                }
                self.next.open(batch, *partition);
                for (key, made) in groups.take_sorted() {
                    self.next.push((key, made.expect("a group has a value")));
                }
            }
        }
        self.next.flush(batch);
    }
}
