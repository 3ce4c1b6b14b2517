//! Four outputs of four kinds: when one of them refuses a batch, none shows anything of it; once it takes the batch, all have it, once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use tidegate_acceptance::broker::topic_of_lines;
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::sinks::Sink;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};
use tidegate_acceptance::truth::Totals;

const LINES: u64 = 40_000;
/// Records a second of each partition.
const RATE: u32 = 8_000;

/// The totals of all outputs; those of the database first.
fn shown(story: &mut Story) -> Vec<Totals> {
    let database = story.check().unwrap().totals;
    std::iter::once(database).chain(story.sinks().iter().map(Sink::totals)).collect()
}

/// `set` has one output refuse what comes, or take it again. What the job says must have all of `named` in it.
fn refuse(story: &mut Story, named: &[&str], set: impl Fn(&Story, bool)) {
    let before = shown(story);
    set(story, true);
    let ended = story.job.clone().rate(RATE).until_caught_up().run();
    let told = ended.refusal();
    for named in named {
        assert!(told.contains(named), "{named}: {told}");
    }
    let after = shown(story);
    for (place, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(before == after, "{named:?}: output {place} shows something of a batch that was refused");
    }
    set(story, false);
    story.crash("committed:2").unwrap();
}

#[test]
fn what_one_of_four_refuses_is_seen_in_none_and_then_in_all_once() {
    let brokers = shared().kafka;
    let topic =
        Topic { name: topic_of_lines(&brokers, "four", LINES), brokers: brokers.clone(), lines: LINES };
    let sinks = [Sink::kafka(&brokers), Sink::parquet_on_hdfs(), Sink::elasticsearch()];
    let story = Story::new(&topic, Kind::Postgres, Memory::Checkpoint, &shared().postgres).with_totals();
    let mut story = story.with_sinks(sinks.clone());
    story.crash("committed:3").unwrap();
    refuse(&mut story, &["word_counts_check"], |story, refuse| {
        let change = if refuse {
            "ADD CONSTRAINT word_counts_check CHECK (count < 0) NOT VALID"
        } else {
            "DROP CONSTRAINT word_counts_check"
        };
        story.database.execute(&format!("ALTER TABLE word_counts {change}"));
    });
    for sink in &sinks {
        let named: &[&str] = match sink {
            Sink::Kafka { topic, .. } => &[topic],
            Sink::Parquet { url } => &[url, "make room within the quota of that folder", "is exceeded"],
            Sink::Elasticsearch { index, .. } => &[index, "blocks.write"],
            other => panic!("{other:?} is none of them"),
        };
        refuse(&mut story, named, |_, refuse| sink.refuse(refuse));
    }
    story.finish().unwrap();
}
