//! `cargo xtask lint`: what the compiler's own tools can say, with warnings as errors.

use crate::cargo::Cargo;
use crate::test::{EVERYTHING, REAL};
use crate::{Outcome, TaskResult};

/// Optimised, though nothing of it runs: what the tests need of it is then there already, above all what build scripts compile in C.
///
/// Runs all even when one finds something: a person wants the whole list.
pub(crate) fn run() -> TaskResult {
    let steps = [
        Cargo::new("fmt --all -- --check"),
        Cargo::new(&format!("clippy {EVERYTHING} --all-targets -- -D warnings")),
        Cargo::new(&format!("clippy {EVERYTHING} {REAL} -- -D warnings")),
        Cargo::new(&format!("doc {EVERYTHING} --no-deps")).env("RUSTDOCFLAGS", "-D warnings"),
    ];
    steps.iter().try_fold(Outcome::Passed, |outcome, step| Ok(outcome.and(step.run()?)))
}
