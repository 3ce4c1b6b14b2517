//! The engine without timely: a runtime in plain Rust, a clock moved by hand, outputs in memory.

#![allow(clippy::unwrap_used)] // what is not there fails the test

mod careful;
mod checkpoints;
mod crash;
mod driver;
mod fake;
mod fake_runtime;
mod fake_storage;
mod full_disk;
mod inputs;
mod journal;
mod journal_objects;
mod scripted;
mod state_crash;
