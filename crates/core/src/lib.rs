//! The words and the contracts of Tidegate.
//!
//! Everything durable and everything that crosses a crate boundary is named here: a batch and its plan, what a source
//! and an output must promise, how the engine talks to whatever runs a plan. May define words, traits and pure
//! arithmetic; must never open a file, read a clock or start a thread. (A [`crash_point`] ends the process, when asked to.)

mod batch;
mod checkpoint;
mod crash;
mod error;
mod files;
mod guarantee;
mod ids;
mod output;
mod pauses;
mod runtime;
mod source;
mod stable_hash;
mod storage;

pub use batch::{Batch, BatchPlan, PlanFlaw, SourcePlan, SourceRange};
pub use checkpoint::{Checkpoint, StateCheckpoint, StateFile, StateShape};
pub use crash::{CRASH_POINTS, RECEIVER_CRASH_POINTS, STATE_CRASH_POINTS, crash_point};
pub use error::{Error, ErrorKind, Result};
pub use files::{FileSystem, OpenFile, UserFile};
pub use guarantee::{Guarantee, InputGuarantee};
pub use ids::{BatchId, BatchTime, JobId, OperatorId, OutputId, PartitionId, StateId, StreamId};
pub use output::{
    Delivery, Held, Output, OutputContext, Packed, Packer, Packing, Placement, Seat, Writer, Writers,
};
pub use pauses::Pauses;
pub use runtime::{BatchReport, EpochStart, OutputReport, RecordAges, Runtime, RuntimeEvent, RuntimeFactory};
pub use source::{
    Emit, InputContext, Planner, Progress, Reader, ReceiverChange, ReceiverEvent, ReceiverReport, Source,
};
pub use stable_hash::StableHash;
pub use storage::{StagedObject, Storage, StoredObject, is_storage_path};
