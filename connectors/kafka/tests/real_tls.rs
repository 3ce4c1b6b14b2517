//! A broker that speaks TLS, takes users by SCRAM and clients by certificate, as those in a cloud do: streams and outputs work over it,
//! and who can't come in is told why, and what to do. Each test has a broker of its own.
//!
//! They need an OpenSSL, which other commands do without: `cargo xtask test-tls` runs them.
#![cfg(feature = "tls-system")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use std::path::Path;
use std::time::Duration;
use support::output::*;
use support::receiving::Group;
use support::{Job, Writer, earliest, numbers};
use tempfile::TempDir;
use tidegate::Stop;
use tidegate::testkit::outputs::{Epoch, batch};
use tidegate_core::{Error, ErrorKind, Output};
use tidegate_kafka::{KafkaOutput, Params};
use tidegate_servers::load::create_topic;
use tidegate_servers::{Authority, CERTIFICATE_PASSWORD, Identity, Kafka};

const PASSWORD: &str = "open-sesame";
const WRONG_PASSWORD: &str = "open-barley";
const HERE: &[&str] = &["ip:127.0.0.1"];

type Settings = Vec<(&'static str, String)>;

/// A broker with all its ports, who vouches for it, and who is its client.
struct Secured {
    kafka: Kafka,
    authority: Authority,
    ann: Identity,
    directory: TempDir,
}

impl Secured {
    /// Its certificate is for `hosts`.
    fn start(hosts: &[&str]) -> Secured {
        Self::speaking("TLSv1.3", hosts)
    }

    fn speaking(version: &str, hosts: &[&str]) -> Secured {
        let directory = TempDir::new().unwrap();
        let authority = Authority::make(&directory.path().join("authority")).unwrap();
        let host = authority.vouch_for("broker", hosts).unwrap();
        let ann = authority.vouch_for("ann", &[]).unwrap();
        let options = Kafka::options().sasl("ann", PASSWORD).tls(&host, &authority).heap_mib(256);
        let options = options.property("ssl.enabled.protocols", version);
        let kafka = options.start(&directory.path().join("kafka")).unwrap();
        for topic in ["in", "out"] {
            create_topic(&kafka.bootstrap(), topic, 2, &[]).unwrap();
        }
        Secured { kafka, authority, ann, directory }
    }

    fn ssl(&self) -> Settings {
        vec![
            ("security.protocol", "SSL".to_owned()),
            ("ssl.ca.location", text(&self.authority.certificate())),
            ("ssl.endpoint.identification.algorithm", "https".to_owned()),
        ]
    }

    fn sasl(&self, mechanism: &str, password: &str) -> Settings {
        let login = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "ann"),
            ("sasl.password", password),
        ];
        with(self.ssl(), &login)
    }

    /// Records come in by a direct stream over `at`, and go out in transactions.
    fn works(&self, at: &str, settings: &Settings) {
        let plain = self.kafka.bootstrap();
        let before = u32::try_from(committed(&plain, "out").len()).unwrap();
        Writer::open(&plain).write("in", 0, numbers(before..before + 10));
        let mut job = Job::start(earliest(at, "in", &borrowed(settings)), None).unwrap();
        let all = before as usize + 10;
        assert_eq!(job.batches_until(all).unwrap().texts(), numbers(0..before + 10));
        // The records that come after the first ones are of a connection that is up.
        Writer::open(&plain).write("in", 1, ["one more"]);
        assert_eq!(job.batches_until(1).unwrap().texts(), ["one more"]);
        // Taken out again, for who counts.
        support::broker::Broker::at(&plain).remove_before(
            "in",
            1,
            job.last.as_ref().unwrap().ranges[1].until as i64,
        );

        let mut workers = Epoch::open_as(&output(at, settings), &context("out", Some("job-1")), 2).unwrap();
        let number = u64::from(before) / 10 + 1;
        workers.run(&batch(number), records(before..before + 10)).unwrap();
        wait_until("the batch is seen", || committed(&plain, "out") == values(0..before + 10));
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// The settings, and `more` over them.
fn with(mut settings: Settings, more: &[(&'static str, &str)]) -> Settings {
    settings.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    settings
}

fn without(settings: Settings, name: &str) -> Settings {
    settings.into_iter().filter(|(other, _)| *other != name).collect()
}

fn borrowed(settings: &Settings) -> Vec<(&str, &str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

fn output(at: &str, settings: &Settings) -> KafkaOutput {
    let bootstrap = ("bootstrap.servers", at);
    KafkaOutput::new(borrowed(settings).into_iter().chain([bootstrap]).collect::<Params>(), "out").unwrap()
}

/// What an input, an output with transactions and one without are told at their start, each with the address and without a secret.
fn refusals(at: &str, settings: &Settings) -> Vec<String> {
    let open = |output: KafkaOutput| output.open(&context("out", Some("job-1"))).unwrap_err();
    let errors = [
        Job::start(earliest(at, "in", &borrowed(settings)), None).err().unwrap(),
        open(output(at, settings)),
        open(output(at, settings).at_least_once()),
    ];
    errors.iter().map(|error| said(at, error)).collect()
}

fn said(at: &str, error: &Error) -> String {
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    let all = format!("{error} {error:?}");
    for secret in [PASSWORD, WRONG_PASSWORD, CERTIFICATE_PASSWORD] {
        assert!(!all.contains(secret), "{all}");
    }
    let text = error.to_string();
    assert!(text.starts_with("Kafka ") && text.contains(&format!(" at {at}")), "{text}");
    text
}

#[track_caller]
fn all_say(errors: &[String], parts: &[&str]) {
    for text in errors {
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn streams_and_outputs_work_over_tls() {
    let secured = Secured::start(HERE);
    secured.works(&secured.kafka.tls_bootstrap().unwrap(), &secured.ssl());
}

#[test]
fn streams_outputs_and_receivers_work_over_tls_with_user_and_password() {
    let secured = Secured::start(HERE);
    let at = secured.kafka.sasl_tls_bootstrap().unwrap();
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        secured.works(&at, &secured.sasl(mechanism, PASSWORD));
    }
    let settings = secured.sasl("SCRAM-SHA-256", PASSWORD);
    let mut group = Group::new(&at, "received", None);
    create_topic(&secured.kafka.bootstrap(), "received", 2, &[]).unwrap();
    group.settings.extend(borrowed(&settings));
    Writer::open(&secured.kafka.bootstrap()).write("received", 0, numbers(0..10));
    let run = group.start();
    assert_eq!(run.next(10), numbers(0..10));
    assert_eq!(run.stop(Stop::Gracefully), [""; 0]);
    // The hashes of SCRAM are OpenSSL's, the connection need not be encrypted.
    let plain = with(settings, &[("security.protocol", "SASL_PLAINTEXT")]);
    secured.works(&secured.kafka.sasl_bootstrap().unwrap(), &plain);
}

#[test]
fn a_client_may_be_known_by_its_certificate_in_each_format() {
    let secured = Secured::start(HERE);
    let at = secured.kafka.mutual_tls_bootstrap().unwrap();
    let (certificate, key) = (text(&secured.ann.certificate()), text(&secured.ann.key()));
    let pem = [("ssl.certificate.location", certificate.as_str()), ("ssl.key.location", key.as_str())];
    secured.works(&at, &with(secured.ssl(), &pem));
    let file = text(&secured.ann.pkcs12());
    let pkcs12 = [("ssl.keystore.location", file.as_str()), ("ssl.keystore.password", CERTIFICATE_PASSWORD)];
    secured.works(&at, &with(secured.ssl(), &pkcs12));
    // As Java's keystores in PEM are.
    let together = secured.directory.path().join("ann-all.pem");
    let read = |file| std::fs::read_to_string(file).unwrap();
    std::fs::write(&together, read(key) + &read(certificate)).unwrap();
    let together = text(&together);
    let one_file = [("ssl.certificate.location", together.as_str()), ("ssl.key.location", &together)];
    secured.works(&at, &with(secured.ssl(), &one_file));
}

#[test]
fn a_job_outlives_a_broker_that_is_killed_and_comes_back() {
    let mut secured = Secured::start(HERE);
    let at = secured.kafka.sasl_tls_bootstrap().unwrap();
    let settings = secured.sasl("SCRAM-SHA-256", PASSWORD);
    Writer::open(&secured.kafka.bootstrap()).write("in", 0, numbers(0..10));
    let mut job = Job::start(earliest(&at, "in", &borrowed(&settings)), None).unwrap();
    assert_eq!(job.batches_until(10).unwrap().texts(), numbers(0..10));
    for round in 1..4 {
        secured.kafka.kill();
        secured.kafka.start_again().unwrap();
        let (from, to) = (round * 10, round * 10 + 10);
        Writer::open(&secured.kafka.bootstrap()).write("in", 0, numbers(from..to));
        assert_eq!(job.batches_until(10).unwrap().texts(), numbers(from..to));
    }
}

#[test]
fn a_certificate_of_a_stranger_is_told_with_the_setting_of_whom_to_trust() {
    let secured = Secured::start(HERE);
    let at = secured.kafka.tls_bootstrap().unwrap();
    let stranger = Authority::make(&secured.directory.path().join("stranger")).unwrap();
    let other = text(&stranger.certificate());
    let told = refusals(&at, &with(secured.ssl(), &[("ssl.ca.location", &other)]));
    let untrusted = format!("the certificate of broker {at} is not trusted, or out of date");
    all_say(
        &told,
        &[&untrusted, &format!("set ssl.ca.location, which is {other}, to the certificate (PEM)")],
    );
    let told = refusals(&at, &without(secured.ssl(), "ssl.ca.location"));
    all_say(&told, &[&untrusted, "set ssl.ca.location to the file", "those of this system are trusted"]);
}

#[test]
fn a_certificate_for_another_name_is_told_apart_from_a_strangers() {
    let secured = Secured::start(&["dns:kafka.example", "ip:127.0.0.2"]);
    let ports = [
        (secured.kafka.tls_bootstrap().unwrap(), secured.ssl()),
        (secured.kafka.mutual_tls_bootstrap().unwrap(), secured.ssl()),
        (secured.kafka.sasl_tls_bootstrap().unwrap(), secured.sasl("PLAIN", PASSWORD)),
    ];
    for (at, settings) in &ports {
        let told = refusals(at, settings);
        let wrong = format!("the certificate of broker {at} is not for the name 127.0.0.1");
        all_say(&told, &[&wrong, "call it by a name that is in its certificate, in bootstrap.servers"]);
    }
    let (at, settings) = &ports[2];
    secured.works(at, &with(settings.clone(), &[("ssl.endpoint.identification.algorithm", "none")]));
}

#[test]
fn a_wrong_password_is_told_by_the_name_of_the_user() {
    let secured = Secured::start(HERE);
    let at = secured.kafka.sasl_tls_bootstrap().unwrap();
    for mechanism in ["SCRAM-SHA-256", "PLAIN"] {
        let told = refusals(&at, &secured.sasl(mechanism, WRONG_PASSWORD));
        let advice =
            "refuses this client; check security.protocol and the sasl and ssl settings of User:ann: ";
        all_say(&told, &[advice, "uthentication failed"]);
    }
    let told = refusals(&at, &secured.sasl("SCRAM-SHA-512", PASSWORD));
    all_say(&told, &["SCRAM-SHA-512", "supported mechanisms: PLAIN,SCRAM-SHA-256"]);
}

/// With TLS 1.3 when the handshake is done for the client, with 1.2 within it.
#[test]
fn a_broker_that_wants_a_certificate_says_so_in_each_version_of_tls() {
    for version in ["TLSv1.3", "TLSv1.2"] {
        let secured = Secured::speaking(version, HERE);
        let at = secured.kafka.mutual_tls_bootstrap().unwrap();
        let told = refusals(&at, &secured.ssl());
        let wants = format!("broker {at} wants a certificate of this client, and none is set");
        all_say(
            &told,
            &[&wants, "set ssl.certificate.location and ssl.key.location (PEM), or ssl.keystore.location"],
        );
        let stranger = Authority::make(&secured.directory.path().join("stranger")).unwrap();
        let file = text(&stranger.vouch_for("ann", &[]).unwrap().pkcs12());
        let pkcs12 =
            [("ssl.keystore.location", file.as_str()), ("ssl.keystore.password", CERTIFICATE_PASSWORD)];
        let told = refusals(&at, &with(secured.ssl(), &pkcs12));
        let not_taken =
            format!("broker {at} does not take this client's certificate (ssl.keystore.location={file})");
        all_say(&told, &[&not_taken, "an authority that the broker trusts"]);
        let other = text(&stranger.certificate());
        let told = refusals(&at, &with(secured.ssl(), &[("ssl.ca.location", &other)]));
        all_say(&told, &[&format!("the certificate of broker {at} is not trusted, or out of date")]);
    }
}

#[test]
fn files_that_do_not_do_are_told_by_name() {
    let secured = Secured::start(HERE);
    let at = secured.kafka.mutual_tls_bootstrap().unwrap();
    let file = text(&secured.ann.pkcs12());
    let pkcs12 = [("ssl.keystore.location", file.as_str()), ("ssl.keystore.password", WRONG_PASSWORD)];
    all_say(
        &refusals(&at, &with(secured.ssl(), &pkcs12)),
        &["ssl.keystore.location", &file, "check ssl.keystore.password"],
    );
    let (certificate, key) = (text(&secured.ann.certificate()), text(&secured.ann.key()));
    for (name, file, why) in [
        ("ssl.ca.location", "/no/such/ca.pem", "No such file"),
        ("ssl.ca.location", &key, "must be a certificate in PEM"),
        ("ssl.certificate.location", &key, "must be a certificate in PEM"),
        ("ssl.key.location", &certificate, "must be a private key in PEM"),
    ] {
        all_say(&refusals(&at, &with(secured.ssl(), &[(name, file)])), &[name, file, why]);
    }
    let alone = refusals(&at, &with(secured.ssl(), &[("ssl.keystore.location", &file)]));
    all_say(&alone, &["`ssl.keystore.password` is mandatory when `ssl.keystore.location` is set"]);
}

#[test]
fn a_port_that_speaks_something_else_is_told_by_which_side_has_tls() {
    let secured = Secured::start(HERE);
    let start = |at: &str, settings: &Settings| {
        let strategy = earliest(at, "in", &borrowed(settings)).start_timeout(Duration::from_secs(2));
        said(at, &Job::start(strategy, None).err().unwrap())
    };
    let login = [("sasl.mechanism", "PLAIN"), ("sasl.username", "ann"), ("sasl.password", PASSWORD)];
    let plain: Settings = with(Vec::new(), &login);
    for at in [secured.kafka.tls_bootstrap().unwrap(), secured.kafka.mutual_tls_bootstrap().unwrap()] {
        let told = start(&at, &Settings::new());
        assert!(told.contains("seems to speak TLS: set security.protocol to SSL"), "{told}");
    }
    let at = secured.kafka.sasl_tls_bootstrap().unwrap();
    let told = start(&at, &with(plain, &[("security.protocol", "SASL_PLAINTEXT")]));
    assert!(told.contains("seems to speak TLS: set security.protocol to SSL"), "{told}");
    // Without a user, where one is asked for.
    let told = start(&at, &secured.ssl());
    assert!(
        told.contains("hangs up on who does not speak the security.protocol that its port is set to"),
        "{told}"
    );
    for (at, settings) in [
        (secured.kafka.bootstrap(), secured.ssl()),
        (secured.kafka.sasl_bootstrap().unwrap(), secured.sasl("PLAIN", PASSWORD)),
    ] {
        let told = start(&at, &settings);
        assert!(told.contains("that port hangs up on TLS"), "{told}");
    }
}
