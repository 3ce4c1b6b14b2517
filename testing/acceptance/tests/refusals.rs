//! What can't work ends with exit code 1 and a line that names the thing, the place and the way out; the database stays as it
//! is.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use rustix::process::Signal;
use std::net::TcpListener;
use std::path::Path;
use std::sync::LazyLock;
use tidegate_acceptance::broker::{Writer, empty_topic, remove_before, topic_of_lines};
use tidegate_acceptance::database::{Database, Kind};
use tidegate_acceptance::program::{Ended, Job};
use tidegate_acceptance::story::{Memory, Story, Topic, shared};
use tidegate_acceptance::truth::{compare, totals_of};
use tidegate_servers::lines::{Lines, SEED};
use tidegate_servers::{SASL_PASSWORD, SASL_USER};

const LINES: u64 = 20_000;
const KINDS: [Kind; 2] = [Kind::Sqlite, Kind::Postgres];

static TOPIC: LazyLock<Topic> = LazyLock::new(topic);

fn topic() -> Topic {
    let brokers = shared().kafka;
    Topic { name: topic_of_lines(&brokers, "refusals", LINES), brokers, lines: LINES }
}

fn story(kind: Kind) -> Story {
    Story::new(&TOPIC, kind, Memory::Checkpoint, &shared().postgres)
}

/// A port at which nobody answers.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn assert_says(ended: &Ended, parts: &[&str]) {
    let refusal = ended.refusal();
    for part in parts {
        assert!(refusal.contains(part), "not in it: {part}\n{refusal}");
    }
}

#[test]
fn an_unknown_topic() {
    let brokers = shared().kafka;
    let ended = Job::new(&brokers, "no-such-topic").run();
    let expected = format!("topic no-such-topic does not exist at {brokers}; create it, or correct its name");
    assert_says(&ended, &[&expected]);
}

#[test]
fn a_broker_that_does_not_answer() {
    let brokers = format!("127.0.0.1:{}", closed_port());
    let ended = Job::new(&brokers, "lines").run();
    let expected = format!(
        "Kafka at {brokers} did not answer within 10.0 s; check bootstrap.servers and that the brokers run"
    );
    assert_says(&ended, &[&expected]);
}

#[test]
fn a_wrong_password_which_is_never_printed() {
    let brokers = shared().kafka_sasl;
    let with = |password: &str| {
        let job = Job::new(&brokers, &TOPIC.name).until_caught_up().env("RUST_LOG", "trace");
        let job = job.kafka("security.protocol", "sasl_plaintext").kafka("sasl.mechanism", "PLAIN");
        job.kafka("sasl.username", SASL_USER).kafka("sasl.password", password).run()
    };
    let wrong = with("not-the-password");
    let expected = format!(
        "Kafka at {brokers} refuses this client; check security.protocol and the sasl and ssl settings"
    );
    assert_says(&wrong, &[&expected]);
    assert!(!wrong.output.contains("not-the-password"), "{}", wrong.output);
    let right = with(SASL_PASSWORD);
    right.succeeded().unwrap();
    assert!(!right.output.contains(SASL_PASSWORD), "{}", right.output);
}

#[test]
fn records_that_were_removed_before_they_were_read() {
    let topic = topic();
    let mut story = Story::new(&topic, Kind::Sqlite, Memory::Checkpoint, "");
    let mut run = story.job.clone().rate(2_000).start();
    run.wait_until("a commit", || (story.database.read().newest() > 2).then_some(()));
    run.signal(Signal::TERM);
    run.wait().succeeded().unwrap();
    let before = story.check().unwrap();
    let position = before.positions()[&0];
    remove_before(&topic.brokers, &topic.name, 0, i64::try_from(position + 70).unwrap());
    let lost = format!(
        "{}-0: 70 records are lost: offsets {position} to {} (exclusive) were removed before the job read them",
        topic.name,
        position + 70
    );
    assert_says(&story.job.run(), &[&lost, "fail_on_data_loss(false) to go on at offset"]);
    assert_eq!(story.check().unwrap().held, before.held);
}

