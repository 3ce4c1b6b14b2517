//! A state does what a sorted map of values and times does, whatever was done to it and whichever store holds it.

use super::reading::rows_of;
use crate::encoding::encoded;
use crate::{DiskStores, Kept, KeyedState, StateFormat, Stores};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Mutex, OnceLock};
use tempfile::TempDir;
use tidegate_core::{PartitionId, StateFile};
use tidegate_storage::MemoryStorage;

type Key = String;
type Value = Option<i64>;

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Value, u64),
    Set(u8, Value, u64),
    Add(u8, u64),
    Look(u8, u64),
    TouchIn(u8, u64),
    RemoveIn(u8, u64),
    Touch(u8, u64),
    Remove(u8),
    Get(u8),
    Walk,
    UpdateAll(u64),
    Older(u64),
    Checkpoint,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let (key, time) = (0..30_u8, 0..50_u64);
    let value = prop::option::of(-3..3_i64);
    prop_oneof![
        4 => (key.clone(), value.clone(), time.clone()).prop_map(|(k, v, t)| Op::Put(k, v, t)),
        2 => (key.clone(), value, time.clone()).prop_map(|(k, v, t)| Op::Set(k, v, t)),
        2 => (key.clone(), time.clone()).prop_map(|(k, t)| Op::Add(k, t)),
        1 => (key.clone(), time.clone()).prop_map(|(k, t)| Op::Look(k, t)),
        1 => (key.clone(), time.clone()).prop_map(|(k, t)| Op::TouchIn(k, t)),
        1 => (key.clone(), time.clone()).prop_map(|(k, t)| Op::RemoveIn(k, t)),
        1 => (key.clone(), time.clone()).prop_map(|(k, t)| Op::Touch(k, t)),
        3 => key.clone().prop_map(Op::Remove),
        1 => key.prop_map(Op::Get),
        1 => Just(Op::Walk),
        1 => time.clone().prop_map(Op::UpdateAll),
        2 => time.prop_map(Op::Older),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Restart),
    ]
}

/// What a state must be: by the bytes of its key.
#[derive(Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, (Key, Value, u64)>,
    /// Keys that may be in the next changes.
    changed: BTreeSet<Key>,
}

impl Model {
    fn put(&mut self, key: &Key, value: Value, time: u64) {
        self.keys.insert(encoded(key).unwrap(), (key.clone(), value, time));
        self.changed.insert(key.clone());
    }

    fn remove(&mut self, key: &Key) -> bool {
        let was_there = self.keys.remove(&encoded(key).unwrap()).is_some();
        if was_there {
            self.changed.insert(key.clone());
        }
        was_there
    }

    fn get(&self, key: &Key) -> Option<(Value, u64)> {
        self.keys.get(&encoded(key).unwrap()).map(|(_, value, time)| (*value, *time))
    }

    fn older_than(&self, before: u64) -> Vec<Key> {
        self.keys.values().filter(|(_, _, time)| *time < before).map(|(key, ..)| key.clone()).collect()
    }
}

struct Run {
    stores: Stores,
    state: KeyedState<Key, Value>,
    model: Model,
    storage: MemoryStorage,
    format: StateFormat<Key, Value>,
    files: Vec<StateFile>,
    checkpoints: u32,
}

