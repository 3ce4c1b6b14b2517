//! What datasets give inside `transform` and `foreach_rdd`: what plain vectors give, in the same partitions and the same order on
//! any number of workers and each time a batch is run.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, Weak};
use tidegate::core::{
    BatchPlan, BatchTime, EpochStart, RuntimeEvent, RuntimeFactory, SourcePlan, SourceRange,
};
use tidegate::testkit::{BATCH, MemoryInput, MemoryOutput, TestJob, batch_at, every};
use tidegate::{BatchId, Conf, ErrorKind, Rdd, Stop, StreamingContext};
use tidegate_dataflow::{Graph, Node, TimelyRuntimes, ops};

/// A key, and a number of its own, so that records with equal keys can be told apart.
type Row = (i64, i64);

/// What is in each partition.
type Partitions<T> = Vec<Vec<T>>;

fn conf(workers: usize) -> Conf {
    Conf::new().set_master(&format!("local[{workers}]"))
}

/// The partitions of each dataset that each of `cases` gives, where there is one; there is an input dataset in every `slide`th
/// batch.
fn run(workers: usize, slide: u32, batches: &[Partitions<Row>]) -> Vec<BTreeMap<BatchId, Partitions<Row>>> {
    let input = MemoryInput::new(batches[0].len());
    let outputs: Vec<_> = CASES.iter().map(|_| MemoryOutput::new()).collect();
    let mut job = TestJob::start(conf(workers), None, |ssc| {
        let stream = every(slide, &*ssc.input_stream("rows", input.clone())?);
        for (place, (case, output)) in CASES.iter().zip(&outputs).enumerate() {
            let partitions = stream.transform(case.graph).map_partitions(|rows| [rows.collect()]);
            partitions.output_in_place(&format!("output-{place}"), output.clone())?;
        }
        Ok(())
    })
    .unwrap();
    for batch in batches {
        batch.iter().enumerate().for_each(|(partition, rows)| input.push(partition, rows.clone()));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    outputs.iter().map(MemoryOutput::batches).collect()
}

/// One operator, and what it must give.
struct Case {
    name: &'static str,
    graph: fn(Rdd<Row>) -> Rdd<Row>,
    plain: fn(&[Vec<Row>]) -> Gives,
}

enum Gives {
    /// These partitions.
    Partitions(Partitions<Row>),
    /// These rows, in an order that is fixed but means nothing.
    Rows(Vec<Row>),
}

use Gives::{Partitions as Exactly, Rows};

fn one(rows: impl IntoIterator<Item = Row>) -> Gives {
    Exactly(vec![rows.into_iter().collect()])
}

fn sorted_by<K: Ord>(parts: &[Vec<Row>], key: impl Fn(&Row) -> K) -> Vec<Row> {
    let mut rows = parts.concat();
    rows.sort_by_key(key);
    rows
}

/// `rows`, cut where `partitions` of one size would end, or behind the last row of the key there.
fn cut(rows: &[Row], partitions: usize) -> Gives {
    let (mut parts, mut begin) = (Vec::new(), 0);
    for part in 1..=partitions {
        let mut end = begin.max(rows.len() * part / partitions);
        while end > 0 && end < rows.len() && rows[end].0 == rows[end - 1].0 {
            end += 1;
        }
        parts.push(rows[begin..end].to_vec());
        begin = end;
    }
    Exactly(parts)
}

fn keys_where(parts: &[Vec<Row>], keep: impl Fn(&Row) -> bool) -> BTreeSet<i64> {
    parts.concat().into_iter().filter(|row| keep(row)).map(|(key, _)| key).collect()
}

fn even(row: &Row) -> bool {
    row.1 % 2 == 0
}

fn odd(row: &Row) -> bool {
    !even(row)
}

/// Not commutative, but associative.
fn append(a: Row, b: Row) -> Row {
    (a.0.wrapping_mul(3i64.wrapping_pow(b.1 as u32)).wrapping_add(b.0), a.1 + b.1)
}

fn as_digits(rows: &[Row]) -> Option<Row> {
    rows.iter().map(|(key, _)| (*key, 1)).reduce(append)
}

/// The values of a key in the table of static pairs.
fn few(key: i64) -> &'static [i64] {
    match key {
        1 => &[4, 6],
        2 => &[5],
        _ => &[],
    }
}

