//! A broker that asks for a password and for rights: what is missing is told at the start, with the way to grant it; once it is
//! granted the job goes on, and each batch is there once. Each test has a broker of its own.
//!
//! They run by name alone (`test = false`).
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::fmt::Debug;
use support::output::*;
use support::receiving::Group;
use support::{Job, Writer, earliest, numbers};
use tempfile::TempDir;
use tidegate::Stop;
use tidegate::testkit::outputs::{Epoch, batch, plan};
use tidegate_core::{Error, ErrorKind, Output};
use tidegate_kafka::{ConsumerStrategy, KafkaOutput, Params, ProducerRecord};
use tidegate_servers::load::create_topic;
use tidegate_servers::{Acl, Authority, Kafka};

const PASSWORD: &str = "open sesame";
const MARKERS: &str = "tidegate-output-out";

/// A broker that lets `ann` in by her password, and lets her do nothing yet.
struct Guarded {
    kafka: Kafka,
    _directory: TempDir,
}

impl Guarded {
    fn start(topics: &[&str]) -> Guarded {
        let directory = TempDir::new().unwrap();
        let options = Kafka::options().sasl("ann", PASSWORD).authorizer().heap_mib(256);
        let kafka = options.start(directory.path()).unwrap();
        topics.iter().for_each(|topic| create_topic(&kafka.bootstrap(), topic, 2, &[]).unwrap());
        Guarded { kafka, _directory: directory }
    }

