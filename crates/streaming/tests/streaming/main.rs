//! Whole jobs on timely, in memory, on a clock moved by hand.

#![allow(clippy::unwrap_used)] // what is not there fails the test

mod chance_and_batches;
mod copies;
mod decoding;
mod failures;
mod graphs;
mod guarantees;
mod operators;
mod output_contract;
mod rdd_failures;
mod rdds;
mod receiver_events;
mod refusals;
mod restarts;
mod save_as_files;
mod small_inputs;
mod sockets;
mod state_restarts;
mod states;
mod windows;