const CASES: &[Case] = &[
    Case {
        name: "sort_by",
        graph: |rdd| rdd.sort_by(|row| row.0, true),
        plain: |parts| cut(&sorted_by(parts, |row| row.0), parts.len()),
    },
    Case {
        name: "sort_by, descending, with ties in their order",
        graph: |rdd| rdd.sort_by_with_partitions(|row| row.0, false, 2),
        plain: |parts| cut(&sorted_by(parts, |row| -row.0), 2),
    },
    Case {
        name: "sort_by_key into more partitions than there are records",
        graph: |rdd| rdd.sort_by_key_with_partitions(true, 50),
        plain: |parts| cut(&sorted_by(parts, |row| row.0), 50),
    },
    Case {
        name: "sort_by_key, descending",
        graph: |rdd| rdd.sort_by_key(false),
        plain: |parts| cut(&sorted_by(parts, |row| -row.0), parts.len()),
    },
    Case {
        name: "distinct",
        graph: |rdd| rdd.keys().distinct().map(|key| (key, 0)),
        plain: |parts| Rows(keys_where(parts, |_| true).into_iter().map(|key| (key, 0)).collect()),
    },
    Case {
        name: "distinct into one partition",
        graph: |rdd| rdd.union(&rdd).distinct_with_partitions(1),
        plain: |parts| Rows(parts.concat()),
    },
    Case {
        name: "intersection",
        graph: |rdd| rdd.filter(even).keys().intersection(&rdd.filter(odd).keys()).map(|key| (key, 0)),
        plain: |parts| {
            let both = &keys_where(parts, even) & &keys_where(parts, odd);
            Rows(both.into_iter().map(|key| (key, 0)).collect())
        },
    },
    Case {
        name: "subtract",
        graph: |rdd| rdd.keys().subtract(&rdd.filter(odd).keys()).map(|key| (key, 0)),
        plain: |parts| {
            let without = keys_where(parts, odd);
            let rest = parts.concat().into_iter().filter(|row| !without.contains(&row.0));
            Rows(rest.map(|(key, _)| (key, 0)).collect())
        },
    },
    Case {
        name: "subtract_by_key",
        graph: |rdd| rdd.subtract_by_key(&rdd.filter(odd).map(|(key, _)| (key, "any".to_owned()))),
        plain: |parts| {
            let without = keys_where(parts, odd);
            Rows(parts.concat().into_iter().filter(|row| !without.contains(&row.0)).collect())
        },
    },
    Case {
        name: "group_by",
        graph: |rdd| {
            rdd.group_by(|row| row.0).flat_map(|(key, rows)| {
                // In the order in which they were: each with its place in the group.
                rows.into_iter().zip(0..).map(move |((_, n), place)| (key, n * 1000 + place))
            })
        },
        plain: |parts| {
            let mut places: BTreeMap<i64, i64> = BTreeMap::new();
            let row = |(key, n): Row| {
                let place = places.entry(key).or_insert(-1);
                *place += 1;
                (key, n * 1000 + *place)
            };
            Rows(parts.concat().into_iter().map(row).collect())
        },
    },
    Case { name: "take", graph: |rdd| rdd.take(4), plain: |parts| one(parts.concat().into_iter().take(4)) },
    Case { name: "take nothing", graph: |rdd| rdd.take(0), plain: |_| one([]) },
    Case {
        name: "take more than there is",
        graph: |rdd| rdd.take(usize::MAX),
        plain: |parts| one(parts.concat()),
    },
    Case { name: "first", graph: |rdd| rdd.first(), plain: |parts| one(parts.concat().into_iter().take(1)) },
    Case {
        name: "take_ordered",
        graph: |rdd| rdd.take_ordered(3),
        plain: |parts| one(sorted_by(parts, |row| *row).into_iter().take(3)),
    },
    Case {
        name: "take_ordered_by, with ties in their order",
        graph: |rdd| rdd.take_ordered_by(5, |row| row.0),
        plain: |parts| one(sorted_by(parts, |row| row.0).into_iter().take(5)),
    },
    Case {
        name: "top",
        graph: |rdd| rdd.top(3),
        plain: |parts| one(sorted_by(parts, |row| std::cmp::Reverse(*row)).into_iter().take(3)),
    },
    Case {
        name: "top_by, with ties in their order",
        graph: |rdd| rdd.top_by(70, |row| row.0),
        plain: |parts| one(sorted_by(parts, |row| -row.0).into_iter().take(70)),
    },
    Case { name: "top of nothing", graph: |rdd| rdd.top(0), plain: |_| one([]) },
    Case { name: "max", graph: |rdd| rdd.max(), plain: |parts| one(parts.concat().into_iter().max()) },
    Case { name: "min", graph: |rdd| rdd.min(), plain: |parts| one(parts.concat().into_iter().min()) },
    Case {
        name: "a reduction that is not commutative",
        graph: |rdd| rdd.map(|(key, _)| (key, 1)).reduce(append),
        plain: |parts| one(as_digits(&parts.concat())),
    },
    Case {
        name: "fold",
        graph: |rdd| rdd.map(|(key, _)| (key, 1)).fold((0, 0), append),
        plain: |parts| one([as_digits(&parts.concat()).unwrap_or((0, 0))]),
    },
    Case {
        name: "aggregate with a zero that changes something, which goes in once for each partition and once more",
        graph: |rdd| {
            let sums = rdd.aggregate(100, |sum, (key, _)| sum + key, |a, b| a + b);
            sums.map(|sum| (sum, 0))
        },
        plain: |parts| {
            let sum: i64 = parts.concat().iter().map(|row| row.0).sum();
            one([(sum + 100 * (parts.len() as i64 + 1), 0)])
        },
    },
    Case {
        name: "sum",
        graph: |rdd| rdd.keys().sum().map(|sum| (sum, 0)),
        plain: |parts| one([(parts.concat().iter().map(|row| row.0).sum(), 0)]),
    },
    Case {
        name: "count and is_empty",
        graph: |rdd| rdd.count().map(|n| (n as i64, 0)).union(&rdd.is_empty().map(|is| (0, i64::from(is)))),
        plain: |parts| {
            let rows = parts.concat();
            Exactly(vec![vec![(rows.len() as i64, 0)], vec![(0, i64::from(rows.is_empty()))]])
        },
    },
    Case {
        name: "count_by_key",
        graph: |rdd| rdd.count_by_key().map(|(key, n)| (key, n as i64)),
        plain: |parts| {
            let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
            parts.concat().iter().for_each(|row| *counts.entry(row.0).or_default() += 1);
            Rows(counts.into_iter().collect())
        },
    },
    Case {
        name: "zip_with_index",
        graph: |rdd| rdd.zip_with_index().map(|((key, _), number)| (key, number as i64)),
        plain: |parts| {
            let mut numbers = 0..;
            let mut numbered = |rows: &Vec<Row>| rows.iter().map(|row| row.0).zip(&mut numbers).collect();
            Exactly(parts.iter().map(&mut numbered).collect())
        },
    },
    Case {
        name: "coalesce",
        graph: |rdd| rdd.coalesce(2),
        plain: |parts| {
            let (first, second) = parts.split_at(parts.len() / 2);
            let halves = if first.is_empty() { vec![second] } else { vec![first, second] };
            Exactly(halves.into_iter().map(<[_]>::concat).collect())
        },
    },
    Case {
        name: "coalesce into more than there are",
        graph: |rdd| rdd.coalesce(1_000_000_000),
        plain: |parts| Exactly(parts.to_vec()),
    },
    Case {
        name: "coalesce of what is shuffled, twice",
        graph: |rdd| rdd.sort_by_with_partitions(|row| row.1, true, 9).coalesce(7).coalesce(1),
        plain: |parts| one(sorted_by(parts, |row| row.1)),
    },
    Case {
        name: "repartition",
        graph: |rdd| rdd.repartition(3).map_partitions_with_index(|_, rows| rows.collect::<Vec<_>>()),
        plain: |parts| Rows(parts.concat()),
    },
    Case {
        name: "glom and map_partitions_with_index",
        graph: |rdd| {
            rdd.glom().map_partitions_with_index(|partition, groups| {
                groups.map(|rows| (i64::from(partition.0), rows.len() as i64)).collect::<Vec<_>>()
            })
        },
        plain: |parts| Exactly((0..).zip(parts).map(|(p, rows)| vec![(p, rows.len() as i64)]).collect()),
    },
    Case {
        name: "key_by, keys and values",
        graph: |rdd| {
            let keyed = rdd.key_by(|row| row.1);
            keyed.keys().map(|n| (n, 0)).union(&keyed.values())
        },
        plain: |parts| {
            let keys = parts.iter().map(|rows| rows.iter().map(|row| (row.1, 0)).collect());
            Exactly(keys.chain(parts.iter().cloned()).collect())
        },
    },
    Case { name: "a sample of all", graph: |rdd| rdd.sample(false, 1.0, 3), plain: |p| Exactly(p.to_vec()) },
    Case {
        name: "a sample of nothing",
        graph: |rdd| rdd.sample(true, 0.0, 3).union(&rdd.sample(false, 0.0, 3)),
        plain: |parts| Exactly(vec![vec![]; parts.len() * 2]),
    },
    Case {
        name: "joins with static pairs",
        graph: |rdd| {
            let few = rdd.context().static_pairs([(1, 4), (2, 5), (1, 6)]);
            let inner = rdd.join_static(&few).map(|(key, (n, w))| (key, n * 10 + w));
            let outer = rdd.left_outer_join_static(&few).map(|(key, (n, w))| (key, n * 10 + w.unwrap_or(9)));
            inner.union(&outer).union(&rdd.subtract_static(&few))
        },
        plain: |parts| {
            let rows = |of: &dyn Fn(&Row) -> Vec<Row>| -> Partitions<Row> {
                parts.iter().map(|rows| rows.iter().flat_map(of).collect()).collect()
            };
            let inner = rows(&|(key, n)| few(*key).iter().map(|w| (*key, n * 10 + w)).collect());
            let outer = rows(&|(key, n)| match few(*key) {
                [] => vec![(*key, n * 10 + 9)],
                values => values.iter().map(|w| (*key, n * 10 + w)).collect(),
            });
            let rest = rows(&|row| if few(row.0).is_empty() { vec![*row] } else { vec![] });
            Exactly([inner, outer, rest].concat())
        },
    },
    Case {
        name: "map_with and filter_with",
        graph: |rdd| {
            let (twice, limit) = (rdd.context().broadcast(2), rdd.context().broadcast(6));
            rdd.map_with(&twice, |by, (key, n)| (key * by, n))
                .filter_with(&limit, |limit, row| row.0 < *limit)
        },
        plain: |parts| {
            let part =
                |rows: &Vec<Row>| rows.iter().map(|(key, n)| (key * 2, *n)).filter(|row| row.0 < 6).collect();
            Exactly(parts.iter().map(part).collect())
        },
    },
];

