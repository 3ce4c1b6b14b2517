//! The SQLite output against a map: whatever crashes and is run again, each batch is in the table once.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use proptest::prelude::*;
use rusqlite::Connection;
use std::collections::BTreeMap;
use support::*;
use tempfile::TempDir;
use tidegate_core::{BatchId, PartitionId};
use tidegate_sql::{Change, SqlRow, SqliteOutput, Table};

/// Where a run of a batch ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Written,
    Prepared,
    Committed,
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![1 => Just(End::Written), 1 => Just(End::Prepared), 3 => Just(End::Committed)]
}

fn rows() -> impl Strategy<Value = Vec<(u8, i64)>> {
    prop::collection::vec((0u8..6, -100i64..100), 0..12)
}

fn named(rows: &[(u8, i64)]) -> Vec<Count> {
    rows.iter().map(|(word, number)| count(&format!("w{word}"), *number)).collect()
}

type Words = BTreeMap<String, i64>;

/// Runs batches, each as often as it crashes and once more; gives what is in the table then.
fn go<T: SqlRow + Clone>(table: Table, batches: &[(Vec<T>, Vec<End>)]) -> Result<Words, TestCaseError> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("counts.db");
    let output = || SqliteOutput::new(&file, table.clone());
    for (place, (rows, crashes)) in batches.iter().enumerate() {
        let batch = batch(place as u64 + 1);
        // Each crash is a new epoch, which runs the batch again unless it is held; the last run goes through.
        for end in crashes.iter().copied().chain([End::Committed]) {
            let output = output();
            let held = open::<T>(&output).unwrap();
            if held.partitions.get(&PartitionId(0)) == Some(&batch.id()) {
                continue;
            }
            prop_assert_eq!(held.newest.map(|plan| plan.id.0), (place > 0).then_some(place as u64));
            let mut writer = writer(&output);
            for chunk in rows.chunks(5) {
                writer.write(&batch, PartitionId(0), chunk.to_vec()).unwrap();
            }
            if matches!(end, End::Written) {
                continue;
            }
            writer.prepare(&batch, &ALL).unwrap();
            if matches!(end, End::Committed) {
                writer.commit(&batch).unwrap();
            }
        }
    }
    let held = open::<T>(&output()).unwrap();
    prop_assert_eq!(held.partitions[&PartitionId(0)], BatchId(batches.len() as u64));
    let connection = Connection::open(&file).unwrap();
    let mut statement = connection.prepare("SELECT word, count FROM word_counts").unwrap();
    let seen = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    Ok(seen.collect::<Result<_, _>>().unwrap())
}

/// Of each key the last row.
fn one_of_each_key(rows: &[(u8, i64)]) -> Vec<Count> {
    named(rows).into_iter().collect::<Words>().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn each_batch_is_added_once(batches in prop::collection::vec((rows(), prop::collection::vec(ends(), 0..3)), 1..8)) {
        let batches: Vec<_> = batches.into_iter().map(|(rows, ends)| (named(&rows), ends)).collect();
        let mut model = Words::new();
        for (word, number) in batches.iter().flat_map(|(rows, _)| rows) {
            *model.entry(word.clone()).or_default() += number;
        }
        prop_assert_eq!(go(Table::add("word_counts", ["word"], ["count"]), &batches)?, model);
    }

    #[test]
    fn each_batch_of_changes_is_made_once(
        batches in prop::collection::vec((rows(), prop::collection::vec(ends(), 0..3)), 1..8),
    ) {
        let change = |row: Count| if row.1 < 0 { Change::Delete(row) } else { Change::Put(row) };
        let batches: Vec<(Vec<_>, _)> = batches
            .into_iter()
            .map(|(rows, ends)| (one_of_each_key(&rows).into_iter().map(change).collect(), ends))
            .collect();
        let mut model = Words::new();
        for changed in batches.iter().flat_map(|(rows, _)| rows) {
            match changed {
                Change::Put((word, number)) => drop(model.insert(word.clone(), *number)),
                Change::Delete((word, _)) => drop(model.remove(word)),
            }
        }
        prop_assert_eq!(go(Table::upsert("word_counts", ["word"], ["count"]), &batches)?, model);
    }
}