impl Run {
    fn new(stores: Stores) -> Self {
        Run {
            state: KeyedState::open(&stores, "start-0").unwrap(),
            stores,
            model: Model::default(),
            storage: MemoryStorage::default(),
            format: StateFormat::of(),
            files: Vec::new(),
            checkpoints: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        let name = |key: u8| format!("{key}{}", "x".repeat(usize::from(key % 3) * 20));
        let (state, model) = (&mut self.state, &mut self.model);
        match op {
            Op::Put(key, value, time) => {
                state.put(name(key), value, time).unwrap();
                model.put(&name(key), value, time);
            }
            Op::Set(key, value, time) => {
                state.update(name(key), time, |slot| slot.set(value)).unwrap();
                model.put(&name(key), value, time);
            }
            Op::Add(key, time) => {
                let add = |value: Value| value.map(|number| number + 1);
                let found =
                    state.update(name(key), time, |slot| slot.get_mut().map(|value| *value = add(*value)));
                assert_eq!(found.unwrap().is_some(), model.get(&name(key)).is_some());
                if let Some((value, _)) = model.get(&name(key)) {
                    model.put(&name(key), add(value), time);
                }
            }
            Op::Look(key, time) => {
                let seen = state.update(name(key), time, |slot| slot.get().copied().zip(slot.updated_ms()));
                assert_eq!(seen.unwrap(), model.get(&name(key)));
            }
            Op::TouchIn(key, time) => {
                state.update(name(key), time, |slot| slot.touch()).unwrap();
                if let Some((value, _)) = model.get(&name(key)) {
                    model.put(&name(key), value, time);
                }
            }
            Op::RemoveIn(key, time) => {
                let gone = state.update(name(key), time, |slot| slot.remove()).unwrap();
                assert_eq!(gone.is_some(), model.remove(&name(key)));
            }
            Op::Touch(key, time) => {
                state.touch(&name(key), time).unwrap();
                if let Some((value, _)) = model.get(&name(key)) {
                    model.put(&name(key), value, time);
                }
            }
            Op::Remove(key) => assert_eq!(state.remove(&name(key)).unwrap(), model.remove(&name(key))),
            Op::Get(key) => assert_eq!(state.get(&name(key)).unwrap(), model.get(&name(key))),
            Op::Walk => self.check(),
            Op::UpdateAll(time) => self.update_all(time),
            Op::Older(before) => {
                assert_eq!(state.older_than(before).unwrap(), model.older_than(before));
            }
            Op::Checkpoint => self.checkpoint(),
            Op::Restart => self.restart(),
        }
    }

    fn check(&self) {
        let mut walked = Vec::new();
        self.state
            .for_each(&mut |key, value| {
                walked.push((key.clone(), *value));
                Ok(())
            })
            .unwrap();
        let expected: Vec<_> =
            self.model.keys.values().map(|(key, value, _)| (key.clone(), *value)).collect();
        assert_eq!(walked, expected);
        assert_eq!(self.state.len(), expected.len() as u64);
        for (key, value, time) in self.model.keys.values() {
            assert_eq!(self.state.get(key).unwrap(), Some((*value, *time)));
        }
    }

    fn update_all(&mut self, time: u64) {
        let decide = |value: Value| match value {
            None => Kept::Changed(Some(0)),
            Some(number) if number > 1 => Kept::Removed,
            same => Kept::Same(same),
        };
        let mut walked = Vec::new();
        self.state
            .update_all(time, &mut |key, value| {
                walked.push(key.clone());
                Ok(decide(value))
            })
            .unwrap();
        let before: Vec<_> = self.model.keys.values().map(|(key, value, _)| (key.clone(), *value)).collect();
        assert_eq!(walked, before.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>());
        for (key, value) in before {
            match decide(value) {
                Kept::Same(_) => {}
                Kept::Changed(value) => self.model.put(&key, value, time),
                Kept::Removed => assert!(self.model.remove(&key)),
            }
        }
    }

    fn checkpoint(&mut self) {
        let changes = self.state.take_changes().unwrap();
        let changed = std::mem::take(&mut self.model.changed);
        assert_eq!(changes.len(), changed.len() as u64);
        // What happens from here on must not be in the changes that were taken.
        let disturbed: Vec<(Key, Value, u64)> = self.model.keys.values().take(3).cloned().collect();
        for (key, ..) in &disturbed {
            self.state.put(key.clone(), Some(-99), 1).unwrap();
            self.state.remove(key).unwrap();
        }
        let stem = format!("s/{}", self.checkpoints);
        self.checkpoints += 1;
        let files = self.format.write(&self.storage, &stem, PartitionId(0), changes.into_rows()).unwrap();
        let rows = rows_of(&self.format, &self.storage, &files).unwrap();
        let keys: Vec<Vec<u8>> = rows.iter().map(|row| encoded(&row.key).unwrap()).collect();
        assert!(keys.is_sorted());
        assert_eq!(rows.iter().map(|row| row.key.clone()).collect::<BTreeSet<_>>(), changed);
        for row in rows {
            assert_eq!(row.value.map(|value| (value, row.updated_ms)), self.model.get(&row.key));
        }
        self.files.extend(files);
        for (key, value, time) in disturbed {
            self.state.put(key.clone(), value, time).unwrap();
            self.model.changed.insert(key);
        }
    }

    /// Begins anew from the files, as they are or merged.
    fn restart(&mut self) {
        self.checkpoint();
        self.model.changed.clear();
        if self.checkpoints % 2 == 1 {
            let stem = format!("m/{}", self.checkpoints);
            self.files = self.format.merge(&self.storage, &stem, &self.files, None, true).unwrap();
        }
        self.state = KeyedState::open(&self.stores, &format!("start-{}", self.checkpoints)).unwrap();
        for row in rows_of(&self.format, &self.storage, &self.files).unwrap() {
            self.state.restore(row).unwrap();
        }
        self.check();
    }
}

fn run(stores: Stores, ops: Vec<Op>) {
    let mut run = Run::new(stores);
    for op in ops {
        run.apply(op);
    }
    run.check();
    run.restart();
    run.restart();
}

proptest! {
    #[test]
    fn a_state_in_memory_is_the_map_it_promises(ops in vec(op(), 0..150)) {
        run(Stores::Memory, ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_state_on_disk_is_the_map_it_promises(ops in vec(op(), 0..150)) {
        run(on_disk(), ops);
    }
}

type StaysOpen = Mutex<KeyedState<Key, Value>>;

/// One store for all cases, as it is for all states of a process. A state that stays open keeps it from being closed in between.
fn on_disk() -> Stores {
    static STORES: OnceLock<(TempDir, Stores, StaysOpen)> = OnceLock::new();
    let (_, stores, _) = STORES.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        let stores = Stores::Disk(DiskStores::open(directory.path(), 0).unwrap());
        let state = KeyedState::open(&stores, "stays-0").unwrap();
        (directory, stores, Mutex::new(state))
    });
    stores.clone()
}

#[test]
fn what_closed_states_held_leaves_the_disk_and_others_in_the_directory_are_left_alone() {
    let directory = TempDir::new().unwrap();
    let store = directory.path().join("store");
    fs::create_dir(&store).unwrap();
    fs::write(store.join("left over"), "from a crash").unwrap();
    fs::write(directory.path().join("mine"), "kept").unwrap();
    let stores = DiskStores::open(directory.path(), 0).unwrap();
    assert!(!store.exists());
    assert!(DiskStores::open(directory.path(), 0).unwrap_err().to_string().contains("another process"));

    let mut state = KeyedState::<Key, Value>::open(&Stores::Disk(stores.clone()), "a-0").unwrap();
    state.put("a".to_owned(), None, 1).unwrap();
    let changes = state.take_changes().unwrap();
    drop(state);
    // A checkpoint that is still being written keeps what it reads.
    assert_eq!(changes.into_rows().map(|row| row.unwrap().key).collect::<Vec<_>>(), ["a"]);
    assert_eq!(fs::read_dir(&store).unwrap().count(), 0);
    assert_eq!(fs::read(directory.path().join("mine")).unwrap(), b"kept");

    let state = KeyedState::<Key, Value>::open(&Stores::Disk(stores.clone()), "a-0").unwrap();
    assert!(state.is_empty());
    drop((state, stores));
    DiskStores::open(directory.path(), 0).unwrap();
}

#[test]
fn a_state_its_changes_and_its_format_move_between_threads() {
    fn moves<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    moves::<KeyedState<Key, Value>>();
    moves::<crate::Changes<Key, Value>>();
    is_shared::<StateFormat<Key, Value>>();
    is_shared::<Stores>();
}
