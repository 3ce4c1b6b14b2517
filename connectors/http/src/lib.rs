//! A receiver that takes records by HTTP: `POST` of lines, NDJSON or CSV.
//!
//! [`create_http_stream`] is where a job begins. A request is answered once its records are stored: with a write-ahead log they
//! are durable then. A client that numbers its requests, or gives each a key, may repeat what was not answered: it is there once.
//!
//! - `options`: what is listened on, and the bounds;
//! - `receiver`: the receiver, and the thread with its runtime;
//! - `server`: connections, their bounds, TLS, the end;
//! - `request`: from a request to an answer, each status in one place;
//! - `records`: from a body to records, or the line that is wrong;
//! - `answer`: what is sent back.
//!
//! What must not be here: storing records before all of a request is seen to be good, and an answer before they are stored.

mod answer;
mod options;
mod receiver;
mod records;
mod request;
mod server;
mod stream;
mod tls;
mod told;

pub use options::HttpOptions;
pub use stream::{HttpStream, create_http_stream};
