//! Parts of a batch on their way to the store: written unseen, piece by piece where the store can, and published all at once.
//!
//! Which parts there are, and what `_SUCCESS` says of them, must not be here.

use super::Part;
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::thread;
use tidegate_core::{StableHash, StagedObject, Storage};

/// Where whole objects lie until they are published. Hadoop's programs pass over names that begin with `_`.
pub(super) const HIDDEN: &str = "_temporary";
/// Bytes of a part after which they are handed to the store, where that takes pieces.
const PIECE_BYTES: usize = 1024 * 1024;
/// Parts that a writer has on their way piece by piece, each with a file or a connection of its own. Any others are made in memory.
const STAGED_MAX: usize = 64;
/// Threads that wait for the store to say that parts are durable.
const CLOSERS_MAX: usize = 8;

/// A part that rows are still added to.
pub(super) struct Growing<T> {
    name: String,
    part: Box<dyn Part<T>>,
    staged: Option<Box<dyn StagedObject>>,
    /// How long the published part of that name is.
    there: Option<u64>,
    /// What is handed to the store of it.
    given: u64,
    /// Of that, if it may be the same as what is there.
    hash: StableHash,
}

impl<T> Growing<T> {
    pub(super) fn new(name: String, part: Box<dyn Part<T>>, there: Option<u64>) -> Growing<T> {
        Growing { name, part, staged: None, there, given: 0, hash: StableHash::new() }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.part.bytes()
    }

    pub(super) fn add(&mut self, rows: Vec<T>, staging: &mut Staging) -> Result<()> {
        rows.into_iter().try_for_each(|row| self.part.write(row))?;
        if self.part.bytes() < PIECE_BYTES {
            return Ok(());
        }
        if self.staged.is_none() {
            self.staged = staging.begin(&self.name)?;
        }
        if self.staged.is_some() {
            let piece = self.part.take()?;
            self.give(&piece)?;
        }
        Ok(())
    }

    fn give(&mut self, piece: &[u8]) -> Result<()> {
        if self.there.is_some() {
            self.hash.add(piece);
        }
        self.given += piece.len() as u64;
        match &mut self.staged {
            Some(staged) if !piece.is_empty() => staged.write(piece),
            _ => Ok(()),
        }
    }

    /// Ends the part; what is left of it is handed over. One that is published already is left alone: what a reader may have seen is
    /// not replaced by the same again, which looks like another file to whoever goes by more than names.
    pub(super) fn finish(mut self, staging: &mut Staging) -> Result<()> {
        let part = std::mem::replace(&mut self.part, Box::new(Nothing));
        let rest = part.finish()?;
        if self.staged.is_none() {
            if self.is_there(&rest, staging)? {
                return Ok(());
            }
            self.staged = staging.begin(&self.name)?;
        }
        if self.staged.is_none() {
            return staging.put(self.name, self.there.is_some(), rest);
        }
        self.give(&rest)?;
        if self.is_there(&[], staging)? {
            staging.given_back();
            return Ok(());
        }
        staging.open.extend(self.staged);
        Ok(())
    }

    /// Whether what was handed over, and then `rest`, is published.
    fn is_there(&self, rest: &[u8], staging: &Staging) -> Result<bool> {
        if self.there != Some(self.given + rest.len() as u64) {
            return Ok(false);
        }
        let Some(there) = staging.storage.get(&staging.published(&self.name))? else { return Ok(false) };
        if self.given == 0 {
            return Ok(there == rest);
        }
        Ok(StableHash::of(&there) == self.hash.finish())
    }
}

/// Stands where a part was that is finished.
struct Nothing;

impl<T> Part<T> for Nothing {
    fn write(&mut self, _: T) -> Result<()> {
        Err(Error::bug("a row for a part that is finished"))
    }

