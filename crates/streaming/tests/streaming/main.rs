//! Whole jobs on timely, in memory, on a clock moved by hand.

#![allow(clippy::unwrap_used)] // what is not there fails the test

mod copies;
mod failures;
mod graphs;
mod operators;
mod rdds;
mod refusals;
mod restarts;
mod states;
mod windows;
