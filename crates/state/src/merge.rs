//! Merges the files of one partition: the newest row of each key, in one pass over sorted runs.
//!
//! A run is what was written together: files whose paths differ in their number only. They hold one sorted sequence of rows, so
//! one of them at a time is in memory.

use crate::encoding;
use crate::format::Shape;
use crate::read::{FileRows, damaged};
use crate::row::{Row, StateKey, StateValue};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tidegate_core::{Result, StateFile, Storage};

/// The merged rows, sorted.
pub(crate) struct Merge<'a, K, V> {
    runs: Vec<Run<'a, K, V>>,
    /// The bytes of the key that each run is at. Of equal keys the run that was applied last comes first.
    heads: BinaryHeap<Reverse<(Vec<u8>, Reverse<usize>)>>,
    oldest_ms: u64,
    /// Whether these are all files there are: then what was removed can be forgotten.
    all: bool,
    has_failed: bool,
}

struct Run<'a, K, V> {
    shape: &'a Shape,
    storage: &'a dyn Storage,
    files: &'a [StateFile],
    open: Option<FileRows<'a, K, V>>,
    head: Option<Row<K, V>>,
    /// Bytes of the key before the next one.
    last: Vec<u8>,
}

impl<'a, K: StateKey, V: StateValue> Merge<'a, K, V> {
    pub(crate) fn new(
        shape: &'a Shape,
        storage: &'a dyn Storage,
        files: &'a [StateFile],
        oldest_ms: Option<u64>,
        all: bool,
    ) -> Result<Self> {
        let oldest_ms = oldest_ms.unwrap_or(0);
        // What comes first and is too old as a whole changes nothing: no earlier row can show up in its place.
        let old = files.iter().take_while(|file| file.newest_ms < oldest_ms).count();
        let runs = files[old..].chunk_by(|a, b| stem(&a.path).is_some() && stem(&a.path) == stem(&b.path));
        let runs = runs.map(|files| Run { shape, storage, files, open: None, head: None, last: Vec::new() });
        let mut merge =
            Merge { runs: runs.collect(), heads: BinaryHeap::new(), oldest_ms, all, has_failed: false };
        for run in 0..merge.runs.len() {
            merge.advance(run)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, run: usize) -> Result<()> {
        if let Some(key) = self.runs[run].advance()? {
            self.heads.push(Reverse((key, Reverse(run))));
        }
        Ok(())
    }

    /// The row of the next key, as the run that was applied last has it.
    fn next_key(&mut self) -> Result<Option<Row<K, V>>> {
        let Some(Reverse((key, Reverse(run)))) = self.heads.pop() else { return Ok(None) };
        let row = self.runs[run].head.take();
        self.advance(run)?;
        while self.heads.peek().is_some_and(|Reverse((other, _))| *other == key) {
            if let Some(Reverse((_, Reverse(run)))) = self.heads.pop() {
                self.advance(run)?;
            }
        }
        Ok(row)
    }

    fn next_kept(&mut self) -> Result<Option<Row<K, V>>> {
        loop {
            match self.next_key()? {
                Some(row) if row.updated_ms < self.oldest_ms => {}
                Some(row) if row.value.is_none() && self.all => {}
                other => return Ok(other),
            }
        }
    }
}

impl<K: StateKey, V: StateValue> Iterator for Merge<'_, K, V> {
    type Item = Result<Row<K, V>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = self.next_kept();
        self.has_failed = next.is_err();
        next.transpose()
    }
}

impl<K: StateKey, V: StateValue> Run<'_, K, V> {
    /// Moves to the next row and gives the bytes of its key; `None` after the last.
    fn advance(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(row) = open.next_row()? {
                    let key = encoding::encoded(&row.key)?;
                    if key <= self.last {
                        return Err(damaged(open.path(), "has rows that are not sorted by key"));
                    }
                    self.last.clone_from(&key);
                    self.head = Some(row);
                    return Ok(Some(key));
                }
                self.open = None;
            }
            let Some((file, rest)) = self.files.split_first() else { return Ok(None) };
            self.open = Some(FileRows::open(self.shape, self.storage, file)?);
            self.files = rest;
        }
    }
}

/// The path without its number: what files that were written together have in common.
fn stem(path: &str) -> Option<&str> {
    let (stem, number) = path.strip_suffix(".parquet")?.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(stem)
}
