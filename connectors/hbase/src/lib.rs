//! An output to a table of HBase, through its Thrift gateway: a batch that is run again writes the same cells under the same
//! timestamps and changes nothing.
//!
//! ```no_run
//! use tidegate::DStream;
//! use tidegate_hbase::{HBaseOutput, Mutation, SaveToHBase};
//!
//! # fn job(counts: DStream<(String, i64)>) -> tidegate::Result<()> {
//! counts
//!     .map(|(word, count)| Mutation::put(word).cell("f", "count", count.to_string()))
//!     .save_to_hbase(HBaseOutput::new("localhost:9090", "words")?)?;
//! # Ok(()) }
//! ```
//!
//! # Rules
//!
//! - Every cell has the time of its batch in milliseconds as its timestamp. A batch that is run again writes each cell over itself; an
//!   older batch never takes the place of a newer one, since readers see the newest timestamp.
//! - Before anything of a batch is seen, its prepare makes sure that the table is there, enabled and can be written, that it has the
//!   families, and that no key or cell is too large.
//! - One job at a time writes a table's cells, and nobody else writes them with timestamps of their own.
//!
//! What must not be here: anything of the engine or the dataflow.

mod failure;
mod gateway;
mod mutation;
mod output;
mod protocol;
mod save;
mod writer;

pub use mutation::Mutation;
pub use output::HBaseOutput;
pub use save::SaveToHBase;
