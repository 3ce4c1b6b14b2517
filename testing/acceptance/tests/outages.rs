//! A broker or a database that goes away in mid-run, in order or by a crash, does not end the job: the same process goes on
//! when it is back, and counts each line once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use tidegate_acceptance::broker::{leaders, topic_led_by_second, topic_of_lines};
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::patience::wait_for;
use tidegate_acceptance::program::Run;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};
use tidegate_servers::{Kafka, Postgres};

fn topic(brokers: &str, lines: u64) -> Topic {
    Topic { name: topic_of_lines(brokers, "outages", lines), brokers: brokers.to_owned(), lines }
}

/// Waits until the job is in the middle of its topic, `more` records further than it is now.
fn in_the_middle(story: &Story, run: &mut Run, more: u64) {
    let wanted = story.database.try_read().map_or(0, |found| found.records()) + more;
    run.wait_until("commits", || story.database.try_read().filter(|found| found.records() >= wanted));
}

#[test]
fn a_broker_that_is_stopped_and_one_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::options().heap_mib(256).start(directory.path()).unwrap();
    let topic = topic(&kafka.bootstrap(), 400_000);
    let mut story = Story::new(&topic, Kind::Sqlite, Memory::Checkpoint, "");
    // What is fetched ahead must not last until the broker is back.
    let job = story.job.clone().kafka("queued.min.messages", "100").kafka("fetch.message.max.bytes", "1000");
    let mut run = job.rate(8_000).until_caught_up().start();
    in_the_middle(&story, &mut run, 4_000);
    kafka.stop().unwrap();
    run.wait_for_output("brokers are down");
    let found = story.check().unwrap();
    kafka.start_again().unwrap();
    assert!(found.records() < topic.lines / 2, "the job did not need the broker any more");
    in_the_middle(&story, &mut run, 4_000);
    kafka.kill();
    assert!(story.check().unwrap().records() < topic.lines, "the job had nothing left to do");
    kafka.start_again().unwrap();
    run.wait().succeeded().unwrap();
    story.finished().unwrap();
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
    let lines = 400_000;
    let name = topic_led_by_second(&brokers, "leader", lines);
    let topic = Topic { name, brokers: brokers.clone(), lines };
    let mut story = Story::new(&topic, Kind::Sqlite, Memory::Checkpoint, "");
    let job = story.job.clone().kafka("queued.min.messages", "100").kafka("fetch.message.max.bytes", "1000");
    let mut run = job.rate(8_000).until_caught_up().start();
    in_the_middle(&story, &mut run, 4_000);
    second.kill();
    wait_for("the other broker to lead", || (leaders(&brokers, &topic.name) == [1]).then_some(()));
    in_the_middle(&story, &mut run, 8_000);
    second.start_again().unwrap();
    wait_for("the lead to be given back", || (leaders(&brokers, &topic.name) == [2]).then_some(()));
    in_the_middle(&story, &mut run, 8_000);
    assert!(story.check().unwrap().records() < topic.lines, "the job had nothing left to do");
    run.wait().succeeded().unwrap();
    story.finished().unwrap();
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
        let topic = topic(&shared().kafka, 40_000);
        let mut story = Story::new(&topic, Kind::Postgres, memory, &postgres.url());
        let mut run = story.job.clone().rate(2_000).until_caught_up().start();
        in_the_middle(&story, &mut run, 4_000);
        postgres.stop().unwrap();
        run.wait_for_output("the planned batches will be run again");
        postgres.start_again().unwrap();
        wait_for("the server to answer", || story.database.try_read());
        in_the_middle(&story, &mut run, 4_000);
        postgres.kill();
        postgres.start_again().unwrap();
        assert!(story.check().unwrap().records() < topic.lines, "the job had nothing left to do");
        run.wait().succeeded().unwrap();
        story.finished().unwrap();
    }
}
