//! Outputs of files: the contract of outputs, killed at every call to the store, whole jobs, what is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod contract;
mod crashes;
mod driven;
mod fencing;
mod folders;
mod job;
