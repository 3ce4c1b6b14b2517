//! The named points of a batch's life at which a test, or a user's own check, can have the process killed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The crash points of every job, in the order in which a batch meets them.
pub const CRASH_POINTS: &[&str] = &[
    "before-journal",
    "journal-unsynced",
    "journal-synced",
    "reading",
    "processed",
    "prepared",
    "one-writer-committed",
    "all-writers-committed",
    "committed",
    "journal-committed",
    "sources-told",
];

/// The crash points that only a job with state meets, in order:
///
/// - `snapshot-taken`: the files of a snapshot are written, no manifest names them;
/// - `manifest-published`: the checkpoint is usable, nothing older is deleted yet;
/// - `checkpoint-retired`: what the new checkpoint makes needless is deleted;
/// - `restored`: an epoch has begun from a checkpoint, or by running committed batches again, and no batch is handed out.
pub const STATE_CRASH_POINTS: &[&str] =
    &["snapshot-taken", "manifest-published", "checkpoint-retired", "restored"];

/// The crash points that only a receiver meets, in order:
///
/// - `block-received`: records were handed to the stream, nothing is written;
/// - `block-written`: a block is in the write-ahead log, and not durable;
/// - `block-durable`: it is durable, and whoever stored it does not know yet;
/// - `block-acknowledged`: its origin was told.
pub const RECEIVER_CRASH_POINTS: &[&str] =
    &["block-received", "block-written", "block-durable", "block-acknowledged"];

const ALL: [&[&str]; 3] = [CRASH_POINTS, STATE_CRASH_POINTS, RECEIVER_CRASH_POINTS];

fn is_crash_point(name: &str) -> bool {
    ALL.iter().any(|points| points.contains(&name))
}

struct Armed {
    point: String,
    left: AtomicU64,
}

/// Kills this process with SIGKILL when `TIDEGATE_CRASH_AT` names this point: `committed`, or `committed:3` for the third
/// time it is met. Costs a load otherwise.
pub fn crash_point(name: &'static str) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    debug_assert!(is_crash_point(name), "{name} is listed");
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
    if !is_crash_point(point) {
        // Going on would make a check pass that checked nothing.
        let all = ALL.concat().join(", ");
        panic!("TIDEGATE_CRASH_AT={at}: no such crash point; there are {all}");
    }
    Some(Armed { point: point.to_owned(), left: AtomicU64::new(times.parse().unwrap_or(1)) })
}
