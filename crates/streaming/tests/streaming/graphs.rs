//! What a graph gives is what plain collections give, on any number of workers.

use proptest::prelude::*;
use std::collections::BTreeMap;
use tidegate::testkit::{MemoryInput, MemoryOutput, TestJob};
use tidegate::{Conf, DStream, Stop};

/// The two inputs' records of one batch, by partition: three partitions and two.
type Batch = ([Vec<i64>; 3], [Vec<i64>; 2]);

/// Runs the graph that `build` makes of two inputs; the rows of each output and batch, sorted.
fn run(
    workers: usize,
    batches: &[Batch],
    build: impl FnOnce(DStream<i64>, DStream<i64>) -> Vec<DStream<i64>>,
) -> Vec<Vec<Vec<i64>>> {
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
    let sorted = |mut rows: Vec<i64>| {
        rows.sort_unstable();
        rows
    };
    outputs.into_iter().map(|output| output.batches().into_values().map(sorted).collect()).collect()
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
    ];
    (op, any::<prop::sample::Index>())
}

fn streams_of(ops: &[(Op, prop::sample::Index)], a: DStream<i64>, b: DStream<i64>) -> Vec<DStream<i64>> {
    let mut streams = vec![a, b];
    for (op, on) in ops {
        let on = &streams[on.index(streams.len())];
        streams.push(match op.clone() {
            Op::Map(by) => on.map(move |row| row.wrapping_mul(31).wrapping_add(by)),
            Op::Filter(by) => on.filter(move |row| row % by == 0),
            Op::FlatMap(times) => on.flat_map(move |row| vec![row; times]),
            Op::Partitions => on.map_partitions(|records| records.chain([7])),
            Op::Count => on.count().map(|count| count as i64),
            Op::Sums(keys) => sums_of(on, keys),
            Op::Union(other) => on.union(&streams[other.index(streams.len())]),
        });
    }
    streams
}

/// The same with vectors: rows, and how many partitions they are in.
fn rows_of(ops: &[(Op, prop::sample::Index)], batch: &Batch) -> Vec<Vec<i64>> {
    let mut streams = vec![(batch.0.concat(), 3), (batch.1.concat(), 2)];
    for (op, on) in ops {
        let (rows, partitions) = streams[on.index(streams.len())].clone();
        let same = |rows: Vec<i64>| (rows, partitions);
        streams.push(match op.clone() {
            Op::Map(by) => same(rows.iter().map(|row| row.wrapping_mul(31).wrapping_add(by)).collect()),
            Op::Filter(by) => same(rows.into_iter().filter(|row| row % by == 0).collect()),
            Op::FlatMap(times) => same(rows.into_iter().flat_map(|row| vec![row; times]).collect()),
            Op::Partitions => same([rows, vec![7; partitions]].concat()),
            Op::Count => (vec![rows.len() as i64], 1),
            Op::Sums(keys) => (sums(rows, keys), 4),
            Op::Union(other) => {
                let (others, more) = &streams[other.index(streams.len())];
                ([&rows[..], others].concat(), partitions + more)
            }
        });
    }
    let sorted = |(mut rows, _): (Vec<i64>, usize)| {
        rows.sort_unstable();
        rows
    };
    streams.into_iter().map(sorted).collect()
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
        batches in prop::collection::vec(any_batch(), 1..3),
    ) {
        // The last stream and some others are written; what leads to none of them is not run.
        let chosen = |count: usize| -> Vec<usize> {
            outputs.iter().map(|place| place.index(count)).chain([count - 1]).collect()
        };
        let found = run(workers, &batches, |a, b| {
            let streams = streams_of(&ops, a, b);
            chosen(streams.len()).into_iter().map(|place| streams[place].clone()).collect()
        });
        let plain: Vec<_> = batches.iter().map(|batch| rows_of(&ops, batch)).collect();
        let expected: Vec<Vec<_>> = chosen(ops.len() + 2)
            .into_iter()
            .map(|place| plain.iter().map(|streams| streams[place].clone()).collect())
            .collect();
        prop_assert_eq!(found, expected);
    }
}
