//! The life of a batch: due, planned, journaled, run, prepared, committed; and again after a crash.
//!
//! May decide, order durable steps and recover; must never contain operator logic nor name timely, Kafka or a database.
//! It meets whatever runs a plan in [`tidegate_core::Runtime`] only.

mod background;
mod checkpoints;
mod clock;
mod driver;
mod due;
mod engine;
mod flight;
mod info;
mod journal;
mod listener;
mod manifest;
mod rate;
mod recover;
#[cfg(feature = "sabotage")]
mod sabotage;
mod sealed;

pub use background::Publishing;
pub use clock::{Clock, ManualClock, SystemClock};
pub use engine::{Engine, EngineHandle, EngineParts, OpenOutput, OutputPart, Settings, Stop};
pub use info::{BatchInfo, CheckpointInfo, ReceiverInfo, StageTimes};
pub use journal::{Journal, JournalHead};
pub use listener::{Listeners, StreamingListener};
pub use manifest::{checkpoints, newest_checkpoint};
pub use rate::PidSettings;
pub use recover::{Forward, Journaled, Remembered, Resume, StateMemory, resume};
