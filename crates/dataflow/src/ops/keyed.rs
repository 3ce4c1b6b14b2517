//! Values by key, each key once: what reducing keeps on both sides of a shuffle.

use crate::blame::Blame;
use crate::partitioner::hash_of;
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;
use std::borrow::Borrow;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

/// Values by key. A record is looked up where it lies: a key that is there already is never moved.
pub(super) struct Table<K, V, F> {
    rows: HashTable<(K, V)>,
    f: Arc<F>,
    blame: Blame,
}

impl<K: Hash + Eq + Debug, V: Clone + Debug, F: Fn(V, V) -> V> Table<K, V, F> {
    pub(super) fn new(f: Arc<F>, blame: Blame) -> Self {
        Table { rows: HashTable::new(), f, blame }
    }

    #[inline]
    pub(super) fn add(&mut self, row: (K, V)) {
        let hash = hash_of(&row.0);
        match self.rows.find_entry(hash, |known| known.0 == row.0) {
            Ok(known) => reduce_into(known, row.1, &*self.f, &self.blame),
            Err(_) => {
                self.rows.insert_unique(hash, row, |known| hash_of(&known.0));
            }
        }
    }

    /// As [`add`](Table::add), for a key that is made only if it is not there yet.
    #[inline]
    pub(super) fn add_borrowed<Q>(&mut self, key: &Q, value: V)
    where
        K: Borrow<Q> + for<'a> From<&'a Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = hash_of(key);
        match self.rows.find_entry(hash, |known| known.0.borrow() == key) {
            Ok(known) => reduce_into(known, value, &*self.f, &self.blame),
            Err(_) => {
                self.rows.insert_unique(hash, (K::from(key), value), |known| hash_of(&known.0));
            }
        }
    }

    pub(super) fn blame(&self) -> &Blame {
        &self.blame
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows, in no particular order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (K, V)> + '_ {
        self.rows.drain()
    }

    /// All rows in the order of their keys' hashes: the same however they came.
    pub(super) fn drain_sorted(&mut self) -> impl Iterator<Item = (K, V)> + use<K, V, F> {
        let mut rows: Vec<_> = self.rows.drain().map(|row| (hash_of(&row.0), row)).collect();
        // Two keys with one hash are rare, unless a type's `Hash` leaves out what its `Eq` looks at: their texts decide.
        rows.sort_unstable_by(|(hash, row), (other_hash, other)| {
            hash.cmp(other_hash).then_with(|| format!("{:?}", row.0).cmp(&format!("{:?}", other.0)))
        });
        rows.into_iter().map(|(_, row)| row)
    }
}

#[inline]
fn reduce_into<K: Debug, V: Clone + Debug, F: Fn(V, V) -> V>(
    mut known: OccupiedEntry<'_, (K, V)>,
    value: V,
    f: &F,
    blame: &Blame,
) {
    if std::mem::needs_drop::<V>() {
        let ((key, before), place) = known.remove();
        let total = blame.call((&key, before, value), |(_, before, value)| f(before, value));
        place.insert((key, total));
    } else {
        // A value that owns nothing is reduced in its place: copying it costs nothing.
        let (key, total) = known.get_mut();
        *total = blame.call((&*key, total.clone(), value), |(_, before, value)| f(before, value));
    }
}

/// What was made of the values of each key, each key once, in the order in which keys came: for values that come in a fixed
/// order.
pub(super) struct Groups<K, C> {
    places: HashTable<usize>,
    rows: Vec<Group<K, C>>,
}

struct Group<K, C> {
    hash: u64,
    key: K,
    made: C,
}

impl<K: Hash + Eq, C> Groups<K, C> {
    pub(super) fn new() -> Self {
        Groups { places: HashTable::new(), rows: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The key as it is kept, and what was made of its values so far: the first time, what `empty` gives.
    pub(super) fn group(&mut self, key: K, empty: impl FnOnce() -> C) -> (&K, &mut C) {
        let Groups { places, rows } = self;
        let hash = hash_of(&key);
        let found = places.find(hash, |place| rows[*place].hash == hash && rows[*place].key == key);
        let place = match found {
            Some(place) => *place,
            None => {
                let place = rows.len();
                rows.push(Group { hash, key, made: empty() });
                places.insert_unique(hash, place, |place| rows[*place].hash);
                place
            }
        };
        let group = &mut rows[place];
        (&group.key, &mut group.made)
    }

    /// All groups in the order in which their keys came.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (K, C)> + use<K, C> {
        self.places.clear();
        std::mem::take(&mut self.rows).into_iter().map(|group| (group.key, group.made))
    }

    /// All groups in the order of their keys' hashes, those of one hash in the order in which they came.
    pub(super) fn take_sorted(&mut self) -> impl Iterator<Item = (K, C)> + use<K, C> {
        self.rows.sort_by_key(|group| group.hash);
        self.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key whose hash says nothing.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Blunt(u32);

    impl Hash for Blunt {
        fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
    }

    #[test]
    fn keys_of_one_hash_are_told_apart_and_come_in_a_fixed_order() {
        let table = |keys: &mut dyn Iterator<Item = u32>| {
            let mut table = Table::new(Arc::new(|a: u32, b: u32| a + b), Blame::new("test".into(), false));
            keys.for_each(|key| table.add((Blunt(key), 1)));
            table.drain_sorted().collect::<Vec<_>>()
        };
        let up = table(&mut (0..9).chain(0..9));
        assert_eq!(up, table(&mut (0..9).rev().chain(0..9)));
        assert_eq!(up, (0..9).map(|key| (Blunt(key), 2)).collect::<Vec<_>>());
        let mut groups = Groups::new();
        for key in [3, 1, 3, 2] {
            groups.group(Blunt(key), Vec::new).1.push(key);
        }
        let groups: Vec<_> = groups.take_sorted().collect();
        assert_eq!(groups, [(Blunt(3), vec![3, 3]), (Blunt(1), vec![1]), (Blunt(2), vec![2])]);
    }
}
