//! What becomes of the state of a checkpoint in a program that may have changed since. Pure: data in, data out.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use tidegate_core::{Checkpoint, Error, Result, StateId, StateShape};

/// A state of a program, as far as a checkpoint is compared with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDescription {
    /// What it is.
    pub shape: StateShape,
    /// Columns of older forms that a migration function takes.
    pub older: Vec<Vec<String>>,
}

/// What becomes of one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The program has it as it is.
    Kept,
    /// The program has it in another number of partitions, or places keys otherwise: every row moves to where it belongs.
    Redistributed {
        /// Partitions in the checkpoint.
        from: u32,
        /// Partitions in the program.
        to: u32,
    },
    /// A migration function makes its values.
    Migrated {
        /// Columns in the checkpoint.
        from: Vec<String>,
        /// Columns in the program.
        to: Vec<String>,
    },
    /// The checkpoint has none of that name: it starts empty, or with its initial state.
    New,
    /// The program has none of that name, and was told to leave it behind.
    Dropped,
    /// The program has none of that name, and was not told to leave it behind.
    Missing,
    /// Its type or its operator changed, and nothing migrates it.
    Changed {
        /// What it is in the checkpoint.
        from: String,
        /// What it is in the program.
        to: String,
    },
}

/// What becomes of every state of a checkpoint and of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade(pub BTreeMap<StateId, Difference>);

impl Upgrade {
    /// Compares `checkpoint` with the states of a program that may leave those named in `dropped` behind.
    pub fn between(checkpoint: &Checkpoint, states: &[StateDescription], dropped: &[StateId]) -> Upgrade {
        let of_program = states.iter().map(|state| {
            let found = checkpoint.state(&state.shape.uid);
            (state.shape.uid.clone(), found.map_or(Difference::New, |found| compare(&found.shape, state)))
        });
        let mut all: BTreeMap<_, _> = of_program.collect();
        for found in &checkpoint.states {
            let uid = &found.shape.uid;
            let told = if dropped.contains(uid) { Difference::Dropped } else { Difference::Missing };
            all.entry(uid.clone()).or_insert(told);
        }
        Upgrade(all)
    }

    /// Whether the program can go on from the checkpoint.
    pub fn is_possible(&self) -> bool {
        !self.0.values().any(|one| matches!(one, Difference::Missing | Difference::Changed { .. }))
    }

    /// Refuses what can't be gone on from, naming each state and the way out.
    ///
    /// # Errors
    /// `Reconfigure`.
    pub fn check(&self, place: &str) -> Result<()> {
        if self.is_possible() {
            return Ok(());
        }
        let lines = self.0.iter().filter_map(|(uid, one)| match one {
            Difference::Missing => Some(format!(
                "state \"{uid}\" is in the checkpoint and not in the program: give its operator .uid(\"{uid}\") if it is \
                 there under another name, or leave the state behind with tidegate.state.drop={uid}"
            )),
            Difference::Changed { from, to } => Some(format!(
                "state \"{uid}\" changed from {from} to {to}: give a function with migrate_from, or another uid (it then starts \
                 empty, and tidegate.state.drop={uid} leaves the old one behind)"
            )),
            _ => None,
        });
        Err(Error::reconfigure(format!(
            "{place}: the program can't go on from this checkpoint; {}",
            lines.collect::<Vec<_>>().join("; ")
        )))
    }
}

/// What becomes of a state that both have.
fn compare(found: &StateShape, state: &StateDescription) -> Difference {
    let StateDescription { shape, older } = state;
    if found.operator != shape.operator {
        return Difference::Changed { from: found.operator.clone(), to: shape.operator.clone() };
    }
    if found.columns != shape.columns {
        let (from, to) = (found.columns.clone(), shape.columns.clone());
        return if older.contains(&found.columns) {
            Difference::Migrated { from, to }
        } else {
            Difference::Changed { from: from.join(", "), to: to.join(", ") }
        };
    }
    if found.partitions != shape.partitions || found.placement != shape.placement {
        return Difference::Redistributed { from: found.partitions, to: shape.partitions };
    }
    Difference::Kept
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Kept => f.write_str("kept"),
            Difference::Redistributed { from, to } if from == to => {
                f.write_str("kept, keys placed otherwise")
            }
            Difference::Redistributed { from, to } => write!(f, "kept, moved from {from} partitions to {to}"),
            Difference::Migrated { from, to } => {
                write!(f, "migrated from ({}) to ({})", from.join(", "), to.join(", "))
            }
            Difference::New => f.write_str("new, starts empty"),
            Difference::Dropped => f.write_str("dropped, as told"),
            Difference::Missing => f.write_str("dropped: needs a flag"),
            Difference::Changed { from, to } => {
                write!(f, "changed from {from} to {to}: needs a migration function")
            }
        }
    }
}

