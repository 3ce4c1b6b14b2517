//! Windows give what the same windows over plain vectors give, on any number of workers.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use tidegate::testkit::{BATCH, run_on};
use tidegate::{Conf, DStream, Stop, StreamingContext};

type Pair = (char, i64);

fn batches() -> Vec<Vec<Pair>> {
    vec![
        vec![('a', 1), ('b', 2), ('a', 3)],
        vec![],
        vec![('c', 4)],
        vec![('a', 5), ('c', 6)],
        vec![('b', 7)],
        vec![],
        vec![],
        vec![('a', 8)],
        vec![],
        vec![],
        vec![],
    ]
}

/// The records of the window that ends with batch `end` (counted from 1); none between two slides.
fn windowed(batches: &[Vec<Pair>], end: usize, length: usize, slide: usize) -> Option<Vec<Pair>> {
    end.is_multiple_of(slide).then(|| batches[end.saturating_sub(length)..end].concat())
}

fn sums(pairs: &[Pair]) -> Vec<Pair> {
    let mut sums = BTreeMap::new();
    pairs.iter().for_each(|(key, value)| *sums.entry(*key).or_insert(0) += value);
    sums.into_iter().collect()
}

/// What `plain` makes of each window, one after the other: where none ends there is no dataset, not an empty one.
fn expected<U>(
    batches: &[Vec<Pair>],
    (length, slide): (usize, usize),
    plain: impl Fn(Vec<Pair>) -> Vec<U>,
) -> Vec<Vec<U>> {
    let ends = 1..=batches.len();
    ends.filter_map(|end| windowed(batches, end, length, slide).map(&plain)).collect()
}

fn times((length, slide): (usize, usize)) -> (Duration, Duration) {
    (BATCH * length as u32, BATCH * slide as u32)
}

fn sorted<U: Ord>(mut batches: Vec<Vec<U>>) -> Vec<Vec<U>> {
    batches.iter_mut().for_each(|batch| batch.sort());
    batches
}

/// Lengths and slides: as long as a batch, overlapping, end to end, with records between two windows left out.
const SPANS: [(usize, usize); 7] = [(1, 1), (2, 1), (3, 1), (3, 2), (2, 2), (4, 2), (2, 3)];

#[test]
fn a_window_has_the_records_of_its_batches_oldest_first() {
    for workers in [1, 2, 4] {
        for span in SPANS {
            let (length, slide) = times(span);
            let found = run_on(workers, |pairs: DStream<Pair>| pairs.window(length, slide), batches());
            assert_eq!(found, expected(&batches(), span, |window| window), "{span:?} on {workers} workers");
        }
    }
}

#[test]
fn sums_over_a_window_are_the_same_with_and_without_an_inverse() {
    for workers in [1, 2, 4] {
        for span in SPANS {
            let (length, slide) = times(span);
            let plain = expected(&batches(), span, |window| sums(&window));
            let whole = |pairs: DStream<Pair>| pairs.reduce_by_key_and_window(|a, b| a + b, length, slide);
            assert_eq!(sorted(run_on(workers, whole, batches())), plain, "{span:?} on {workers} workers");
            let moved = |pairs: DStream<Pair>| {
                let (f, inverse) = (|a, b| a + b, |a, b| a - b);
                pairs.reduce_by_key_and_window_with_filter(f, inverse, length, slide, 3, |_, sum| *sum != 0)
            };
            assert_eq!(sorted(run_on(workers, moved, batches())), plain, "{span:?} on {workers} workers");
        }
    }
}

#[test]
fn with_an_inverse_and_no_filter_a_key_stays_with_what_is_left_of_it() {
    let moved = |pairs: DStream<Pair>| {
        pairs.reduce_by_key_and_window_with_inverse(|a, b| a + b, |a, b| a - b, BATCH * 2, BATCH)
    };
    let found = sorted(run_on(2, moved, batches()));
    assert_eq!(found[0], [('a', 4), ('b', 2)]);
    assert_eq!(found[2], [('a', 0), ('b', 0), ('c', 4)]);
    assert_eq!(found[10], [('a', 0), ('b', 0), ('c', 0)]);
}

#[test]
fn a_key_that_was_forgotten_begins_anew() {
    // 'a' sums to zero and is forgotten while its values are in the window; they are not taken out of what comes later.
    let input = vec![vec![('a', 1)], vec![('a', -1)], vec![('a', 10)], vec![], vec![], vec![]];
    let moved = |pairs: DStream<Pair>| {
        let (f, inverse) = (|a, b| a + b, |a, b| a - b);
        pairs.reduce_by_key_and_window_with_filter(f, inverse, BATCH * 3, BATCH, 1, |_, sum| *sum != 0)
    };
    let found = run_on(1, moved, input);
    assert_eq!(found[..3], [vec![('a', 1)], vec![], vec![('a', 10)]]);
}

