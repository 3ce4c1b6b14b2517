//! A job killed over and over at random moments.

use crate::program::Run;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
struct Chance(u64);

impl Chance {
    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// A job that is killed over and over.
pub trait Killed {
    /// Starts it once more, to be killed. `left` kills are to come, this one among them.
    fn start(&mut self, left: u64) -> Run;

    /// How much it has committed, by anything that only grows. Asked while it runs too.
    fn committed(&self) -> u64;

    /// What must hold after each kill.
    ///
    /// # Errors
    /// It does not.
    fn check(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Kills `job` so many times at random moments: some while it starts or recovers, the others among the batches after its first commit.
/// The moments follow from `TIDEGATE_SEED`, which is printed and given back.
///
/// # Panics
/// When it ends by itself, a check fails, or the kills hit nothing: with the seed.
pub fn kill_at_random(what: &str, job: &mut impl Killed, kills: u64) -> u64 {
    let seed = seed();
    println!("{what}: {kills} kills; the same ones again with TIDEGATE_SEED={seed}");
    let (mut chance, mut advanced, mut before) = (Chance(seed), 0, job.committed());
    for kill in 0..kills {
        let mut run = job.start(kills - kill);
        if chance.below(4) != 0 {
            run.wait_for_output("\" started: ");
            run.wait_until("a commit", || (job.committed() > before).then_some(()));
        }
        if let Some(status) = run.ended_within(Duration::from_millis(chance.below(300))) {
            panic!("kill {kill}, seed {seed}: the job ended by itself, {status}:\n{}", run.output());
        }
        let ended = run.kill();
        assert!(ended.was_killed(), "kill {kill}, seed {seed}: {ended:?}");
        job.check().unwrap_or_else(|text| panic!("kill {kill}, seed {seed}: {text}"));
        let now = job.committed();
        advanced += u64::from(now > before);
        before = now;
    }
    println!("{what}: {advanced} of {kills} killed runs had committed something");
    assert!(advanced >= kills / 2, "only {advanced} of {kills} runs came to a commit, seed {seed}");
    seed
}

/// What chance begins with: `TIDEGATE_SEED`, or another each time.
fn seed() -> u64 {
    number("TIDEGATE_SEED").unwrap_or_else(new_seed)
}

fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    // Which bits are cut off does not matter.
    now.as_nanos() as u64 ^ u64::from(std::process::id())
}
