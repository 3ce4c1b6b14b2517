//! Breaks a guarantee on purpose, to see that the tests notice. Compiled only with the feature `sabotage`.

fn asked(what: &str) -> bool {
    std::env::var("TIDEGATE_SABOTAGE").is_ok_and(|asked| asked == what)
}

/// Whether storing returns before the block is durable; the writer then keeps the newest block back.
pub(crate) fn store_early() -> bool {
    asked("store_early")
}

/// Whether nothing is known of what an origin sent before.
pub(crate) fn forget_origins() -> bool {
    asked("forget_origins")
}
