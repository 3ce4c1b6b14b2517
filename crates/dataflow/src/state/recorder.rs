//! Writes views of state to the storage, on a thread of its own, and keeps account of the files that count.

use super::StateSettings;
use super::entry::StateEntry;
use super::view::StateView;
use crate::tally::{Reports, Tally};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use tidegate_core::{BatchId, Checkpoint, Error, PartitionId, Result, StateCheckpoint, StateFile, StateId};

/// Files of a partition at most, whatever their sizes: each costs a read at recovery.
const FILES_MAX: usize = 48;

/// The thread that writes. Dropping it lets go of what is not written: the epoch is over.
pub(crate) struct Recorder {
    views: Option<Sender<Delivery>>,
    thread: Option<JoinHandle<()>>,
}

/// The views of one worker.
pub(crate) struct Delivery {
    pub(crate) batch: BatchId,
    pub(crate) views: Vec<StateView>,
}

impl Recorder {
    /// Starts it for an epoch of `workers` that begins with `restore`.
    pub(crate) fn start(
        settings: StateSettings,
        states: Vec<Arc<StateEntry>>,
        restore: Option<&Checkpoint>,
        workers: usize,
        tally: Arc<Tally>,
    ) -> Result<Recorder> {
        let (views, received) = unbounded();
        let files = own_files(&states, restore);
        // Names of an earlier process that died over the same batch are never met again.
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let mut desk = Desk { settings, states, files, workers, run };
        let work = move || {
            let done = catch_unwind(AssertUnwindSafe(|| desk.run(&received, &tally)));
            let error = match done {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => Error::bug("writing a checkpoint panicked"),
            };
            tally.fail(error.context("checkpoint"));
        };
        let thread = std::thread::Builder::new().name("tidegate-recorder".to_owned()).spawn(work);
        let thread =
            thread.map_err(|e| Error::retry("can't start the thread that writes checkpoints").because(e))?;
        Ok(Recorder { views: Some(views), thread: Some(thread) })
    }

    /// Where workers send their views.
    pub(crate) fn views(&self) -> Option<Sender<Delivery>> {
        self.views.clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.views = None;
        if let Some(thread) = self.thread.take() {
            // It has reported its own end.
            let _ = thread.join();
        }
    }
}

type Files = BTreeMap<(StateId, PartitionId), Vec<StateFile>>;

/// The files of the checkpoint that stay part of their states.
fn own_files(states: &[Arc<StateEntry>], restore: Option<&Checkpoint>) -> Files {
    let mut files = Files::new();
    for entry in states {
        let found = restore.and_then(|checkpoint| checkpoint.state(&entry.uid()));
        for file in found.filter(|found| entry.fits(&found.shape)).iter().flat_map(|found| &found.files) {
            files.entry((entry.uid(), file.partition)).or_default().push(file.clone());
        }
    }
    files
}

struct Desk {
    settings: StateSettings,
    states: Vec<Arc<StateEntry>>,
    files: Files,
    workers: usize,
    run: String,
}

impl Desk {
    fn run(&mut self, received: &Receiver<Delivery>, tally: &Tally) -> Result<()> {
        loop {
            let mut views = Vec::new();
            let mut batch = BatchId(0);
            for _ in 0..self.workers {
                let Ok(delivery) = received.recv() else { return Ok(()) };
                batch = delivery.batch;
                views.extend(delivery.views);
            }
            for view in views {
                self.write(batch, view)?;
            }
            tally.snapshot(batch, self.checkpointed());
        }
    }

    fn write(&mut self, batch: BatchId, view: StateView) -> Result<()> {
        let StateView { uid, partition, write, merge, oldest_ms } = view;
        let stem = format!("state/{uid}/{:020}-{}-{:05}", batch.0, self.run, partition.0);
        let files = self.files.entry((uid, partition)).or_default();
        let storage = &*self.settings.storage;
        files.retain(|file| oldest_ms.is_none_or(|oldest| file.newest_ms >= oldest));
        files.extend(write(storage, &stem)?);
        if let Some(from) = worth_merging(files) {
            let merged = merge(storage, &format!("{stem}-m"), &files[from..], oldest_ms, from == 0)?;
            files.truncate(from);
            files.extend(merged);
        }
        Ok(())
    }

    fn checkpointed(&self) -> Vec<StateCheckpoint> {
        let state = |entry: &Arc<StateEntry>| {
            let uid = entry.uid();
            let of_it = self.files.iter().filter(|((of, _), _)| *of == uid);
            StateCheckpoint {
                files: of_it.flat_map(|(_, files)| files.clone()).collect(),
                shape: entry.shape(),
            }
        };
        self.states.iter().map(state).collect()
    }
}

/// From which file on the files of a partition are worth being made one. Sizes then fall by half from file to file, so there
/// are few of them and a row is written again some log(n) times: the cost follows what changed.
///
/// Files that were written together, a large state in pieces, count as one.
fn worth_merging(files: &[StateFile]) -> Option<usize> {
    let runs: Vec<&[StateFile]> = files.chunk_by(|a, b| written_as(a) == written_as(b)).collect();
    let (mut place, mut after, mut from) = (files.len(), 0, None);
    for run in runs.iter().rev() {
        place -= run.len();
        let rows: u64 = run.iter().map(|file| file.rows).sum();
        if after > 0 && (after * 2 > rows || runs.len() > FILES_MAX) {
            from = Some(place);
        }
        after += rows;
    }
    from
}

/// The path of a file without its number among those that were written together.
fn written_as(file: &StateFile) -> &str {
    file.path.rsplit_once('-').map_or(&file.path, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn files(rows: &[u64]) -> Vec<StateFile> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let file = |rows: &u64| StateFile {
            path: format!("{}-0.parquet", WRITTEN.fetch_add(1, Ordering::Relaxed)),
            partition: PartitionId(0),
            rows: *rows,
            bytes: 0,
            crc32c: 0,
            newest_ms: 0,
        };
        rows.iter().map(file).collect()
    }

    #[test]
    fn small_files_behind_a_large_one_are_left_until_they_are_half_of_it() {
        for (rows, expected) in [
            (&[][..], None),
            (&[1000], None),
            (&[1000, 10], None),
            (&[1000, 100, 10], None),
            (&[1000, 10, 10], Some(1)),
            (&[1000, 600], Some(0)),
            (&[1000, 200, 150, 151], Some(0)),
        ] {
            assert_eq!(worth_merging(&files(rows)), expected, "{rows:?}");
        }
    }

    #[test]
    fn files_that_were_written_together_are_not_merged_with_each_other() {
        let mut pieces = files(&[1000, 1000, 1000, 10]);
        for (number, piece) in pieces[..3].iter_mut().enumerate() {
            piece.path = format!("whole-{number}.parquet");
        }
        assert_eq!(worth_merging(&pieces), None);
        pieces.extend(files(&[9]));
        assert_eq!(worth_merging(&pieces), Some(3));
    }

    #[test]
    fn what_is_written_of_a_large_state_follows_what_changes() {
        // A million rows of which one in a hundred changes each time, a hundred times.
        let (mut kept, mut written) = (files(&[1_000_000]), 0);
        for _ in 0..100 {
            kept.extend(files(&[10_000]));
            written += 10_000;
            if let Some(from) = worth_merging(&kept) {
                let rows = kept[from..].iter().map(|file| file.rows).sum::<u64>().min(1_000_000);
                kept.truncate(from);
                kept.extend(files(&[rows]));
                written += rows;
            }
            assert!(kept.len() <= 10, "{}", kept.len());
        }
        assert!(written < 12_000_000, "{written} rows written, 1,000,000 changed");
    }
}
