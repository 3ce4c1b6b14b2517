//! Four outputs of four kinds: when one of them refuses a batch, none shows anything of it; once it takes the batch, all have it, once.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use tidegate_acceptance::broker::{take_at_most, topic_of_lines};
use tidegate_acceptance::database::Kind;
use tidegate_acceptance::sinks::Sink;
use tidegate_acceptance::story::{Memory, Story, Topic, shared};
use tidegate_acceptance::truth::Totals;

const LINES: u64 = 40_000;
/// Bytes that no batch of records has, and the marker that ends a transaction still fits into: without it the brokers can end none.
const SMALL: u32 = 300;
/// Records a second of each partition.
const RATE: u32 = 8_000;

/// Has one output refuse what comes, or take it again.
type Refuse<'a> = dyn Fn(&Story, bool) + 'a;

/// The totals of all outputs; those of the database first.
fn shown(story: &mut Story) -> Vec<Totals> {
    let database = story.check().unwrap().totals;
    std::iter::once(database).chain(story.sinks().iter().map(Sink::totals)).collect()
}

#[test]
fn what_one_of_four_refuses_is_seen_in_none_and_then_in_all_once() {
    let brokers = shared().kafka;
    let topic =
        Topic { name: topic_of_lines(&brokers, "four", LINES), brokers: brokers.clone(), lines: LINES };
    let (kafka, elasticsearch) = (Sink::kafka(&brokers), Sink::elasticsearch());
    let Sink::Kafka { topic: counts, .. } = kafka.clone() else { unreachable!("it was made so") };
    let story = Story::new(&topic, Kind::Postgres, Memory::Checkpoint, &shared().postgres).with_totals();
    let mut story = story.with_sinks([kafka, Sink::parquet_on_hdfs(), elasticsearch.clone()]);
    story.crash("committed:3").unwrap();
    let refusals: [(&str, &Refuse<'_>); 3] = [
        ("blocks.write", &|_, refuse| elasticsearch.refuse(refuse)),
        ("word_counts_check", &|story, refuse| {
            let change = if refuse {
                "ADD CONSTRAINT word_counts_check CHECK (count < 0) NOT VALID"
            } else {
                "DROP CONSTRAINT word_counts_check"
            };
            story.database.execute(&format!("ALTER TABLE word_counts {change}"));
        }),
        (&counts, &|_, refuse| take_at_most(&brokers, &counts, if refuse { SMALL } else { 1_000_000 })),
    ];
    for (named, set) in refusals {
        let before = shown(&mut story);
        set(&story, true);
        let ended = story.job.clone().rate(RATE).until_caught_up().run();
        let told = ended.refusal();
        assert!(told.contains(named), "{named}: {told}");
        let after = shown(&mut story);
        for (place, (before, after)) in before.iter().zip(&after).enumerate() {
            assert!(before == after, "{named}: output {place} shows something of a batch that was refused");
        }
        set(&story, false);
        story.crash("committed:2").unwrap();
    }
    story.finish().unwrap();
}
