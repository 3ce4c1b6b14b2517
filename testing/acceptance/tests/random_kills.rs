//! A job killed 200 times at random moments over a million lines counts each line once; what the database holds after each
//! kill is the truth for the offsets beside it.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};

const LINES: u64 = 1_000_000;
/// Kills of both tests together, unless `TIDEGATE_KILLS` says otherwise.
const KILLS: u64 = 200;
/// About what a run that is let live for a moment gets done.
const BATCHES_A_RUN: u64 = 12;
/// Batches a second.
const BATCHES_A_SECOND: u64 = 20;

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "random-kills", LINES), brokers, lines: LINES }
});

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

fn kill_at_random(kind: Kind) {
    let kills = number("TIDEGATE_KILLS").unwrap_or(KILLS) / 2;
    let seed = number("TIDEGATE_SEED").unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
            ^ u64::from(std::process::id())
    });
    println!("{kind:?}: {kills} kills; the same ones again with TIDEGATE_SEED={seed}");
    let mut chance = Chance(seed);
    let mut story = Story::new(&TOPIC, kind, Memory::Checkpoint, &shared().postgres);
    let (mut records, mut advanced) = (0, 0);
    for kill in 0..kills {
        // The topic is made to last: what is left is spread over the runs that are left.
        let batches = (kills - kill + 1) * BATCHES_A_RUN;
        let rate = (LINES - records) * BATCHES_A_SECOND / 4 / batches;
        let mut run =
            story.job.clone().rate(u32::try_from(rate).unwrap().max(BATCHES_A_SECOND as u32)).start();
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
        assert!(found.records() < LINES, "kill {kill}, seed {seed}: nothing was left to interrupt");
        advanced += u64::from(found.records() > records);
        records = found.records();
    }
    assert!(advanced >= kills / 3, "only {advanced} of {kills} runs came to a commit, seed {seed}");
    println!("{kind:?}: {advanced} of {kills} killed runs had committed something, {records} records in all");
    story.finish().unwrap_or_else(|text| panic!("seed {seed}: {text}"));
}

#[test]
fn a_hundred_kills_with_sqlite() {
    kill_at_random(Kind::Sqlite);
}

#[test]
fn a_hundred_kills_with_postgres() {
    kill_at_random(Kind::Postgres);
}
