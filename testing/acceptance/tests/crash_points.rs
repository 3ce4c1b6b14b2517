//! A job killed at each named point of a batch's life counts each line once, whatever it keeps and wherever it writes.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::LazyLock;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::story::{
    Memory, Story, Topic, crash_and_recover, crash_and_run_the_same_batch, shared,
};
use tidegate_core::CRASH_POINTS;

const LINES: u64 = 20_000;

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "crash-points", LINES), brokers, lines: LINES }
});

fn story(kind: Kind, memory: Memory) -> Story {
    Story::new(&TOPIC, kind, memory, &shared().postgres)
}

fn every_point(kind: Kind, memory: Memory) {
    for point in CRASH_POINTS {
        let at = format!("{point}:3");
        crash_and_recover(&mut story(kind, memory), &at).unwrap_or_else(|text| panic!("{at}: {text}"));
    }
}

#[test]
fn every_crash_point_with_sqlite_and_a_checkpoint() {
    every_point(Kind::Sqlite, Memory::Checkpoint);
}

#[test]
fn every_crash_point_with_sqlite_alone() {
    every_point(Kind::Sqlite, Memory::DatabaseAlone);
}

#[test]
fn every_crash_point_with_postgres_and_a_checkpoint() {
    every_point(Kind::Postgres, Memory::Checkpoint);
}

#[test]
fn every_crash_point_with_postgres_alone() {
    every_point(Kind::Postgres, Memory::DatabaseAlone);
}

/// The second crash comes while the first is repaired: in most cases in the very batch that is run again.
#[test]
fn a_crash_at_the_same_point_again_and_one_in_the_recovery() {
    for (kind, memory, first, second) in [
        (Kind::Sqlite, Memory::Checkpoint, "committed:3", "committed:1"),
        (Kind::Sqlite, Memory::DatabaseAlone, "journal-committed:3", "prepared:1"),
        (Kind::Postgres, Memory::Checkpoint, "one-writer-committed:3", "one-writer-committed:1"),
        (Kind::Postgres, Memory::DatabaseAlone, "one-writer-committed:3", "reading:1"),
        (Kind::Postgres, Memory::Checkpoint, "prepared:3", "processed:1"),
        (Kind::Sqlite, Memory::Checkpoint, "journal-unsynced:3", "before-journal:1"),
    ] {
        let mut story = story(kind, memory);
        let mut run = || -> Result<(), String> {
            story.crash(first)?;
            story.crash(second)?;
            story.crash(second)?;
            story.finish().map(drop)
        };
        run().unwrap_or_else(|text| panic!("{kind:?}, {memory:?}, {first}, then {second} twice: {text}"));
    }
}

#[test]
fn a_planned_batch_takes_the_same_ranges_again_whatever_the_job_may_take_by_then() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        for at in ["journal-synced:3", "processed:3", "prepared:3"] {
            crash_and_run_the_same_batch(&mut story(kind, Memory::Checkpoint), at)
                .unwrap_or_else(|text| panic!("{kind:?}, {at}: {text}"));
        }
    }
}
