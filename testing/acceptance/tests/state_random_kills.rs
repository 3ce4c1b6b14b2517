//! A job with state and windows killed 40 times at random moments: totals after each kill, and windows at the end, are those
//! of a job that was never killed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::kills::kills;
use tidegate_acceptance::program::{State, Store};
use tidegate_acceptance::story::{Memory, Story, Topic, shared};

const LINES: u64 = 60_000;

#[test]
fn forty_kills_of_a_job_with_state_and_windows() {
    let servers = shared();
    let name = topic_of_lines(&servers.kafka, "state-random-kills", LINES);
    let topic = Topic { name, brokers: servers.kafka, lines: LINES };
    let story = Story::new(&topic, Kind::Sqlite, Memory::Checkpoint, &servers.postgres);
    let mut story = story.with_state(State::Map, Store::Memory);
    story.kill_at_random("state", kills());
}