/// One line a state.
impl fmt::Display for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(uid, one)| writeln!(f, "{uid}: {one}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::{BatchId, BatchPlan, BatchTime, StateCheckpoint};

    fn shape(uid: &str, operator: &str, partitions: u32, columns: &[&str]) -> StateShape {
        StateShape {
            uid: uid.into(),
            operator: operator.to_owned(),
            partitions,
            placement: "hash".to_owned(),
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        }
    }

    fn checkpoint(shapes: Vec<StateShape>) -> Checkpoint {
        Checkpoint {
            job: "job".into(),
            app: "app".to_owned(),
            plan: BatchPlan { id: BatchId(7), time: BatchTime(700), zero: BatchTime(0), sources: vec![] },
            interval_ms: 100,
            settings: BTreeMap::new(),
            graph: vec![],
            states: shapes.into_iter().map(|shape| StateCheckpoint { shape, files: vec![] }).collect(),
        }
    }

    fn describe(shape: StateShape, older: &[&[&str]]) -> StateDescription {
        let older = older.iter().map(|columns| columns.iter().map(|c| (*c).to_owned()).collect()).collect();
        StateDescription { shape, older }
    }

    #[test]
    fn each_difference_is_named() {
        let old = checkpoint(vec![
            shape("same", "map_with_state", 4, &["value: Int64"]),
            shape("moved", "map_with_state", 4, &["value: Int64"]),
            shape("typed", "map_with_state", 4, &["value: Int64"]),
            shape("mended", "map_with_state", 4, &["value: Int64"]),
            shape("other", "update_state_by_key", 4, &["value: Int64"]),
            shape("gone", "map_with_state", 4, &["value: Int64"]),
            shape("let-go", "map_with_state", 4, &["value: Int64"]),
        ]);
        let new = [
            describe(shape("same", "map_with_state", 4, &["value: Int64"]), &[]),
            describe(shape("moved", "map_with_state", 8, &["value: Int64"]), &[]),
            describe(shape("typed", "map_with_state", 4, &["value: Utf8"]), &[]),
            describe(shape("mended", "map_with_state", 4, &["value: Utf8"]), &[&["value: Int64"]]),
            describe(shape("other", "map_with_state", 4, &["value: Int64"]), &[]),
            describe(shape("fresh", "map_with_state", 4, &["value: Int64"]), &[]),
        ];
        let upgrade = Upgrade::between(&old, &new, &["let-go".into()]);
        assert_eq!(
            upgrade.to_string(),
            "fresh: new, starts empty\n\
             gone: dropped: needs a flag\n\
             let-go: dropped, as told\n\
             mended: migrated from (value: Int64) to (value: Utf8)\n\
             moved: kept, moved from 4 partitions to 8\n\
             other: changed from update_state_by_key to map_with_state: needs a migration function\n\
             same: kept\n\
             typed: changed from value: Int64 to value: Utf8: needs a migration function\n"
        );
        let refusal = upgrade.check("the checkpoint").unwrap_err().to_string();
        for named in ["\"gone\"", "\"other\"", "\"typed\"", "tidegate.state.drop=gone", "migrate_from"] {
            assert!(refusal.contains(named), "{refusal}");
        }
        assert!(!refusal.contains("\"same\"") && !refusal.contains("\"let-go\""), "{refusal}");
    }

    #[test]
    fn what_is_kept_moved_migrated_or_new_can_go_on() {
        let old = checkpoint(vec![shape("a", "map_with_state", 4, &["value: Int64"])]);
        let new = [
            describe(shape("a", "map_with_state", 2, &["value: Int64"]), &[]),
            describe(shape("b", "map_with_state", 2, &["value: Int64"]), &[]),
        ];
        let upgrade = Upgrade::between(&old, &new, &[]);
        assert!(upgrade.is_possible());
        upgrade.check("x").unwrap();
    }
}
