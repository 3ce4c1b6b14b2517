//! The state of one partition in the embedded store on disk.
//!
//! One part of the store holds three kinds of entries, told by their first byte:
//!
//! - `d`, bytes of a key: its value behind a [`Head`];
//! - `c`, generation, bytes of a key: the key changed in that generation; what is held is its time if it was removed;
//! - `t`, time, bytes of a key: the key is listed under that time, which is not after its last update. One list counts: that
//!   which the key's head names. Others are left over and go when they are come across.
//!
//! A generation ends when changes are taken. Numbers in keys are big-endian, so that they sort.

use crate::encoding;
use crate::keyed::Kept;
use crate::row::{Row, StateKey, StateValue};
use crate::slot::{Fate, Slot};
use crate::stores::{DiskStores, Part};
use crate::times::NOT_LISTED;
use fjall::Snapshot;
use std::marker::PhantomData;
use tidegate_core::{Error, Result};

const DATA: u8 = b'd';
const CHANGED: u8 = b'c';
const LISTED: u8 = b't';
/// Longest key in bytes: the store takes 65,535, and 9 may stand before it.
const KEY_BYTES_MAX: usize = 65_526;
/// The generation of what was restored: none of those that are taken.
const RESTORED: u32 = 0;

pub(crate) struct Disk<K, V> {
    part: Part,
    keys: u64,
    tracks: bool,
    generation: u32,
    /// Number of `c` entries of this generation.
    changes: u64,
    /// Whether a key was removed in this generation: then a new key may have a `c` entry already.
    has_removals: bool,
    /// Whether keys are listed by time: from the first time that is asked for.
    lists_times: bool,
    of: PhantomData<fn() -> (K, V)>,
}

/// What stands before a value.
#[derive(Clone, Copy)]
struct Head {
    updated_ms: u64,
    /// The list that counts.
    listed_ms: u64,
    /// When it last changed.
    generation: u32,
}

impl Head {
    const BYTES: usize = 20;
    /// The head of a key that is not there yet.
    const NEW: Head = Head { updated_ms: 0, listed_ms: NOT_LISTED, generation: RESTORED };

    fn split(entry: &[u8]) -> Result<(Head, &[u8])> {
        let head = || {
            let (updated, rest) = entry.split_first_chunk()?;
            let (listed, rest) = rest.split_first_chunk()?;
            let (generation, rest) = rest.split_first_chunk()?;
            let updated_ms = u64::from_be_bytes(*updated);
            let listed_ms = u64::from_be_bytes(*listed);
            Some((Head { updated_ms, listed_ms, generation: u32::from_be_bytes(*generation) }, rest))
        };
        head().ok_or_else(|| Error::bug("an entry of a state on disk is too short"))
    }

    fn append(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.updated_ms.to_be_bytes());
        into.extend_from_slice(&self.listed_ms.to_be_bytes());
        into.extend_from_slice(&self.generation.to_be_bytes());
    }
}

fn data_key(key: &[u8]) -> Vec<u8> {
    [&[DATA], key].concat()
}

fn changed_key(generation: u32, key: &[u8]) -> Vec<u8> {
    [[CHANGED].as_slice(), &generation.to_be_bytes(), key].concat()
}

fn listed_key(time: u64, key: &[u8]) -> Vec<u8> {
    [[LISTED].as_slice(), &time.to_be_bytes(), key].concat()
}

impl<K: StateKey, V: StateValue> Disk<K, V> {
    pub(crate) fn open(stores: &DiskStores) -> Result<Self> {
        Ok(Disk {
            part: stores.new_part()?,
            keys: 0,
            tracks: true,
            generation: RESTORED + 1,
            changes: 0,
            has_removals: false,
            lists_times: false,
            of: PhantomData,
        })
    }

    pub(crate) fn stop_tracking(&mut self) {
        self.tracks = false;
    }

    pub(crate) fn len(&self) -> u64 {
        self.keys
    }

    pub(crate) fn get(&self, key: &K) -> Result<Option<(V, u64)>> {
        let found = self.find(&key_bytes(key)?)?;
        Ok(found.map(|(head, value)| (value, head.updated_ms)))
    }

