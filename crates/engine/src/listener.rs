//! Listeners are told on a thread of their own: a slow one loses events, never holds up a batch, and the loss is counted.

use crate::clock::Clock;
use crate::info::{BatchInfo, CheckpointInfo, ReceiverInfo};
use crossbeam_channel::{Sender, TrySendError, bounded};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use tidegate_core::{Error, ReceiverChange, ReceiverEvent, ReceiverReport, StreamId};

/// Events that wait for slow listeners at most.
const EVENTS_WAITING_MAX: usize = 65_536;

/// Is told what happens to batches and receivers. All calls come from one thread, in the order in which things happened.
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

    /// A receiver started, for the first time or again.
    fn on_receiver_started(&self, receiver: &ReceiverInfo) {
        let _ = receiver;
    }

    /// Something went wrong in a receiver, `last_error` says what. It goes on, is started again, or ends the job.
    fn on_receiver_error(&self, receiver: &ReceiverInfo) {
        let _ = receiver;
    }

    /// A receiver that had started ended: to be started again, or because the job stops.
    fn on_receiver_stopped(&self, receiver: &ReceiverInfo) {
        let _ = receiver;
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
    ReceiverStarted(ReceiverInfo),
    ReceiverFailed(ReceiverInfo),
    ReceiverStopped(ReceiverInfo),
    Stopped(Option<String>),
}

/// The way to the listeners.
struct Door {
    events: Sender<Event>,
    lost: AtomicU64,
}

impl Door {
    fn send(&self, event: Event) {
        // Without its thread, which a listener's panic ends, there is nobody to lose an event.
        if let Err(TrySendError::Full(_)) = self.events.try_send(event) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The listeners of one context.
pub struct Listeners {
    door: Option<Arc<Door>>,
    thread: Option<JoinHandle<()>>,
}

impl Listeners {
    /// Starts the thread that tells `listeners`; none is started for none.
    pub fn start(listeners: Vec<Arc<dyn StreamingListener>>) -> Listeners {
        if listeners.is_empty() {
            return Listeners { door: None, thread: None };
        }
        let (events, waiting) = bounded(EVENTS_WAITING_MAX);
        let tell = move || {
            for event in waiting {
                listeners.iter().for_each(|listener| tell(&**listener, &event));
            }
        };
        match std::thread::Builder::new().name("tidegate-listen".to_owned()).spawn(tell) {
            Ok(thread) => {
                let door = Arc::new(Door { events, lost: AtomicU64::new(0) });
                Listeners { door: Some(door), thread: Some(thread) }
            }
            Err(error) => {
                log::warn!("listeners are not told: can't start their thread: {error}");
                Listeners { door: None, thread: None }
            }
        }
    }

    /// Where the input `stream` tells what happens to its receiver.
    pub(crate) fn receiver_report(&self, stream: &StreamId, clock: &Arc<dyn Clock>) -> ReceiverReport {
        // An input may live longer than the job: what it tells then is for nobody.
        let door = self.door.as_ref().map_or_else(Weak::new, Arc::downgrade);
        let clock = clock.clone();
        let so_far = Mutex::new(ReceiverInfo {
            stream: stream.clone(),
            receiver: String::new(),
            active: false,
            starts: 0,
            last_error: None,
            last_error_at: None,
            at: clock.now(),
        });
        Arc::new(move |event: ReceiverEvent| {
            let Some(door) = door.upgrade() else { return };
            // Held until it is sent: so the order is that of the events, whichever threads they come from.
            let mut info = so_far.lock().unwrap_or_else(PoisonError::into_inner);
            info.at = clock.now();
            info.receiver = event.receiver;
            door.send(match event.change {
                ReceiverChange::Started => {
                    info.active = true;
                    info.starts += 1;
                    Event::ReceiverStarted(info.clone())
                }
                ReceiverChange::Failed(error) => {
                    (info.last_error, info.last_error_at) = (Some(error), Some(info.at));
                    Event::ReceiverFailed(info.clone())
                }
                ReceiverChange::Stopped => {
                    info.active = false;
                    Event::ReceiverStopped(info.clone())
                }
            });
        })
    }

    pub(crate) fn completed(&self, batch: BatchInfo) {
        self.send(Event::Completed(Box::new(batch)));
    }

    pub(crate) fn retry(&self, error: &Error) {
        self.send(Event::Retry(error.to_string()));
    }

    pub(crate) fn checkpoint(&self, checkpoint: CheckpointInfo) {
        self.send(Event::Checkpoint(checkpoint));
    }

    pub(crate) fn checkpoint_damaged(&self, what: &str) {
        self.send(Event::CheckpointDamaged(what.to_owned()));
    }

    /// Tells the end and waits until everything was told.
    pub(crate) fn stopped(&mut self, error: Option<&Error>) {
        self.send(Event::Stopped(error.map(ToString::to_string)));
        let lost = self.door.take().map_or(0, |door| door.lost.load(Ordering::Relaxed));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::warn!("a listener panicked; batches are not affected");
        }
        if lost > 0 {
            log::warn!("{lost} events were not told: the listeners were too slow");
        }
    }

    fn send(&self, event: Event) {
        if let Some(door) = &self.door {
            door.send(event);
        }
    }
}

fn tell(listener: &dyn StreamingListener, event: &Event) {
    match event {
        Event::Completed(batch) => listener.on_batch_completed(batch),
        Event::Retry(error) => listener.on_retry(error),
        Event::Checkpoint(checkpoint) => listener.on_checkpoint(checkpoint),
        Event::CheckpointDamaged(what) => listener.on_checkpoint_damaged(what),
        Event::ReceiverStarted(receiver) => listener.on_receiver_started(receiver),
        Event::ReceiverFailed(receiver) => listener.on_receiver_error(receiver),
        Event::ReceiverStopped(receiver) => listener.on_receiver_stopped(receiver),
        Event::Stopped(error) => listener.on_stopped(error.as_deref()),
    }
}
