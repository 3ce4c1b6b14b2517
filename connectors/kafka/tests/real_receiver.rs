//! Streams by receivers against a real broker: groups that are shared out anew, offsets that are lost, topics that change.
//!
//! They run by name alone (`test = false`); the broker's address is in `TIDEGATE_TEST_KAFKA`.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::sync::{Arc, Mutex};
use support::broker::Broker;
use support::receiving::Group;
use support::{PATIENCE, Writer, numbers};
use tidegate::{ErrorKind, Stop};

const NOTHING: [String; 0] = [];

#[test]
fn each_record_is_in_the_stream_once_over_runs_with_a_log() {
    let kafka = Broker::open();
    let topic = kafka.topic("received", 3);
    let log = tempfile::tempdir().unwrap();
    let writer = Writer::open(&kafka.at);
    for auto_commit in ["false", "true"] {
        let mut group = Group::new(&kafka.at, &topic, Some(log.path()));
        group.settings.push(("enable.auto.commit", auto_commit));
        let first = if auto_commit == "true" { 1000 } else { 0 };
        for (place, lines) in
            [first..first + 100, first + 100..first + 130, first + 130..first + 131].into_iter().enumerate()
        {
            writer.write(&topic, place as i32, numbers(lines.clone()));
            let run = group.start();
            assert_eq!(run.next(lines.len()), numbers(lines));
            assert_eq!(run.stop(Stop::Gracefully), NOTHING);
        }
    }
    assert_eq!(Group::new(&kafka.at, &topic, None).committed(3), [200, 60, 2]);
}

#[test]
fn a_commit_that_was_lost_doubles_nothing_with_a_log() {
    let kafka = Broker::open();
    let topic = kafka.topic("behind", 1);
    let log = tempfile::tempdir().unwrap();
    let group = Group::new(&kafka.at, &topic, Some(log.path()));
    let writer = Writer::open(&kafka.at);
    writer.write(&topic, 0, numbers(0..100));
    let run = group.start();
    assert_eq!(run.next(100), numbers(0..100));
    run.stop(Stop::Gracefully);
    group.set_committed(7);
    writer.write(&topic, 0, numbers(100..120));
    let run = group.start();
    assert_eq!(run.next(20), numbers(100..120));
    assert_eq!(run.stop(Stop::Gracefully), NOTHING);
    assert_eq!(group.committed(1), [120]);
}

#[test]
fn a_group_that_is_ahead_of_the_log_is_believed() {
    let kafka = Broker::open();
    let topic = kafka.topic("ahead", 1);
    let log = tempfile::tempdir().unwrap();
    let group = Group::new(&kafka.at, &topic, Some(log.path()));
    let writer = Writer::open(&kafka.at);
    writer.write(&topic, 0, numbers(0..100));
    group.set_committed(60);
    let run = group.start();
    assert_eq!(run.next(40), numbers(60..100));
    run.stop(Stop::Gracefully);
}

#[test]
fn a_group_that_is_shared_out_anew_loses_and_doubles_nothing() {
    let kafka = Broker::open();
    for (name, strategy) in [("eager", "range"), ("cooperative", "cooperative-sticky")] {
        let topic = kafka.topic(name, 4);
        let log = tempfile::tempdir().unwrap();
        let mut group = Group::new(&kafka.at, &topic, Some(log.path()));
        group.receivers = 2;
        group.settings.push(("partition.assignment.strategy", strategy));
        let writer = Writer::open(&kafka.at);
        let write = |lines: std::ops::Range<u32>| {
            lines.for_each(|n| writer.send(&topic, n as i32 % 4, &numbers(n..n + 1)[0], None));
            writer.write(&topic, 0, [] as [&str; 0]);
        };
        write(0..100);
        // The second receiver joins when the first one reads already, or with it.
        let run = group.start();
        write(100..200);
        assert_eq!(run.next(200), numbers(0..200));
        // A member that is no receiver takes partitions and gives them back unread.
        if strategy == "range" {
            group.disturb(|| write(200..300));
        }
        write(300..400);
        let more = if strategy == "range" { 200..400 } else { 300..400 };
        assert_eq!(run.next(more.len()), numbers(more));
        assert_eq!(run.stop(Stop::Gracefully), NOTHING);
    }
}

