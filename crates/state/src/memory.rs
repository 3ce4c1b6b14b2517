//! The state of one partition in memory.
//!
//! Keys and values lie in places of one array; a hash table finds a place by key, and everything else that must name a key
//! (what changed, the lists of times, the order) names its place, so no update copies a key.

use crate::keyed::Kept;
use crate::order::{Order, sorted_by_bytes};
use crate::row::{Row, StateKey, StateValue};
use crate::slot::{Fate, Slot};
use crate::times::{NOT_LISTED, Times};
use hashbrown::{HashMap, HashTable};
use std::cell::RefCell;
use std::hash::{BuildHasher, Hash};
use tidegate_core::Result;

/// The same in every process and every run.
#[derive(Clone, Copy, Debug, Default)]
struct Hasher;

impl BuildHasher for Hasher {
    type Hasher = rapidhash::fast::RapidHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        rapidhash::fast::RapidHasher::default()
    }
}

fn hash_of<K: Hash>(key: &K) -> u64 {
    Hasher.hash_one(key)
}

pub(crate) struct Memory<K, V> {
    table: HashTable<u32>,
    places: Vec<Place<K, V>>,
    /// Places without a key.
    free: Vec<u32>,
    /// Whether changes are kept for the next checkpoint.
    tracks: bool,
    /// Places that changed; each at most once.
    changed: Vec<u32>,
    /// Keys that were removed, with the time of their last update before.
    removed: HashMap<K, u64, Hasher>,
    /// Made when it is first asked for.
    times: Option<Times>,
    /// Made when it is first asked for.
    order: RefCell<Option<Order>>,
}

struct Place<K, V> {
    hash: u64,
    /// The time under which `times` lists it.
    listed_ms: u64,
    /// Whether it stands in `changed`.
    is_in_changed: bool,
    entry: Option<Entry<K, V>>,
}

struct Entry<K, V> {
    key: K,
    /// `None` only while an update runs.
    value: Option<V>,
    updated_ms: u64,
    is_changed: bool,
}

impl<K, V> Entry<K, V> {
    fn value(&self) -> &V {
        self.value.as_ref().expect("a kept key has a value")
    }
}

impl<K, V> Place<K, V> {
    fn key(&self) -> Option<&K> {
        self.entry.as_ref().map(|entry| &entry.key)
    }

    fn entry(&self) -> &Entry<K, V> {
        self.entry.as_ref().expect("a place in the table has a key")
    }

    fn entry_mut(&mut self) -> &mut Entry<K, V> {
        self.entry.as_mut().expect("a place in the table has a key")
    }
}

impl<K: StateKey, V: StateValue> Memory<K, V> {
    pub(crate) fn new() -> Self {
        Memory {
            table: HashTable::new(),
            places: Vec::new(),
            free: Vec::new(),
            tracks: true,
            changed: Vec::new(),
            removed: HashMap::with_hasher(Hasher),
            times: None,
            order: RefCell::new(None),
        }
    }

    pub(crate) fn stop_tracking(&mut self) {
        self.tracks = false;
        self.removed = HashMap::with_hasher(Hasher);
    }

    pub(crate) fn len(&self) -> u64 {
        self.table.len() as u64
    }

    pub(crate) fn get(&self, key: &K) -> Option<(&V, u64)> {
        let place = self.find(hash_of(key), key)?;
        let entry = self.places[place as usize].entry();
        Some((entry.value(), entry.updated_ms))
    }