/// Sees to it that all cases give what they must, the same on any number of workers.
fn check(batches: &[Partitions<Row>]) {
    let found = run(1, 1, batches);
    for workers in [2, 4] {
        for (case, (found, one)) in CASES.iter().zip(run(workers, 1, batches).iter().zip(&found)) {
            assert_eq!(found, one, "{} on {workers} workers and on one", case.name);
        }
    }
    for (case, found) in CASES.iter().zip(&found) {
        assert_eq!(found.len(), batches.len(), "{}", case.name);
        for (input, found) in batches.iter().zip(found.values()) {
            match (case.plain)(input) {
                Exactly(expected) => assert_eq!(*found, expected, "{}", case.name),
                Rows(mut expected) => {
                    let mut found = found.concat();
                    found.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(found, expected, "{}", case.name);
                }
            }
        }
    }
}

/// Rows of `keys`, numbered in their order.
fn numbered(keys: &[Vec<i64>]) -> Partitions<Row> {
    let mut numbers = 0..;
    let mut rows = |keys: &Vec<i64>| keys.iter().copied().zip(&mut numbers).collect();
    keys.iter().map(&mut rows).collect()
}

#[test]
fn a_dataset_gives_what_plain_vectors_give_on_1_2_and_4_workers() {
    let many: Vec<i64> = (0..2_500).map(|n| n * 7 % 13 % 9).collect();
    let batches = [
        numbered(&[vec![5, 1, 3], vec![], vec![1, 4, 5, 2]]),
        numbered(&[vec![], vec![], vec![]]),
        numbered(&[vec![], vec![7], vec![]]),
        numbered(&[vec![2, 2], vec![2, 2, 2], vec![2]]),
        numbered(&[many.clone(), vec![1], many]),
    ];
    check(&batches);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_dataset_gives_what_plain_vectors_give_on_any_number_of_workers(
        keys in prop::collection::vec(prop::collection::vec(-4i64..9, 0..30), 1..7),
    ) {
        check(&[numbered(&keys)]);
    }
}

