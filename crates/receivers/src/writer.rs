//! The one thread that makes the blocks of a stream durable. All that waits is written together and synced once.

use crate::log::BlockLog;
use crate::marks::Mark;
use crate::stream::{Request, State, Stream, close_open};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidegate_core::{Error, ErrorKind, Result};

/// From a failure of the log's storage that may pass to the next try.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

pub(crate) struct Writer {
    stream: Arc<Stream>,
    log: Option<BlockLog>,
    released: u64,
}

/// What is written at once.
struct Group {
    payload: Vec<u8>,
    records: u32,
    marks: Vec<Mark>,
    ticket: u64,
}

enum Work {
    Write(Group),
    Release(u64),
    End,
}

impl Writer {
    pub(crate) fn start(stream: &Arc<Stream>, log: Option<BlockLog>) -> Result<JoinHandle<()>> {
        let writer = Writer { stream: stream.clone(), log, released: 0 };
        std::thread::Builder::new()
            .name(format!("blocks-{}", stream.name))
            .spawn(move || writer.run())
            .map_err(|e| Error::retry("can't start the thread that writes blocks").because(e))
    }

    fn run(mut self) {
        loop {
            let done = match self.next() {
                Work::End => return,
                Work::Release(until) => {
                    self.released = until;
                    if let Some(Err(error)) = self.log.as_mut().map(|log| log.release(until)) {
                        ::log::warn!("{error}; it is tried again with the next block");
                    }
                    Ok(())
                }
                Work::Write(group) => self.write(group),
            };
            if let Err(error) = done {
                self.stream.fail(&error.context(format!("receiver {}", self.stream.name)));
                return;
            }
        }
    }

    /// Waits for work.
    fn next(&self) -> Work {
        let mut state = self.stream.lock();
        loop {
            let now = Instant::now();
            let age = state.open_since.map(|since| now.saturating_duration_since(since));
            let left = age.map(|age| self.stream.settings.block_interval.saturating_sub(age));
            if state.closing || left.is_some_and(|left| left.is_zero()) {
                close_open(&mut state);
            }
            #[cfg(feature = "sabotage")]
            let held_back = usize::from(crate::sabotage::store_early() && !state.closing);
            #[cfg(not(feature = "sabotage"))]
            let held_back = 0;
            if state.queue.len() > held_back {
                return Work::Write(group(&mut state, self.stream.settings.block_bytes_max, held_back));
            }
            if state.released > self.released {
                return Work::Release(state.released);
            }
            if state.closing {
                return Work::End;
            }
            state = match left.filter(|_| state.open_since.is_some()) {
                Some(left) => {
                    let waited = self.stream.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.stream.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn write(&mut self, group: Group) -> Result<()> {
        let Group { payload, records, marks, ticket } = group;
        let first = self.stream.lock().next;
        let mut segment = 0;
        // Nothing but the storage says whether a try that failed came through; another one finds out.
        while let Some(log) = &mut self.log {
            match log.append(first, records, marks.clone(), &payload) {
                Ok(written) => {
                    segment = written;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Retry && !self.wait_to_try_again(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.stream.stored(payload, records, segment, ticket);
        Ok(())
    }

    /// Waits a little; true when the job stops meanwhile: whoever waits for the block must end first.
    fn wait_to_try_again(&self, error: &Error) -> bool {
        ::log::warn!("{error}; the block is written again");
        let state = self.stream.lock();
        let waited = self.stream.changed.wait_timeout_while(state, TRY_AGAIN_AFTER, |state| !state.stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }
}

/// What waits, but for the last `held_back` requests, up to the bound of a block.
fn group(state: &mut State, bytes_max: usize, held_back: usize) -> Group {
    let mut group = Group { payload: Vec::new(), records: 0, marks: Vec::new(), ticket: 0 };
    while let Some(Request { payload, .. }) = state.queue.front().filter(|_| state.queue.len() > held_back) {
        if group.ticket > 0 && group.payload.len() + payload.bytes.len() > bytes_max {
            break;
        }
        let Some(Request { payload, mark, ticket }) = state.queue.pop_front() else { break };
        if group.payload.is_empty() {
            group.payload = payload.bytes;
        } else {
            group.payload.extend_from_slice(&payload.bytes);
        }
        group.records += payload.records;
        group.marks.extend(mark);
        group.ticket = ticket;
    }
    group
}
