//! A full disk loses nothing: with room again the job goes on, and each line is counted once.
//!
//! The disk is a bound on the size of the job's files, which needs no file system of its own.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::LazyLock;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};

const LINES: u64 = 20_000;

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "full-disk", LINES), brokers, lines: LINES }
});

#[test]
fn a_journal_without_room_ends_the_job_and_the_next_start_goes_on() {
    let mut story = Story::new(&TOPIC, Kind::Postgres, Memory::Checkpoint, &shared().postgres);
    // What it prints goes to a file, too: only what matters.
    let full = story.job.clone().rate(8_000).until_caught_up().env("RUST_LOG", "error").file_blocks_max(8);
    for _ in 0..2 {
        let ended = full.run();
        let refusal = ended.refusal();
        let expected = format!("{}/journal/", story.checkpoint().display());
        assert!(refusal.contains(&expected), "{refusal}");
        assert!(
            refusal.contains("can't be written, nothing after the last durable record counts"),
            "{refusal}"
        );
        assert!(refusal.contains("File too large"), "{refusal}");
        let found = story.check().unwrap();
        assert!(found.newest() > 0 && found.records() < LINES, "{:?}", found.held);
    }
    story.finish().unwrap();
}

#[test]
fn a_database_without_room_is_waited_for() {
    let mut story = Story::new(&TOPIC, Kind::Sqlite, Memory::Checkpoint, "");
    let full = story.job.clone().rate(8_000).until_caught_up().file_blocks_max(256);
    let mut run = full.start();
    run.wait_for_output("the planned batches will be run again");
    run.assert_running();
    assert!(story.check().unwrap().records() < LINES);
    run.make_room();
    run.wait().succeeded().unwrap();
    story.finished().unwrap();
}
