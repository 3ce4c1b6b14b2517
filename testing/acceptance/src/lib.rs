//! What the black-box tests share: the word count as a process, the servers it talks to, and the truth it is measured by.
//!
//! A test sees what an operator sees: the exit of a process, its output, the rows of a table, the files of a checkpoint.
//! It is compared with what follows from the lines alone ([`truth`]). What must not be here: anything that runs a job inside
//! the test's own process.

pub mod broker;
pub mod database;
pub mod kills;
pub mod patience;
pub mod program;
pub mod sinks;
pub mod sources;
pub mod story;
pub mod truth;
pub mod windows;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
