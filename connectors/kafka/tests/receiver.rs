//! Streams by receivers against librdkafka's own cluster in this process: no server needed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use rdkafka::mocking::MockCluster;
use support::receiving::Group;
use support::{Writer, numbers};
use tidegate::Stop;

#[test]
fn each_record_is_in_the_stream_once_over_runs_with_a_log() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("lines", 3, 1).unwrap();
    let at = mock.bootstrap_servers();
    let log = tempfile::tempdir().unwrap();
    let group = Group::new(&at, "lines", Some(log.path()));
    let writer = Writer::open(&at);
    for (run, lines) in [0..100, 100..130, 130..131].into_iter().enumerate() {
        writer.write("lines", run as i32, numbers(lines.clone()));
        let run = group.start();
        assert_eq!(run.next(lines.len()), numbers(lines));
        assert_eq!(run.stop(Stop::Gracefully), [] as [String; 0]);
    }
    assert_eq!(group.committed(3), [100, 30, 1]);
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("lines", 1, 1).unwrap();
    let at = mock.bootstrap_servers();
    let log = tempfile::tempdir().unwrap();
    let writer = Writer::open(&at);
    writer.write("lines", 0, numbers(0..10));
    mock.broker_down(1).unwrap();
    let run = Group::new(&at, "lines", Some(log.path())).start();
    mock.broker_up(1).unwrap();
    assert_eq!(run.next(10), numbers(0..10), "it was away at the start");
    mock.broker_down(1).unwrap();
    mock.broker_up(1).unwrap();
    writer.write("lines", 0, numbers(10..20));
    assert_eq!(run.next(10), numbers(10..20), "and for a while");
    mock.broker_down(1).unwrap();
    assert_eq!(run.stop(Stop::Gracefully), [] as [String; 0], "and when the job stops");
}

#[test]
fn a_rate_limit_cuts_what_came_with_one_fetch() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("lines", 1, 1).unwrap();
    let at = mock.bootstrap_servers();
    Writer::open(&at).write("lines", 0, numbers(0..1000));
    for log in [None, Some(tempfile::tempdir().unwrap())] {
        let mut group = Group::new(&at, "lines", log.as_ref().map(tempfile::TempDir::path));
        group.name = if log.is_some() { "logged" } else { "unlogged" };
        // One is admitted at the start, the next after half a minute.
        group.conf.push(("tidegate.receiver.max_rate", "0.03"));
        let run = group.start();
        assert_eq!(run.next(1), numbers(0..1));
        assert_eq!(run.stop(Stop::Now), [] as [String; 0]);
        assert_eq!(group.committed(1), [1], "the group is told of what is stored");
    }
}