#[test]
fn counts_and_reductions_over_a_window() {
    for workers in [1, 2, 4] {
        for span in SPANS {
            let (length, slide) = times(span);
            let count = |pairs: DStream<Pair>| pairs.count_by_window(length, slide);
            assert_eq!(
                run_on(workers, count, batches()),
                expected(&batches(), span, |window| vec![window.len() as u64]),
                "{span:?} on {workers} workers"
            );
            let largest = |pairs: DStream<Pair>| pairs.reduce_by_window(|a, b| a.max(b), length, slide);
            assert_eq!(
                run_on(workers, largest, batches()),
                expected(&batches(), span, |window| window.into_iter().max().into_iter().collect()),
                "{span:?} on {workers} workers"
            );
            let values =
                |pairs: DStream<Pair>| pairs.map(|(key, _)| key).count_by_value_and_window(length, slide);
            let ones =
                |window: Vec<Pair>| sums(&window.into_iter().map(|(key, _)| (key, 1)).collect::<Vec<_>>());
            assert_eq!(
                sorted(run_on(workers, values, batches())),
                expected(&batches(), span, |window| ones(window)
                    .into_iter()
                    .map(|(k, n)| (k, n as u64))
                    .collect()),
                "{span:?} on {workers} workers"
            );
            let groups = |pairs: DStream<Pair>| pairs.group_by_key_and_window(length, slide);
            let grouped = |window: Vec<Pair>| {
                let mut groups: BTreeMap<char, Vec<i64>> = BTreeMap::new();
                window.into_iter().for_each(|(key, value)| groups.entry(key).or_default().push(value));
                groups.into_iter().collect()
            };
            assert_eq!(
                sorted(run_on(workers, groups, batches())),
                expected(&batches(), span, grouped),
                "{span:?} on {workers} workers"
            );
        }
    }
}

#[test]
fn an_inverse_over_one_value_gives_what_is_left_of_it() {
    let sums = |pairs: DStream<Pair>| {
        pairs.map(|(_, n)| n).reduce_by_window_with_inverse(|a, b| a + b, |a, b| a - b, BATCH * 2, BATCH * 2)
    };
    let found = run_on(2, sums, batches());
    assert_eq!(found, [[6], [15], [7], [8], [0]]);
}

#[test]
fn a_window_of_windows_counts_its_slides() {
    let twice =
        |pairs: DStream<Pair>| pairs.window(BATCH * 2, BATCH * 2).window(BATCH * 4, BATCH * 4).count();
    let found = run_on(2, twice, batches());
    // Each second batch gives what is in two of them, each second of those what is in two of them.
    assert_eq!(found, [[6], [2]]);
}

#[test]
fn a_window_that_is_no_multiple_of_what_is_below_it_is_refused_at_the_start() {
    let refusal = |build: &dyn Fn(DStream<i64>) -> DStream<i64>| {
        let ssc = StreamingContext::new(Conf::new().set_master("local[1]"), BATCH).unwrap();
        let numbers = ssc.constant_stream(vec![1i64]).unwrap();
        build(numbers.clone()).print().unwrap();
        let refusal = ssc.start().unwrap_err().to_string();
        ssc.stop(Stop::Now).unwrap();
        refusal
    };
    assert_eq!(
        refusal(&|n| n.window(BATCH * 3 / 2, BATCH)),
        "window: a window of 1500 ms on input #0, which has a dataset every 1000 ms; the window must be a multiple of 1000 ms"
    );
    assert_eq!(
        refusal(&|n| n.window(BATCH * 4, BATCH * 2).window(BATCH * 4, BATCH * 3)),
        "window: a slide of 3000 ms on window #1, which has a dataset every 2000 ms; the slide must be a multiple of 2000 ms"
    );
    assert!(
        refusal(&|n| n.window(Duration::ZERO, BATCH)).starts_with("window: a window of 0 ms on input #0")
    );
    let other = refusal(&|n| n.window(BATCH * 2, BATCH * 2).union(&n));
    assert!(other.contains("has a dataset every 2000 ms") && other.contains("every 1000 ms"), "{other}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_window_over_any_batches_is_that_of_plain_vectors(
        batches in prop::collection::vec(prop::collection::vec((prop::char::range('a', 'e'), -9i64..9), 0..6), 1..12),
        length in 1usize..6,
        slide in 1usize..5,
        workers in 1usize..4,
    ) {
        let (w, s) = times((length, slide));
        let found = run_on(workers, |pairs: DStream<Pair>| pairs.window(w, s), batches.clone());
        prop_assert_eq!(found, expected(&batches, (length, slide), |window| window));
        let moved = |pairs: DStream<Pair>| {
            // Keys are kept by how many values they have, so that a sum of zero stays.
            let ones = pairs.map(|(key, value)| (key, (value, 1i64)));
            let add = |(a, n): (i64, i64), (b, m): (i64, i64)| (a + b, n + m);
            let take = |(a, n): (i64, i64), (b, m): (i64, i64)| (a - b, n - m);
            ones.reduce_by_key_and_window_with_filter(add, take, w, s, 2, |_, (_, n)| *n > 0).map(|(key, (sum, _))| (key, sum))
        };
        let found = sorted(run_on(workers, moved, batches.clone()));
        prop_assert_eq!(found, expected(&batches, (length, slide), |window| sums(&window)));
    }
}
