//! The worker's side: reads the files of a batch, from threads of its own, so that the worker never waits for a store.
//!
//! A file is looked at before it is read and after: so what a batch holds is the file that was planned, or an error. Each thread
//! reads one file at a time; records are handed on in chunks, in the order of their file.

use crate::file::InputFile;
use crate::mark::file_of;
use crate::options::OnMissing;
use crate::source::Inner;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate::Data;
use tidegate_core::{
    Emit, Error, ErrorKind, PartitionId, Progress, Reader, Result, SourceRange, StreamId, UserFile,
};

/// Records that are handed on together.
const CHUNK: usize = 1024;
/// Chunks that wait for the worker, for each thread.
const CHUNKS: usize = 8;
/// How long a worker waits for a chunk.
const WAIT: Duration = Duration::from_millis(2);

pub(crate) struct FileReader<T> {
    inner: Arc<Inner<T>>,
    stream: StreamId,
    jobs: Arc<Jobs>,
    /// Threads that were started.
    threads: usize,
    told: Receiver<Told<T>>,
    tell: SyncSender<Told<T>>,
    /// Files of the batch that are not read to their ends.
    left: usize,
}

enum Told<T> {
    Records(PartitionId, Vec<T>),
    Read,
    Failed(Error),
}

/// Files that wait for a thread.
#[derive(Default)]
struct Jobs {
    state: Mutex<JobsState>,
    added: Condvar,
}

#[derive(Default)]
struct JobsState {
    waiting: VecDeque<(PartitionId, SourceRange)>,
    closed: bool,
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, JobsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(PartitionId, SourceRange)> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            state = self.added.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Data> FileReader<T> {
    pub(crate) fn new(inner: Arc<Inner<T>>, stream: &StreamId) -> FileReader<T> {
        let (tell, told) = sync_channel(CHUNKS * inner.readers);
        FileReader { inner, stream: stream.clone(), jobs: Arc::default(), threads: 0, told, tell, left: 0 }
    }

    fn start_threads(&mut self, wanted: usize) -> Result<()> {
        while self.threads < wanted.min(self.inner.readers) {
            let (inner, jobs, tell) = (self.inner.clone(), self.jobs.clone(), self.tell.clone());
            let thread = std::thread::Builder::new().name(format!("read-{}", self.stream));
            let run = move || {
                while let Some((partition, range)) = jobs.next() {
                    let told = match read(&inner, partition, &range, &tell) {
                        Ok(()) => Told::Read,
                        Err(error) => Told::Failed(error),
                    };
                    if tell.send(told).is_err() {
                        return;
                    }
                }
            };
            thread.spawn(run).map_err(|e| Error::reconfigure("can't start a thread").because(e))?;
            self.threads += 1;
        }
        Ok(())
    }
}

impl<T: Data> Reader<T> for FileReader<T> {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.left = ranges.len();
        self.start_threads(ranges.len())?;
        self.jobs.lock().waiting.extend(ranges.iter().cloned());
        self.jobs.added.notify_all();
        Ok(())
    }

    fn read(&mut self, limit: usize, out: &mut dyn Emit<T>) -> Result<Progress> {
        let mut given = 0;
        while self.left > 0 {
            if given >= limit {
                return Ok(Progress::More);
            }
            match self.told.recv_timeout(WAIT) {
                Ok(Told::Records(partition, records)) => {
                    given += records.len();
                    out.partition(partition);
                    records.into_iter().for_each(|record| out.record(record));
                }
                Ok(Told::Read) => self.left -= 1,
                Ok(Told::Failed(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => return Ok(Progress::Waiting),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::bug("the reader has a sender itself"));
                }
            }
        }
        Ok(Progress::Done)
    }
}

impl<T> Drop for FileReader<T> {
    fn drop(&mut self) {
        // Threads end with the file they are at, when they can't hand on any more.
        self.jobs.lock().closed = true;
        self.jobs.added.notify_all();
    }
}

/// Nobody listens any more.
fn ended() -> Error {
    Error::retry("the epoch ended while a file was read")
}

/// Reads one file to its end.
fn read<T: Data>(
    inner: &Inner<T>,
    partition: PartitionId,
    range: &SourceRange,
    tell: &SyncSender<Told<T>>,
) -> Result<()> {
    let Some(planned) = planned(inner, range)? else { return Ok(()) };
    let file = InputFile::open(&*inner.files, &planned, inner.options.compression)?;
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut count = 0;
    let format = &inner.options.format;
    let result = format.read(&file, &mut |record| {
        chunk.push(record);
        count += 1;
        if chunk.len() < CHUNK {
            return Ok(());
        }
        let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
        tell.send(Told::Records(partition, full)).map_err(|_| ended())
    });
    // What was read of a file that changed meanwhile is neither the one nor the other. The batch is begun again, and then finds that.
    let same = match &result {
        Err(error) if error.kind() == ErrorKind::Retry => true,
        _ => inner.files.status(&planned.path)?.is_some_and(|is| is == planned),
    };
    if !same {
        return Err(Error::retry(format!("{} changed while it was read", file.place())));
    }
    result?;
    if !chunk.is_empty() {
        tell.send(Told::Records(partition, chunk)).map_err(|_| ended())?;
    }
    inner.counts.read(planned.bytes, count);
    Ok(())
}

/// The file that was planned, if it is still that; none if it may be left out.
fn planned<T: Data>(inner: &Inner<T>, range: &SourceRange) -> Result<Option<UserFile>> {
    let folder = inner.files.describe();
    let planned = file_of(range).ok_or_else(|| {
        Error::data_lost(format!("{range} is no file of {folder}: the plan is of another input"))
    })?;
    let is = inner.files.status(&planned.path)?;
    let what = match &is {
        Some(is) if *is == planned => return Ok(Some(planned)),
        None => "was deleted".to_owned(),
        Some(is) if is.identity == planned.identity => {
            format!("was written to: it had {} bytes and has {}", planned.bytes, is.bytes)
        }
        Some(_) => "was replaced by another file".to_owned(),
    };
    let text = format!("{folder}/{} {what} after it was planned, and before the batch was run", planned.path);
    match inner.options.on_missing {
        OnMissing::Fail => Err(Error::data_lost(format!(
            "{text}. Bring it back as it was (time and, on a local disk, inode too), or have such files left out: \
             on_missing(OnMissing::Skip)"
        ))),
        OnMissing::Skip => {
            let skipped = inner.counts.skipped();
            log::warn!("{text}; it is left out ({skipped} by now)");
            Ok(None)
        }
    }
}
