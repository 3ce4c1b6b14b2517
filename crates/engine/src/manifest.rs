//! Manifests of checkpoints: where they are in a storage, their bytes, and which of them can be read.

use crate::sealed::{seal, unseal};
use std::sync::Arc;
use tidegate_core::{BatchId, Checkpoint, Error, Result, Storage, StoredObject};

const FORMAT: u32 = 1;
const FOLDER: &str = "checkpoints";
const STATE_FOLDER: &str = "state";

/// Longest manifest that is written or read: some 300,000 state files.
const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a storage holds of checkpoints.
#[derive(Default)]
pub(crate) struct Manifests {
    /// Those that can be read, oldest first.
    pub(crate) readable: Vec<Arc<Checkpoint>>,
    /// The others: which file, and what is wrong with it.
    pub(crate) damaged: Vec<String>,
}

/// Reads every manifest there is. A damaged one is left in place.
///
/// # Errors
/// The storage can't be read.
pub(crate) fn load(storage: &dyn Storage) -> Result<Manifests> {
    let mut manifests = Manifests::default();
    for object in storage.list(FOLDER)? {
        let Some(batch) = manifest_batch(&object.path) else { continue };
        match read(storage, &object, batch)? {
            Ok(checkpoint) => manifests.readable.push(Arc::new(checkpoint)),
            Err(what) => manifests.damaged.push(format!("{} in {}: {what}", object.path, storage.describe())),
        }
    }
    Ok(manifests)
}

/// The newest checkpoint of a job that can be read; `None` where there is none.
///
/// # Errors
/// The storage can't be read.
pub fn newest_checkpoint(storage: &dyn Storage) -> Result<Option<Arc<Checkpoint>>> {
    Ok(load(storage)?.readable.pop())
}

/// Every checkpoint of a job, oldest first, and what is wrong with those that can't be read.
///
/// # Errors
/// The storage can't be read.
pub fn checkpoints(storage: &dyn Storage) -> Result<(Vec<Arc<Checkpoint>>, Vec<String>)> {
    let Manifests { readable, damaged } = load(storage)?;
    Ok((readable, damaged))
}

fn read(storage: &dyn Storage, object: &StoredObject, batch: BatchId) -> Result<Result<Checkpoint, String>> {
    if object.bytes > MANIFEST_BYTES_MAX {
        return Ok(Err(format!("{} bytes are beyond {MANIFEST_BYTES_MAX}", object.bytes)));
    }
    let Some(bytes) = storage.get(&object.path)? else { return Ok(Err("listed, but not there".to_owned())) };
    Ok(unseal("checkpoint", FORMAT, &bytes).and_then(|checkpoint: Checkpoint| {
        let found = checkpoint.batch();
        if found == batch { Ok(checkpoint) } else { Err(format!("is that of batch {found}")) }
    }))
}

/// Publishes the manifest of `checkpoint`: from then on the job can go on from it.
///
/// # Errors
/// The storage refuses it or is away; `Reconfigure` when it is too long.
pub(crate) fn publish(storage: &dyn Storage, checkpoint: &Checkpoint) -> Result<()> {
    let (path, bytes) = (manifest_path(checkpoint.batch()), seal("checkpoint", FORMAT, checkpoint));
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(Error::reconfigure(format!(
            "{path}: {} bytes are beyond {MANIFEST_BYTES_MAX}; give the states fewer partitions",
            bytes.len()
        )));
    }
    storage.put(&path, bytes)
}

/// What `retained` (oldest first, the newest the one just published) makes needless: older manifests, then state files that
/// none of them names. Files of a snapshot under way bear the number of a later batch.
///
/// # Errors
/// The storage is away; what is left is found the next time.
pub(crate) fn retire(storage: &dyn Storage, retained: &[Arc<Checkpoint>]) -> Result<()> {
    let (Some(oldest), Some(newest)) = (retained.first(), retained.last()) else { return Ok(()) };
    for object in storage.list(FOLDER)? {
        if manifest_batch(&object.path).is_some_and(|batch| batch < oldest.batch()) {
            storage.delete(&object.path)?;
        }
    }
    let files = retained.iter().flat_map(|checkpoint| &checkpoint.states).flat_map(|state| &state.files);
    let named: std::collections::BTreeSet<&str> = files.map(|file| file.path.as_str()).collect();
    for object in storage.list(STATE_FOLDER)? {
        let old = state_batch(&object.path).is_some_and(|batch| batch <= newest.batch());
        if old && !named.contains(object.path.as_str()) {
            storage.delete(&object.path)?;
        }
    }
    Ok(())
}

/// Deletes every manifest of `batch` or a later one: the job goes on before them, with other batches of those numbers.
///
/// # Errors
/// The storage is away.
pub(crate) fn delete_from(storage: &dyn Storage, batch: BatchId) -> Result<()> {
    for object in storage.list(FOLDER)? {
        if manifest_batch(&object.path).is_some_and(|found| found >= batch) {
            storage.delete(&object.path)?;
        }
    }
    Ok(())
}

/// The path of the manifest of `batch`.
pub(crate) fn manifest_path(batch: BatchId) -> String {
    format!("{FOLDER}/{:020}.json", batch.0)
}

fn manifest_batch(path: &str) -> Option<BatchId> {
    let digits = path.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?;
    numbered(digits)
}

/// The batch of `state/{uid}/{batch}-...`; `None` of a file that is no state file.
fn state_batch(path: &str) -> Option<BatchId> {
    let (digits, _) = path.rsplit_once('/')?.1.split_once('-')?;
    numbered(digits)
}

