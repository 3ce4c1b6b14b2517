//! Breaks a guarantee on purpose, to see that the tests notice. Compiled only with the feature `sabotage`.

use std::sync::Arc;
use tidegate_core::BatchPlan;

fn asked(what: &str) -> bool {
    std::env::var("TIDEGATE_SABOTAGE").is_ok_and(|asked| asked == what)
}

/// Whether the plan is journaled after the outputs committed instead of before.
pub(crate) fn journal_late() -> bool {
    asked("journal_late")
}

/// Whether a checkpoint is published before its batch is in every output.
pub(crate) fn checkpoint_early() -> bool {
    asked("checkpoint_early")
}

/// The plan as it is run: each range that takes anything begins one position early, when asked.
pub(crate) fn off_by_one(plan: &Arc<BatchPlan>) -> Arc<BatchPlan> {
    if !asked("off_by_one") {
        return plan.clone();
    }
    let mut plan = BatchPlan::clone(plan);
    let ranges = plan.sources.iter_mut().flat_map(|source| &mut source.ranges);
    for range in ranges.filter(|range| !range.is_empty() && range.from > 0) {
        range.from -= 1;
    }
    Arc::new(plan)
}
