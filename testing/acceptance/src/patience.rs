//! The one place where a test waits: for something that can be observed, with a deadline that is far off.

use std::time::{Duration, Instant};

/// Far longer than anything here takes, on a busy machine too: reaching it is a failure, never a way to pass.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often is looked. Looking costs a system call or a query.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Looks until there is something to see, for at most `limit`.
pub fn look_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// As [`look_for`] with [`PATIENCE`].
///
/// # Panics
/// When it does not come, naming `what`.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_for(PATIENCE, look).unwrap_or_else(|| panic!("not seen within {PATIENCE:?}: {what}"))
}