    fn settings(&self, password: &str) -> Vec<(String, String)> {
        let pairs = [
            ("security.protocol", "sasl_plaintext"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "ann"),
            ("sasl.password", password),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn params(&self, password: &str) -> Params {
        let bootstrap = ("bootstrap.servers".to_owned(), self.kafka.sasl_bootstrap().unwrap());
        self.settings(password).into_iter().chain([bootstrap]).collect()
    }

    fn output(&self) -> KafkaOutput {
        KafkaOutput::new(self.params(PASSWORD), "out").unwrap()
    }

    fn input(&self, more: &[(&str, &str)]) -> ConsumerStrategy {
        let settings = self.settings(PASSWORD);
        let settings: Vec<_> = settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(more.iter().copied())
            .collect();
        earliest(&self.kafka.sasl_bootstrap().unwrap(), "in", &settings)
    }

    fn open(&self) -> Result<Epoch<ProducerRecord>, Error> {
        Epoch::open_as(&self.output(), &context("out", Some("job-1")), 2)
    }

    /// Tries until it goes, granting each time what the error says is missing; nothing else is granted. Gives what was asked for.
    fn granting<T>(&self, mut tried: impl FnMut() -> Result<T, Error>) -> (T, Vec<String>) {
        let mut asked: Vec<String> = Vec::new();
        loop {
            match tried() {
                Ok(done) => return (done, asked),
                Err(error) => {
                    for acl in self.asked_for(&error) {
                        asked.push(format!("{} on {} {}", acl.operation, acl.resource, acl.name));
                        acl.grant(&self.kafka.bootstrap()).unwrap();
                    }
                    assert!(asked.len() < 20, "{asked:?}");
                }
            }
        }
    }

    /// What the command in an error would grant.
    fn asked_for(&self, error: &Error) -> Vec<Acl> {
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        let text = said(error);
        assert!(text.contains(&self.kafka.sasl_bootstrap().unwrap()), "{text}");
        let (_, command) = text.split_once("grant it: kafka-acls.sh --bootstrap-server ").expect(&text);
        let words: Vec<_> =
            command.split_once(". ").map_or(command, |(command, _)| command).split(' ').collect();
        let after = |option: &str| {
            let at = words.iter().enumerate().filter(|(_, word)| **word == option);
            at.map(|(place, _)| words[place + 1].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(after("--allow-principal"), ["User:ann"], "{text}");
        let kinds = ["topic", "group", "transactional-id"];
        let named = kinds.iter().filter_map(|kind| Some((*kind, after(&format!("--{kind}")).pop()?)));
        let named: Vec<_> = named.collect();
        let [(resource, name)] = named.as_slice() else { panic!("{text}") };
        let prefixed = after("--resource-pattern-type") == ["prefixed"];
        let acl = |operation: String| Acl { prefixed, operation, ..right("", resource, name) };
        after("--operation").into_iter().map(acl).collect()
    }

    fn revoke(&self, acl: &Acl) {
        acl.revoke(&self.kafka.bootstrap()).unwrap();
    }

    fn sees(&self, expected: &[String]) {
        wait_until("what is committed is seen", || committed(&self.kafka.bootstrap(), "out") == expected);
    }
}

fn right(operation: &str, resource: &str, name: &str) -> Acl {
    Acl {
        user: "ann".to_owned(),
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        prefixed: false,
    }
}

fn transactional_ids() -> Acl {
    Acl { prefixed: true, ..right("Write", "transactional-id", "tidegate-output-out-") }
}

/// The whole text of an error, which holds no secret in any form.
fn said(error: &Error) -> String {
    without_secret(error);
    error.to_string()
}

fn without_secret(thing: &impl Debug) {
    let text = format!("{thing:?} {thing:#?}");
    assert!(!text.contains(PASSWORD) && !text.contains("wrong one"), "{text}");
}

#[test]
fn an_output_asks_for_each_right_at_its_start_and_needs_no_other() {
    let guarded = Guarded::start(&["out"]);
    right("Describe", "topic", "out").grant(&guarded.kafka.bootstrap()).unwrap();
    let (mut workers, asked) = guarded.granting(|| guarded.open());
    assert_eq!(
        asked,
        [
            "Write on topic out",
            "Read on topic tidegate-output-out",
            "Write on topic tidegate-output-out",
            "Create on topic tidegate-output-out",
            "Write on transactional-id tidegate-output-out-",
        ]
    );
    assert_eq!(uncommitted(&guarded.kafka.bootstrap(), "out"), 0);
    workers.run(&batch(1), records(0..10)).unwrap();
    guarded.sees(&values(0..10));
    drop(workers);
    assert_eq!(guarded.open().unwrap().held.newest, Some(plan(1, 10, 20)));
    without_secret(&guarded.output());
}

#[test]
fn a_right_that_is_taken_away_stops_the_job_and_no_batch_is_lost_or_doubled() {
    let guarded = Guarded::start(&["out", "other"]);
    let (mut workers, _) = guarded.granting(|| guarded.open());
    workers.run(&batch(1), records(0..10)).unwrap();

    // A record for a topic that only it names: no start could know.
    let other = || vec![ProducerRecord::to("other").key("k").value("v")];
    let error = workers.prepare(&batch(2), records(10..20).into_iter().chain(other()).collect()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(
        said(&error).contains("batch 2") && said(&error).contains("lacks WRITE on topic other"),
        "{error}"
    );
    drop(workers);
    guarded.sees(&values(0..10));
    guarded.asked_for(&error).iter().for_each(|acl| acl.grant(&guarded.kafka.bootstrap()).unwrap());
    let mut workers = guarded.open().unwrap();
    assert_eq!(workers.held.newest, Some(plan(1, 10, 20)));
    workers.run(&batch(2), records(10..20).into_iter().chain(other()).collect()).unwrap();
    guarded.sees(&values(0..20));

    // While a batch is processed: the output's topic.
    guarded.revoke(&right("Write", "topic", "out"));
    let error = workers.prepare(&batch(3), records(20..30)).unwrap_err();
    assert!(said(&error).contains("lacks WRITE on topic out"), "{error}");
    drop(workers);
    let (mut workers, asked) = guarded.granting(|| guarded.open());
    assert_eq!(asked, ["Write on topic out"]);
    workers.prepare(&batch(3), records(20..30)).unwrap();

    // Between prepare and commit: the transactional ids.
    guarded.revoke(&transactional_ids());
    let error = workers.commit(&batch(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "whether it is in is for the next opening to say: {error}");
    said(&error);
    drop(workers);
    assert_eq!(committed(&guarded.kafka.bootstrap(), "out"), values(0..20));
    let (mut workers, asked) = guarded.granting(|| guarded.open());
    assert_eq!(asked, ["Write on transactional-id tidegate-output-out-"]);
    workers.run(&batch(3), records(20..30)).unwrap();
    guarded.sees(&values(0..30));

    // The markers.
    guarded.revoke(&right("Write", "topic", MARKERS));
    let error = workers.prepare(&batch(4), records(30..40)).unwrap_err();
    assert!(said(&error).contains("lacks WRITE on topic tidegate-output-out"), "{error}");
    drop(workers);
    guarded.revoke(&right("Read", "topic", MARKERS));
    let (mut workers, asked) = guarded.granting(|| guarded.open());
    assert_eq!(asked, [format!("Read on topic {MARKERS}"), format!("Write on topic {MARKERS}")]);
    workers.run(&batch(4), records(30..40)).unwrap();
    guarded.sees(&values(0..40));
    assert_eq!(committed(&guarded.kafka.bootstrap(), "other"), ["v"]);
}

#[test]
fn an_input_asks_for_each_right_at_its_start_and_needs_no_other() {
    let guarded = Guarded::start(&["in"]);
    let writer = Writer::open(&guarded.kafka.bootstrap());
    writer.write("in", 0, numbers(0..10));
    let start = |last| Job::start(guarded.input(&[("group.id", "g")]), last);
    right("Describe", "topic", "in").grant(&guarded.kafka.bootstrap()).unwrap();
    let (mut job, asked) = guarded.granting(|| start(None));
    assert_eq!(asked, ["Read on topic in", "Read on group g"]);
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(0..10));

    // The group is for lag tools: the job goes on without it.
    guarded.revoke(&right("Read", "group", "g"));
    writer.write("in", 0, numbers(10..20));
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(10..20));

    // A fetch that was under way may still be answered.
    guarded.revoke(&right("Read", "topic", "in"));
    let (mut end, mut read) = (20, Vec::new());
    let error = loop {
        writer.write("in", 0, numbers(end..end + 1));
        end += 1;
        match job.batch() {
            Ok(batch) => read.extend(batch.texts()),
            Err(error) => break error,
        }
        assert!(end < 10_000, "nothing failed");
    };
    let last = job.last.clone();
    drop(job);
    assert!(said(&error).contains("lacks READ on topic in"), "{error}");
    let (mut job, asked) = guarded.granting(|| start(last.as_ref()));
    assert_eq!(asked, ["Read on topic in", "Read on group g"]);
    let wanted = usize::try_from(end - 20).unwrap() - read.len();
    read.extend(job.batches_until(wanted).unwrap().texts());
    read.sort();
    assert_eq!(read, numbers(20..end));
    drop(job);
    guarded.revoke(&right("Read", "group", "g"));
    let refused = start(None).err().unwrap();
    assert!(said(&refused).contains("The job itself does not need them: leave group.id out"), "{refused}");
    Job::start(guarded.input(&[("group.id", "g")]).commit_offsets(false), None).unwrap();
}

#[test]
fn a_topic_that_may_not_even_be_seen_is_told_with_what_is_needed() {
    let guarded = Guarded::start(&["in", "out"]);
    let (_, asked) = guarded.granting(|| Job::start(guarded.input(&[]), None));
    assert_eq!(asked, ["Read on topic in"]);
    // Without transactions a batch would find out after other outputs have published it.
    let open = || Epoch::open_as(&guarded.output().at_least_once(), &context("out", Some("job-1")), 1);
    let (mut workers, asked) = guarded.granting(open);
    assert_eq!(asked, ["Write on topic out"]);
    workers.run(&batch(1), records(0..10)).unwrap();
    guarded.sees(&values(0..10));
    drop(workers);
    guarded.revoke(&right("Write", "topic", "out"));
    right("Describe", "topic", "out").grant(&guarded.kafka.bootstrap()).unwrap();
    assert_eq!(guarded.granting(open).1, ["Write on topic out"]);
}

#[test]
fn a_member_of_a_group_says_which_right_it_lacks() {
    let guarded = Guarded::start(&["in"]);
    let at = guarded.kafka.sasl_bootstrap().unwrap();
    let settings = guarded.settings(PASSWORD);
    let mut group = Group::new(&at, "in", None);
    group.settings.extend(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let failure = || {
        let run = group.start();
        let error = run.ssc.await_termination().unwrap_err();
        said(&error)
    };
    let text = failure();
    assert!(text.contains("lacks READ on topic in") || text.contains("lacks READ on group in"), "{text}");
    right("Read", "topic", "in").grant(&guarded.kafka.bootstrap()).unwrap();
    let text = failure();
    assert!(text.contains("User:ann lacks READ on group in; grant it: kafka-acls.sh"), "{text}");
    right("Read", "group", "in").grant(&guarded.kafka.bootstrap()).unwrap();
    Writer::open(&guarded.kafka.bootstrap()).write("in", 0, numbers(0..10));
    let run = group.start();
    assert_eq!(run.next(10), numbers(0..10));
    assert_eq!(run.stop(Stop::Gracefully), [""; 0]);
}

#[test]
fn a_wrong_password_is_told_at_once_by_the_name_of_the_user() {
    let guarded = Guarded::start(&["out"]);
    let output = KafkaOutput::new(guarded.params("the wrong one"), "out").unwrap();
    without_secret(&output);
    let strategy = ConsumerStrategy::subscribe(["in"], guarded.params("the wrong one"));
    without_secret(&strategy);
    let errors = [
        output.open(&context("out", Some("job-1"))).unwrap_err(),
        KafkaOutput::new(guarded.params("the wrong one"), "out")
            .unwrap()
            .at_least_once()
            .open(&context("out", None))
            .unwrap_err(),
        Job::start(strategy, None).err().unwrap(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        let text = said(&error);
        assert!(
            text.contains(
                "refuses this client; check security.protocol and the sasl and ssl settings of User:ann: "
            ) && text.contains("uthentication"),
            "{text}"
        );
    }
    // No password at all: the broker hangs up.
    let plain = [("bootstrap.servers", guarded.kafka.sasl_bootstrap().unwrap())];
    let strategy =
        ConsumerStrategy::subscribe(["in"], plain).start_timeout(std::time::Duration::from_secs(2));
    let error = Job::start(strategy, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("security.protocol"), "{error}");
}

#[test]
fn a_port_that_speaks_tls_is_told_to_who_does_not() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::make(&directory.path().join("authority")).unwrap();
    let host = authority.vouch_for("broker", &["ip:127.0.0.1"]).unwrap();
    let options = Kafka::options().tls(&host, &authority).heap_mib(256);
    let kafka = options.start(&directory.path().join("kafka")).unwrap();
    let strategy =
        earliest(&kafka.tls_bootstrap().unwrap(), "in", &[]).start_timeout(std::time::Duration::from_secs(2));
    let error = Job::start(strategy, None).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    let text = said(&error);
    assert!(text.contains("that port seems to speak TLS: set security.protocol to SSL"), "{text}");
}
