//! A merge gives what applying the files in order gives.

use super::reading::rows_of;
use crate::write::{FileLimits, write_files};
use crate::{Row, StateFormat};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tidegate_core::{ErrorKind, PartitionId, StateFile};
use tidegate_storage::MemoryStorage;

/// What one checkpoint wrote: by key, the value (or that it was removed) and its time.
type Written = BTreeMap<u8, (Option<i32>, u64)>;

fn write(format: &StateFormat<u8, i32>, storage: &MemoryStorage, all: &[Written]) -> Vec<StateFile> {
    let mut files = Vec::new();
    for (at, written) in all.iter().enumerate() {
        let mut rows: Vec<_> = written.iter().collect();
        rows.sort_by_key(|(key, _)| crate::encoding::encoded(*key).unwrap());
        let rows = rows.into_iter().map(|(&key, &(value, updated_ms))| Ok(Row { key, value, updated_ms }));
        let stem = format!("s/{at}");
        let more = write_files(format.shape(), FileLimits::TINY, storage, &stem, PartitionId(0), rows);
        files.extend(more.unwrap());
    }
    files
}

proptest! {
    #[test]
    fn merging_is_the_same_as_applying_in_order(
        all in vec(btree_map(0..40_u8, (prop::option::of(0..9_i32), 0..20_u64), 0..30), 0..6),
        oldest_ms in prop::option::of(0..20_u64),
    ) {
        let (storage, format) = (MemoryStorage::default(), StateFormat::of());
        let files = write(&format, &storage, &all);
        let mut model = Written::new();
        for written in &all {
            model.extend(written);
        }
        let oldest = oldest_ms.unwrap_or(0);
        let mut expected: Vec<_> = model
            .into_iter()
            .filter(|(_, (value, time))| value.is_some() && *time >= oldest)
            .map(|(key, (value, updated_ms))| Row { key, value, updated_ms })
            .collect();
        expected.sort_by_key(|row| crate::encoding::encoded(&row.key).unwrap());

        let merged = format.merge(&storage, "merged", &files, oldest_ms, true).unwrap();
        prop_assert_eq!(rows_of(&format, &storage, &merged).unwrap(), expected);
        prop_assert!(merged.len() <= 1);
    }
}

#[test]
fn rows_are_spread_over_files_of_bounded_size_that_follow_each_other() {
    let (storage, format) = (MemoryStorage::default(), StateFormat::of());
    let files = write(&format, &storage, &[(0..100).map(|key| (key, (Some(1), u64::from(key)))).collect()]);
    assert!(files.len() > 10, "{}", files.len());
    assert!(files.iter().all(|file| file.rows <= 8));
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).take(2).collect();
    assert_eq!(paths, ["s/0-0.parquet", "s/0-1.parquet"]);
    assert_eq!(rows_of(&format, &storage, &files).unwrap().len(), 100);
}

#[test]
fn files_that_are_not_sorted_are_refused() {
    let (storage, format) = (MemoryStorage::default(), StateFormat::<u8, i32>::of());
    let rows = [2, 1].map(|key| Ok(Row { key, value: Some(1), updated_ms: 0 }));
    let files = format.write(&storage, "s/0", PartitionId(0), rows.into_iter()).unwrap();
    let error = format.merge(&storage, "merged", &files, None, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DamagedCheckpoint);
    assert!(error.to_string().contains("s/0-0.parquet"), "{error}");
}
