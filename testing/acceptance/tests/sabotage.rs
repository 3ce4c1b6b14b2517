//! The checks of the crash tests go red when a guarantee is broken on purpose, and are green for the same program otherwise.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::sync::LazyLock;
use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::program::Build;
use tidegate_acceptance::story::{
    Memory, Story, Topic, crash_and_recover, crash_and_run_the_same_batch, shared,
};

const LINES: u64 = 20_000;

static TOPIC: LazyLock<Topic> = LazyLock::new(|| {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "sabotage", LINES), brokers, lines: LINES }
});

type Check = fn(&mut Story, &str) -> Result<(), String>;

/// What the check says of the sabotaged program; the same check must say nothing of it when it is left alone.
fn noticed(kind: Kind, sabotage: &str, check: Check, at: &str) -> String {
    let story = || Story::new(&TOPIC, kind, Memory::Checkpoint, &shared().postgres);
    check(&mut story().build(Build::Sabotaged, None), at).unwrap();
    let outcome = check(&mut story().build(Build::Sabotaged, Some(sabotage)), at);
    outcome.expect_err(&format!("{sabotage} was not noticed with {kind:?} at {at}"))
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
