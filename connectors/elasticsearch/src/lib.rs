//! An output to an index of Elasticsearch: a batch that is run again writes the same documents under the same names and changes
//! nothing, and what an index would refuse is found before anything of the batch is seen.
//!
//! ```no_run
//! use serde_json::json;
//! use tidegate::DStream;
//! use tidegate_elasticsearch::{Document, ElasticsearchOutput, SaveToElasticsearch};
//!
//! # fn job(counts: DStream<(String, i64)>) -> tidegate::Result<()> {
//! counts
//!     .map(|(word, count)| Document::new(&word, json!({ "word": word, "count": count })))
//!     .save_to_elasticsearch(ElasticsearchOutput::new("http://localhost:9200", "words")?)?;
//! # Ok(()) }
//! ```
//!
//! # Rules
//!
//! - A document has an id that the job gives it, and as its external version the time of its batch in milliseconds. The index
//!   takes a document only if its version is higher than the one that is there: a batch that is run again is refused document by
//!   document as already there, and can't take the place of what a later batch wrote.
//! - Before anything of a batch is seen, its documents are indexed into a *staging index* with the mapping of the real one, but for those of
//!   which the mapping itself says that they are taken. What is refused fails the batch, or goes to an index of dead letters.
//! - One job at a time writes an index, and nobody else writes its documents with versions of their own.
//!
//! What must not be here: anything of the engine or the dataflow, and any secret in an error or a log.

mod address;
mod bulk;
mod client;
mod document;
mod failure;
mod index;
mod letters;
mod mapping;
mod options;
mod output;
mod rights;
mod save;
mod staging;
mod writer;

pub use document::Document;
pub use options::{Refresh, Refused};
pub use output::ElasticsearchOutput;
pub use save::SaveToElasticsearch;
