//! A job whose checkpoints and journal are in S3, HDFS or Alluxio goes on from there after a kill.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use tidegate_acceptance::broker::{new_name, topic_of_lines};
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::program::{State, Store};
use tidegate_acceptance::story::{Memory, Story, Topic, crash_and_recover, shared};
use tidegate_servers::{ALLUXIO_ENV, HDFS_ENV, S3, S3_ENV};

const LINES: u64 = 3_000;

/// The address of a server.
fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: this test needs the servers that `cargo xtask test` starts")
    })
}

fn killed_and_finished_at(url: &str, environment: &[(&str, &str)]) {
    let brokers = shared().kafka;
    let topic = Topic { name: topic_of_lines(&brokers, "checkpoint-stores", LINES), brokers, lines: LINES };
    let story = Story::new(&topic, Kind::Sqlite, Memory::DatabaseAlone, "");
    let mut story = story.with_state(State::Map, Store::Memory);
    story.job = story.job.with("--checkpoint", url);
    for (name, value) in environment {
        story.job = story.job.env(name, value);
    }
    crash_and_recover(&mut story, "committed:3").unwrap_or_else(|text| panic!("{url}: {text}"));
}

#[test]
fn a_job_with_its_checkpoints_in_s3_goes_on_after_a_kill() {
    let url = format!("s3://{}/{}", S3::BUCKET, new_name("counts"));
    let environment = [
        ("AWS_ENDPOINT_URL", &*server(S3_ENV)),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY),
        ("AWS_REGION", "us-east-1"),
    ];
    killed_and_finished_at(&url, &environment);
}

#[test]
fn a_job_with_its_checkpoints_in_hdfs_goes_on_after_a_kill() {
    killed_and_finished_at(&format!("{}/{}", server(HDFS_ENV), new_name("counts")), &[]);
}

#[test]
fn a_job_with_its_checkpoints_in_alluxio_goes_on_after_a_kill() {
    killed_and_finished_at(&format!("alluxio://{}/{}", server(ALLUXIO_ENV), new_name("counts")), &[]);
}