#[test]
fn where_there_is_no_dataset_nothing_is_given_not_even_a_count() {
    let rows = numbered(&[vec![1, 2], vec![3]]);
    let batches = [rows.clone(), rows.clone(), rows.clone(), rows];
    for (case, found) in CASES.iter().zip(run(2, 2, &batches)) {
        let present: Vec<u64> = found.keys().map(|batch| batch.0).collect();
        assert_eq!(present, [2, 4], "{}", case.name);
    }
}

/// A graph whose results depend on the order of records, on chance, or on the batch.
fn delicate(rdd: &Rdd<Row>) -> Rdd<Row> {
    let by_batch = rdd.context().broadcast_by_batch(|batch| (batch.seed() % 1000) as i64);
    let numbered = rdd.group_by(|row| row.0).flat_map(|(_, rows)| rows).zip_with_index();
    let shuffled = numbered.map(|((key, n), number)| (key, n * 10_000 + number as i64)).repartition(5);
    let some = shuffled.sample(false, 0.5, 1).union(&shuffled.sample(true, 1.5, 2));
    some.map_with(&by_batch, |seed, (key, n)| (key * 1000 + seed, n))
}

/// Runs three batches; with `fails`, the second fails at first, after part of it has gone through, and is run again on two
/// workers more.
fn rows_of_delicate(workers: usize, fails: bool, directory: &Path) -> Vec<Row> {
    let (input, output) = (MemoryInput::new(3), MemoryOutput::new());
    let start = |workers, broken: bool| {
        TestJob::start(conf(workers), Some(directory), |ssc| {
            let rows = ssc.input_stream("rows", input.clone())?;
            rows.transform(|rdd| delicate(&rdd)).output("delicate", output.clone())?;
            rows.foreach_rdd(|rdd| {
                rdd.map_partitions_with_batch(move |batch, _, rows| {
                    assert!(!broken || batch.id().0 != 2, "not yet");
                    rows.collect::<Vec<_>>()
                })
                .foreach(|_, _| ())
            })
        })
        .unwrap()
    };
    let push = |batch: i64| {
        for partition in 0..3 {
            input.push(partition, (0..40).map(|n| (n * batch % 11, n + 100 * partition as i64)));
        }
    };
    let mut job = start(workers, fails);
    push(1);
    job.next_batch().unwrap();
    push(2);
    if fails {
        job.next_batch().unwrap_err();
        drop(job);
        job = start(workers + 2, false);
        assert!(job.next_batch().unwrap().rerun);
    } else {
        job.next_batch().unwrap();
    }
    push(3);
    // After a restart the clock has moved on by a batch, which found nothing.
    while output.batches().values().filter(|rows| !rows.is_empty()).count() < 3 {
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    output.batches().into_values().take(2).flatten().collect()
}

#[test]
fn a_batch_that_is_run_again_on_more_workers_gives_the_same_sample_in_the_same_order() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let once = rows_of_delicate(1, false, directories[0].path());
    assert!(once.len() > 300, "{}", once.len());
    assert_eq!(rows_of_delicate(3, false, directories[1].path()), once);
    assert_eq!(rows_of_delicate(2, true, directories[2].path()), once);
}

