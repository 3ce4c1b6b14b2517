//! A job with state and windows, killed at each named point of a batch's and a checkpoint's life, finds what a job finds that
//! was never killed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::LazyLock;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::program::{State, Store};
use tidegate_acceptance::story::{Memory, Story, Topic, crash_and_recover, shared};
use tidegate_core::{CRASH_POINTS, STATE_CRASH_POINTS};

const LINES: u64 = 6_000;

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "state-crash-points", LINES), brokers, lines: LINES }
});

/// Both ways to keep state and to hold it; what lies between them is the same for all jobs.
fn story(kind: Kind) -> Story {
    let (state, store) = match kind {
        Kind::Sqlite => (State::Update, Store::Memory),
        Kind::Postgres => (State::Map, Store::Disk),
    };
    Story::new(&TOPIC, kind, Memory::Checkpoint, &shared().postgres).with_state(state, store)
}

/// `restored` is met once, by a job that had a checkpoint.
fn crash_at(kind: Kind, point: &str) -> Result<(), String> {
    let mut story = story(kind);
    if point == "restored" {
        story.crash("manifest-published:2")?;
        return crash_and_recover(&mut story, point);
    }
    // Of checkpoints there are fewer than of batches.
    let times = if STATE_CRASH_POINTS.contains(&point) { 2 } else { 6 };
    crash_and_recover(&mut story, &format!("{point}:{times}"))
}

fn every_point(kind: Kind) {
    for point in CRASH_POINTS.iter().chain(STATE_CRASH_POINTS) {
        crash_at(kind, point).unwrap_or_else(|text| panic!("{point}: {text}"));
    }
}

#[test]
fn every_crash_point_with_update_state_in_memory_and_sqlite() {
    every_point(Kind::Sqlite);
}

#[test]
fn every_crash_point_with_map_with_state_on_disk_and_postgres() {
    every_point(Kind::Postgres);
}

/// The second crash comes while the first is repaired: among the batches that are run for state alone, or in a checkpoint.
#[test]
fn two_crashes_in_a_row_and_one_in_the_recovery() {
    for (kind, first, second) in [
        (Kind::Sqlite, "committed:6", "restored"),
        (Kind::Sqlite, "manifest-published:2", "processed"),
        (Kind::Sqlite, "snapshot-taken:2", "snapshot-taken"),
        (Kind::Postgres, "one-writer-committed:6", "restored"),
        (Kind::Postgres, "checkpoint-retired:2", "manifest-published"),
        (Kind::Postgres, "prepared:6", "reading"),
    ] {
        let mut story = story(kind);
        let mut run = || -> Result<(), String> {
            story.crash(first)?;
            story.crash(second)?;
            story.crash(second)?;
            story.finish().map(drop)
        };
        run().unwrap_or_else(|text| panic!("{kind:?}, {first}, then {second} twice: {text}"));
    }
}
