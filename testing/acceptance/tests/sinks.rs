//! A job with several outputs, killed at each named point of a batch's life and at random, is in each of them once: a client that
//! knows nothing of Tidegate finds the truth in what it sums.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::LazyLock;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::kills::kills;
use tidegate_acceptance::sinks::Sink;
use tidegate_acceptance::story::{Memory, Story, Topic, crash_and_recover, shared};
use tidegate_core::CRASH_POINTS;

/// Lines of a job that is killed once.
const FEW: u64 = 20_000;
/// Lines of a job that is killed over and over.
const MANY: u64 = 400_000;

fn topic(lines: u64) -> Topic {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "sinks", lines), brokers, lines }
}

static TOPIC: LazyLock<Topic> = LazyLock::new(|| topic(FEW));

/// Outputs of the counts of each batch.
fn counts(topic: &Topic) -> Story {
    let story = Story::new(topic, Kind::Sqlite, Memory::Checkpoint, "");
    let directory = story.directory().to_owned();
    story.with_sinks([
        Sink::kafka(&topic.brokers),
        Sink::parquet(&directory),
        Sink::text(&directory),
        Sink::sequence(&directory),
    ])
}

/// Outputs of totals, by word.
fn totals(topic: &Topic) -> Story {
    let story = Story::new(topic, Kind::Postgres, Memory::Checkpoint, &shared().postgres);
    story.with_totals().with_sinks([Sink::elasticsearch(), Sink::hbase()])
}

fn every_point(story: fn(&Topic) -> Story) {
    for point in CRASH_POINTS {
        let at = format!("{point}:3");
        crash_and_recover(&mut story(&TOPIC), &at).unwrap_or_else(|text| panic!("{at}: {text}"));
    }
}

#[test]
fn every_crash_point_with_outputs_of_counts() {
    every_point(counts);
}

#[test]
fn every_crash_point_with_outputs_of_totals() {
    every_point(totals);
}

fn kill(what: &str, story: fn(&Topic) -> Story) {
    story(&topic(MANY)).kill_at_random(what, kills());
}

#[test]
fn random_kills_with_outputs_of_counts() {
    kill("counts", counts);
}

#[test]
fn random_kills_with_outputs_of_totals() {
    kill("totals", totals);
}
