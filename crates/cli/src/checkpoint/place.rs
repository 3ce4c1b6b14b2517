//! From what the user calls a place to the checkpoints there.

use crate::exit::Failure;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidegate::core::{Checkpoint, Storage};
use tidegate::{BatchId, checkpoints};

/// The folder of manifests in every place; see docs/formats.md.
const MANIFESTS: &str = "checkpoints";
/// The folder of the files of states.
const STATES: &str = "state";

/// What a place holds.
pub(super) struct Found {
    /// The place, for messages.
    pub(super) place: String,
    /// Checkpoints whose manifest can be read, oldest first.
    pub(super) readable: Vec<Arc<Checkpoint>>,
    /// Those that can't be used, as a text: which, and why.
    pub(super) damaged: Vec<String>,
}

impl Found {
    /// Looks at the place: all manifests, and that the files that they name are there in their full length.
    pub(super) fn at(place: &str) -> Result<Found, Failure> {
        let Some(storage) = open(place)? else { return Err(none(place)) };
        let (readable, mut damaged) = checkpoints(&*storage)?;
        damaged.extend(incomplete(&*storage, &readable)?);
        match readable.is_empty() && damaged.is_empty() {
            true => Err(none(place)),
            false => Ok(Found { place: storage.describe(), readable, damaged }),
        }
    }

    /// The newest that can be read.
    pub(super) fn newest(&self) -> Result<&Checkpoint, Failure> {
        let nothing = || Failure::Failed(format!("{}: no checkpoint can be read", self.place));
        self.readable.last().map(|newest| &**newest).ok_or_else(nothing)
    }
}

fn none(place: &str) -> Failure {
    Failure::of(
        place,
        "no checkpoint is there; a job without state, or one that has not come to its first, keeps its journal only",
    )
}

/// `None`: a directory that has no checkpoint. Opening would make folders in it, which is not for one that only looks.
fn open(place: &str) -> Result<Option<Arc<dyn Storage>>, Failure> {
    if let Some(directory) = local(place) {
        if !directory.is_dir() {
            return Err(Failure::of(place, "no such directory"));
        }
        if !directory.join(MANIFESTS).is_dir() {
            return Ok(None);
        }
    }
    Ok(Some(tidegate_object_store::storage(place)?))
}

/// The directory that `place` is, if it is one.
fn local(place: &str) -> Option<PathBuf> {
    match place.split_once("://") {
        None => Some(PathBuf::from(place)),
        Some(("file", path)) if Path::new(path).is_absolute() => Some(PathBuf::from(path)),
        Some(_) => None,
    }
}

/// What is missing of checkpoints whose manifest can be read. One that a running job has retired meanwhile is not damaged.
fn incomplete(storage: &dyn Storage, readable: &[Arc<Checkpoint>]) -> Result<Vec<String>, Failure> {
    let objects = storage.list(STATES)?;
    let lengths: BTreeMap<_, _> = objects.iter().map(|object| (object.path.as_str(), object.bytes)).collect();
    let flaws: Vec<(BatchId, String)> = readable
        .iter()
        .flat_map(|checkpoint| {
            let flaw = flaw(checkpoint, &lengths)?;
            Some((checkpoint.batch(), format!("that of batch {}: {flaw}", checkpoint.batch())))
        })
        .collect();
    if flaws.is_empty() {
        return Ok(Vec::new());
    }
    let (still, _) = checkpoints(storage)?;
    let is_still_there = |batch: BatchId| still.iter().any(|checkpoint| checkpoint.batch() == batch);
    Ok(flaws.into_iter().filter(|(batch, _)| is_still_there(*batch)).map(|(_, flaw)| flaw).collect())
}

fn flaw(checkpoint: &Checkpoint, lengths: &BTreeMap<&str, u64>) -> Option<String> {
    let mut files = checkpoint.states.iter().flat_map(|state| &state.files);
    files.find_map(|file| match lengths.get(file.path.as_str()) {
        None => Some(format!("{} is not there", file.path)),
        Some(length) if *length != file.bytes => {
            Some(format!("{} has {length} bytes, not {}", file.path, file.bytes))
        }
        Some(_) => None,
    })
}
