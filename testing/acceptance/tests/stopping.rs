//! A signal lets the job finish what is planned, a second one ends it at once, and a checkpoint directory has one job at a time.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use postgres::Client;
use rustix::process::Signal;
use std::sync::LazyLock;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::program::Run;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};

const LINES: u64 = 20_000;
const RATE: u32 = 2_000;
const AGAIN: &str = "planned batches again";

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "stopping", LINES), brokers, lines: LINES }
});

/// A story and its first run, somewhere in the topic.
fn in_mid_run(kind: Kind) -> (Story, Run) {
    let story = Story::new(&TOPIC, kind, Memory::Checkpoint, &shared().postgres);
    let mut run = story.job.clone().rate(RATE).start();
    run.wait_until("a commit", || (story.database.read().newest() > 2).then_some(()));
    (story, run)
}

/// Keeps the job's writers waiting until the session is dropped.
fn hold_up(story: &Story, run: &mut Run) -> Client {
    let mut session = story.database.client();
    session.batch_execute("BEGIN; LOCK TABLE word_counts IN ACCESS EXCLUSIVE MODE").unwrap();
    let mut other = story.database.client();
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE \
                   datname = current_database())";
    run.wait_until("a writer that waits", || {
        (other.query_one(waiting, &[]).unwrap().get::<_, i64>(0) > 0).then_some(())
    });
    session
}

#[test]
fn after_a_signal_all_that_was_planned_is_committed_and_nothing_is_run_again() {
    for (kind, signal) in [(Kind::Sqlite, Signal::TERM), (Kind::Postgres, Signal::INT)] {
        let (mut story, run) = in_mid_run(kind);
        run.signal(signal);
        let ended = run.wait();
        ended.succeeded().unwrap();
        let found = story.check().unwrap();
        assert!(found.records() < LINES, "there was nothing left to stop");
        let output = story.finish().unwrap();
        assert!(!output.contains(AGAIN), "{output}");
    }
    // After a crash the same words are there.
    let mut story = Story::new(&TOPIC, Kind::Sqlite, Memory::Checkpoint, "");
    story.crash("prepared:3").unwrap();
    let output = story.finish().unwrap();
    assert!(output.contains(AGAIN), "{output}");
}

#[test]
fn a_signal_waits_for_the_batch_that_is_being_written() {
    let (mut story, mut run) = in_mid_run(Kind::Postgres);
    let held = hold_up(&story, &mut run);
    run.signal(Signal::TERM);
    run.wait_for_output("finishing what is planned; send it again to end at once");
    run.assert_running();
    drop(held);
    run.wait().succeeded().unwrap();
    story.check().unwrap();
    let output = story.finish().unwrap();
    assert!(!output.contains(AGAIN), "{output}");
}

#[test]
fn a_second_signal_ends_the_job_at_once() {
    let (mut story, mut run) = in_mid_run(Kind::Postgres);
    let held = hold_up(&story, &mut run);
    run.signal(Signal::TERM);
    run.wait_for_output("finishing what is planned");
    run.assert_running();
    run.signal(Signal::TERM);
    let ended = run.wait();
    assert_eq!(ended.signal(), Some(Signal::TERM.as_raw()), "{ended:?}");
    drop(held);
    story.check().unwrap();
    let output = story.finish().unwrap();
    assert!(output.contains(AGAIN), "{output}");
}

#[test]
fn a_second_job_on_the_same_checkpoint_is_told_who_has_it() {
    let (mut story, mut run) = in_mid_run(Kind::Sqlite);
    let second = story.job.run();
    let expected = format!("{} is in use by process {} (word_count)", story.checkpoint().display(), run.id());
    assert!(second.refusal().contains(&expected), "{}", second.refusal());
    run.assert_running();
    run.signal(Signal::TERM);
    run.wait().succeeded().unwrap();
    story.check().unwrap();
}
