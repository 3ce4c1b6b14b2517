//! What the moved job computes, and that its page shows this very program.

use super::{top_of_last_minute, totals, words};
use tidegate::DStream;
use tidegate::testkit::run;
use tidegate_kafka::KafkaRecord;

const PAGE: &str = include_str!("../../docs/coming-from-spark-streaming.md");
const PROGRAM: &str = include_str!("main.rs");

fn pair(word: &str, count: i64) -> (String, i64) {
    (word.to_owned(), count)
}

#[test]
fn the_pieces_on_the_page_are_the_program() {
    let (_, moved) = PAGE.split_once("## A job moved line by line").expect("the page has the part");
    let pieces = moved.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let shown = pieces.collect::<Vec<_>>().join("\n");
    let program = PROGRAM.strip_suffix("\n#[cfg(test)]\nmod tests;\n").expect("tests come last");
    assert_eq!(shown, program);
}

#[test]
fn each_word_of_a_line_is_a_pair() {
    let job = |lines: DStream<String>| words(&lines.map(KafkaRecord::of_value));
    let pairs = run(job, [vec!["the tide", "ebb"]]);
    assert_eq!(pairs, [[pair("the", 1), pair("tide", 1), pair("ebb", 1)]]);
}

#[test]
fn every_ten_seconds_the_words_of_the_last_minute_come_most_frequent_first_and_gone_ones_not_at_all() {
    let mut batches = vec![vec![pair("flow", 1)]; 80];
    batches[0] = vec![pair("ebb", 1); 100];
    let windows = run(|pairs: DStream<(String, i64)>| top_of_last_minute(&pairs), batches);
    let expected: Vec<_> = (1..=8)
        .map(|slide| match slide {
            1..=6 => vec![pair("ebb", 100), pair("flow", slide * 10 - 1)],
            _ => vec![pair("flow", 60)],
        })
        .collect();
    assert_eq!(windows, expected);
}

#[test]
fn a_word_has_its_total_until_it_did_not_come_for_an_hour() {
    let mut batches = vec![vec![]; 3605];
    batches[0] = vec![pair("ebb", 1), pair("ebb", 1)];
    batches[2] = vec![pair("ebb", 1)];
    batches[3604] = vec![pair("ebb", 1)];
    let out = run(|pairs: DStream<(String, i64)>| (*totals(&pairs)).clone(), batches);
    let given: Vec<_> = out.into_iter().flatten().collect();
    assert_eq!(given, [pair("ebb", 2), pair("ebb", 3), pair("ebb", 1)]);
}
