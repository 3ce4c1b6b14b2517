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
//! Names are those of Spark Streaming's guide, in snake case; where behaviour differs, the item says so. The repository's
//! `docs/coming-from-spark-streaming.md` has all of them in tables.
//!
//! # The model
//!
//! - **Streams and datasets.** A [`DStream`] has one dataset for each batch; operators describe, [`StreamingContext::start`]
//!   runs. Inside [`DStream::transform`] and [`DStream::foreach_rdd`] a dataset is an [`Rdd`]: the closure runs once and declares
//!   what happens to the dataset of every batch; functions in it are told the [`Batch`].
//! - **Absent or empty.** A batch without records has an empty dataset, whose [`count`](DStream::count) is 0. Between two slides of a
//!   window there is *no* dataset: no function is called, no output writes.
//! - **Windows** ([`DStream::window`] and all that end in `window`) slide by multiples of the batch interval, counted from the job's
//!   first batch. What is in them is state. Batch times at which no run was there are not made up for.
//! - **State and checkpoints.** [`DStream::update_state_by_key`] and [`DStream::map_with_state`] keep a state for each key. It is
//!   in every checkpoint ([`StreamingContext::checkpoint`]), which holds data and no code: the program may change, and finds
//!   a state again by its [`uid`](DStream::uid). A state whose type changed needs [`migrate_from`](StateSpec::migrate_from).
//! - **Exactly once.** A batch's plan, the exact ranges that it takes of each input, is durable before anything of it is seen; after a crash
//!   it is run again. An [`Output`](crate::core::Output) that remembers which batches it holds leaves them out. So functions must give
//!   the same for the same record, and what is random takes [`Batch::seed`]. `print` and `foreach_rdd` remember nothing: they may see
//!   the last batch again.
//! - **Order.** Records of a batch are in the same order each time it is run, on any number of workers ([`DStream`], "Order").
//! - **Failures.** An [`Error`] says what happened, where, and the way out; its [`ErrorKind`] what its reader must do. A function of the job
//!   that fails or panics ends the job with the operator, the batch and, where it can be found, the record. What passes by itself, such
//!   as a database that restarts, is tried again for as long as it takes, and told to [`StreamingListener::on_retry`].
//! - **Testing.** [`testkit`] runs a job on a clock that the test moves, with inputs and outputs in memory.

mod broadcast;
mod conf;
mod context;
mod dataset;
mod decode;
mod describe;
mod dstream;
mod input;
mod output;
mod pair;
mod promise;
mod rdd;
mod remember;
mod settings;
mod signals;
mod state;
mod static_pairs;
pub mod testkit;
mod windowed;

pub use broadcast::Broadcast;
pub use conf::{Conf, Master};
pub use context::StreamingContext;
pub use decode::{BadRecords, CsvDecoder, DeadLetter, DecodeError, Decoder, JsonDecoder, Origin, Payload};
pub use describe::{DESCRIBE_ENV, JobDescription};
pub use dstream::{DStream, InputDStream};
pub use input::{QueueInput, SocketReader};
pub use output::{BatchDirectories, BatchFiles, Outcome, Part, PartFormat, TextFormat, TextRow};
pub use promise::{Link, PathGuarantee, PathPromise};
pub use rdd::Rdd;
pub use state::{MapWithStateDStream, StateDStream, StateSpec};

pub use tidegate_core as core;
pub use tidegate_core::{
    Batch, BatchId, BatchTime, Error, ErrorKind, OutputId, OutputReport, PartitionId, Result, StreamId,
};
pub use tidegate_core::{Guarantee, InputGuarantee};
pub use tidegate_dataflow::ops::{State, StaticPairs};
pub use tidegate_dataflow::{Data, Difference, ExchangeData, Partitioner, StateDescription, Upgrade};
pub use tidegate_engine::{
    BatchInfo, CheckpointInfo, Clock, ManualClock, ReceiverInfo, StageTimes, Stop, StreamingListener,
    SystemClock, checkpoints,
};
pub use tidegate_receivers::{Busy, Gaps, Position, Receiver, ReceiverHandle, Stored};

/// The programs of the page for whoever writes a receiver compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/receivers.md")]
struct ReceiversPage;
