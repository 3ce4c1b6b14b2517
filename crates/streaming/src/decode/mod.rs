//! From bytes to records: decoders, and what becomes of a record that can't be decoded.
//!
//! What must not be here: a format that needs a heavy library or an outer system. Those are crates of their own, which
//! implement [`Decoder`].

mod csv;
mod dead_letter;
mod decoder;
mod json;
mod operators;
mod payload;

pub use csv::CsvDecoder;
pub use dead_letter::DeadLetter;
pub use decoder::{DecodeError, Decoder};
pub use json::JsonDecoder;
pub use operators::BadRecords;
pub use payload::{Origin, Payload};
