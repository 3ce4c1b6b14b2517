//! Lines that a client posts, numbers, and repeats until it is answered: each is counted once, whatever is killed.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use tidegate_acceptance::kills::{kill_at_random, kills};
use tidegate_acceptance::program::Build;
use tidegate_acceptance::sources::{Client, SourceJob, free_address};
use tidegate_core::{CRASH_POINTS, RECEIVER_CRASH_POINTS};

fn posted_to() -> (String, SourceJob) {
    let address = free_address();
    let job = SourceJob::new(&format!("http:{address}"));
    (address, job)
}

#[test]
fn a_job_killed_at_every_crash_point_counts_what_clients_post_once() {
    let (address, job) = posted_to();
    let job = job.logged();
    let client = Client::start(&address);
    for point in RECEIVER_CRASH_POINTS.iter().chain(CRASH_POINTS) {
        job.crash(&format!("{point}:3"));
    }
    let run = job.start();
    let words = client.stop().unwrap();
    job.stop(run, &words).unwrap();
}

#[test]
fn random_kills_lose_nothing_and_count_nothing_twice() {
    let (address, job) = posted_to();
    let mut job = job.logged();
    let client = Client::start(&address);
    let seed = kill_at_random("HTTP", &mut job, kills());
    let run = job.start();
    let words = client.stop().unwrap();
    job.stop(run, &words).unwrap_or_else(|text| panic!("seed {seed}: {text}"));
}

#[test]
fn without_a_log_nothing_is_counted_twice_and_what_is_lost_is_said() {
    let (address, job) = posted_to();
    let client = Client::start(&address);
    for point in ["block-acknowledged:5", "processed:4", "committed:3"] {
        job.crash(point);
    }
    let mut run = job.start();
    run.wait_for_output("at most once");
    let words = client.stop().unwrap();
    run.signal(rustix::process::Signal::TERM);
    run.wait().succeeded().unwrap();
    for (word, count) in job.totals() {
        assert!(count <= words[&word], "{word} is there {count} times, was sent {} times", words[&word]);
    }
}

/// A job that is killed at `at` and started again has counted all that was answered, once.
fn crash_and_go_on(sabotage: Option<&str>, at: &str) -> Result<(), String> {
    let (address, job) = posted_to();
    let job = job.logged().with(|job| {
        let job = job.build(Build::Sabotaged);
        sabotage.map_or(job.clone(), |sabotage| job.env("TIDEGATE_SABOTAGE", sabotage))
    });
    let client = Client::start(&address);
    job.crash(at);
    let mut run = job.start();
    run.wait_for_output("\" started: ");
    let words = client.stop()?;
    job.stop(run, &words).map(drop)
}

/// The stream itself notices: the client goes on behind what is lost.
#[test]
fn an_answer_before_the_block_is_durable_loses_lines() {
    crash_and_go_on(None, "block-received:5").unwrap();
    let text = crash_and_go_on(Some("store_early"), "block-received:5").unwrap_err();
    assert_eq!(text, "request 4 was answered with 409");
}

#[test]
fn a_stream_that_forgets_its_origins_counts_lines_twice() {
    crash_and_go_on(None, "block-durable:5").unwrap();
    let text = crash_and_go_on(Some("forget_origins"), "block-durable:5").unwrap_err();
    assert!(text.contains("words differ"), "{text}");
}