    pub(crate) fn update<R>(
        &mut self,
        key: &K,
        updated_ms: u64,
        f: impl FnOnce(&mut Slot<'_, V>) -> R,
    ) -> Result<R> {
        let key = key_bytes(key)?;
        let (head, mut value) = self.find(&key)?.unzip();
        let mut slot = Slot::new(&mut value, head.map(|head| head.updated_ms));
        let result = f(&mut slot);
        let fate = slot.fate();
        match (head, value) {
            (_, Some(_)) if fate == Fate::Untouched => {}
            (head, Some(value)) => self.write(&key, head, &value, updated_ms, self.tracks)?,
            (Some(head), None) => self.take_out(&key, head, self.tracks)?,
            (None, None) => {}
        }
        Ok(result)
    }

    pub(crate) fn put(&mut self, key: &K, value: &V, updated_ms: u64) -> Result<()> {
        let key = key_bytes(key)?;
        let head = self.head(&key)?;
        self.write(&key, head, value, updated_ms, self.tracks)
    }

    pub(crate) fn touch(&mut self, key: &K, updated_ms: u64) -> Result<()> {
        self.update(key, updated_ms, |slot| slot.touch())
    }

    pub(crate) fn remove(&mut self, key: &K) -> Result<bool> {
        let key = key_bytes(key)?;
        let Some(head) = self.head(&key)? else { return Ok(false) };
        self.take_out(&key, head, self.tracks)?;
        Ok(true)
    }

    pub(crate) fn restore(&mut self, row: &Row<K, V>) -> Result<()> {
        let key = key_bytes(&row.key)?;
        match (self.head(&key)?, &row.value) {
            (head, Some(value)) => self.write(&key, head, value, row.updated_ms, false),
            (Some(head), None) => self.take_out(&key, head, false),
            (None, None) => Ok(()),
        }
    }

    pub(crate) fn for_each(&self, f: &mut dyn FnMut(&K, &V) -> Result<()>) -> Result<()> {
        self.each_entry(|key, _, value| f(&encoding::decode(key)?, &encoding::decode(value)?))
    }

    pub(crate) fn update_all(
        &mut self,
        updated_ms: u64,
        f: &mut dyn FnMut(&K, V) -> Result<Kept<V>>,
    ) -> Result<()> {
        for entry in self.part.entries().snapshot().prefix([DATA]) {
            let (key, value) = entry.map_err(|error| self.part.failed(error))?;
            let (key, (head, value)) = (&key[1..], Head::split(&value)?);
            match f(&encoding::decode(key)?, encoding::decode(value)?)? {
                Kept::Same(_) => {}
                Kept::Changed(value) => self.write(key, Some(head), &value, updated_ms, self.tracks)?,
                Kept::Removed => self.take_out(key, head, self.tracks)?,
            }
        }
        Ok(())
    }

    pub(crate) fn older_than(&mut self, before_ms: u64) -> Result<Vec<K>> {
        if !self.lists_times {
            self.list_times()?;
        }
        let mut due = Vec::new();
        let lists = self.part.entries().snapshot().range([LISTED].to_vec()..listed_key(before_ms, &[]));
        for entry in lists {
            let (list, _) = entry.map_err(|error| self.part.failed(error))?;
            let (time, key) =
                list[1..].split_first_chunk().ok_or_else(|| Error::bug("a list of times without a time"))?;
            let time = u64::from_be_bytes(*time);
            let there = self.entry(key)?;
            let there =
                there.as_deref().map(Head::split).transpose()?.filter(|(head, _)| head.listed_ms == time);
            match there {
                Some((head, _)) if head.updated_ms < before_ms => due.push(key.to_vec()),
                Some((head, value)) => {
                    self.move_list(key, head, value)?;
                    self.delete(list.to_vec())?;
                }
                None => self.delete(list.to_vec())?,
            }
        }
        due.sort_unstable();
        due.iter().map(|key| encoding::decode(key)).collect()
    }

    pub(crate) fn take_changes(&mut self) -> DiskChanges<K, V> {
        let changes = DiskChanges {
            part: self.part.clone(),
            snapshot: self.part.entries().snapshot(),
            generation: self.generation,
            rows: self.changes,
            of: PhantomData,
        };
        self.generation += 1;
        self.changes = 0;
        self.has_removals = false;
        changes
    }

    fn entry(&self, key: &[u8]) -> Result<Option<fjall::Slice>> {
        self.part.entries().get(data_key(key)).map_err(|error| self.part.failed(error))
    }

    fn find(&self, key: &[u8]) -> Result<Option<(Head, V)>> {
        let Some(entry) = self.entry(key)? else { return Ok(None) };
        let (head, value) = Head::split(&entry)?;
        Ok(Some((head, encoding::decode(value)?)))
    }

    fn head(&self, key: &[u8]) -> Result<Option<Head>> {
        self.entry(key)?.map(|entry| Ok(Head::split(&entry)?.0)).transpose()
    }

    fn insert(&self, key: Vec<u8>, value: &[u8]) -> Result<()> {
        self.part.entries().insert(key, value).map_err(|error| self.part.failed(error))
    }

    fn delete(&self, key: Vec<u8>) -> Result<()> {
        self.part.entries().remove(key).map_err(|error| self.part.failed(error))
    }

    fn write(
        &mut self,
        key: &[u8],
        before: Option<Head>,
        value: &V,
        updated_ms: u64,
        is_change: bool,
    ) -> Result<()> {
        let mut head = Head { updated_ms, ..before.unwrap_or(Head::NEW) };
        if is_change && head.generation != self.generation {
            self.note_change(key, before.is_none(), 0)?;
            head.generation = self.generation;
        }
        if self.lists_times && updated_ms < head.listed_ms {
            head.listed_ms = updated_ms;
            self.insert(listed_key(updated_ms, key), &[])?;
        }
        self.keys += u64::from(before.is_none());
        let mut entry = Vec::with_capacity(Head::BYTES + 64);
        head.append(&mut entry);
        encoding::append(value, &mut entry)?;
        self.insert(data_key(key), &entry)
    }

    fn take_out(&mut self, key: &[u8], head: Head, is_change: bool) -> Result<()> {
        if is_change {
            self.has_removals = true;
            if head.generation == self.generation {
                self.insert(changed_key(self.generation, key), &head.updated_ms.to_be_bytes())?;
            } else {
                self.note_change(key, false, head.updated_ms)?;
            }
        }
        self.keys -= 1;
        self.delete(data_key(key))
    }

    /// Notes the first change of a key in this generation; that of a new key may be noted already, if it was there and removed.
    fn note_change(&mut self, key: &[u8], is_new: bool, removed_ms: u64) -> Result<()> {
        let changed = changed_key(self.generation, key);
        let is_noted = is_new
            && self.has_removals
            && self.part.entries().contains_key(&changed).map_err(|error| self.part.failed(error))?;
        if !is_noted {
            self.changes += 1;
            self.insert(changed, &removed_ms.to_be_bytes())?;
        }
        Ok(())
    }

    fn each_entry(&self, mut f: impl FnMut(&[u8], Head, &[u8]) -> Result<()>) -> Result<()> {
        for entry in self.part.entries().snapshot().prefix([DATA]) {
            let (key, value) = entry.map_err(|error| self.part.failed(error))?;
            let (head, value) = Head::split(&value)?;
            f(&key[1..], head, value)?;
        }
        Ok(())
    }

    fn list_times(&mut self) -> Result<()> {
        self.lists_times = true;
        self.each_entry(|key, head, value| self.move_list(key, head, value))
    }

    /// Lists a key under the time of its last update.
    fn move_list(&self, key: &[u8], head: Head, value: &[u8]) -> Result<()> {
        let head = Head { listed_ms: head.updated_ms, ..head };
        let mut entry = Vec::with_capacity(Head::BYTES + value.len());
        head.append(&mut entry);
        entry.extend_from_slice(value);
        self.insert(listed_key(head.listed_ms, key), &[])?;
        self.insert(data_key(key), &entry)
    }
}

impl<K, V> Drop for Disk<K, V> {
    fn drop(&mut self) {
        self.part.close();
    }
}

fn key_bytes<K: StateKey>(key: &K) -> Result<Vec<u8>> {
    let bytes = encoding::encoded(key)?;
    if bytes.len() > KEY_BYTES_MAX {
        return Err(Error::reconfigure(format!(
            "a key of a state has {} bytes, and the store on disk takes {KEY_BYTES_MAX}; use shorter keys or keep the \
             state in memory",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// What changed in one generation, as of its end: a view of the store that stays as it is.
pub(crate) struct DiskChanges<K, V> {
    part: Part,
    snapshot: Snapshot,
    generation: u32,
    rows: u64,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K: StateKey, V: StateValue> DiskChanges<K, V> {
    pub(crate) fn len(&self) -> u64 {
        self.rows
    }

    /// The rows, read one by one.
    pub(crate) fn into_rows(self) -> impl Iterator<Item = Result<Row<K, V>>> {
        let notes = self.snapshot.prefix(changed_key(self.generation, &[]));
        notes.map(move |note| {
            let (note, removed_ms) = note.map_err(|error| self.part.failed(error))?;
            self.row(&note[changed_key(self.generation, &[]).len()..], &removed_ms)
        })
    }

    fn row(&self, key: &[u8], removed_ms: &[u8]) -> Result<Row<K, V>> {
        let entry = self.snapshot.get(data_key(key)).map_err(|error| self.part.failed(error))?;
        let key = encoding::decode(key)?;
        if let Some(entry) = entry {
            let (head, value) = Head::split(&entry)?;
            return Ok(Row { key, value: Some(encoding::decode(value)?), updated_ms: head.updated_ms });
        }
        let removed_ms = removed_ms.try_into().map_err(|_| Error::bug("a change on disk without a time"))?;
        Ok(Row { key, value: None, updated_ms: u64::from_be_bytes(removed_ms) })
    }
}

impl<K, V> Drop for DiskChanges<K, V> {
    /// Takes the notes of this generation out of the store, whether they were read or not.
    fn drop(&mut self) {
        for note in self.snapshot.prefix(changed_key(self.generation, &[])) {
            let removed =
                note.map_err(fjall::Error::from).and_then(|(note, _)| self.part.entries().remove(note));
            if let Err(error) = removed {
                log::warn!("notes of changes stay on disk: {}", self.part.failed(error));
                return;
            }
        }
    }
}
