//! The front of a state: the newest value of each key of one partition, wherever it is held.

use crate::changes::Changes;
use crate::disk::Disk;
use crate::memory::Memory;
use crate::row::{Row, StateKey, StateValue};
use crate::slot::Slot;
use crate::stores::Stores;
use tidegate_core::Result;

/// What becomes of one key in [`KeyedState::update_all`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept<V> {
    /// It stays as it was, its time included. The value must be the one that was given.
    Same(V),
    /// It has this value now.
    Changed(V),
    /// It is removed.
    Removed,
}

/// The state of one partition of one operator: the newest value of each key and the time of its last update.
///
/// It is the same whichever of the [`Stores`] holds it. Times are in milliseconds since 1970 UTC, those of batches and not of
/// the machine's clock. An error or a panic on the way leaves a state that must not be used further.
pub struct KeyedState<K, V> {
    held: Held<K, V>,
}

#[expect(clippy::large_enum_variant, reason = "one a partition, and the large one is the fast one")]
enum Held<K, V> {
    Memory(Memory<K, V>),
    Disk(Disk<K, V>),
}

impl<K: StateKey, V: StateValue> KeyedState<K, V> {
    /// An empty state. `name` must be that of no other open state of these stores: the state's own name and its partition.
    ///
    /// # Errors
    /// `Reconfigure` when the store on disk can't be written.
    pub fn open(stores: &Stores, name: &str) -> Result<Self> {
        let held = match stores {
            Stores::Memory => Held::Memory(Memory::new()),
            Stores::Disk(stores) => {
                Held::Disk(Disk::open(stores).map_err(|error| error.context(format!("state {name}")))?)
            }
        };
        Ok(KeyedState { held })
    }

    /// Keeps no changes from now on: for a job that makes no checkpoints, where what was removed would pile up.
    /// [`take_changes`](KeyedState::take_changes) then gives none.
    pub fn stop_tracking(&mut self) {
        match &mut self.held {
            Held::Memory(memory) => memory.stop_tracking(),
            Held::Disk(disk) => disk.stop_tracking(),
        }
    }

    /// The value of `key` and the time of its last update.
    ///
    /// # Errors
    /// `Reconfigure` when the store on disk can't be read, `UserCode` when the types do not serialise.
    pub fn get(&self, key: &K) -> Result<Option<(V, u64)>> {
        match &self.held {
            Held::Memory(memory) => Ok(memory.get(key).map(|(value, time)| (value.clone(), time))),
            Held::Disk(disk) => disk.get(key),
        }
    }

    /// Looks at `key` and changes it, with one look-up: `f` says on the [`Slot`] what becomes of it. When that is anything,
    /// the key's time is `updated_ms` afterwards and the next checkpoint has it.
    ///
    /// # Errors
    /// As [`get`](KeyedState::get).
    #[inline]
    pub fn update<R>(&mut self, key: K, updated_ms: u64, f: impl FnOnce(&mut Slot<'_, V>) -> R) -> Result<R> {
        match &mut self.held {
            Held::Memory(memory) => Ok(memory.update(key, updated_ms, f)),
            Held::Disk(disk) => disk.update(&key, updated_ms, f),
        }
    }

    /// Gives `key` this value and this time.
    ///
    /// # Errors
    /// As [`get`](KeyedState::get).
    pub fn put(&mut self, key: K, value: V, updated_ms: u64) -> Result<()> {
        match &mut self.held {
            Held::Memory(memory) => {
                memory.put(key, value, updated_ms);
                Ok(())
            }
            Held::Disk(disk) => disk.put(&key, &value, updated_ms),
        }
    }

    /// Moves the time of `key`, if it is there.
    ///
    /// # Errors
    /// As [`get`](KeyedState::get).
    pub fn touch(&mut self, key: &K, updated_ms: u64) -> Result<()> {
        match &mut self.held {
            Held::Memory(memory) => {
                memory.touch(key, updated_ms);
                Ok(())
            }
            Held::Disk(disk) => disk.touch(key, updated_ms),
        }
    }

    /// Removes `key`; says whether it was there.
    ///
    /// # Errors
    /// As [`get`](KeyedState::get).
    pub fn remove(&mut self, key: &K) -> Result<bool> {
        match &mut self.held {
            Held::Memory(memory) => Ok(memory.remove(key)),
            Held::Disk(disk) => disk.remove(key),
        }
    }

    /// Number of keys.
    pub fn len(&self) -> u64 {
        match &self.held {
            Held::Memory(memory) => memory.len(),
            Held::Disk(disk) => disk.len(),
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives every key with its value to `f`, in the order of the bytes of the keys: the same for the same contents, whatever
    /// happened before. Ends at the first error of `f`.
    ///
    /// In memory the first walk sorts all keys, and later ones only what came since.
    ///
    /// # Errors
    /// That of `f`, and as [`get`](KeyedState::get).
    pub fn for_each(&self, f: &mut dyn FnMut(&K, &V) -> Result<()>) -> Result<()> {
        match &self.held {
            Held::Memory(memory) => memory.for_each(f),
            Held::Disk(disk) => disk.for_each(f),
        }
    }

    /// Gives every key with its value to `f`, in the order of [`for_each`](KeyedState::for_each), and does with it what `f` says;
    /// what changes has the time `updated_ms`. Ends at the first error of `f`: then the state must not be used further.
    ///
    /// # Errors
    /// That of `f`, and as [`get`](KeyedState::get).
    pub fn update_all(&mut self, updated_ms: u64, f: &mut dyn FnMut(&K, V) -> Result<Kept<V>>) -> Result<()> {
        match &mut self.held {
            Held::Memory(memory) => memory.update_all(updated_ms, f),
            Held::Disk(disk) => disk.update_all(updated_ms, f),
        }
    }

    /// The keys that were last updated before `before_ms`, in the order of [`for_each`](KeyedState::for_each). They stay until
    /// they are removed, and are given again.
    ///
    /// The first call looks at every key, to list them by time; after that the cost follows what is given and what was
    /// updated since, not what there is.
    ///
    /// # Errors
    /// As [`get`](KeyedState::get).
    pub fn older_than(&mut self, before_ms: u64) -> Result<Vec<K>> {
        match &mut self.held {
            Held::Memory(memory) => memory.older_than(before_ms),
            Held::Disk(disk) => disk.older_than(before_ms),
        }
    }

    /// What changed since the last call, as of now: it stays as it is while this state goes on changing, and may be read on
    /// another thread. A key that changed often is in it once; one that came and went may be in it as removed.
    ///
    /// Costs what changed, not what there is; in memory, a copy of it.
    ///
    /// # Errors
    /// As [`get`](KeyedState::get).
    pub fn take_changes(&mut self) -> Result<Changes<K, V>> {
        match &mut self.held {
            Held::Memory(memory) => Ok(Changes::in_memory(memory.take_changes())),
            Held::Disk(disk) => Ok(Changes::on_disk(disk.take_changes())),
        }
    }

    /// Applies a row of a file, put or removed, without counting it as a change. For a state that is being filled again: rows
    /// come in the order of their files, before anything else happens to the state.
    ///
    /// # Errors
    /// As [`get`](KeyedState::get).
    pub fn restore(&mut self, row: Row<K, V>) -> Result<()> {
        match &mut self.held {
            Held::Memory(memory) => {
                memory.restore(row);
                Ok(())
            }
            Held::Disk(disk) => disk.restore(&row),
        }
    }
}
