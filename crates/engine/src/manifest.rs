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
}
