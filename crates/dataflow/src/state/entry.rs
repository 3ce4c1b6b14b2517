//! A state as the graph knows it: its name, what it is, and older forms of it that can be taken.

use crate::graph::Used;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidegate_core::{Error, Result, StateId, StateShape};

/// One state of a graph.
pub(crate) struct StateEntry {
    name: Mutex<StateId>,
    named: Mutex<bool>,
    /// The rest of the name, for an operator that has more than one state.
    suffix: &'static str,
    operator: String,
    partitions: u32,
    placement: String,
    columns: Vec<String>,
    /// The columns of older forms that a migration function takes.
    older: Mutex<Vec<Vec<String>>>,
    used: Arc<Used>,
}

impl StateEntry {
    /// Whether the operator leads to an output.
    pub(crate) fn is_used(&self) -> bool {
        self.used.get()
    }

    /// The operator that has it.
    pub(crate) fn operator(&self) -> Arc<Used> {
        self.used.clone()
    }

    /// What it is.
    pub(crate) fn shape(&self) -> StateShape {
        StateShape {
            uid: self.uid(),
            operator: self.operator.clone(),
            partitions: self.partitions,
            placement: self.placement.clone(),
            columns: self.columns.clone(),
        }
    }

    /// Its name.
    pub(crate) fn uid(&self) -> StateId {
        StateId(format!("{}{}", lock(&self.name), self.suffix))
    }

    /// Columns of older forms that can be taken.
    pub(crate) fn older(&self) -> Vec<Vec<String>> {
        lock(&self.older).clone()
    }

    /// From now on a form with these columns can be taken.
    pub(crate) fn takes_older(&self, columns: Vec<String>) {
        lock(&self.older).push(columns);
    }

    /// Whether the files of a state of `shape` are its own as they are.
    pub(crate) fn fits(&self, shape: &StateShape) -> bool {
        shape.partitions == self.partitions
            && shape.placement == self.placement
            && shape.columns == self.columns
    }
}

/// The states of a graph, in the order in which they were built.
#[derive(Default)]
pub(crate) struct StateEntries {
    entries: Mutex<Vec<Arc<StateEntry>>>,
    counts: Mutex<BTreeMap<String, u32>>,
}

/// What an operator's state is, before it has a name.
pub(crate) struct NewState {
    pub(crate) suffix: &'static str,
    pub(crate) partitions: u32,
    pub(crate) placement: String,
    pub(crate) columns: Vec<String>,
}

impl StateEntries {
    /// Registers the states of one operator, named by its kind and place until its user names it.
    pub(crate) fn add(&self, operator: &str, used: &Arc<Used>, states: Vec<NewState>) -> StateHandle {
        let mut counts = lock(&self.counts);
        let place = counts.entry(operator.to_owned()).or_default();
        *place += 1;
        let name = StateId(format!("{operator}-{place}"));
        let entry = |new: NewState| {
            Arc::new(StateEntry {
                name: Mutex::new(name.clone()),
                named: Mutex::new(false),
                suffix: new.suffix,
                operator: operator.to_owned(),
                partitions: new.partitions,
                placement: new.placement,
                columns: new.columns,
                older: Mutex::default(),
                used: used.clone(),
            })
        };
        let states: Vec<_> = states.into_iter().map(entry).collect();
        lock(&self.entries).extend(states.iter().cloned());
        StateHandle { states }
    }

    /// The states of operators that lead to an output.
    pub(crate) fn used(&self) -> Vec<Arc<StateEntry>> {
        lock(&self.entries).iter().filter(|entry| entry.is_used()).cloned().collect()
    }

    /// Two states of one name would take each other's place in a checkpoint.
    pub(crate) fn check(&self) -> Result<()> {
        let mut seen = BTreeMap::new();
        for entry in self.used() {
            if let Some(other) = seen.insert(entry.uid(), entry.operator.clone()) {
                return Err(Error::reconfigure(format!(
                    "two operators have state named \"{}\" ({other} and {}); the name is how state is found again after a \
                     restart, so give each its own with .uid(\"...\")",
                    entry.uid(),
                    entry.operator
                )));
            }
        }
        Ok(())
    }
}

/// The states of one operator, to be named.
#[derive(Clone)]
pub struct StateHandle {
    states: Vec<Arc<StateEntry>>,
}

impl StateHandle {
    /// Names the operator's state: by this name it is found again after a restart, wherever it stands in the graph.
    ///
    /// # Errors
    /// `Reconfigure` when the name has other characters than ASCII letters, digits, `.`, `_` and `-`, or the operator has a name.
    pub fn name(&self, uid: &str) -> Result<()> {
        if !tidegate_core::is_storage_path(uid) || uid.contains(['/', '=', '%']) {
            return Err(Error::reconfigure(format!(
                "uid \"{uid}\": must be one or more ASCII letters, digits, '.', '_' or '-', for it names files"
            )));
        }
        for state in &self.states {
            if std::mem::replace(&mut *lock(&state.named), true) {
                return Err(Error::reconfigure(format!(
                    "uid \"{uid}\": the operator has the uid \"{}\" already",
                    lock(&state.name)
                )));
            }
            *lock(&state.name) = StateId(uid.to_owned());
        }
        Ok(())
    }

    pub(crate) fn entry(&self, place: usize) -> &Arc<StateEntry> {
        &self.states[place]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(entries: &StateEntries, operator: &str) -> StateHandle {
        let used = Arc::new(Used::default());
        used.mark();
        let new = NewState {
            suffix: "",
            partitions: 4,
            placement: "hash".to_owned(),
            columns: vec!["key: Utf8".to_owned()],
        };
        entries.add(operator, &used, vec![new])
    }

    #[test]
    fn a_state_is_named_by_its_kind_and_place_until_it_is_given_a_name() {
        let entries = StateEntries::default();
        let (first, second) = (add(&entries, "map_with_state"), add(&entries, "map_with_state"));
        assert_eq!(first.entry(0).uid().0, "map_with_state-1");
        second.name("totals").unwrap();
        assert_eq!(second.entry(0).uid().0, "totals");
        entries.check().unwrap();
    }

    #[test]
    fn a_name_must_be_one_of_its_own_and_good_for_a_file() {
        let entries = StateEntries::default();
        let (first, second) = (add(&entries, "a"), add(&entries, "b"));
        for bad in ["", "a/b", "..", "a b", "ä"] {
            assert!(first.name(bad).unwrap_err().to_string().starts_with(&format!("uid \"{bad}\"")), "{bad}");
        }
        first.name("same").unwrap();
        second.name("same").unwrap();
        assert!(
            entries.check().unwrap_err().to_string().starts_with("two operators have state named \"same\"")
        );
        assert!(first.name("other").unwrap_err().to_string().contains("has the uid \"same\" already"));
    }
}
