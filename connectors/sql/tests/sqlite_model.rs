//! The SQLite output against a map: whatever crashes and is run again, each batch is in the table once.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use proptest::prelude::*;
use rusqlite::Connection;
use std::collections::BTreeMap;
use support::*;
use tempfile::TempDir;
use tidegate_core::{BatchId, PartitionId};
use tidegate_sql::{SqliteOutput, Table};

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_batch_is_in_once(
        adds in any::<bool>(),
        batches in prop::collection::vec((rows(), prop::collection::vec(ends(), 0..3)), 1..8),
    ) {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("counts.db");
        let table = if adds { Table::add::<_, _> } else { Table::upsert::<_, _> };
        let output = || SqliteOutput::new(&file, table("word_counts", ["word"], ["count"]));
        let mut model: BTreeMap<String, i64> = BTreeMap::new();

        for (place, (rows, crashes)) in batches.iter().enumerate() {
            let batch = batch(place as u64 + 1);
            let mut rows = named(rows);
            if !adds {
                rows = rows.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
            }
            // Each crash is a new epoch, which runs the batch again unless it is held; the last run goes through.
            for end in crashes.iter().copied().chain([End::Committed]) {
                let output = output();
                let held = open::<Count>(&output).unwrap();
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
            for (word, number) in rows {
                let entry = model.entry(word).or_default();
                *entry = if adds { *entry + number } else { number };
            }
        }

        let held = open::<Count>(&output()).unwrap();
        prop_assert_eq!(held.partitions[&PartitionId(0)], BatchId(batches.len() as u64));
        let connection = Connection::open(&file).unwrap();
        let mut statement = connection.prepare("SELECT word, count FROM word_counts").unwrap();
        let seen = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let seen: BTreeMap<String, i64> = seen.collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(seen, model);
    }
}