/// What `sample` takes of ten partitions with the numbers up to 1000 each, in two batches.
fn sampled(with_replacement: bool, fraction: f64, seed: u64) -> [Vec<i64>; 2] {
    let (input, output) = (MemoryInput::new(10), MemoryOutput::new());
    let mut job = TestJob::start(conf(2), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.transform(|rdd| rdd.sample(with_replacement, fraction, seed)).output("sample", output.clone())
    })
    .unwrap();
    for _ in 0..2 {
        (0..10).for_each(|partition| input.push(partition, 0..1000));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    output.batches().into_values().collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_sample_has_the_size_that_was_asked_for_and_differs_by_seed_and_batch() {
    for (with_replacement, fraction) in [(false, 0.1), (false, 0.9), (true, 0.1), (true, 2.5)] {
        let [first, second] = sampled(with_replacement, fraction, 7);
        let expected = 10_000.0 * fraction;
        for rows in [&first, &second] {
            let size = rows.len() as f64;
            // Five standard deviations of the wider distribution. The seeds are fixed: this holds always or never.
            assert!((size - expected).abs() < 5.0 * expected.sqrt(), "{size} of {expected}");
        }
        assert_ne!(first, second, "two batches");
        assert_eq!(sampled(with_replacement, fraction, 7), [first.clone(), second], "the same seed");
        assert_ne!(sampled(with_replacement, fraction, 8)[0], first, "another seed");
        let twice = first.windows(2).any(|pair| pair[0] == pair[1]);
        assert_eq!(twice, with_replacement, "{fraction}");
    }
}

#[test]
fn a_dataset_that_makes_no_sense_is_refused_at_the_start() {
    type Build = fn(Rdd<i64>) -> Rdd<i64>;
    let cases: [(&str, Build); 10] = [
        ("coalesce #1 into 0 partitions; give it at least 1", |n| n.coalesce(0)),
        ("repartition #1 into 0 partitions; give it at least 1", |n| n.repartition(0)),
        ("sort_by #1 into 0 partitions; give it at least 1", |n| n.sort_by_with_partitions(|n| *n, true, 0)),
        ("distinct #2 into 0 partitions; give it at least 1", |n| n.distinct_with_partitions(0)),
        ("intersection #3 into 0 partitions; give it at least 1", |n| n.intersection_with_partitions(&n, 0)),
        ("subtract #3 into 0 partitions; give it at least 1", |n| n.subtract_with_partitions(&n, 0)),
        ("sample #1: a fraction of -0.1; it must be 0 or more", |n| n.sample(true, -0.1, 0)),
        ("sample #1: a fraction of NaN; it must be 0 or more", |n| n.sample(true, f64::NAN, 0)),
        ("sample #1: a fraction of -0.1; it must be from 0 to 1 where no record is taken twice", |n| {
            n.sample(false, -0.1, 0)
        }),
        ("sample #1: a fraction of 1.5; it must be from 0 to 1 where no record is taken twice", |n| {
            n.sample(false, 1.5, 0)
        }),
    ];
    for (flaw, build) in cases {
        let refused = TestJob::start(conf(2), None, |ssc| {
            let numbers = ssc.input_stream("numbers", MemoryInput::new(1))?;
            numbers.transform(build).output("all", MemoryOutput::new())
        });
        let error = refused.err().unwrap();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Reconfigure, flaw));
    }
}

