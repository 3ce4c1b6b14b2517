//! Values by key, each key once: what reducing keeps on both sides of a shuffle.

use crate::blame::blaming;
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// The same on every worker, in every process and every run.
#[derive(Clone, Copy, Default)]
struct Hasher;

impl BuildHasher for Hasher {
    type Hasher = rapidhash::fast::RapidHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        rapidhash::fast::RapidHasher::default()
    }
}

/// The hash of a key, and of whatever it borrows as.
#[inline]
pub(super) fn hash_of<Q: Hash + ?Sized>(key: &Q) -> u64 {
    Hasher.hash_one(key)
}

/// Values by key. A record is looked up where it lies: a key that is there already is never moved.
pub(super) struct Table<K, V, F> {
    rows: HashTable<(K, V)>,
    f: Arc<F>,
    name: Arc<str>,
}

impl<K: Hash + Eq, V: Clone, F: Fn(V, V) -> V> Table<K, V, F> {
    pub(super) fn new(f: Arc<F>, name: Arc<str>) -> Self {
        Table { rows: HashTable::new(), f, name }
    }

    #[inline]
    pub(super) fn add(&mut self, row: (K, V)) {
        let hash = hash_of(&row.0);
        match self.rows.find_entry(hash, |known| known.0 == row.0) {
            Ok(known) => reduce_into(known, row.1, &*self.f, &self.name),
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
            Ok(known) => reduce_into(known, value, &*self.f, &self.name),
            Err(_) => {
                self.rows.insert_unique(hash, (K::from(key), value), |known| hash_of(&known.0));
            }
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = (K, V)> + '_ {
        self.rows.drain()
    }
}

#[inline]
fn reduce_into<K, V: Clone, F: Fn(V, V) -> V>(
    mut known: OccupiedEntry<'_, (K, V)>,
    value: V,
    f: &F,
    name: &Arc<str>,
) {
    if std::mem::needs_drop::<V>() {
        let ((key, before), place) = known.remove();
        place.insert((key, blaming(name, || f(before, value))));
    } else {
        // A value that owns nothing is reduced in its place: copying it costs nothing.
        let total = &mut known.get_mut().1;
        *total = blaming(name, || f(total.clone(), value));
    }
}
