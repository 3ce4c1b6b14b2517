//! Breaks one guarantee on purpose, to see that the tests notice. Compiled only with the feature `sabotage`.

/// Whether writers forget what their output holds already.
pub(crate) fn dedup_skipped() -> bool {
    std::env::var("TIDEGATE_SABOTAGE").is_ok_and(|what| what == "skip_dedup")
}