    pub(crate) fn update<R>(&mut self, key: K, updated_ms: u64, f: impl FnOnce(&mut Slot<'_, V>) -> R) -> R {
        let hash = hash_of(&key);
        let Some(place) = self.find(hash, &key) else {
            let mut value = None;
            let result = f(&mut Slot::new(&mut value, None));
            if let Some(value) = value {
                self.insert(hash, key, value, updated_ms, true);
            }
            return result;
        };
        let entry = self.places[place as usize].entry_mut();
        let mut slot = Slot::new(&mut entry.value, Some(entry.updated_ms));
        let result = f(&mut slot);
        let fate = slot.fate();
        if entry.value.is_none() {
            self.take_out(place, self.tracks);
        } else if fate != Fate::Untouched {
            entry.updated_ms = updated_ms;
            self.note_change(place);
            self.note_time(place, updated_ms);
        }
        result
    }

    pub(crate) fn put(&mut self, key: K, value: V, updated_ms: u64) {
        self.update(key, updated_ms, |slot| slot.set(value));
    }

    pub(crate) fn touch(&mut self, key: &K, updated_ms: u64) {
        if let Some(place) = self.find(hash_of(key), key) {
            self.places[place as usize].entry_mut().updated_ms = updated_ms;
            self.note_change(place);
            self.note_time(place, updated_ms);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let Some(place) = self.find(hash_of(key), key) else { return false };
        self.take_out(place, self.tracks);
        true
    }

    pub(crate) fn restore(&mut self, row: Row<K, V>) {
        let hash = hash_of(&row.key);
        match (self.find(hash, &row.key), row.value) {
            (Some(place), Some(value)) => {
                let entry = self.places[place as usize].entry_mut();
                entry.value = Some(value);
                entry.updated_ms = row.updated_ms;
                self.note_time(place, row.updated_ms);
            }
            (Some(place), None) => self.take_out(place, false),
            (None, Some(value)) => self.insert(hash, row.key, value, row.updated_ms, false),
            (None, None) => {}
        }
    }

    pub(crate) fn for_each(&self, f: &mut dyn FnMut(&K, &V) -> Result<()>) -> Result<()> {
        let mut order = self.order.borrow_mut();
        let order = order.get_or_insert_with(|| self.new_order());
        for &place in order.refresh(self.places.len(), |place| self.places[place as usize].key())? {
            let entry = self.places[place as usize].entry();
            f(&entry.key, entry.value())?;
        }
        Ok(())
    }

    pub(crate) fn update_all(
        &mut self,
        updated_ms: u64,
        f: &mut dyn FnMut(&K, V) -> Result<Kept<V>>,
    ) -> Result<()> {
        let mut order = self.order.take().unwrap_or_else(|| self.new_order());
        // A copy, 4 bytes a key: removing changes the order that is walked.
        let walk = order.refresh(self.places.len(), |place| self.places[place as usize].key())?.to_vec();
        self.order.replace(Some(order));
        for place in walk {
            let entry = self.places[place as usize].entry_mut();
            let value = entry.value.take().expect("a kept key has a value");
            match f(&entry.key, value)? {
                Kept::Same(value) => entry.value = Some(value),
                Kept::Changed(value) => {
                    entry.value = Some(value);
                    entry.updated_ms = updated_ms;
                    self.note_change(place);
                    self.note_time(place, updated_ms);
                }
                Kept::Removed => self.take_out(place, self.tracks),
            }
        }
        Ok(())
    }

    pub(crate) fn older_than(&mut self, before_ms: u64) -> Result<Vec<K>> {
        let mut times = match self.times.take() {
            Some(times) if times.entries() <= 2 * self.places.len() + 1024 => times,
            _ => self.new_times(),
        };
        let mut due = Vec::new();
        while let Some((time, places)) = times.take_before(before_ms) {
            for at in places {
                let place = &mut self.places[at as usize];
                if place.listed_ms != time {
                    continue;
                }
                place.listed_ms = NOT_LISTED;
                let Some(entry) = &place.entry else { continue };
                if entry.updated_ms < before_ms {
                    due.push(at);
                } else {
                    times.note(at, &mut place.listed_ms, entry.updated_ms);
                }
            }
        }
        for &at in &due {
            let place = &mut self.places[at as usize];
            let updated_ms = place.entry().updated_ms;
            times.note(at, &mut place.listed_ms, updated_ms);
        }
        self.times = Some(times);
        let key = |at: u32| &self.places[at as usize].entry().key;
        Ok(sorted_by_bytes(&due, key)?.into_iter().map(|at| key(at).clone()).collect())
    }

    pub(crate) fn take_changes(&mut self) -> Vec<Row<K, V>> {
        let mut rows = Vec::with_capacity(self.changed.len() + self.removed.len());
        for at in std::mem::take(&mut self.changed) {
            let place = &mut self.places[at as usize];
            place.is_in_changed = false;
            let Some(entry) = place.entry.as_mut().filter(|entry| entry.is_changed) else { continue };
            entry.is_changed = false;
            rows.push(Row {
                key: entry.key.clone(),
                value: entry.value.clone(),
                updated_ms: entry.updated_ms,
            });
        }
        let removed = std::mem::replace(&mut self.removed, HashMap::with_hasher(Hasher));
        rows.extend(removed.into_iter().map(|(key, updated_ms)| Row { key, value: None, updated_ms }));
        rows
    }

    fn find(&self, hash: u64, key: &K) -> Option<u32> {
        let is_it = |&place: &u32| self.places[place as usize].key() == Some(key);
        self.table.find(hash, is_it).copied()
    }

    fn insert(&mut self, hash: u64, key: K, value: V, updated_ms: u64, is_change: bool) {
        if !self.removed.is_empty() {
            self.removed.remove(&key);
        }
        let entry = Some(Entry { key, value: Some(value), updated_ms, is_changed: false });
        let place = match self.free.pop() {
            Some(place) => {
                let there = &mut self.places[place as usize];
                there.hash = hash;
                there.entry = entry;
                place
            }
            None => {
                let place = u32::try_from(self.places.len()).expect("a partition has less than 2^32 keys");
                self.places.push(Place { hash, listed_ms: NOT_LISTED, is_in_changed: false, entry });
                place
            }
        };
        let places = &self.places;
        self.table.insert_unique(hash, place, |&place| places[place as usize].hash);
        if is_change {
            self.note_change(place);
        }
        self.note_time(place, updated_ms);
        let count = self.places.len();
        if let Some(order) = self.order.get_mut() {
            order.came(place);
            if order.is_overgrown(count) {
                self.order = RefCell::new(None);
            }
        }
    }

    /// Empties `place`; `is_change` notes it for the next checkpoint. The value may be gone already.
    fn take_out(&mut self, place: u32, is_change: bool) {
        let there = &mut self.places[place as usize];
        let hash = there.hash;
        let entry = there.entry.take().expect("a place in the table has a key");
        if let Ok(found) = self.table.find_entry(hash, |&at| at == place) {
            found.remove();
        }
        self.free.push(place);
        if let Some(order) = self.order.get_mut() {
            order.went(place);
        }
        if is_change {
            self.removed.insert(entry.key, entry.updated_ms);
        }
    }

    fn note_change(&mut self, place: u32) {
        let there = &mut self.places[place as usize];
        if self.tracks {
            there.entry_mut().is_changed = true;
            if !std::mem::replace(&mut there.is_in_changed, true) {
                self.changed.push(place);
            }
        }
    }

    fn note_time(&mut self, place: u32, updated_ms: u64) {
        if let Some(times) = &mut self.times {
            times.note(place, &mut self.places[place as usize].listed_ms, updated_ms);
        }
    }

    fn new_times(&mut self) -> Times {
        let mut times = Times::default();
        for (at, place) in (0..).zip(&mut self.places) {
            place.listed_ms = NOT_LISTED;
            if let Some(entry) = &place.entry {
                times.note(at, &mut place.listed_ms, entry.updated_ms);
            }
        }
        times
    }

    fn new_order(&self) -> Order {
        let mut order = Order::default();
        (0..).zip(&self.places).filter(|(_, place)| place.entry.is_some()).for_each(|(at, _)| order.came(at));
        order
    }
}
