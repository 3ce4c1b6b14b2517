//! Receivers: inputs whose origin can't be asked again for what it has given.
//!
//! A [`Receiver`] gets records from somewhere and stores them by its [`ReceiverHandle`]. What is stored becomes *blocks*; a batch takes
//! whole blocks, by the numbers of their records. With a write-ahead log a block is durable before the call that stored it
//! returns, together with the position of its origin: so what an origin sends a second time is known and left out.
//!
//! - `receiver`, `handle`: what is written by whoever writes a receiver, and what it is given;
//! - `supervisor`: starts receivers, starts them again, ends their threads;
//! - `stream`, `writer`: the blocks of one stream, and the one thread that makes them durable;
//! - `marks`: which positions of origins are stored, over all streams of a job;
//! - `log`: the write-ahead log, on a disk or on any storage;
//! - `source`: a receiver as an input of the engine.
//!
//! Must never know what a batch does with its records, nor talk to an outer system.

mod handle;
mod log;
mod marks;
mod rate;
mod receiver;
#[cfg(feature = "sabotage")]
mod sabotage;
mod settings;
mod source;
mod stream;
mod supervisor;
mod writer;

pub use handle::{Busy, ReceiverHandle};
pub use marks::{Gaps, Marks, Position, Stored};
pub use receiver::Receiver;
pub use settings::{LogPlace, ReceiverSettings};
pub use source::ReceiverSource;
pub use stream::StoredRecord;
