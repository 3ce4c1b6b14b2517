//! How a state's rows are kept in files, and how its partitions are filled when an epoch begins.

use super::entry::{NewState, StateEntries, StateEntry, StateHandle};
use super::view::Merge;
use crate::context::WorkerContext;
use crate::graph::Used;
use std::sync::{Arc, Mutex, PoisonError};
use tidegate_core::{Error, PartitionId, Result, StateCheckpoint, StateFile, Storage};
use tidegate_state::{Row, StateFormat, StateKey, StateValue};

/// Gives each row of a file to a function.
type Each<'a, K, V> = &'a mut dyn FnMut(Row<K, V>) -> Result<()>;
type Read<K, V> = Arc<dyn Fn(&dyn Storage, &StateFile, Each<'_, K, V>) -> Result<()> + Send + Sync>;
/// The columns of an older form, and what reads its files.
type Migration<K, V> = (Vec<String>, Read<K, V>);
/// The partition that a row of a file belongs to; also told the one it was in.
type Place<K, V> = Arc<dyn Fn(PartitionId, &Row<K, V>) -> u32 + Send + Sync>;

/// Where a row comes from that a partition is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A file that stays part of the state.
    OwnFile,
    /// A file of another form or another number of partitions, in that partition: the next view must have all of it.
    Moved(PartitionId),
}

/// A state with rows of keys `K` and values `V`.
pub(crate) struct StateDefinition<K, V> {
    handle: StateHandle,
    at: usize,
    format: StateFormat<K, V>,
    place: Place<K, V>,
    migrations: Mutex<Vec<Migration<K, V>>>,
}

impl<K: StateKey, V: StateValue> StateDefinition<K, V> {
    /// What the graph is told of a state with rows of this kind.
    pub(crate) fn describe(suffix: &'static str, partitions: u32, placement: String) -> NewState {
        NewState { suffix, partitions, placement, columns: StateFormat::<K, V>::of().columns() }
    }

    /// The state at place `at` of those of an operator.
    pub(crate) fn new<P>(handle: &StateHandle, at: usize, place: P) -> Arc<Self>
    where
        P: Fn(PartitionId, &Row<K, V>) -> u32 + Send + Sync + 'static,
    {
        let format = StateFormat::of();
        let (handle, place) = (handle.clone(), Arc::new(place));
        Arc::new(StateDefinition { handle, at, format, place, migrations: Mutex::default() })
    }

    /// The only state of an operator.
    pub(crate) fn only<P>(
        states: &StateEntries,
        operator: &str,
        used: &Arc<Used>,
        partitions: u32,
        placement: String,
        place: P,
    ) -> Arc<Self>
    where
        P: Fn(PartitionId, &Row<K, V>) -> u32 + Send + Sync + 'static,
    {
        let handle = states.add(operator, used, vec![Self::describe("", partitions, placement)]);
        Self::new(&handle, 0, place)
    }

    pub(crate) fn handle(&self) -> &StateHandle {
        &self.handle
    }

    pub(crate) fn entry(&self) -> &Arc<StateEntry> {
        self.handle.entry(self.at)
    }

    pub(crate) fn format(&self) -> &StateFormat<K, V> {
        &self.format
    }

    /// From now on rows whose values were of type `Old` can be taken.
    pub(crate) fn migrate_from<Old: StateValue>(&self, to: impl Fn(Old) -> V + Send + Sync + 'static) {
        let older = StateFormat::<K, Old>::of();
        let columns = older.columns();
        self.entry().takes_older(columns.clone());
        let read: Read<K, V> = Arc::new(move |storage, file, each| {
            older.read(storage, file, &mut |row| {
                let Row { key, value, updated_ms } = row;
                each(Row { key, value: value.map(&to), updated_ms })
            })
        });
        self.migrations.lock().unwrap_or_else(PoisonError::into_inner).push((columns, read));
    }

    /// Fewer files of some.
    pub(crate) fn merge(&self) -> Merge {
        let format = self.format.clone();
        Arc::new(move |storage, stem, files, oldest_ms, all| {
            format.merge(storage, stem, files, oldest_ms, all)
        })
    }

    /// Gives the rows of `owned` partitions, of the checkpoint that the epoch begins with, in the order in which they are to be
    /// applied. False: there is no checkpoint, or the state is new to it.
    pub(crate) fn fill(
        &self,
        cx: &WorkerContext,
        owned: &[PartitionId],
        each: &mut dyn FnMut(PartitionId, Origin, Row<K, V>) -> Result<()>,
    ) -> Result<bool> {
        let uid = self.entry().uid();
        let Some(found) = cx.beginning.restore.as_ref().and_then(|checkpoint| checkpoint.state(&uid)) else {
            return Ok(false);
        };
        let storage = cx.state()?.storage.clone();
        let as_it_is = self.entry().fits(&found.shape);
        let read = self.reader(found)?;
        for file in &found.files {
            if as_it_is {
                if owned.contains(&file.partition) {
                    read(&*storage, file, &mut |row| each(file.partition, Origin::OwnFile, row))?;
                }
                continue;
            }
            read(&*storage, file, &mut |row| {
                let partition = PartitionId((self.place)(file.partition, &row));
                match owned.contains(&partition) {
                    true => each(partition, Origin::Moved(file.partition), row),
                    false => Ok(()),
                }
            })?;
        }
        Ok(true)
    }

    /// What reads the files of a state of that shape.
    fn reader(&self, found: &StateCheckpoint) -> Result<Read<K, V>> {
        if found.shape.columns == self.format.columns() {
            let format = self.format.clone();
            return Ok(Arc::new(move |storage, file, each| format.read(storage, file, each)));
        }
        let migrations = self.migrations.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = migrations.iter().find(|(columns, _)| *columns == found.shape.columns);
        fitting.map(|(_, read)| read.clone()).ok_or_else(|| {
            Error::reconfigure(format!(
                "state \"{}\": its type changed and nothing migrates it",
                found.shape.uid
            ))
        })
    }
}

/// A state whose older forms can be taken.
pub struct MigratableState<K, S>(Arc<StateDefinition<K, S>>);

impl<K, S> Clone for MigratableState<K, S> {
    fn clone(&self) -> Self {
        MigratableState(self.0.clone())
    }
}

impl<K: StateKey, S: StateValue> MigratableState<K, S> {
    pub(crate) fn of(definition: Arc<StateDefinition<K, S>>) -> Self {
        MigratableState(definition)
    }

    /// From now on a checkpoint whose values are of type `Old` can be gone on from.
    pub fn migrate_from<Old: StateValue>(&self, to: impl Fn(Old) -> S + Send + Sync + 'static) {
        self.0.migrate_from(to);
    }
}
