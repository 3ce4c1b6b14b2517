//! The named points of a batch's life at which a test, or a user's own check, can have the process killed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every crash point, in the order in which a batch meets them.
pub const CRASH_POINTS: &[&str] = &[
    "before-journal",
    "journal-unsynced",
    "journal-synced",
    "reading",
    "processed",
    "prepared",
    "one-writer-committed",
    "committed",
    "journal-committed",
    "sources-told",
];

struct Armed {
    point: String,
    left: AtomicU64,
}

/// Kills this process with SIGKILL when `TIDEGATE_CRASH_AT` names this point: `committed`, or `committed:3` for the third
/// time it is met. Costs a load otherwise.
pub fn crash_point(name: &'static str) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    debug_assert!(CRASH_POINTS.contains(&name), "{name} is listed");
    let Some(armed) = ARMED.get_or_init(armed) else { return };
    if armed.point == name && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        // Nothing may run after this: no destructor, no flush. That is what is tested.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

fn armed() -> Option<Armed> {
    let at = std::env::var("TIDEGATE_CRASH_AT").ok()?;
    let (point, times) = at.split_once(':').unwrap_or((&at, "1"));
    if !CRASH_POINTS.contains(&point) {
        // Going on would make a check pass that checked nothing.
        panic!("TIDEGATE_CRASH_AT={at}: no such crash point; there are {}", CRASH_POINTS.join(", "));
    }
    Some(Armed { point: point.to_owned(), left: AtomicU64::new(times.parse().unwrap_or(1)) })
}
