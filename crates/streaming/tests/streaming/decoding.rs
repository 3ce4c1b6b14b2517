//! Bytes to records: what can't be decoded fails the batch, or is skipped and counted, or is a record of a stream of its own.

use crate::failures::{At, Failing};
use proptest::prelude::*;
use std::sync::{Mutex, Once};
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
use tidegate::{
    BadRecords, Conf, CsvDecoder, DStream, DeadLetter, Decoder, ErrorKind, JsonDecoder, Origin, Payload,
    Result, Stop, StreamingContext,
};

/// A record that knows where it is from.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    partition: u32,
    offset: u64,
    bytes: Vec<u8>,
}

impl Payload for Row {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn origin(&self) -> Origin {
        Origin { source: Some("rows".to_owned()), partition: Some(self.partition), offset: Some(self.offset) }
    }
}

/// An input of three partitions with the next texts of each.
#[derive(Clone)]
struct Rows {
    input: MemoryInput<Row>,
    offsets: [u64; 3],
}

impl Rows {
    fn new() -> Rows {
        Rows { input: MemoryInput::new(3), offsets: [0; 3] }
    }

    fn push(&mut self, partition: usize, texts: &[&str]) {
        for text in texts {
            let offset = self.offsets[partition];
            let row = Row { partition: partition as u32, offset, bytes: text.as_bytes().to_vec() };
            self.input.push(partition, [row]);
            self.offsets[partition] += 1;
        }
    }
}

fn conf(workers: usize) -> Conf {
    Conf::new().set_master(&format!("local[{workers}]")).set("tidegate.retry.pause_ms", "0")
}

fn rows(ssc: &StreamingContext, rows: &Rows) -> Result<DStream<Row>> {
    Ok(ssc.input_stream("rows", rows.input.clone())?.clone())
}

/// Two batches with good and bad records in each partition.
const BATCHES: [[&[&str]; 3]; 2] =
    [[&["1", "x", "2"], &[], &["{", "3", "[]"]], [&["4"], &["", "5"], &["6", "7 8"]]];

fn json() -> JsonDecoder<i64> {
    JsonDecoder::new()
}

#[test]
fn bad_records_are_skipped_and_counted_alike_on_any_number_of_workers() {
    for workers in [1, 2, 4] {
        let (mut input, good) = (Rows::new(), MemoryOutput::new());
        let mut job = TestJob::start(conf(workers), None, |ssc| {
            let numbers = rows(ssc, &input)?.decode(json(), BadRecords::Skip);
            numbers.output("again", MemoryOutput::new())?;
            numbers.output_in_place("good", good.clone())
        })
        .unwrap();
        let mut skipped = Vec::new();
        for batch in BATCHES {
            batch.iter().enumerate().for_each(|(partition, texts)| input.push(partition, texts));
            let done = job.next_batch().unwrap();
            skipped.push((done.records, done.skipped));
        }
        // A batch without a bad record counts none.
        input.push(1, &["9"]);
        let done = job.next_batch().unwrap();
        skipped.push((done.records, done.skipped));
        job.ssc.stop(Stop::Gracefully).unwrap();
        let held: Vec<_> = good.batches().into_values().collect();
        assert_eq!(held, [vec![1, 2, 3], vec![4, 5, 6], vec![9]], "{workers} workers");
        assert_eq!(skipped, [(6, 3), (5, 2), (1, 0)], "{workers} workers");
    }
}

fn letter(partition: u32, offset: u64, text: &str, error: &str) -> DeadLetter {
    DeadLetter {
        source: Some("rows".to_owned()),
        partition: Some(partition),
        offset: Some(offset),
        error: error.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }
}