#[test]
fn datasets_of_two_contexts_are_not_brought_together() {
    let dataset = || {
        let ssc = StreamingContext::new(conf(1), BATCH).unwrap();
        let (rows, mut dataset) = (ssc.input_stream("rows", MemoryInput::<Row>::new(1)).unwrap(), None);
        rows.foreach_rdd(|rdd| {
            dataset = Some(rdd);
            Ok(())
        })
        .unwrap();
        dataset.unwrap()
    };
    let refused = |name: &str, build: fn(&Rdd<Row>, &Rdd<Row>) -> Rdd<Row>| {
        let (one, other) = (dataset(), dataset());
        let panicked = catch_unwind(AssertUnwindSafe(|| build(&one, &other))).err().unwrap();
        assert_eq!(
            panicked.downcast_ref::<String>().unwrap(),
            &format!("{name} of streams of two contexts; build both from one StreamingContext")
        );
    };
    refused("intersection", |a, b| a.intersection(b));
    refused("subtract", |a, b| a.subtract(b));
    refused("subtract_by_key", |a, b| a.subtract_by_key(b));
}

#[test]
fn each_operator_is_named_when_its_function_panics() {
    type Build = fn(Rdd<i64>) -> Rdd<i64>;
    let cases: [(&str, Build); 15] = [
        ("sort_by #1", |n| n.sort_by(|_| -> i64 { panic!("oh") }, true)),
        ("take_ordered_by #1", |n| n.take_ordered_by(1, |_| -> i64 { panic!("oh") })),
        ("top_by #1", |n| n.top_by(1, |_| -> i64 { panic!("oh") })),
        ("reduce #1", |n| n.reduce(|_, _| panic!("oh"))),
        ("fold #1", |n| n.fold(0, |_, _| panic!("oh"))),
        ("aggregate #1", |n| n.aggregate(0, |_, _| panic!("oh"), |a, _| a)),
        ("aggregate #1", |n| n.aggregate(0, |sum, n| sum + n, |_, _| panic!("oh"))),
        ("key_by #1", |n| n.key_by(|_| -> i64 { panic!("oh") }).values()),
        ("group_by #1", |n| n.group_by(|_| -> i64 { panic!("oh") }).keys()),
        ("map_partitions #1", |n| n.map_partitions_with_index(|_, _| -> [i64; 0] { panic!("oh") })),
        ("map_with #1", |n| n.map_with(&n.context().broadcast(0), |_, _| panic!("oh"))),
        ("filter_with #1", |n| n.filter_with(&n.context().broadcast(0), |_, _| panic!("oh"))),
        ("map_with #1", |n| {
            n.map_with(&n.context().broadcast_by_batch(|_| -> i64 { panic!("oh") }), |_, n| n)
        }),
        // The one that panics, not the one that feeds it.
        ("map #2", |n| n.sort_by(|n| *n, true).map(|_| panic!("oh"))),
        ("map #2", |n| n.zip_with_index().map(|_| panic!("oh"))),
    ];
    for (name, build) in cases {
        let input = MemoryInput::new(2);
        let mut job = TestJob::start(conf(2), None, |ssc| {
            ssc.input_stream("numbers", input.clone())?.transform(build).output("all", MemoryOutput::new())
        })
        .unwrap();
        input.push(0, [1, 2]);
        let error = job.next_batch().unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("the function of {name} panicked in batch 1"))
                && error.to_string().ends_with(": oh"),
            "{name}: {error}"
        );
    }
}

