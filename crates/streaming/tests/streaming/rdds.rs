//! What datasets give inside `transform`: what plain vectors give, in the same partitions and the same order on
//! any number of workers and each time a batch is run.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob, every};
use tidegate::{BatchId, Conf, Rdd, Stop};

/// A key, and a number of its own, so that records with equal keys can be told apart.
type Row = (i64, i64);

/// What is in each partition.
type Partitions<T> = Vec<Vec<T>>;

/// The partitions of each dataset that each of `cases` gives, where there is one; there is an input dataset in every `slide`th
/// batch.
fn run(workers: usize, slide: u32, batches: &[Partitions<Row>]) -> Vec<BTreeMap<BatchId, Partitions<Row>>> {
    let input = MemoryInput::new(batches[0].len());
    let outputs: Vec<_> = CASES.iter().map(|_| MemoryOutput::new()).collect();
    let mut job = TestJob::start(Conf::new().set_master(&format!("local[{workers}]")), None, |ssc| {
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