#[test]
fn dead_letters_are_in_the_batch_of_their_records_on_any_number_of_workers() {
    for workers in [1, 2, 4] {
        let (mut input, good, dead) = (Rows::new(), MemoryOutput::new(), MemoryOutput::new());
        let mut job = TestJob::start(conf(workers), None, |ssc| {
            let (numbers, letters) = rows(ssc, &input)?.decode_or_dead_letter(json());
            numbers.output_in_place("good", good.clone())?;
            letters.output("dead", dead.clone())
        })
        .unwrap();
        for batch in BATCHES {
            batch.iter().enumerate().for_each(|(partition, texts)| input.push(partition, texts));
            assert_eq!(job.next_batch().unwrap().skipped, 0, "nothing is skipped");
        }
        job.ssc.stop(Stop::Gracefully).unwrap();
        let held: Vec<_> = good.batches().into_values().collect();
        assert_eq!(held, [vec![1, 2, 3], vec![4, 5, 6]], "{workers} workers");
        let letters: Vec<_> = dead.batches().into_values().collect();
        let expected = [
            vec![
                letter(0, 1, "x", "expected value at line 1 column 1"),
                letter(2, 0, "{", "invalid type: map, expected i64 at line 1 column 0"),
                letter(2, 2, "[]", "invalid type: sequence, expected i64 at line 1 column 0"),
            ],
            vec![
                letter(1, 0, "", "EOF while parsing a value at line 1 column 0"),
                letter(2, 4, "7 8", "trailing characters at line 1 column 3"),
            ],
        ];
        assert_eq!(letters, expected, "{workers} workers");
    }
}

#[test]
fn a_job_that_may_not_skip_stops_with_the_place_of_the_record_and_what_is_wrong() {
    for workers in [1, 2, 4] {
        let (mut input, good) = (Rows::new(), MemoryOutput::new());
        let mut job = TestJob::start(conf(workers), None, |ssc| {
            rows(ssc, &input)?.decode(json(), BadRecords::Fail).output("good", good.clone())
        })
        .unwrap();
        input.push(2, &["1"]);
        job.next_batch().unwrap();
        input.push(2, &["2", "{\"a\":\n 1"]);
        let error = job.next_batch().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UserCode);
        let text = error.to_string();
        let told = "record 2 of rows-2 can't be decoded: invalid type: map, expected i64 at line 1 column 0. Mend it";
        assert!(
            text.starts_with("the function of decode #1 failed in batch 2") && text.contains(told),
            "{text}"
        );
        assert_eq!(good.rows(), [1], "nothing of the batch is seen");
    }
}

#[test]
fn what_a_batch_skips_is_counted_once_when_it_is_run_again() {
    for at in [At::Write, At::Prepare, At::Commit, At::Committed] {
        let (mut input, failing) = (Rows::new(), Failing::new(at, ErrorKind::Retry));
        let mut job = TestJob::start(conf(2), None, |ssc| {
            rows(ssc, &input)?.decode(json(), BadRecords::Skip).output("good", failing.clone())
        })
        .unwrap();
        input.push(0, &["x", "1"]);
        assert_eq!(job.next_batch().unwrap().skipped, 1, "{at:?}");
        input.push(0, &["x", "2"]);
        input.push(1, &["y", "z"]);
        let again = job.next_batch().unwrap();
        assert_eq!((again.rerun, again.records, again.skipped), (true, 4, 3), "{at:?}");
        assert_eq!(failing.inner.rows(), [1, 2], "{at:?}");
    }
}

#[test]
fn dead_letters_that_nobody_takes_keep_a_job_from_starting() {
    let start = |good: bool, dead: bool, other: bool| {
        TestJob::start(conf(1), None, |ssc| {
            let rows = rows(ssc, &Rows::new())?;
            let (numbers, letters) = rows.decode_or_dead_letter(json());
            if good {
                numbers.map(|n| n + 1).output("good", MemoryOutput::new())?;
            }
            if dead {
                letters.filter(|letter| letter.partition == Some(1)).output("dead", MemoryOutput::new())?;
            }
            if other {
                rows.map(|row| row.offset).output("other", MemoryOutput::new())?;
            }
            Ok(())
        })
    };
    let error = start(true, false, true).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert_eq!(
        error.to_string(),
        "the dead letters of decode #1 lead to no output, so records that can't be decoded would be lost; save them, or say \
         decode(.., BadRecords::Skip) if they may be"
    );
    // Where nothing is decoded, nothing can be lost.
    for (good, dead, other) in [(true, true, false), (false, true, false), (false, false, true)] {
        let mut job = start(good, dead, other).unwrap();
        job.next_batch().unwrap();
        job.ssc.stop(Stop::Gracefully).unwrap();
    }
}

/// Keeps what is warned of.
struct Warnings(Mutex<Vec<String>>);

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

static WARNINGS: Warnings = Warnings(Mutex::new(Vec::new()));

