//! The checks of the crash tests go red when a guarantee is broken on purpose, in each kind of output, and are green for the same
//! program otherwise.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use rustix::process::Signal;
use std::sync::LazyLock;
use std::time::Duration;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::patience::wait_for;
use tidegate_acceptance::program::{Build, State, Store};
use tidegate_acceptance::sinks::Sink;
use tidegate_acceptance::story::{
    Memory, Story, Topic, crash_and_recover, crash_and_run_the_same_batch, shared,
};
use tidegate_acceptance::truth::totals_of_all;

const LINES: u64 = 20_000;

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "sabotage", LINES), brokers, lines: LINES }
});

type Check = fn(&mut Story, &str) -> Result<(), String>;

/// What the check says of the sabotaged program; the same check must say nothing of it when it is left alone.
fn noticed(kind: Kind, sabotage: &str, check: Check, at: &str) -> String {
    let story = || Story::new(&TOPIC, kind, Memory::Checkpoint, &shared().postgres);
    noticed_of(&story, sabotage, check, at)
}

fn noticed_of(story: &dyn Fn() -> Story, sabotage: &str, check: Check, at: &str) -> String {
    check(&mut story().build(Build::Sabotaged, None), at).unwrap();
    told(story, sabotage, check, at)
}

/// What the check says of the sabotaged program.
fn told(story: &dyn Fn() -> Story, sabotage: &str, check: Check, at: &str) -> String {
    let mut story = story().build(Build::Sabotaged, Some(sabotage));
    let outcome = check(&mut story, at);
    outcome.expect_err(&format!("{sabotage} was not noticed at {at} in {:?}", story.job))
}

/// Each of these outputs, and no other, must be one whose words differ.
fn differ(text: &str, outputs: &[&str]) {
    let differ: Vec<&str> = text.lines().filter(|line| line.contains("words differ")).collect();
    assert_eq!(differ.len(), outputs.len(), "{text}");
    for output in outputs {
        assert!(differ.iter().any(|line| line.contains(&format!("{output}:"))), "{output}: {text}");
    }
}

#[test]
fn an_output_that_forgets_what_it_holds_counts_a_batch_twice() {
    for (kind, at) in [
        (Kind::Sqlite, "committed:3"),
        (Kind::Postgres, "committed:3"),
        (Kind::Postgres, "one-writer-committed:3"),
    ] {
        let text = noticed(kind, "skip_dedup", crash_and_recover, at);
        assert!(text.contains("words differ"), "{text}");
    }
}

/// A job with outputs of counts, and a database that only `skip_dedup` breaks.
fn counts(sinks: impl Fn(&Story) -> Vec<Sink>) -> Story {
    let story = Story::new(&TOPIC, Kind::Sqlite, Memory::Checkpoint, "");
    let sinks = sinks(&story);
    story.with_sinks(sinks)
}

#[test]
fn files_that_go_by_the_clock_hold_a_batch_twice() {
    let story = || {
        counts(|story| {
            let directory = story.directory();
            vec![Sink::parquet(directory), Sink::text(directory), Sink::sequence(directory)]
        })
    };
    let text = noticed_of(&story, "by_clock", crash_and_recover, "committed:3");
    differ(&text, &["parquet", "text", "sequence"]);
}

/// Kafka adds what it is given. A file takes the place of the one that was written of the batch before.
#[test]
fn a_batch_that_is_written_again_is_in_kafka_twice_and_in_files_once() {
    let story = || counts(|story| vec![Sink::kafka(&TOPIC.brokers), Sink::parquet(story.directory())]);
    let check: Check = |story, at| {
        story.crash(at)?;
        // The database is broken too.
        let _ = story.finish();
        story.check_sinks(&totals_of_all(LINES))
    };
    let text = noticed_of(&story, "skip_dedup", check, "committed:3");
    differ(&text, &["kafka"]);
}

/// A batch that comes after a newer one changes nothing, as long as it comes under its own time.
#[test]
fn totals_in_elasticsearch_and_hbase_under_other_keys_or_under_the_time_of_the_clock_are_wrong() {
    let story = || {
        let story = Story::new(&TOPIC, Kind::Sqlite, Memory::Checkpoint, "").with_totals();
        story.with_sinks([Sink::elasticsearch(), Sink::hbase()])
    };
    let at = "committed:3";
    crash_and_recover(&mut story().build(Build::Sabotaged, Some("late_batch")), at).unwrap();
    for sabotage in ["key_by_run", "late_by_clock"] {
        let text = told(&story, sabotage, crash_and_recover, at);
        differ(&text, &["elasticsearch", "hbase"]);
    }
}

#[test]
fn a_batch_that_begins_one_record_early_counts_that_record_twice() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let text = noticed(kind, "off_by_one", crash_and_recover, "committed:3");
        assert!(text.contains("words differ"), "{text}");
    }
}

/// The totals alone do not show it: the database has the plan of each batch that it holds. What the journal adds is that a
/// batch is decided before it is seen anywhere.
#[test]
fn a_plan_that_is_journaled_late_is_another_one_when_the_batch_is_run_again() {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let text = noticed(kind, "journal_late", crash_and_run_the_same_batch, "prepared:3");
        assert!(text.contains("records, planned were"), "{text}");
    }
}

/// How long a batch is kept from being committed: a sabotaged job has published its checkpoint long before.
const HELD_UP: Duration = Duration::from_secs(3);

/// Killed at `at`, or in the middle of a commit that a lock holds up, a job goes on with the batch that it was about.
fn crash_before_a_commit(story: &mut Story, at: &str) -> Result<(), String> {
    let mut run = story.job.clone().rate(2_000).start();
    run.wait_until("a commit", || (story.database.read().newest() > 2).then_some(()));
    run.signal(Signal::TERM);
    run.wait().succeeded()?; // with a checkpoint of its last batch: the next one is of a batch that can't be committed
    let mut session = story.database.client();
    let mut lock = session.transaction().unwrap();
    lock.batch_execute("LOCK TABLE word_counts IN EXCLUSIVE MODE").unwrap();
    let mut run = story.job.clone().rate(2_000).env("TIDEGATE_CRASH_AT", at).start();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let mut looking = story.database.client();
    wait_for("a commit that waits, or the crash", || {
        let waits = looking.query_one(waiting, &[]).unwrap().get::<_, i64>(0) > 0;
        (waits || run.ended_within(Duration::ZERO).is_some()).then_some(())
    });
    if run.ended_within(HELD_UP).is_none() {
        run.kill();
    }
    lock.rollback().unwrap();
    story.check()?;
    story.finish().map(drop)
}

#[test]
fn a_checkpoint_that_is_published_before_its_commit_skips_a_batch() {
    let server = shared().postgres;
    let story = || {
        Story::new(&TOPIC, Kind::Postgres, Memory::Checkpoint, &server).with_state(State::Map, Store::Memory)
    };
    let text = noticed_of(&story, "checkpoint_early", crash_before_a_commit, "manifest-published");
    assert!(text.contains("should hold every batch up to"), "{text}");
}