/// The number that twenty digits are.
pub(crate) fn numbered(digits: &str) -> Option<BatchId> {
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok().map(BatchId)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::{
        BatchPlan, BatchTime, PartitionId, SourcePlan, SourceRange, StateCheckpoint, StateFile, StateShape,
    };
    use tidegate_storage::MemoryStorage;

    #[test]
    fn a_path_tells_its_batch_and_a_file_of_another_kind_tells_none() {
        assert_eq!(manifest_path(BatchId(7)), "checkpoints/00000000000000000007.json");
        assert_eq!(manifest_batch("checkpoints/00000000000000000007.json"), Some(BatchId(7)));
        for other in ["checkpoints/7.json", "checkpoints/00000000000000000007.json.bak", "checkpoints/notes"]
        {
            assert_eq!(manifest_batch(other), None, "{other}");
        }
        assert_eq!(state_batch("state/sums/00000000000000000012-1-0.parquet"), Some(BatchId(12)));
        for other in ["state/sums/readme", "state/sums/12-1", "state/99999999999999999999-1"] {
            assert_eq!(state_batch(other), None, "{other}");
        }
    }

    /// Written by the first version that has checkpoints.
    const FORMAT_1: &str = include_str!("../tests/fixtures/checkpoint-format-1.json");

    fn written() -> Checkpoint {
        let plan = BatchPlan {
            id: BatchId(7),
            time: BatchTime(1_700_000_007_000),
            zero: BatchTime(1_700_000_000_000),
            sources: vec![SourcePlan {
                stream: "lines".into(),
                ranges: vec![SourceRange::new("lines-0", 60, 70)],
            }],
        };
        let shape = StateShape {
            uid: "totals".into(),
            operator: "map_with_state".to_owned(),
            partitions: 4,
            placement: "hash 1".to_owned(),
            columns: vec!["key: Utf8".to_owned(), "value: Int64".to_owned()],
        };
        let file = StateFile {
            path: "state/totals/00000000000000000007-1-0.parquet".to_owned(),
            partition: PartitionId(0),
            rows: 3,
            bytes: 517,
            crc32c: 0xdead_beef,
            newest_ms: 1_700_000_007_000,
        };
        Checkpoint {
            job: "5a9e".into(),
            app: "word count".to_owned(),
            plan,
            interval_ms: 1000,
            settings: [("tidegate.master".to_owned(), "local[2]".to_owned())].into(),
            graph: vec!["input #0".to_owned(), "map_with_state #1".to_owned()],
            states: vec![StateCheckpoint { shape, files: vec![file] }],
        }
    }

    #[test]
    fn a_manifest_is_the_fixture_of_its_format_and_is_read_from_it() {
        let storage = MemoryStorage::new();
        publish(&storage, &written()).unwrap();
        let bytes = storage.get("checkpoints/00000000000000000007.json").unwrap().unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), FORMAT_1);
        let Manifests { readable, damaged } = load(&storage).unwrap();
        assert_eq!((readable, damaged), (vec![Arc::new(written())], vec![]));
    }

    #[test]
    fn a_manifest_of_another_batch_than_its_name_says_is_damaged_and_other_files_are_left_alone() {
        let storage = MemoryStorage::new();
        let misplaced = manifest_path(BatchId(8));
        storage.put(&misplaced, FORMAT_1.into()).unwrap();
        storage.put("checkpoints/notes.txt", b"mine".to_vec()).unwrap();
        let Manifests { readable, damaged } = load(&storage).unwrap();
        assert_eq!(readable, []);
        assert_eq!(damaged, [format!("{misplaced} in memory: is that of batch 7")]);
    }

    #[test]
    fn manifests_from_a_batch_on_are_deleted_whatever_is_in_them() {
        let storage = MemoryStorage::new();
        (5..=8).for_each(|batch| storage.put(&manifest_path(BatchId(batch)), b"torn".to_vec()).unwrap());
        delete_from(&storage, BatchId(7)).unwrap();
        let left: Vec<String> = storage.list("").unwrap().into_iter().map(|object| object.path).collect();
        assert_eq!(left, [manifest_path(BatchId(5)), manifest_path(BatchId(6))]);
    }

    #[test]
    fn what_is_retired_is_older_than_what_is_retained_and_named_by_none_of_it() {
        let storage = MemoryStorage::new();
        let state = |batch: u64, part: u32| format!("state/totals/{batch:020}-1-{part}.parquet");
        for batch in [3, 5, 7] {
            storage.put(&manifest_path(BatchId(batch)), Vec::new()).unwrap();
            storage.put(&state(batch, 0), Vec::new()).unwrap();
        }
        // Of a snapshot that was never published, of one under way, and what is nobody's.
        for path in [state(7, 9), state(8, 0), "state/totals/readme".to_owned()] {
            storage.put(&path, Vec::new()).unwrap();
        }
        let mut older = written();
        older.plan.id = BatchId(5);
        older.states[0].files[0].path = state(3, 0);
        retire(&storage, &[Arc::new(older), Arc::new(written())]).unwrap();
        let left: Vec<String> = storage.list("").unwrap().into_iter().map(|object| object.path).collect();
        let expected = [
            manifest_path(BatchId(5)),
            manifest_path(BatchId(7)),
            state(3, 0),
            state(7, 0),
            state(8, 0),
            "state/totals/readme".to_owned(),
        ];
        assert_eq!(left, expected);
    }
}