#[test]
fn without_a_log_the_group_is_told_before_a_record_is_in_a_batch() {
    let kafka = Broker::open();
    let topic = kafka.topic("unlogged", 1);
    let group = Group::new(&kafka.at, &topic, None);
    let writer = Writer::open(&kafka.at);
    writer.write(&topic, 0, numbers(0..1));
    let (at, name) = (kafka.at.clone(), topic.clone());
    let committed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&committed);
    let run =
        group.start_with(move |_| seen.lock().unwrap().extend(Group::new(&at, &name, None).committed(1)));
    assert_eq!(run.next(1), numbers(0..1));
    assert_eq!(*committed.lock().unwrap(), [1]);
    // What the process had in memory when it ended would be lost; what was in a batch does not come again.
    run.stop(Stop::Now);
    writer.write(&topic, 0, numbers(1..21));
    let run = group.start();
    assert_eq!(run.next(20), numbers(1..21));
    assert_eq!(run.stop(Stop::Gracefully), NOTHING);
}

#[test]
fn latest_is_where_the_group_was_when_it_first_came() {
    let kafka = Broker::open();
    let topic = kafka.topic("latest", 1);
    let log = tempfile::tempdir().unwrap();
    let mut group = Group::new(&kafka.at, &topic, Some(log.path()));
    group.settings.clear();
    let writer = Writer::open(&kafka.at);
    writer.write(&topic, 0, numbers(0..10));
    let run = group.start();
    let started = std::time::Instant::now();
    while group.committed(1) != [10] {
        assert!(started.elapsed() < PATIENCE, "the group is not told where it began");
    }
    run.stop(Stop::Gracefully);
    writer.write(&topic, 0, numbers(10..20));
    let run = group.start();
    assert_eq!(
        run.next(10),
        numbers(10..20),
        "what came in while the job was stopped, though nothing was read before"
    );
    run.stop(Stop::Gracefully);
}

#[test]
fn a_topic_that_is_made_later_is_read() {
    let kafka = Broker::open();
    let topic = kafka.topic("later", 1);
    kafka.delete(&topic);
    let log = tempfile::tempdir().unwrap();
    let run = Group::new(&kafka.at, &topic, Some(log.path())).start();
    kafka.create(&topic, 1);
    Writer::with(&kafka.at, &[("topic.metadata.refresh.interval.ms", "100")]).write(&topic, 0, numbers(0..5));
    assert_eq!(run.next(5), numbers(0..5));
    run.stop(Stop::Gracefully);
}

#[test]
fn records_that_were_removed_before_they_were_received_end_the_job() {
    let kafka = Broker::open();
    let topic = kafka.topic("removed", 1);
    let log = tempfile::tempdir().unwrap();
    let group = Group::new(&kafka.at, &topic, Some(log.path()));
    let writer = Writer::open(&kafka.at);
    writer.write(&topic, 0, numbers(0..10));
    let run = group.start();
    run.next(10);
    run.stop(Stop::Gracefully);
    writer.write(&topic, 0, numbers(10..30));
    kafka.remove_before(&topic, 0, 25);
    let run = group.start();
    let error = run.ssc.await_termination().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLost, "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("{topic}-0: 15 records are lost: offsets 10 to 25")), "{text}");
    assert!(text.contains("set the offsets of group"), "{text}");
    // The way out that it names.
    group.set_committed(25);
    let run = group.start();
    assert_eq!(run.next(5), numbers(25..30));
    run.stop(Stop::Gracefully);
}

#[test]
fn a_topic_that_was_made_again_is_told_by_its_id_though_it_has_more_records_than_were_read() {
    let kafka = Broker::open();
    let topic = kafka.topic("again", 1);
    let log = tempfile::tempdir().unwrap();
    let mut group = Group::new(&kafka.at, &topic, Some(log.path()));
    let writer = Writer::open(&kafka.at);
    writer.write(&topic, 0, numbers(0..10));
    let run = group.start();
    assert_eq!(run.next(10), numbers(0..10));
    run.stop(Stop::Gracefully);
    // The same topic goes on.
    writer.write(&topic, 0, numbers(10..20));
    let run = group.start();
    assert_eq!(run.next(10), numbers(10..20));
    run.stop(Stop::Gracefully);
    kafka.delete(&topic);
    kafka.create(&topic, 1);
    Writer::with(&kafka.at, &[("topic.metadata.refresh.interval.ms", "100")]).write(
        &topic,
        0,
        numbers(100..150),
    );
    let run = group.start();
    let error = run.ssc.await_termination().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLost, "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("{topic}-0: the topic was deleted and made again")), "{text}");
    assert!(text.contains("up to offset 20"), "{text}");
    // The way out that it names.
    let (other, log) = (format!("{topic}-anew"), tempfile::tempdir().unwrap());
    (group.name, group.log) = (&other, Some(log.path()));
    let run = group.start();
    assert_eq!(run.next(50), numbers(100..150));
    assert_eq!(run.stop(Stop::Gracefully), NOTHING);
}
