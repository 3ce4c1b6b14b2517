//! The HTTP receiver over real loopback connections.

#![allow(clippy::unwrap_used)] // what is not there fails the test

mod client;
mod conformance;
mod failures;
mod statuses;
mod storing;
mod tls;
