//! The keyed state of one operator on one worker: a store for each partition that the worker owns.

use super::definition::{Origin, StateDefinition};
use super::view::{StateView, Views};
use crate::context::WorkerContext;
use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{PartitionId, Result};
use tidegate_state::{KeyedState, Row, StateKey, StateValue};

/// State by key of the partitions that one worker owns. Copies are the same state.
pub(crate) struct KeyedPartitions<K, V> {
    shared: Rc<RefCell<Partitions<K, V>>>,
}

struct Partitions<K, V> {
    definition: Arc<StateDefinition<K, V>>,
    stores: BTreeMap<PartitionId, KeyedState<K, V>>,
}

impl<K, V> Clone for KeyedPartitions<K, V> {
    fn clone(&self) -> Self {
        KeyedPartitions { shared: self.shared.clone() }
    }
}

impl<K: StateKey, V: StateValue> KeyedPartitions<K, V> {
    /// The state of `owned` partitions, filled from the checkpoint that the epoch begins with, and whether there was any to
    /// begin with: a state that is new may have an initial one.
    pub(crate) fn open(
        definition: &Arc<StateDefinition<K, V>>,
        cx: &WorkerContext,
        owned: &[PartitionId],
    ) -> Result<(KeyedPartitions<K, V>, bool)> {
        let uid = definition.entry().uid();
        let mut stores = BTreeMap::new();
        for partition in owned {
            let store = KeyedState::open(&cx.state()?.stores, &format!("{uid}-{:05}", partition.0))?;
            stores.insert(*partition, store);
        }
        let found = definition.fill(cx, owned, &mut |partition, origin, row| {
            let store = stores.get_mut(&partition).expect("only rows of owned partitions are given");
            match (origin, row) {
                (Origin::OwnFile, row) => store.restore(row),
                (Origin::Moved(_), Row { key, value: Some(value), updated_ms }) => {
                    store.put(key, value, updated_ms)
                }
                (Origin::Moved(_), Row { key, value: None, .. }) => store.remove(&key).map(drop),
            }
        })?;
        let shared = Rc::new(RefCell::new(Partitions { definition: definition.clone(), stores }));
        let state = KeyedPartitions { shared };
        cx.register(Box::new(state.clone()));
        Ok((state, found))
    }

    /// The partitions of this worker.
    pub(crate) fn owned(&self) -> Vec<PartitionId> {
        self.shared.borrow().stores.keys().copied().collect()
    }

    /// The state of one of them.
    ///
    /// # Panics
    /// When it is another worker's.
    pub(crate) fn of(&self, partition: PartitionId) -> RefMut<'_, KeyedState<K, V>> {
        RefMut::map(self.shared.borrow_mut(), |partitions| {
            partitions.stores.get_mut(&partition).expect("an exchange brings only partitions of this worker")
        })
    }
}

impl<K: StateKey, V: StateValue> Views for KeyedPartitions<K, V> {
    fn views(&mut self) -> Result<Vec<StateView>> {
        let mut shared = self.shared.borrow_mut();
        let Partitions { definition, stores } = &mut *shared;
        let view = |(partition, store): (&PartitionId, &mut KeyedState<K, V>)| -> Result<StateView> {
            let (changes, format, partition) =
                (store.take_changes()?, definition.format().clone(), *partition);
            Ok(StateView {
                uid: definition.entry().uid(),
                partition,
                write: Box::new(move |storage, stem| {
                    format.write(storage, stem, partition, changes.into_rows())
                }),
                merge: definition.merge(),
                oldest_ms: None,
            })
        };
        stores.iter_mut().map(view).collect()
    }
}
