//! What a topic can do while a job reads it: grow, hold transactions, have gaps; and what others see of the job in Kafka.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use rustix::process::Signal;
use tempfile::TempDir;
use tidegate_acceptance::broker::{Writer, committed, empty_topic, grow, new_name, records, topic_of_lines};
use tidegate_acceptance::database::{Database, Kind};
use tidegate_acceptance::patience::wait_for;
use tidegate_acceptance::program::Job;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};
use tidegate_acceptance::truth::{Totals, compare, totals_of};
use tidegate_servers::Kafka;

/// A job over a topic of single records.
struct Small {
    _directory: TempDir,
    database: Database,
    job: Job,
}

impl Small {
    fn new(brokers: &str, topic: &str) -> Small {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::new(Kind::Sqlite, directory.path(), "");
        let job = Job::new(brokers, topic)
            .with("--out", database.out())
            .checkpoint(&directory.path().join("checkpoint"));
        Small { database, job, _directory: directory }
    }

    fn totals(&self) -> Totals {
        self.database.read().totals
    }

    /// Crashes after a batch of a few records, then goes on to the end.
    fn crash_and_finish(&self) {
        let crashing = self.job.clone().rate(100).until_caught_up().env("TIDEGATE_CRASH_AT", "committed:1");
        let ended = crashing.run();
        assert!(ended.was_killed(), "{ended:?}");
        self.job.clone().until_caught_up().run().succeeded().unwrap();
    }
}

fn lines(what: &str, count: u32) -> Vec<String> {
    (0..count).map(|n| format!("{what} {what}{n}")).collect()
}

#[test]
fn partitions_that_are_new_while_the_job_runs_are_read_from_their_beginning() {
    let brokers = shared().kafka;
    let topic = empty_topic(&brokers, "grows", 1, &[]);
    let (old, new) = (lines("old", 20), lines("new", 30));
    Writer::new(&brokers).write(&topic, 0, &old);
    let small = Small::new(&brokers, &topic);
    let mut run = small.job.start();
    run.wait_until("the old records", || compare(&small.totals(), &totals_of(&old)).ok());
    grow(&brokers, &topic, 3);
    let writer = wait_for("the new partitions", || {
        (tidegate_servers::load::end_offsets(&brokers, &topic).ok()?.len() == 3)
            .then(|| Writer::new(&brokers))
    });
    writer.write(&topic, 2, &new[..20]);
    writer.write(&topic, 1, &new[20..]);
    let all = totals_of(old.iter().chain(&new));
    run.wait_until("the new records", || compare(&small.totals(), &all).ok());
    run.signal(Signal::TERM);
    run.wait().succeeded().unwrap();
    small.job.clone().until_caught_up().run().succeeded().unwrap();
    compare(&small.totals(), &all).unwrap();
}

#[test]
fn aborted_transactions_are_not_counted_and_an_open_one_is_waited_for() {
    let brokers = shared().kafka;
    let topic = empty_topic(&brokers, "transactions", 1, &[]);
    let (first, aborted, second, open, after) = (
        lines("first", 20),
        lines("aborted", 20),
        lines("second", 20),
        lines("open", 20),
        lines("after", 20),
    );
    let writer = Writer::transactional(&brokers);
    for (records, commit) in [(&first, true), (&aborted, false), (&second, true)] {
        writer.begin();
        writer.write(&topic, 0, records);
        if commit { writer.commit() } else { writer.abort() }
    }
    writer.begin();
    writer.write(&topic, 0, &open);
    Writer::new(&brokers).write(&topic, 0, &after);
    let small = Small::new(&brokers, &topic);
    small.crash_and_finish();
    compare(&small.totals(), &totals_of(first.iter().chain(&second))).unwrap();
    writer.commit();
    small.crash_and_finish();
    compare(&small.totals(), &totals_of(first.iter().chain(&second).chain(&open).chain(&after))).unwrap();
}

#[test]
fn gaps_that_compaction_made_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let kafka = Kafka::options()
        .heap_mib(256)
        .property("log.cleaner.backoff.ms", "100")
        .start(directory.path())
        .unwrap();
    let brokers = kafka.bootstrap();
    let settings =
        [("cleanup.policy", "compact"), ("segment.ms", "100"), ("min.cleanable.dirty.ratio", "0.001")];
    let topic = empty_topic(&brokers, "compacted", 1, &settings);
    let writer = Writer::new(&brokers);
    let texts = lines("state", 400);
    for chunk in texts.chunks(40) {
        writer.write_keyed(
            &topic,
            chunk.iter().enumerate().map(|(n, text)| (["a", "b", "c"][n % 3], text.as_str())),
        );
    }
    // The newest segment is left as it is: a last record brings one, and the others down to a record a key.
    wait_for("compaction", || {
        writer.write_keyed(&topic, [("last", "last")]);
        let left = records(&brokers, &topic);
        let states = left.iter().filter(|text| text.starts_with("state")).count();
        (states == 3).then_some(())
    });
    let small = Small::new(&brokers, &topic);
    small.crash_and_finish();
    let mut found = small.totals();
    // How many of these are left depends on when the cleaner came by last.
    found.remove("last");
    compare(&found, &totals_of(&texts[397..])).unwrap();
}

#[test]
fn offsets_in_kafka_are_never_ahead_of_the_database() {
    let brokers = shared().kafka;
    let topic =
        Topic { name: topic_of_lines(&brokers, "lag", 20_000), brokers: brokers.clone(), lines: 20_000 };
    let mut story = Story::new(&topic, Kind::Sqlite, Memory::Checkpoint, "");
    let group = new_name("lag");
    for round in 1..=3 {
        let mut run = story.job.clone().rate(2_000).kafka("group.id", &group).start();
        let before = committed(&brokers, &group, &topic.name, 4).values().sum::<u64>();
        run.wait_until("offsets in Kafka", || {
            (committed(&brokers, &group, &topic.name, 4).values().sum::<u64>() > before).then_some(())
        });
        assert!(run.kill().was_killed());
        let told = committed(&brokers, &group, &topic.name, 4);
        let found = story.check().unwrap();
        assert!(found.records() < topic.lines, "round {round}: nothing was left to interrupt");
        for (partition, offset) in told {
            let held = found.positions()[&partition];
            assert!(
                offset <= held,
                "round {round}: partition {partition}: {offset} in Kafka, {held} in the database"
            );
        }
    }
    story.finish().unwrap();
}