#[test]
fn a_line_that_is_no_text() {
    let brokers = shared().kafka;
    let topic = empty_topic(&brokers, "no-text", 1, &[]);
    let lines = Lines::new(SEED);
    let writer = Writer::new(&brokers);
    writer.write(&topic, 0, (0..1_050).map(|i| lines.line(i)));
    writer.write(&topic, 0, [b"ebb \xFF flow"]);
    writer.write(&topic, 0, (1_051..1_200).map(|i| lines.line(i)));
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::new(kind, directory.path(), &shared().postgres);
        // 100 records a batch: the bad one is in the middle of the eleventh.
        let job = Job::new(&brokers, &topic).with("--out", database.out()).rate(2_000);
        for _ in 0..2 {
            let ended = job.run();
            let expected =
                format!("record 1050 of {topic}-0 is not UTF-8: bad byte at position 4 of its value");
            assert_says(&ended, &[&expected]);
            let found = database.read();
            assert_eq!(found.positions()[&0], 1_000);
            compare(&found.totals, &totals_of((0..1_000).map(|i| lines.line(i)))).unwrap();
        }
    }
}

/// The journal's newest file, and where each of its frames begins.
fn frames(checkpoint: &Path) -> (std::path::PathBuf, Vec<u8>, Vec<usize>) {
    let files = std::fs::read_dir(checkpoint.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    let begins = bytes.windows(4).enumerate().filter(|(_, four)| four == b"TGf1").map(|(at, _)| at).collect();
    (newest, bytes, begins)
}

#[test]
fn a_journal_that_is_damaged_in_the_middle() {
    let mut story = story(Kind::Sqlite);
    let before = story.crash("committed:3").unwrap();
    let (file, mut bytes, begins) = frames(&story.checkpoint());
    let broken = begins[begins.len() / 2];
    bytes[broken + 30] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let expected = format!("{}: corrupt at byte {broken}, with whole records after it", file.display());
    assert_says(&story.job.run(), &[&expected, "Restore the file from a copy"]);
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "a refused journal is left as it is");
    assert_eq!(story.check().unwrap().held, before.held);
    // The way out that the message names: a directory of its own, and what the database holds.
    std::fs::rename(story.checkpoint(), story.directory().join("damaged")).unwrap();
    story.finish().unwrap();
}

#[test]
fn the_checkpoint_of_one_job_and_the_database_of_another() {
    for kind in KINDS {
        let (mut one, mut other) = (story(kind), story(kind));
        one.crash("committed:3").unwrap();
        let before = other.crash("committed:3").unwrap();
        let mixed = Job::new(&TOPIC.brokers, &TOPIC.name)
            .with("--out", other.database.out())
            .checkpoint(&one.checkpoint());
        let place = format!("{} is the checkpoint of job", one.checkpoint().display());
        assert_says(
            &mixed.run(),
            &["holds batches of job", &place, "use the checkpoint directory that belongs to"],
        );
        assert_eq!(other.check().unwrap().held, before.held);
        one.finish().unwrap();
        other.finish().unwrap();
    }
}

#[test]
fn a_checkpoint_whose_database_was_emptied() {
    for kind in KINDS {
        let mut story = story(kind);
        story.crash("sources-told:3").unwrap();
        story
            .database
            .execute("DROP TABLE word_counts; DROP TABLE tidegate_batches; DROP TABLE tidegate_outputs");
        let ended = story.job.run();
        assert_says(&ended, &["should hold every batch up to", "but holds none", "emptied or replaced"]);
        assert!(story.database.read().totals.is_empty());
    }
}

#[test]
fn a_table_of_another_shape() {
    for (kind, declared) in [(Kind::Sqlite, "INTEGER"), (Kind::Postgres, "integer")] {
        let story = story(kind);
        story.database.execute("CREATE TABLE word_counts (word INTEGER PRIMARY KEY, total TEXT)");
        let word = format!("column word is {declared}, needed is TEXT");
        let count = "column count is not there (the columns are word, total)";
        assert_says(&story.job.run(), &["table word_counts does not fit its rows", &word, count]);
    }
}

#[test]
fn a_database_that_does_not_answer() {
    let port = closed_port();
    let out = format!("postgres://test:not-the-password@127.0.0.1:{port}/test");
    let ended = Job::new(&TOPIC.brokers, &TOPIC.name).with("--out", out).run();
    assert_says(&ended, &["output \"word_counts\"", &format!("127.0.0.1:{port}"), "can't connect"]);
    assert!(!ended.output.contains("not-the-password"), "{}", ended.output);
}
