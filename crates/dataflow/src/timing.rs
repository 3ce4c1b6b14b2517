//! How long a writer's steps take, for the report on a batch. Nothing is decided by it.

use std::time::{Duration, Instant};

/// Does `work` and adds the time it took to `sum`.
pub(crate) fn timed<R>(sum: &mut Duration, work: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let done = work();
    *sum += begun.elapsed();
    done
}