/// Why the first batch, of the numbers up to 3, fails in a careful epoch of the graph that `build` makes.
fn careful_failure(build: fn(&Node<i64>) -> Node<i64>) -> String {
    let (input, graph) = (MemoryInput::new(1), Graph::new(1000));
    input.push(0, [1, 2, 3]);
    let numbers = graph.input("numbers".into(), Arc::new(input)).unwrap();
    ops::output_in_place(&build(&numbers), "all".into(), Arc::new(MemoryOutput::new())).unwrap();
    let (tell, told) = channel();
    let events = Arc::new(move |event| {
        if let RuntimeEvent::Failed(error) = event {
            tell.send(error.to_string()).unwrap();
        }
    });
    let start = EpochStart { careful: true, ..EpochStart::fresh(BatchId(1), events) };
    let mut runtime = TimelyRuntimes::local(graph, 2).start(start).unwrap();
    let ranges = vec![SourceRange::new("memory-0", 0, 3)];
    let sources = vec![SourcePlan { stream: "numbers".into(), ranges }];
    let plan = BatchPlan { id: BatchId(1), time: BatchTime(1000), zero: BatchTime(0), sources };
    runtime.run(Arc::new(plan));
    told.recv().unwrap()
}

#[test]
fn in_a_careful_epoch_the_record_is_named_on_which_a_function_panics() {
    fn two(n: i64) -> i64 {
        if n == 2 { panic!("not 2") } else { n }
    }
    type Build = fn(&Node<i64>) -> Node<i64>;
    let cases: [(&str, Build); 5] = [
        ("sort_by #1", |n| ops::sort_by(n, |n| two(*n), true, Some(2))),
        ("key_by #1", |n| ops::values(&ops::key_by(n, |n| two(*n)))),
        ("group_by #1", |n| ops::keys(&ops::group_by(n, 3, |n| two(*n)))),
        ("map_with #1", |n| ops::map_with(n, |_| Arc::new(0), |_: &i64, n| two(n))),
        ("filter_with #1", |n| ops::filter_with(n, |_| Arc::new(0), |least: &i64, n| two(*n) > *least)),
    ];
    for (name, build) in cases {
        let expected = format!("the function of {name} panicked in batch 1 on the record 2: not 2");
        assert_eq!(careful_failure(build), expected);
    }
}

