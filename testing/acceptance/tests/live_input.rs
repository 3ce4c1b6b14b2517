//! Lines that come while the job runs are counted once, in small batches that meet the end of the topic again and again, however
//! often the job is killed meanwhile.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::time::Duration;
use tidegate_acceptance::broker::empty_topic;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};
use tidegate_servers::load::produce_paced;

const LINES_A_SECOND: u32 = 2_000;
const SECONDS: u64 = 8;
/// Lines that each run commits before it is killed.
const LINES_A_RUN: u64 = 1_500;

fn count_what_comes(kind: Kind) {
    let brokers = shared().kafka;
    let lines = u64::from(LINES_A_SECOND) * SECONDS;
    let topic = Topic { name: empty_topic(&brokers, "live-input", 4, &[]), brokers, lines };
    let producer = {
        let (brokers, name) = (topic.brokers.clone(), topic.name.clone());
        std::thread::spawn(move || {
            produce_paced(&brokers, &name, LINES_A_SECOND, Duration::from_secs(SECONDS)).unwrap()
        })
    };
    let mut story = Story::new(&topic, kind, Memory::Checkpoint, &shared().postgres);
    let (mut kills, mut counted) = (0, 0);
    while counted + LINES_A_RUN < lines {
        let mut run = story.job.clone().start();
        let database = &story.database;
        run.wait_until("more lines are counted", || {
            database.try_read().filter(|found| found.records() >= counted + LINES_A_RUN)
        });
        assert!(run.kill().was_killed());
        counted = story.check().unwrap().records();
        kills += 1;
    }
    assert!(kills > 2, "only {kills} kills");
    assert_eq!(producer.join().unwrap(), lines);
    story.finish().unwrap();
}

#[test]
fn lines_that_come_meanwhile_are_counted_once_in_sqlite() {
    count_what_comes(Kind::Sqlite);
}

#[test]
fn lines_that_come_meanwhile_are_counted_once_in_postgres() {
    count_what_comes(Kind::Postgres);
}