#[test]
fn a_batch_that_skips_is_warned_of_once_with_the_first_record_and_not_when_it_is_run_for_state() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        log::set_logger(&WARNINGS).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    let dir = tempfile::tempdir().unwrap();
    let (mut input, good) = (Rows::new(), MemoryOutput::new());
    let start = |input: &Rows| {
        TestJob::start(conf(3), Some(dir.path()), |ssc| {
            let ebb = |bytes: &[u8]| if bytes == b"ebb" { Ok((0u8, 1i64)) } else { Err("no tide of mine") };
            let pairs = rows(ssc, input)?.decode(ebb, BadRecords::Skip);
            let total =
                |new: Vec<i64>, total: Option<i64>| Some(total.unwrap_or(0) + new.iter().sum::<i64>());
            pairs.update_state_by_key(total).output("good", good.clone())
        })
        .unwrap()
    };
    let mut job = start(&input);
    input.push(2, &["x", "ebb"]);
    input.push(1, &["ebb", "y", "z"]);
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Now).unwrap();
    drop(job);
    // There is no checkpoint yet: the first batch is run again for state alone.
    input.push(0, &["ebb"]);
    let mut job = start(&input);
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Now).unwrap();
    assert_eq!(good.rows(), [(0, 2), (0, 3)]);
    let mine: Vec<_> =
        WARNINGS.0.lock().unwrap().iter().filter(|text| text.contains("no tide of mine")).cloned().collect();
    assert_eq!(
        mine,
        [
            "batch 1: decode #1 skipped bad records, 3 in all; the first: record 1 of rows-1 can't be decoded: no tide of mine"
        ]
    );
}

/// Bytes that are records, nearly records, and anything.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 18] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b"\\u",
        b",",
        b":",
        b"1",
        b"-",
        b"e",
        b".",
        b"\n",
        b"\r",
        b"null",
        b"\xC3",
        b"\xEF\xBB\xBF",
    ];
    let nearly = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12);
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (any::<i64>(), ".*").prop_map(|(n, text)| format!("{n},{text:?}").into_bytes()),
        nearly.prop_map(|pieces| pieces.concat()),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_bytes_make_a_decoder_panic_and_the_same_bytes_give_the_same(bytes in bytes()) {
        fn twice<T: std::fmt::Debug>(decoder: &impl Decoder<T>, bytes: &[u8]) {
            // By their text, for NaN is not equal to itself.
            assert_eq!(format!("{:?}", decoder.decode(bytes)), format!("{:?}", decoder.decode(bytes)));
        }
        twice(&JsonDecoder::<serde_json::Value>::new(), &bytes);
        twice(&JsonDecoder::<(u8, String)>::new(), &bytes);
        twice(&CsvDecoder::<(f64, Option<String>)>::positional(), &bytes);
        twice(&CsvDecoder::<Vec<Vec<u8>>>::positional().delimiter(b':'), &bytes);
        twice(&CsvDecoder::<std::collections::BTreeMap<String, String>>::with_header(["a", "b"]), &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn good_records_and_dead_letters_are_all_records_in_their_order(
        workers in 1..5usize,
        partitions in prop::collection::vec(prop::collection::vec(bytes(), 0..20), 3),
    ) {
        let (input, good, dead) = (MemoryInput::<Vec<u8>>::new(3), MemoryOutput::new(), MemoryOutput::new());
        let mut job = TestJob::start(conf(workers), None, |ssc| {
            let (numbers, letters) = ssc.input_stream("bytes", input.clone())?.decode_or_dead_letter(json());
            numbers.output("good", good.clone())?;
            letters.output("dead", dead.clone())
        }).unwrap();
        for (place, records) in partitions.iter().enumerate() {
            input.push(place, records.clone());
        }
        job.next_batch().unwrap();
        job.ssc.stop(Stop::Gracefully).unwrap();
        let all = || partitions.iter().flatten();
        let expected: Vec<i64> = all().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        prop_assert_eq!(good.rows(), expected);
        let bad: Vec<_> = all().filter(|bytes| serde_json::from_slice::<i64>(bytes).is_err()).cloned().collect();
        prop_assert_eq!(dead.rows().into_iter().map(|letter| letter.bytes).collect::<Vec<_>>(), bad);
    }
}
