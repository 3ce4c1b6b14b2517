//! A job killed over and over at random moments in a million lines counts each line once; what the database holds after each
//! kill is the truth for the offsets beside it.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::LazyLock;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::kills::kills;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};

const LINES: u64 = 1_000_000;

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "random-kills", LINES), brokers, lines: LINES }
});

fn kill(kind: Kind) {
    let mut story = Story::new(&TOPIC, kind, Memory::Checkpoint, &shared().postgres);
    story.kill_at_random(&format!("{kind:?}"), kills());
}

#[test]
fn random_kills_with_sqlite() {
    kill(Kind::Sqlite);
}

#[test]
fn random_kills_with_postgres() {
    kill(Kind::Postgres);
}