#[test]
fn a_value_by_batch_is_made_once_for_all_partitions_and_functions_of_a_batch() {
    let (input, output) = (MemoryInput::new(8), MemoryOutput::new());
    let made = Arc::new(Mutex::new(Vec::new()));
    let mut job = TestJob::start(conf(4), None, |ssc| {
        let made = made.clone();
        let value = ssc.broadcast_by_batch(move |batch| {
            made.lock().unwrap().push(batch.id().0);
            batch.id().0 * 10
        });
        let numbers = ssc.input_stream("numbers", input.clone())?;
        let big = numbers.filter_with(&value, |value, n: &u64| n >= value);
        let again = value.clone();
        let all = big.map_with(&value, |value, n| n + value).transform(|rdd| {
            rdd.map_partitions_with_batch(move |batch, _, rows| {
                let value = again.value(batch);
                rows.map(move |n| (*value, n)).collect::<Vec<_>>()
            })
        });
        all.output("all", output.clone())
    })
    .unwrap();
    for _ in 0..7 {
        (0..8).for_each(|partition| input.push(partition, [10 * partition as u64]));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(*made.lock().unwrap(), (1..=7).collect::<Vec<_>>());
    let expected =
        |batch: u64| (batch..8).map(move |n| (batch * 10, n * 10 + batch * 10)).collect::<Vec<_>>();
    assert_eq!(output.batches().into_values().collect::<Vec<_>>(), (1..=7).map(expected).collect::<Vec<_>>());
}

#[test]
fn no_more_than_four_batches_values_are_kept_and_the_newest_are() {
    let ssc = StreamingContext::new(conf(1), BATCH).unwrap();
    let alive: Arc<Mutex<Vec<Weak<u64>>>> = Arc::default();
    let made = alive.clone();
    let value = ssc.broadcast_by_batch(move |batch| {
        let token = Arc::new(batch.time().0);
        made.lock().unwrap().push(Arc::downgrade(&token));
        token
    });
    for time in [1, 2, 3, 2, 4, 5, 6, 6] {
        assert_eq!(**value.value(&batch_at(time)), time);
    }
    let alive: Vec<_> = alive.lock().unwrap().iter().map(|token| token.upgrade().map(|time| *time)).collect();
    assert_eq!(alive, [None, None, Some(3), Some(4), Some(5), Some(6)]);
    // One that was let go of is made again.
    assert_eq!(**value.value(&batch_at(1)), 1);
}

#[test]
fn what_an_action_would_return_is_given_to_a_function_with_its_batch() {
    let (input, seen) = (MemoryInput::new(2), Arc::new(Mutex::new(Vec::new())));
    let mut job = TestJob::start(conf(2), None, |ssc| {
        let seen = seen.clone();
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.foreach_rdd(|rdd| {
            rdd.max().collect(move |batch, rows: Vec<i64>| {
                seen.lock().unwrap().push((batch.id().0, rows));
            })
        })
    })
    .unwrap();
    input.push(0, [1, 5]);
    input.push(1, [7, 2]);
    job.next_batch().unwrap();
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(1, vec![7]), (2, vec![])]);
}

#[test]
fn a_function_of_each_record_that_gives_an_error_stops_the_job_with_it() {
    let input = MemoryInput::new(2);
    let mut job = TestJob::start(conf(2), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.foreach_rdd(|rdd| {
            rdd.foreach(
                |batch, n: i64| {
                    if n == 13 { Err(format!("13 in batch {}", batch.id())) } else { Ok(()) }
                },
            )
        })
    })
    .unwrap();
    input.push(0, [1]);
    job.next_batch().unwrap();
    input.push(1, [2, 13]);
    let error = job.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    let text = error.to_string();
    assert!(text.starts_with("output \"foreach-0\": ") && text.ends_with("13 in batch 2"), "{text}");
}
