//! `cargo xtask lint`: what the compiler's own tools can say, with warnings as errors.

use crate::cargo::Cargo;
use crate::{Outcome, TaskResult};

/// Runs all three even when one finds something: a person wants the whole list.
pub(crate) fn run() -> TaskResult {
    let steps = [
        Cargo::new("fmt --all -- --check"),
        Cargo::new("clippy --workspace --all-targets -- -D warnings"),
        Cargo::new("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"),
    ];
    steps.iter().try_fold(Outcome::Passed, |outcome, step| Ok(outcome.and(step.run()?)))
}
