//! Starts a receiver, and starts it again after each failure that may pass.

use crate::handle::ReceiverHandle;
use crate::receiver::Receiver;
use crate::stream::{StoredRecord, Stream};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tidegate_core::{Error, ErrorKind, ReceiverChange, Result};

/// What the handles of one start of a receiver share.
#[derive(Default)]
pub(crate) struct Seat {
    state: Mutex<SeatState>,
    changed: Condvar,
}

#[derive(Default)]
struct SeatState {
    /// Why it is started again.
    restart: Option<Error>,
    stopped: bool,
    threads: Vec<JoinHandle<()>>,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, SeatState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        let state = self.lock();
        state.stopped || state.restart.is_some()
    }

    pub(crate) fn wait_stopped(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.lock();
        while !state.stopped && state.restart.is_none() {
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(crate) fn restart(&self, why: Error) {
        self.lock().restart.get_or_insert(why);
        self.changed.notify_all();
    }

    pub(crate) fn spawn(
        self: &Arc<Seat>,
        name: &str,
        work: impl FnOnce() -> Result<()> + Send + 'static,
        fail: impl FnOnce(Error) + Send + 'static,
    ) -> Result<()> {
        let seat = self.clone();
        let run = move || match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.kind() == ErrorKind::Retry => seat.restart(error),
            Ok(Err(error)) => fail(error),
            Err(panic) => fail(panicked("a thread of it", &*panic)),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|e| Error::retry("can't start a thread").because(e))?;
        self.lock().threads.push(thread);
        Ok(())
    }

    /// Waits until it is to be started again or stopped; gives why it is started again.
    fn wait(&self) -> Option<Error> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(why) = &state.restart {
                return Some(Error::new(why.kind(), why.to_string()));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    fn join(&self) {
        // A thread may start others until it ends.
        loop {
            let threads = std::mem::take(&mut self.lock().threads);
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                let _ = thread.join();
            }
        }
    }
}

/// The thread of one receiver.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    seat: Mutex<Arc<Seat>>,
    stopping: Mutex<bool>,
    changed: Condvar,
}

impl Supervisor {
    pub(crate) fn start<T: StoredRecord>(
        stream: &Arc<Stream>,
        mut receiver: Box<dyn Receiver<T>>,
    ) -> Result<Supervisor> {
        let shared =
            Arc::new(Shared { seat: Mutex::default(), stopping: Mutex::default(), changed: Condvar::new() });
        let (watched, stream) = (shared.clone(), stream.clone());
        let name = format!("receiver-{}", stream.name);
        let run = move || supervise(&watched, &stream, &mut *receiver);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(run)
            .map_err(|e| Error::retry("can't start the thread of a receiver").because(e))?;
        Ok(Supervisor { shared, thread: Some(thread) })
    }

    /// Asks the receiver to end; dropping the supervisor waits for it.
    pub(crate) fn stop(&self) {
        *self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.changed.notify_all();
        self.shared.seat.lock().unwrap_or_else(PoisonError::into_inner).stop();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Takes a new seat; `None` when the job stops.
    fn sit_down(&self) -> Option<Arc<Seat>> {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let seat = Arc::new(Seat::default());
        *self.seat.lock().unwrap_or_else(PoisonError::into_inner) = seat.clone();
        (!*stopping).then_some(seat)
    }

    /// Waits between two starts; false when the job stops.
    fn pause(&self, delay: Duration) -> bool {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(stopping, delay, |stopping| !*stopping);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

fn supervise<T: StoredRecord>(shared: &Shared, stream: &Arc<Stream>, receiver: &mut dyn Receiver<T>) {
    let what = receiver.describe();
    while let Some(seat) = shared.sit_down() {
        let handle = ReceiverHandle::new(stream, &seat);
        let started = catch_unwind(AssertUnwindSafe(|| receiver.on_start(handle.clone())));
        let has_started = matches!(started, Ok(Ok(())));
        let why = match started {
            Ok(Ok(())) => {
                ::log::info!("receiver {}: {what} started", stream.name);
                stream.tell(ReceiverChange::Started);
                seat.wait()
            }
            Ok(Err(error)) if error.kind() == ErrorKind::Retry => Some(error),
            Ok(Err(error)) => {
                handle.fail(error);
                seat.wait()
            }
            Err(panic) => {
                handle.fail(panicked("its on_start", &*panic));
                seat.wait()
            }
        };
        seat.stop();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| receiver.on_stop())) {
            handle.fail(panicked("its on_stop", &*panic));
        }
        seat.join();
        let delay = stream.settings.restart_delay;
        if let Some(why) = &why {
            ::log::warn!("receiver {}: {what} is started again in {delay:?}: {why}", stream.name);
            stream.tell(ReceiverChange::Failed(why.to_string()));
        }
        if has_started {
            stream.tell(ReceiverChange::Stopped);
        }
        if why.is_none() {
            break;
        }
        if !shared.pause(delay) {
            break;
        }
    }
    ::log::info!("receiver {}: {what} stopped", stream.name);
}

fn panicked(what: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
    Error::user_code(format!("{what} panicked: {text}"))
}
