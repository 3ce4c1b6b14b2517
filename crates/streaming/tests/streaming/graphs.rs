//! What a graph gives is what plain collections give, on any number of workers, and in the same order.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob, every};
use tidegate::{BatchId, Conf, DStream, Stop};

/// The two inputs' records of one batch, by partition: three partitions and two.
type Batch = ([Vec<i64>; 3], [Vec<i64>; 2]);

/// What each output has of each batch; `None`: no dataset.
type Found = Vec<Vec<Option<Vec<i64>>>>;

/// Runs the graph that `build` makes of two inputs; the rows of each output and batch, sorted.
fn run(
    workers: usize,
    batches: &[Batch],
    build: impl FnOnce(DStream<i64>, DStream<i64>) -> Vec<DStream<i64>>,
) -> Vec<Vec<Vec<i64>>> {
    let all = |batches: Vec<Option<Vec<i64>>>| batches.into_iter().map(Option::unwrap).collect();
    sorted(run_in_order(workers, batches, build)).into_iter().map(all).collect()
}

fn sorted(mut found: Found) -> Found {
    found.iter_mut().flatten().flatten().for_each(|rows| rows.sort_unstable());
    found
}

/// As [`run`], with the rows as they came, and where there is no dataset.
fn run_in_order(
    workers: usize,
    batches: &[Batch],
    build: impl FnOnce(DStream<i64>, DStream<i64>) -> Vec<DStream<i64>>,
) -> Found {
    let (a, b) = (MemoryInput::new(3), MemoryInput::new(2));
    let mut outputs = Vec::new();
    let conf = Conf::new().set_master(&format!("local[{workers}]"));
    let mut job = TestJob::start(conf, None, |ssc| {
        let streams =
            build(ssc.input_stream("a", a.clone())?.clone(), ssc.input_stream("b", b.clone())?.clone());
        for (place, stream) in streams.into_iter().enumerate() {
            let output = MemoryOutput::new();
            stream.output_in_place(&format!("output-{place}"), output.clone())?;
            outputs.push(output);
        }
        Ok(())
    })
    .unwrap();
    for (from_a, from_b) in batches {
        from_a.iter().enumerate().for_each(|(partition, records)| a.push(partition, records.clone()));
        from_b.iter().enumerate().for_each(|(partition, records)| b.push(partition, records.clone()));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    let of_output = |output: MemoryOutput<i64>| {
        let mut held = output.batches();
        (1..=batches.len() as u64).map(|batch| held.remove(&BatchId(batch))).collect()
    };
    outputs.into_iter().map(of_output).collect()
}

fn sums(rows: impl IntoIterator<Item = i64>, keys: i64) -> Vec<i64> {
    let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
    for row in rows {
        let sum = sums.entry(row.rem_euclid(keys)).or_default();
        *sum = sum.wrapping_add(row);
    }
    sums.into_iter().map(as_one).collect()
}

fn as_one((key, sum): (i64, i64)) -> i64 {
    sum.wrapping_mul(100).wrapping_add(key)
}

fn sums_of(rows: &DStream<i64>, keys: i64) -> DStream<i64> {
    rows.map(move |row| (row.rem_euclid(keys), row)).reduce_by_key(i64::wrapping_add).map(as_one)
}

struct Case {
    name: &'static str,
    graph: fn(DStream<i64>, DStream<i64>) -> DStream<i64>,
    plain: fn(Vec<i64>, Vec<i64>) -> Vec<i64>,
}

const CASES: &[Case] = &[
    Case {
        name: "a narrow chain",
        graph: |a, _| a.map(|n| n * 3).filter(|n| n % 2 == 0).flat_map(|n| [n, -n]),
        plain: |a, _| a.into_iter().map(|n| n * 3).filter(|n| n % 2 == 0).flat_map(|n| [n, -n]).collect(),
    },
    Case {
        name: "one stream mapped, filtered, counted and united at once",
        graph: |a, _| {
            let shared = a.map(|n| n + 1);
            let count = shared.count().map(|count| count as i64);
            shared.map(|n| n * 10).union(&shared.filter(|n| n % 3 == 0)).union(&count).union(&shared)
        },
        plain: |a, _| {
            let shared: Vec<_> = a.into_iter().map(|n| n + 1).collect();
            let mapped = shared.iter().map(|n| n * 10);
            let filtered = shared.iter().copied().filter(|n| n % 3 == 0);
            mapped.chain(filtered).chain([shared.len() as i64]).chain(shared.iter().copied()).collect()
        },
    },
    Case { name: "a union of two inputs", graph: |a, b| a.union(&b), plain: |a, b| [a, b].concat() },
    Case {
        name: "a union of a stream and itself",
        graph: |a, _| a.union(&a),
        plain: |a, _| [a.clone(), a].concat(),
    },
    Case {
        name: "a union of a shuffle and an input",
        graph: |a, b| sums_of(&a, 5).union(&b),
        plain: |a, b| [sums(a, 5), b].concat(),
    },
    Case {
        name: "a shuffle of a union",
        graph: |a, b| sums_of(&a.union(&b), 5),
        plain: |a, b| sums([a, b].concat(), 5),
    },
    Case {
        name: "two shuffles in a row",
        graph: |a, _| sums_of(&sums_of(&a, 7), 3),
        plain: |a, _| sums(sums(a, 7), 3),
    },
    Case {
        name: "one shuffle used by two",
        graph: |a, b| {
            let shuffled = sums_of(&a, 7);
            sums_of(&shuffled, 2).union(&shuffled.union(&b).count().map(|count| count as i64))
        },
        plain: |a, b| {
            let shuffled = sums(a, 7);
            let count = (shuffled.len() + b.len()) as i64;
            [sums(shuffled, 2), vec![count]].concat()
        },
    },
    Case {
        name: "a count of a count",
        graph: |a, _| a.count().count().map(|count| count as i64),
        plain: |_, _| vec![1],
    },
    Case {
        name: "more shuffle partitions than keys and workers",
        graph: |a, _| {
            let pairs = a.map(|n| (n.rem_euclid(3), n));
            pairs.reduce_by_key_with_partitions(i64::wrapping_add, 17).map(as_one)
        },
        plain: |a, _| sums(a, 3),
    },
    Case {
        name: "a marker for each partition, empty ones too, of inputs, unions and shuffles",
        graph: |a, b| {
            let marked = |stream: &DStream<i64>| stream.map_partitions(|records| [records.count() as i64]);
            let all = a.filter(|_| false).union(&sums_of(&b, 2));
            marked(&marked(&a).union(&b).filter(|_| false)).union(&marked(&all).map(|_| 1))
        },
        // 3 of the first input and 2 of the second; then 3 and the 4 of a shuffle.
        plain: |_, _| [vec![0; 5], vec![1; 7]].concat(),
    },
];

fn batches() -> Vec<Batch> {
    vec![
        ([vec![1, 2, 3], vec![], vec![4, 5, 6, 7]], [vec![-1], vec![8, 8, 8]]),
        (Default::default(), Default::default()),
        ([vec![], vec![9], vec![]], [(0..3000).collect(), vec![]]),
    ]
}

#[test]
fn a_graph_gives_what_plain_collections_give_on_1_2_and_4_workers() {
    for Case { name, graph, plain } in CASES {
        let expected: Vec<Vec<i64>> = batches()
            .into_iter()
            .map(|(a, b)| {
                let mut rows = plain(a.concat(), b.concat());
                rows.sort_unstable();
                rows
            })
            .collect();
        for workers in [1, 2, 4] {
            let found = run(workers, &batches(), |a, b| vec![graph(a, b)]);
            assert_eq!(found[0], expected, "{name} on {workers} workers");
        }
    }
}

#[test]
fn the_count_of_an_empty_batch_is_0_and_a_reduction_of_it_is_nothing() {
    let empty: Batch = Default::default();
    let found = run(2, &[empty], |a, _| vec![a.count().map(|count| count as i64), sums_of(&a, 3)]);
    assert_eq!(found, [[vec![0]], [vec![]]]);
}

#[test]
fn more_keys_than_are_combined_before_a_shuffle_are_all_there() {
    const KEYS: i64 = 300_000;
    let batch: Batch = ([(0..KEYS).collect(), (0..KEYS).collect(), vec![]], Default::default());
    let twice = |a: DStream<i64>, _| {
        let counts = a.map(|n| (n, 1i64)).reduce_by_key(|x, y| x + y);
        vec![counts.filter(|(_, count)| *count == 2).count().map(|count| count as i64)]
    };
    assert_eq!(run(2, &[batch], twice), [[vec![KEYS]]]);
}

/// One operator of a random graph, on streams that are there already.
#[derive(Clone, Debug)]
enum Op {
    Map(i64),
    Filter(i64),
    FlatMap(usize),
    Partitions,
    Count,
    Sums(i64),
    Union(prop::sample::Index),
    /// A dataset in every so manieth batch only.
    Every(u32),
    Reduce,
    Repartition(u32),
    Counts(u32),
    Groups(i64),
    Combined(i64, bool),
    Cogroup(i64, prop::sample::Index),
    Join(Join, i64, prop::sample::Index),
}

#[derive(Clone, Copy, Debug)]
enum Join {
    Inner,
    Left,
    Right,
    Full,
}

fn any_op() -> impl Strategy<Value = (Op, prop::sample::Index)> {
    let op = prop_oneof![
        any::<i64>().prop_map(Op::Map),
        (1i64..4).prop_map(Op::Filter),
        (0usize..3).prop_map(Op::FlatMap),
        Just(Op::Partitions),
        Just(Op::Count),
        (1i64..6).prop_map(Op::Sums),
        any::<prop::sample::Index>().prop_map(Op::Union),
        (2u32..4).prop_map(Op::Every),
        Just(Op::Reduce),
        (1u32..6).prop_map(Op::Repartition),
        (1u32..4).prop_map(Op::Counts),
        (1i64..6).prop_map(Op::Groups),
        ((1i64..6), any::<bool>()).prop_map(|(keys, map_side)| Op::Combined(keys, map_side)),
        ((1i64..6), any::<prop::sample::Index>()).prop_map(|(keys, other)| Op::Cogroup(keys, other)),
        (
            prop_oneof![Just(Join::Inner), Just(Join::Left), Just(Join::Right), Just(Join::Full)],
            1i64..6,
            any::<prop::sample::Index>()
        )
            .prop_map(|(join, keys, other)| Op::Join(join, keys, other)),
    ];
    (op, any::<prop::sample::Index>())
}

/// The slide of each stream, in batches; and, for each operator, the stream it is on and its partner, which must slide alike.
fn places(ops: &[(Op, prop::sample::Index)]) -> (Vec<usize>, Vec<(usize, usize)>) {
    let mut slides = vec![1, 1];
    let mut places = Vec::new();
    for (op, on) in ops {
        let on = on.index(slides.len());
        let other = match op {
            Op::Union(other) | Op::Cogroup(_, other) | Op::Join(_, _, other) => other.index(slides.len()),
            _ => on,
        };
        places.push((on, if slides[other] == slides[on] { other } else { on }));
        slides.push(slides[on] * if let Op::Every(n) = op { *n as usize } else { 1 });
    }
    (slides, places)
}

fn keyed(rows: &DStream<i64>, keys: i64) -> DStream<(i64, i64)> {
    rows.map(move |row| (row.rem_euclid(keys), row))
}

fn joined(join: Join, left: &DStream<(i64, i64)>, right: &DStream<(i64, i64)>) -> DStream<i64> {
    match join {
        Join::Inner => left.join(right).map(|(key, (a, b))| pair(key, Some(a), Some(b))),
        Join::Left => left.left_outer_join(right).map(|(key, (a, b))| pair(key, Some(a), b)),
        Join::Right => left.right_outer_join(right).map(|(key, (a, b))| pair(key, a, Some(b))),
        Join::Full => left.full_outer_join_with_partitions(right, 3).map(|(key, (a, b))| pair(key, a, b)),
    }
}

/// One row of a join.
fn pair(key: i64, a: Option<i64>, b: Option<i64>) -> i64 {
    let side = |side: Option<i64>| side.map_or(17, |row| row.wrapping_mul(3));
    as_one((key, side(a).wrapping_mul(5).wrapping_add(side(b))))
}

fn streams_of(ops: &[(Op, prop::sample::Index)], a: DStream<i64>, b: DStream<i64>) -> Vec<DStream<i64>> {
    let mut streams = vec![a, b];
    for ((op, _), (on, other)) in ops.iter().zip(places(ops).1) {
        let (on, other) = (&streams[on], &streams[other]);
        streams.push(match op.clone() {
            Op::Map(by) => on.map(move |row| row.wrapping_mul(31).wrapping_add(by)),
            Op::Filter(by) => on.filter(move |row| row % by == 0),
            Op::FlatMap(times) => on.flat_map(move |row| vec![row; times]),
            Op::Partitions => on.map_partitions(|records| records.chain([7])),
            Op::Count => on.count().map(|count| count as i64),
            Op::Sums(keys) => sums_of(on, keys),
            Op::Union(_) => on.union(other),
            Op::Every(n) => every(n, on),
            Op::Reduce => on.reduce(i64::wrapping_add),
            Op::Repartition(partitions) => on.repartition(partitions),
            Op::Counts(partitions) => {
                let counts = on.count_by_value_with_partitions(partitions);
                counts.map(|(row, count)| as_one((row, count as i64)))
            }
            Op::Groups(keys) => {
                let totals = keyed(on, keys).group_by_key().map_values(|rows| {
                    rows.iter().fold(rows.len() as i64, |sum, row| sum.wrapping_add(*row))
                });
                totals.map(as_one)
            }
            Op::Combined(keys, map_side) => {
                let add = i64::wrapping_add;
                let once = keyed(on, keys).flat_map_values(|row| [row]);
                once.combine_by_key(|row| row, add, add, 2, map_side).map(as_one)
            }
            Op::Cogroup(keys, _) => {
                let both = keyed(on, keys).cogroup(&keyed(other, keys));
                both.map(|(key, (ours, theirs))| as_one((key, (ours.len() * 1000 + theirs.len()) as i64)))
            }
            // One row a key on the left, so that joins of joins stay small.
            Op::Join(join, keys, _) => {
                joined(join, &keyed(on, keys).reduce_by_key(i64::wrapping_add), &keyed(other, keys))
            }
        });
    }
    streams
}

/// A dataset as plain vectors: rows, and how many partitions they are in.
type Plain = (Vec<i64>, usize);

fn groups(rows: &[i64], keys: i64) -> BTreeMap<i64, Vec<i64>> {
    let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    rows.iter().for_each(|row| groups.entry(row.rem_euclid(keys)).or_default().push(*row));
    groups
}

/// The same with vectors, of batch `number`.
fn rows_of(ops: &[(Op, prop::sample::Index)], batch: &Batch, number: usize) -> Vec<Option<Vec<i64>>> {
    let (slides, places) = places(ops);
    let mut streams: Vec<Option<Plain>> = vec![Some((batch.0.concat(), 3)), Some((batch.1.concat(), 2))];
    for (place, ((op, _), (on, other))) in ops.iter().zip(places).enumerate() {
        let present = number.is_multiple_of(slides[place + 2]);
        let (on, other) = (streams[on].clone(), streams[other].clone());
        let made = present.then(|| plain(op, on.unwrap_or_default(), other.unwrap_or_default()));
        streams.push(made);
    }
    streams.into_iter().map(|stream| stream.map(|(rows, _)| rows)).collect()
}

fn plain(op: &Op, (rows, partitions): Plain, (others, more): Plain) -> Plain {
    let total = |rows: &[i64]| rows.iter().fold(0i64, |sum, row| sum.wrapping_add(*row));
    let same = |rows: Vec<i64>| (rows, partitions);
    match op.clone() {
        Op::Map(by) => same(rows.iter().map(|row| row.wrapping_mul(31).wrapping_add(by)).collect()),
        Op::Filter(by) => same(rows.into_iter().filter(|row| row % by == 0).collect()),
        Op::FlatMap(times) => same(rows.into_iter().flat_map(|row| vec![row; times]).collect()),
        Op::Partitions => same([rows, vec![7; partitions]].concat()),
        Op::Count => (vec![rows.len() as i64], 1),
        Op::Sums(keys) => (sums(rows, keys), 4),
        Op::Union(_) => ([rows, others].concat(), partitions + more),
        Op::Every(_) => same(rows),
        Op::Reduce => (if rows.is_empty() { vec![] } else { vec![total(&rows)] }, 1),
        Op::Repartition(partitions) => (rows, partitions as usize),
        Op::Counts(partitions) => {
            let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
            rows.iter().for_each(|row| *counts.entry(*row).or_default() += 1);
            (counts.into_iter().map(as_one).collect(), partitions as usize)
        }
        Op::Groups(keys) => {
            let of =
                |(key, rows): (i64, Vec<i64>)| as_one((key, total(&rows).wrapping_add(rows.len() as i64)));
            (groups(&rows, keys).into_iter().map(of).collect(), 4)
        }
        Op::Combined(keys, _) => (sums(rows, keys), 2),
        Op::Cogroup(keys, _) => {
            let (ours, theirs) = (groups(&rows, keys), groups(&others, keys));
            let all: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
            let len = |of: &BTreeMap<i64, Vec<i64>>, key: &i64| of.get(key).map_or(0, Vec::len);
            let row = |key: &i64| as_one((*key, (len(&ours, key) * 1000 + len(&theirs, key)) as i64));
            (all.into_iter().map(row).collect(), 4)
        }
        Op::Join(join, keys, _) => {
            let (ours, theirs) = (groups(&rows, keys), groups(&others, keys));
            let mut out = Vec::new();
            for key in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
                let (a, b) = (ours.get(key).map(|rows| total(rows)), theirs.get(key));
                match (a, b) {
                    (Some(a), Some(b)) => out.extend(b.iter().map(|b| pair(*key, Some(a), Some(*b)))),
                    (None, Some(b)) if matches!(join, Join::Right | Join::Full) => {
                        out.extend(b.iter().map(|b| pair(*key, None, Some(*b))));
                    }
                    (Some(a), None) if matches!(join, Join::Left | Join::Full) => {
                        out.push(pair(*key, Some(a), None))
                    }
                    _ => {}
                }
            }
            (out, if matches!(join, Join::Full) { 3 } else { 4 })
        }
    }
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let records = || prop::collection::vec(-50i64..50, 0..20);
    ([records(), records(), records()], [records(), records()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_graph_gives_what_plain_collections_give_on_any_number_of_workers(
        workers in 1usize..5,
        ops in prop::collection::vec(any_op(), 0..9),
        outputs in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        batches in prop::collection::vec(any_batch(), 1..5),
    ) {
        // The last stream and some others are written; what leads to none of them is not run.
        let chosen = |count: usize| -> Vec<usize> {
            outputs.iter().map(|place| place.index(count)).chain([count - 1]).collect()
        };
        let build = |a, b| {
            let streams = streams_of(&ops, a, b);
            chosen(streams.len()).into_iter().map(|place| streams[place].clone()).collect()
        };
        let found = run_in_order(workers, &batches, build);
        prop_assert_eq!(&found, &run_in_order(1, &batches, build), "the order on one worker");
        let numbered = batches.iter().zip(1..);
        let plain: Vec<_> = numbered.map(|(batch, number)| rows_of(&ops, batch, number)).collect();
        let expected: Found = chosen(ops.len() + 2)
            .into_iter()
            .map(|place| plain.iter().map(|streams| streams[place].clone()).collect())
            .collect();
        prop_assert_eq!(sorted(found), sorted(expected));
    }
}
