//! Exactly-once micro-batch stream processing with the programming model of Spark Streaming.
//!
//! A [`StreamingContext`] cuts an endless stream into batches; a [`DStream`] describes what happens to each of them; an
//! output operation makes the result seen, once for each batch, however often the job is killed.
//!
//! ```
//! use tidegate::{Conf, StreamingContext, Stop};
//! use std::time::Duration;
//!
//! # fn main() -> tidegate::Result<()> {
//! let conf = Conf::new().set_app_name("word count").set_master("local[2]");
//! let ssc = StreamingContext::new(conf, Duration::from_millis(20))?;
//! let lines = ssc.constant_stream(vec!["the tide comes".to_owned(), "the tide goes".to_owned()])?;
//! let counts = lines
//!     .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
//!     .map(|word| (word, 1u64))
//!     .reduce_by_key(|a, b| a + b);
//! counts.print()?;
//! ssc.start()?;
//! ssc.await_termination_or_timeout(Duration::from_millis(100))?;
//! ssc.stop(Stop::Gracefully)?;
//! # Ok(()) }
//! ```
//!
//! Names are those of Spark Streaming's guide, in snake case; where behaviour differs, the item says so.

mod broadcast;
mod conf;
mod context;
mod describe;
mod dstream;
mod input;
mod output;
mod pair;
mod rdd;
mod signals;
mod state;
mod static_pairs;
pub mod testkit;
mod windowed;

pub use broadcast::Broadcast;
pub use conf::{Conf, Master};
pub use context::StreamingContext;
pub use describe::{DESCRIBE_ENV, JobDescription};
pub use dstream::{DStream, InputDStream};
pub use input::QueueInput;
pub use output::Outcome;
pub use rdd::Rdd;
pub use state::{MapWithStateDStream, StateDStream, StateSpec};

pub use tidegate_core as core;
pub use tidegate_core::{
    Batch, BatchId, BatchTime, Error, ErrorKind, OutputId, PartitionId, Result, StreamId,
};
pub use tidegate_dataflow::ops::State;
pub use tidegate_dataflow::ops::StaticPairs;
pub use tidegate_dataflow::{Data, Difference, ExchangeData, Partitioner, StateDescription, Upgrade};
pub use tidegate_engine::{
    BatchInfo, CheckpointInfo, Clock, ManualClock, StageTimes, Stop, StreamingListener, SystemClock,
};
