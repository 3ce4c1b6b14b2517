//! Listeners are told on a thread of their own: a slow one loses events, never holds up a batch, and the loss is counted.

use crate::info::{BatchInfo, CheckpointInfo};
use crossbeam_channel::{Sender, TrySendError, bounded};
use std::sync::Arc;
use std::thread::JoinHandle;
use tidegate_core::Error;

/// Events that wait for slow listeners at most.
const EVENTS_WAITING_MAX: usize = 65_536;

/// Is told what happens to batches. All calls come from one thread.
pub trait StreamingListener: Send + Sync + 'static {
    /// A batch is in every output and the journal knows.
    fn on_batch_completed(&self, batch: &BatchInfo) {
        let _ = batch;
    }

    /// An epoch failed; planned batches will be run again after a pause.
    fn on_retry(&self, error: &str) {
        let _ = error;
    }

    /// A checkpoint is published; recovery starts from it.
    fn on_checkpoint(&self, checkpoint: &CheckpointInfo) {
        let _ = checkpoint;
    }

    /// A checkpoint can't be used; `what` names the file and what is wrong with it. The job goes on from an older one.
    fn on_checkpoint_damaged(&self, what: &str) {
        let _ = what;
    }

    /// The context stops; `error` says why if it was not asked to.
    fn on_stopped(&self, error: Option<&str>) {
        let _ = error;
    }
}

enum Event {
    Completed(Box<BatchInfo>),
    Retry(String),
    Checkpoint(CheckpointInfo),
    CheckpointDamaged(String),
    Stopped(Option<String>),
}

/// The listeners of one context.
pub struct Listeners {
    events: Option<Sender<Event>>,
    thread: Option<JoinHandle<()>>,
    lost: u64,
}

impl Listeners {
    /// Starts the thread that tells `listeners`; none is started for none.
    pub fn start(listeners: Vec<Arc<dyn StreamingListener>>) -> Listeners {
        if listeners.is_empty() {
            return Listeners { events: None, thread: None, lost: 0 };
        }
        let (events, waiting) = bounded(EVENTS_WAITING_MAX);
        let tell = move || {
            for event in waiting {
                for listener in &listeners {
                    match &event {
                        Event::Completed(batch) => listener.on_batch_completed(batch),
                        Event::Retry(error) => listener.on_retry(error),
                        Event::Checkpoint(checkpoint) => listener.on_checkpoint(checkpoint),
                        Event::CheckpointDamaged(what) => listener.on_checkpoint_damaged(what),
                        Event::Stopped(error) => listener.on_stopped(error.as_deref()),
                    }
                }
            }
        };
        match std::thread::Builder::new().name("tidegate-listen".to_owned()).spawn(tell) {
            Ok(thread) => Listeners { events: Some(events), thread: Some(thread), lost: 0 },
            Err(error) => {
                log::warn!("listeners are not told: can't start their thread: {error}");
                Listeners { events: None, thread: None, lost: 0 }
            }
        }
    }

    pub(crate) fn completed(&mut self, batch: BatchInfo) {
        self.send(Event::Completed(Box::new(batch)));
    }

    pub(crate) fn retry(&mut self, error: &Error) {
        self.send(Event::Retry(error.to_string()));
    }

    pub(crate) fn checkpoint(&mut self, checkpoint: CheckpointInfo) {
        self.send(Event::Checkpoint(checkpoint));
    }

    pub(crate) fn checkpoint_damaged(&mut self, what: &str) {
        self.send(Event::CheckpointDamaged(what.to_owned()));
    }

    /// Tells the end and waits until everything was told.
    pub(crate) fn stopped(&mut self, error: Option<&Error>) {
        self.send(Event::Stopped(error.map(ToString::to_string)));
        self.events = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::warn!("a listener panicked; batches are not affected");
        }
        if self.lost > 0 {
            log::warn!("{} events were not told: the listeners were too slow", self.lost);
        }
    }

    fn send(&mut self, event: Event) {
        let Some(events) = &self.events else { return };
        match events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lost += 1,
            Err(TrySendError::Disconnected(_)) => self.events = None,
        }
    }
}
