//! Receivers of Kafka with a write-ahead log: whatever is killed, each record is in the database once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tidegate::{Conf, StreamingContext};
use tidegate_acceptance::broker::{Writer, committed, empty_topic};
use tidegate_acceptance::patience::wait_for;
use tidegate_acceptance::story::shared;
use tidegate_kafka::create_streams;
use tidegate_servers::Kafka;
use tidegate_sql::{SaveToSql, Table};

/// Says to a process of this test's executable that it is the job, and of what.
const JOB: &str = "TIDEGATE_TEST_RECEIVER_JOB";
/// The test that is the job where it is told so.
const KILLED: &str = "a_receiver_that_is_killed_anywhere_counts_each_record_once";
const PARTITIONS: i32 = 3;

/// A job that receives a topic by two receivers, as a process that can be killed.
struct Received {
    brokers: String,
    topic: String,
    directory: TempDir,
    written: u32,
    writer: Writer,
}

impl Received {
    fn new(brokers: &str, name: &str) -> Received {
        Received {
            brokers: brokers.to_owned(),
            topic: empty_topic(brokers, name, PARTITIONS, &[]),
            directory: tempfile::tempdir().unwrap(),
            written: 0,
            writer: Writer::new(brokers),
        }
    }

    /// Writes `count` more records, one by one to the partitions in turn.
    fn write(&mut self, count: u32) {
        for number in self.written..self.written + count {
            self.writer.write(&self.topic, (number % 3) as i32, [format!("record {number}")]);
        }
        self.written += count;
    }

    fn job(&self, crash_at: Option<&str>) -> Job {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([KILLED, "--exact", "--nocapture"]).stdin(Stdio::null());
        command.env(JOB, format!("{} {} {}", self.brokers, self.topic, self.directory.path().display()));
        command.env_remove("TIDEGATE_CRASH_AT");
        if let Some(at) = crash_at {
            command.env("TIDEGATE_CRASH_AT", at);
        }
        let output = std::fs::File::create(self.output()).unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output);
        Job { child: command.spawn().unwrap(), output: self.output() }
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("output")
    }

    /// How often each record is in the database; nothing while there is none.
    fn counts(&self) -> BTreeMap<String, i64> {
        let file = self.directory.path().join("received.db");
        let read = || -> rusqlite::Result<BTreeMap<String, i64>> {
            let database = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let mut rows = database.prepare("SELECT text, count(*) FROM received GROUP BY text")?;
            rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        read().unwrap_or_default()
    }

    /// Waits until everything is there, and checks that it is there once.
    fn all_once(&self, job: &mut Job) {
        wait_for("all records", || {
            job.assert_running();
            (self.counts().len() == self.written as usize).then_some(())
        });
        self.none_twice();
    }

    fn none_twice(&self) {
        let twice: Vec<_> = self.counts().into_iter().filter(|(_, count)| *count != 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

struct Job {
    child: Child,
    output: PathBuf,
}

impl Job {
    fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!(
                "the job has ended, {status}; it printed:\n{}",
                std::fs::read_to_string(&self.output).unwrap()
            );
        }
    }

    /// Waits until it was killed at its crash point.
    fn wait_killed(mut self) {
        let status = wait_for("the crash", || self.child.try_wait().unwrap());
        let output = std::fs::read_to_string(&self.output).unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it printed:\n{output}");
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn job(told: &str) {
    let [brokers, topic, directory] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let directory = Path::new(directory);
    let conf = Conf::new()
        .set_master("local[2]")
        .set("tidegate.receiver.write_ahead_log.enable", "true")
        .set("tidegate.receiver.restart_delay_ms", "100");
    let ssc = StreamingContext::new(conf, Duration::from_millis(50)).unwrap();
    ssc.checkpoint(directory.join("checkpoint")).unwrap();
    let params = [
        ("bootstrap.servers", brokers),
        ("group.id", topic),
        ("auto.offset.reset", "earliest"),
        // A member that was killed is put out after this time; until then its partitions are nobody's.
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "500"),
    ];
    let lines = create_streams(&ssc, params, [topic], 2).unwrap();
    let rows = lines.map(|line| (line.text().unwrap().to_owned(), i64::from(line.partition())));
    rows.save_to_sqlite(directory.join("received.db"), Table::insert("received", ["text", "partition"]))
        .unwrap();
    ssc.start().unwrap();
    ssc.await_termination().unwrap();
}

#[test]
fn a_receiver_that_is_killed_anywhere_counts_each_record_once() {
    if let Ok(told) = std::env::var(JOB) {
        return job(&told);
    }
    let mut received = Received::new(&shared().kafka, "killed");
    // Between them each block's life, and that of the batch it is in.
    let points = [
        "block-received:2",
        "block-written:2",
        "block-durable:3",
        "block-acknowledged:2",
        "journal-synced:4",
        "prepared:3",
        "committed:3",
        "sources-told:5",
    ];
    for at in points {
        let job = received.job(Some(at));
        // More than one block, so that there is a second and a third.
        for _ in 0..40 {
            received.write(3);
        }
        job.wait_killed();
        received.none_twice();
    }
    let mut job = received.job(None);
    received.write(30);
    received.all_once(&mut job);
    let group = received.topic.clone();
    wait_for("the group's offsets", || {
        let told = committed(&received.brokers, &group, &received.topic, PARTITIONS);
        (told.values().sum::<u64>() == u64::from(received.written)).then_some(())
    });
}

#[test]
fn a_broker_that_is_stopped_and_one_that_is_killed_are_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut kafka = Kafka::options().heap_mib(256).start(directory.path()).unwrap();
    let mut received = Received::new(&kafka.bootstrap(), "bounced");
    received.write(100);
    let mut job = received.job(None);
    received.all_once(&mut job);
    kafka.stop().unwrap();
    job.assert_running();
    kafka.start_again().unwrap();
    received.write(100);
    received.all_once(&mut job);
    kafka.kill();
    job.assert_running();
    kafka.start_again().unwrap();
    received.write(100);
    received.all_once(&mut job);
}
