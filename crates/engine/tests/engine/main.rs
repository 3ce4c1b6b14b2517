//! The engine without timely: a runtime in plain Rust, a clock moved by hand, outputs in memory.

#![allow(clippy::unwrap_used)] // what is not there fails the test

mod crash;
mod driver;
mod fake;
mod full_disk;
mod journal;
mod scripted;
