//! The benchmarks' entry: `cargo xtask bench ...`.

use crate::TaskResult;

/// Runs the benchmarks that `arguments` name.
pub(crate) fn run(_arguments: &[&str]) -> TaskResult {
    Err("there are no benchmarks yet".into())
}
