//! A broker or a database that goes away in mid-run, in order or by a crash, does not end the job: the same process goes on
//! when it is back, and counts each line once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use rustix::process::Signal;
use tidegate_acceptance::broker::{leaders, topic_led_by_second, topic_of_lines};
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::patience::wait_for;
use tidegate_acceptance::program::Run;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};
use tidegate_servers::{Kafka, Postgres};

/// Lines that are in a topic before its job starts.
const LINES: u64 = 100_000;
/// Lines that come before each look at whether the job goes on.
const MORE: u64 = 4_000;
/// Records a second of each partition.
const RATE: u32 = 2_000;

fn topic(brokers: &str, lines: u64) -> Topic {
    Topic { name: topic_of_lines(brokers, "outages", lines), brokers: brokers.to_owned(), lines }
}

/// A run at a rate, which has what the topic holds before it for a while, and has no end of its own.
fn in_mid_run(story: &mut Story) -> Run {
    // What is fetched ahead must not last until a broker is back.
    let job = story.job.clone().kafka("queued.min.messages", "100").kafka("fetch.message.max.bytes", "1000");
    let mut run = job.rate(RATE).start();
    counts_more(story, &mut run);
    run
}

/// Writes more lines, and waits until the job has counted so many more than it had before: it is at work, be it at those or at
/// older ones.
fn counts_more(story: &mut Story, run: &mut Run) {
    let wanted = story.database.try_read().map_or(0, |found| found.records()) + MORE;
    story.write_more(MORE);
    run.wait_until("commits", || story.database.try_read().filter(|found| found.records() >= wanted));
}

/// The process that went through it all ends in order, and what it left is counted by the next.
fn ends_well(mut story: Story, run: Run) {
    story.check().unwrap();
    run.signal(Signal::TERM);
    run.wait().succeeded().unwrap();
    story.finish().unwrap();
}

#[test]
fn a_broker_that_is_stopped_and_one_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::options().heap_mib(256).start(directory.path()).unwrap();
    let topic = topic(&kafka.bootstrap(), LINES);
    let mut story = Story::new(&topic, Kind::Sqlite, Memory::Checkpoint, "");
    let mut run = in_mid_run(&mut story);
    kafka.stop().unwrap();
    run.wait_for_output("brokers are down");
    story.check().unwrap();
    kafka.start_again().unwrap();
    counts_more(&mut story, &mut run);
    kafka.kill();
    kafka.start_again().unwrap();
    counts_more(&mut story, &mut run);
    ends_well(story, run);
}

/// Both brokers have every record. The one that leads dies, the other takes over, and gives the lead back when
/// the first is there again.
#[test]
fn a_leader_that_moves_to_another_broker_and_back() {
    let directory = tempfile::tempdir().unwrap();
    let first = Kafka::options().heap_mib(256).property("leader.imbalance.check.interval.seconds", "1");
    let first = first.start(&directory.path().join("first")).unwrap();
    let mut second = first.another(2).heap_mib(256).start(&directory.path().join("second")).unwrap();
    let brokers = format!("{},{}", first.bootstrap(), second.bootstrap());
    let name = topic_led_by_second(&brokers, "leader", LINES);
    let topic = Topic { name, brokers: brokers.clone(), lines: LINES };
    let mut story = Story::new(&topic, Kind::Sqlite, Memory::Checkpoint, "");
    let mut run = in_mid_run(&mut story);
    second.kill();
    wait_for("the other broker to lead", || (leaders(&brokers, &topic.name) == [1]).then_some(()));
    counts_more(&mut story, &mut run);
    second.start_again().unwrap();
    wait_for("the lead to be given back", || (leaders(&brokers, &topic.name) == [2]).then_some(()));
    counts_more(&mut story, &mut run);
    ends_well(story, run);
}

#[test]
fn a_broker_that_is_bounced_between_the_plan_of_a_batch_and_its_reading() {
    let directory = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::options().heap_mib(256).start(directory.path()).unwrap();
    let topic = topic(&kafka.bootstrap(), 20_000);
    for (memory, at) in [(Memory::Checkpoint, "journal-synced:3"), (Memory::DatabaseAlone, "prepared:3")] {
        let mut story = Story::new(&topic, Kind::Sqlite, memory, "");
        story.crash(at).unwrap();
        // What the plan names must be there again after a crash of the broker too.
        kafka.kill();
        kafka.start_again().unwrap();
        story.finish().unwrap();
    }
}

#[test]
fn a_database_that_is_stopped_and_one_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut postgres = Postgres::start(directory.path()).unwrap();
    for memory in [Memory::Checkpoint, Memory::DatabaseAlone] {
        let topic = topic(&shared().kafka, LINES);
        let mut story = Story::new(&topic, Kind::Postgres, memory, &postgres.url());
        let mut run = in_mid_run(&mut story);
        postgres.stop().unwrap();
        run.wait_for_output("the planned batches will be run again");
        postgres.start_again().unwrap();
        wait_for("the server to answer", || story.database.try_read());
        counts_more(&mut story, &mut run);
        postgres.kill();
        postgres.start_again().unwrap();
        wait_for("the server to answer", || story.database.try_read());
        counts_more(&mut story, &mut run);
        ends_well(story, run);
    }
}