    fn bytes(&self) -> usize {
        0
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

/// What one writer stages of a batch. Dropped, the store takes away what is not published; what was put is taken away by
/// [`give_up`](Staging::give_up).
pub(super) struct Staging {
    storage: Arc<dyn Storage>,
    directory: String,
    /// Parts that came or come piece by piece, those among them that are still growing.
    begun: usize,
    takes_pieces: bool,
    /// Parts that are complete.
    open: Vec<Box<dyn StagedObject>>,
    /// Parts put whole under [`HIDDEN`].
    put: Vec<Whole>,
}

struct Whole {
    name: String,
    /// A part of that name, with something else in it, is published.
    replaces: bool,
}

impl Staging {
    pub(super) fn new(storage: Arc<dyn Storage>, directory: String) -> Staging {
        Staging { storage, directory, begun: 0, takes_pieces: true, open: Vec::new(), put: Vec::new() }
    }

    pub(super) fn published(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn hidden(&self, name: &str) -> String {
        format!("{}/{HIDDEN}/{name}", self.directory)
    }

    /// Whether this writer changes nothing of what is published.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.put.is_empty()
    }

    /// A part that comes piece by piece, if the store takes that and there are not too many.
    fn begin(&mut self, name: &str) -> Result<Option<Box<dyn StagedObject>>> {
        if !self.takes_pieces || self.begun == STAGED_MAX {
            return Ok(None);
        }
        let staged = self.storage.stage(&self.published(name))?;
        self.takes_pieces = staged.is_some();
        self.begun += usize::from(staged.is_some());
        Ok(staged)
    }

    /// A part that came piece by piece is not needed.
    fn given_back(&mut self) {
        self.begun -= 1;
    }

    fn put(&mut self, name: String, replaces: bool, bytes: Vec<u8>) -> Result<()> {
        let path = self.hidden(&name);
        // Noted first: what is half done is taken back too.
        self.put.push(Whole { name, replaces });
        self.storage.put(&path, bytes)
    }

    /// All parts are there: durable on return. The store is waited for on several threads, as it can sync several at once.
    pub(super) fn close(&mut self) -> Result<()> {
        if let [one] = &mut *self.open {
            return one.close();
        }
        let share = self.open.len().div_ceil(CLOSERS_MAX).max(1);
        let close = |parts: &mut [Box<dyn StagedObject>]| parts.iter_mut().try_for_each(|part| part.close());
        thread::scope(|scope| {
            let spawn = |parts| thread::Builder::new().spawn_scoped(scope, move || close(parts));
            // All of them are begun before the first is waited for.
            let closers: Vec<_> = self.open.chunks_mut(share).map(spawn).collect();
            closers.into_iter().try_for_each(|closer| {
                let closer = closer.map_err(|e| Error::retry("can't start a thread").because(e))?;
                closer.join().unwrap_or_else(|_| Err(Error::bug("a storage panicked")))
            })
        })
    }

    /// Gives all parts their names, durably.
    pub(super) fn publish(&mut self) -> Result<()> {
        for whole in self.put.iter().filter(|whole| whole.replaces) {
            // Else a rename that finds nothing staged would take the old one for its own work, done before.
            self.storage.delete(&self.published(&whole.name))?;
        }
        for whole in &self.put {
            let (from, to) = (self.hidden(&whole.name), self.published(&whole.name));
            self.storage.rename(&from, &to).map_err(taken_away)?;
        }
        self.open.iter_mut().try_for_each(|part| part.publish())?;
        if self.open.is_empty() { Ok(()) } else { self.storage.settle(&self.directory) }
    }

    /// Takes away what is staged, as far as that can be done now.
    pub(super) fn give_up(self) {
        for whole in &self.put {
            if let Err(error) = self.storage.delete(&self.hidden(&whole.name)) {
                // It is under a hidden name, and goes when the batch is run again.
                log::info!("what was staged of a batch stays, under a hidden name: {error}");
                return;
            }
        }
    }
}

/// What was staged is gone: an earlier run of the job, that had not yet ended, took its own back. It is staged anew.
fn taken_away(error: Error) -> Error {
    match error.kind() {
        ErrorKind::DataLost => Error::retry("what was staged is gone; is the job run twice?").because(error),
        _ => error,
    }
}
