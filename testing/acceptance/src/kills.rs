//! A job killed over and over at random moments.

use crate::story::Story;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// About what a run that is let live for a moment gets done.
const BATCHES_A_RUN: u64 = 12;
/// Batches a second.
const BATCHES_A_SECOND: u64 = 20;

/// Kills of a test in a run of all of them. A guarantee is looked at closer with more: `TIDEGATE_KILLS=200 cargo xtask test kills`.
const KILLS: u64 = 40;

/// How often a test kills its job: `TIDEGATE_KILLS`, or 40 times.
///
/// # Panics
/// When that is no number.
pub fn kills() -> u64 {
    number("TIDEGATE_KILLS").unwrap_or(KILLS)
}

/// The number in an environment variable.
///
/// # Panics
/// When it is none.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// splitmix64.
pub struct Chance(u64);

impl Chance {
    /// The numbers that follow from `seed`.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Kills the job of `story` so many times at random moments while it counts `lines`, checks after each kill, and lets it end.
/// The moments follow from `TIDEGATE_SEED`, which is printed.
///
/// # Panics
/// When a check fails, or the kills hit nothing: with the seed.
pub fn kill_at_random(what: &str, story: &mut Story, lines: u64, kills: u64) {
    let seed = seed();
    println!("{what}: {kills} kills; the same ones again with TIDEGATE_SEED={seed}");
    let mut chance = Chance(seed);
    let (mut records, mut advanced) = (0, 0);
    for kill in 0..kills {
        // The topic is made to last: what is left is spread over the runs that are left.
        let batches = (kills - kill + 1) * BATCHES_A_RUN;
        let rate = ((lines - records) * BATCHES_A_SECOND / 4 / batches).max(BATCHES_A_SECOND);
        let mut run = story.job.clone().rate(u32::try_from(rate).expect("a small rate")).start();
        // Some die while they start or recover, the others among their batches.
        let delay = if chance.below(6) == 0 {
            chance.below(150)
        } else {
            run.wait_for_output("\" started: ");
            100 + chance.below(900)
        };
        if let Some(status) = run.ended_within(Duration::from_millis(delay)) {
            panic!("kill {kill}, seed {seed}: the job ended by itself, {status}:\n{}", run.output());
        }
        let ended = run.kill();
        assert!(ended.was_killed(), "kill {kill}, seed {seed}: {ended:?}");
        let found = story.check().unwrap_or_else(|text| panic!("kill {kill}, seed {seed}: {text}"));
        assert!(found.records() < lines, "kill {kill}, seed {seed}: nothing was left to interrupt");
        advanced += u64::from(found.records() > records);
        records = found.records();
    }
    assert!(advanced >= kills / 3, "only {advanced} of {kills} runs came to a commit, seed {seed}");
    println!("{what}: {advanced} of {kills} killed runs had committed something, {records} records in all");
    story.finish().unwrap_or_else(|text| panic!("seed {seed}: {text}"));
}

/// What chance begins with: `TIDEGATE_SEED`, or another each time.
pub fn seed() -> u64 {
    number("TIDEGATE_SEED").unwrap_or_else(new_seed)
}

fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    // Which bits are cut off does not matter.
    now.as_nanos() as u64 ^ u64::from(std::process::id())
}
