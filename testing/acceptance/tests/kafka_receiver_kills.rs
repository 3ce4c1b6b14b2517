//! A job that receives a topic as members of a group, killed over and over at random moments, counts each line once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::kills::{kill_at_random, kills};
use tidegate_acceptance::sources::SourceJob;
use tidegate_acceptance::story::shared;
use tidegate_acceptance::truth::totals_of_all;

const LINES: u64 = 200_000;

#[test]
fn random_kills_of_a_receiving_job_lose_nothing_and_count_nothing_twice() {
    let brokers = shared().kafka;
    let topic = topic_of_lines(&brokers, "receiver-kills", LINES);
    // Members that are known by name are not waited for when they are gone.
    let job = SourceJob::new("kafka-receiver").logged().with(|job| {
        let job = job.with("--brokers", &brokers).with("--topic", &topic);
        job.kafka("group.id", &topic).kafka("group.instance.id", "member")
    });
    // In small blocks, so that the topic lasts.
    let slow = job.clone().set("tidegate.receiver.max_rate", "1000");
    let mut slow = slow.set("tidegate.receiver.block_bytes_max", "16384");
    let seed = kill_at_random("Kafka by receiver", &mut slow, kills());
    job.finish(job.start(), &totals_of_all(LINES)).unwrap_or_else(|text| panic!("seed {seed}: {text}"));
}
