//! The life of a batch: due, planned, journaled, run, prepared, committed; and again after a crash.
//!
//! May decide, order durable steps and recover; must never contain operator logic nor name timely, Kafka or a database.
//! It meets whatever runs a plan in [`tidegate_core::Runtime`] only.

mod clock;
mod driver;
mod due;
mod engine;
mod flight;
mod info;
mod journal;
mod listener;
mod recover;
#[cfg(feature = "sabotage")]
mod sabotage;

pub use clock::{Clock, ManualClock, SystemClock};
pub use engine::{Engine, EngineHandle, EngineParts, OpenOutput, OutputPart, Settings, Stop};
pub use info::{BatchInfo, StageTimes};
pub use journal::{CheckpointHead, Journal};
pub use listener::{Listeners, StreamingListener};
pub use recover::{Journaled, Remembered, Resume, resume};
