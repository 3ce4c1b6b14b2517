//! What each operator gives, by tables: the same records in the same order on any number of workers, and nothing where there is
//! no dataset.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tidegate::testkit::{BATCH, MemoryInput, MemoryOutput, TestJob, every};
use tidegate::{BatchTime, Conf, DStream, Data, ErrorKind, Partitioner, Stop};

/// Records of one batch by partition.
type Records = Vec<Vec<i64>>;

/// Runs `graph` on an input with the partitions of `batches`; what is in its output by batch, in order. A batch in which it has
/// no dataset is missing.
fn run<U: Data + Sync>(
    workers: usize,
    batches: &[Records],
    graph: impl FnOnce(DStream<i64>) -> DStream<U>,
) -> BTreeMap<u64, Vec<U>> {
    let input = MemoryInput::new(batches.first().map_or(1, Vec::len));
    let output = MemoryOutput::new();
    let mut job = TestJob::start(Conf::new().set_master(&format!("local[{workers}]")), None, |ssc| {
        let stream = ssc.input_stream("numbers", input.clone())?;
        graph(stream.clone()).output_in_place("all", output.clone())
    })
    .unwrap();
    for partitions in batches {
        partitions.iter().enumerate().for_each(|(place, records)| input.push(place, records.clone()));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    output.batches().into_iter().map(|(batch, rows)| (batch.0, rows)).collect()
}

/// Runs `graph` on 1, 2 and 4 workers, which must give the same.
fn same_on_all<U: Data + Sync + PartialEq>(
    name: &str,
    batches: &[Records],
    graph: impl Fn(DStream<i64>) -> DStream<U>,
) -> BTreeMap<u64, Vec<U>> {
    let alone = run(1, batches, &graph);
    for workers in [2, 4] {
        assert_eq!(run(workers, batches, &graph), alone, "{name} on {workers} workers");
    }
    alone
}

/// A stream of any records as one of texts.
fn shown<T: Data + Debug>(stream: &DStream<T>) -> DStream<String> {
    stream.map(|record| format!("{record:?}"))
}

/// Pairs of a digit and the number it is the last of.
fn by_digit(numbers: &DStream<i64>) -> DStream<(i64, i64)> {
    numbers.map(|n| (n % 10, n))
}

struct Case {
    name: &'static str,
    graph: fn(DStream<i64>) -> DStream<String>,
    /// What it gives of each of [`batches`], sorted; `None`: no dataset.
    expected: [Option<&'static [&'static str]>; 4],
}

/// Three partitions.
fn batches() -> Vec<Records> {
    vec![
        vec![vec![11, 2, 31], vec![12, 1], vec![22]],
        vec![vec![], vec![], vec![]],
        vec![vec![5], vec![], vec![15, 7]],
        vec![vec![3], vec![], vec![]],
    ]
}

const NONE: &[&str] = &[];

const CASES: &[Case] = &[
    Case {
        name: "glom",
        graph: |n| shown(&n.glom()),
        expected: [
            Some(&["[11, 2, 31]", "[12, 1]", "[22]"]),
            Some(&["[]", "[]", "[]"]),
            Some(&["[15, 7]", "[5]", "[]"]),
            Some(&["[3]", "[]", "[]"]),
        ],
    },
    Case {
        name: "reduce, in order",
        graph: |n| n.map(|n| n.to_string()).reduce(|a, b| format!("{a} {b}")),
        expected: [Some(&["11 2 31 12 1 22"]), Some(NONE), Some(&["5 15 7"]), Some(&["3"])],
    },
    Case {
        name: "a union of three",
        graph: |n| {
            shown(&n.context().union(&[
                n.filter(|n| *n == 2),
                n.count().map(|c| c as i64),
                n.filter(|n| *n < 2),
            ]))
        },
        expected: [Some(&["1", "2", "6"]), Some(&["0"]), Some(&["3"]), Some(&["1"])],
    },
    Case {
        name: "count_by_value into one partition",
        graph: |n| shown(&n.map(|n| n % 10).count_by_value_with_partitions(1)),
        expected: [Some(&["(1, 3)", "(2, 3)"]), Some(NONE), Some(&["(5, 2)", "(7, 1)"]), Some(&["(3, 1)"])],
    },
    Case {
        name: "transform_with",
        graph: |n| {
            shown(&n.transform_with(&n.count(), |n, count| {
                n.count()
                    .map_partitions_with_batch(|batch, _, n| n.map(|n| (batch.id().0, n)).collect::<Vec<_>>())
                    .union(&count.map(|c| (0, c)))
            }))
        },
        expected: [
            Some(&["(0, 6)", "(1, 6)"]),
            Some(&["(0, 0)", "(2, 0)"]),
            Some(&["(0, 3)", "(3, 3)"]),
            Some(&["(0, 1)", "(4, 1)"]),
        ],
    },
    Case {
        name: "transform of two streams",
        graph: |n| {
            shown(
                &n.context().transform(&[n.clone(), n.filter(|n| *n > 20)], |all| {
                    all[0].count().union(&all[1].count())
                }),
            )
        },
        expected: [Some(&["2", "6"]), Some(&["0", "0"]), Some(&["0", "3"]), Some(&["0", "1"])],
    },
    Case {
        name: "map_values and flat_map_values",
        graph: |n| {
            shown(
                &by_digit(&n).map_values(|n| n / 10).flat_map_values(|tens| (0..tens).map(move |t| t + tens)),
            )
        },
        expected: [
            Some(&["(1, 1)", "(1, 3)", "(1, 4)", "(1, 5)", "(2, 1)", "(2, 2)", "(2, 3)"]),
            Some(NONE),
            Some(&["(5, 1)"]),
            Some(NONE),
        ],
    },
    Case {
        name: "group_by_key",
        graph: |n| shown(&by_digit(&n).group_by_key()),
        expected: [
            Some(&["(1, [11, 31, 1])", "(2, [2, 12, 22])"]),
            Some(NONE),
            Some(&["(5, [5, 15])", "(7, [7])"]),
            Some(&["(3, [3])"]),
        ],
    },
    Case {
        name: "combine_by_key, combined before the shuffle",
        graph: |n| combined(&n, true),
        expected: [
            Some(&["(1, \"11,31|1\")", "(2, \"2|12|22\")"]),
            Some(NONE),
            Some(&["(5, \"5|15\")", "(7, \"7\")"]),
            Some(&["(3, \"3\")"]),
        ],
    },
    Case {
        name: "combine_by_key, not combined before the shuffle",
        graph: |n| combined(&n, false),
        expected: [
            Some(&["(1, \"11,31,1\")", "(2, \"2,12,22\")"]),
            Some(NONE),
            Some(&["(5, \"5,15\")", "(7, \"7\")"]),
            Some(&["(3, \"3\")"]),
        ],
    },
    Case {
        name: "cogroup",
        graph: |n| shown(&by_digit(&n).cogroup(&large(&n))),
        expected: [
            Some(&["(1, ([11, 31, 1], [\"11\", \"31\"]))", "(2, ([2, 12, 22], [\"12\", \"22\"]))"]),
            Some(NONE),
            Some(&["(5, ([5, 15], [\"15\"]))", "(7, ([7], []))"]),
            Some(&["(3, ([3], []))"]),
        ],
    },
    Case {
        name: "join",
        graph: |n| shown(&by_digit(&n).filter(|(_, n)| *n > 5).join(&large(&n))),
        expected: [
            Some(&[
                "(1, (11, \"11\"))",
                "(1, (11, \"31\"))",
                "(1, (31, \"11\"))",
                "(1, (31, \"31\"))",
                "(2, (12, \"12\"))",
                "(2, (12, \"22\"))",
                "(2, (22, \"12\"))",
                "(2, (22, \"22\"))",
            ]),
            Some(NONE),
            Some(&["(5, (15, \"15\"))"]),
            Some(NONE),
        ],
    },
    Case {
        name: "left_outer_join",
        graph: |n| {
            shown(
                &by_digit(&n)
                    .filter(|(_, n)| *n < 9)
                    .left_outer_join(&large(&n).filter(|(key, _)| *key != 2)),
            )
        },
        expected: [
            Some(&["(1, (1, Some(\"11\")))", "(1, (1, Some(\"31\")))", "(2, (2, None))"]),
            Some(NONE),
            Some(&["(5, (5, Some(\"15\")))", "(7, (7, None))"]),
            Some(&["(3, (3, None))"]),
        ],
    },
    Case {
        name: "right_outer_join",
        graph: |n| shown(&by_digit(&n).filter(|(_, n)| *n == 2).right_outer_join(&large(&n))),
        expected: [
            Some(&[
                "(1, (None, \"11\"))",
                "(1, (None, \"31\"))",
                "(2, (Some(2), \"12\"))",
                "(2, (Some(2), \"22\"))",
            ]),
            Some(NONE),
            Some(&["(5, (None, \"15\"))"]),
            Some(NONE),
        ],
    },
    Case {
        name: "full_outer_join",
        graph: |n| {
            shown(
                &by_digit(&n)
                    .filter(|(_, n)| *n < 3)
                    .full_outer_join(&large(&n).filter(|(key, _)| *key != 2)),
            )
        },
        expected: [
            Some(&["(1, (Some(1), Some(\"11\")))", "(1, (Some(1), Some(\"31\")))", "(2, (Some(2), None))"]),
            Some(NONE),
            Some(&["(5, (None, Some(\"15\")))"]),
            Some(NONE),
        ],
    },
    Case {
        name: "a stream joined with itself",
        graph: |n| {
            let pairs = by_digit(&n);
            shown(&pairs.join(&pairs).filter(|(_, (a, b))| a < b))
        },
        expected: [
            Some(&[
                "(1, (1, 11))",
                "(1, (1, 31))",
                "(1, (11, 31))",
                "(2, (12, 22))",
                "(2, (2, 12))",
                "(2, (2, 22))",
            ]),
            Some(NONE),
            Some(&["(5, (5, 15))"]),
            Some(NONE),
        ],
    },
    Case {
        name: "a dataset in every second batch only, and what is made of it",
        graph: |n| {
            let thin = every(2, &n);
            let counts = thin.count().map(|count| format!("count {count}"));
            let parts = thin.map_partitions(|rows| [format!("part of {}", rows.count())]);
            let sums = shown(&by_digit(&thin).reduce_by_key(|a, b| a + b).repartition(2).glom());
            counts.union(&parts).union(&sums)
        },
        expected: [
            None,
            Some(&["[]", "[]", "count 0", "part of 0", "part of 0", "part of 0"]),
            None,
            Some(&["[(3, 3)]", "[]", "count 1", "part of 0", "part of 0", "part of 1"]),
        ],
    },
    Case {
        name: "groups, joins, combiners and reductions where there is no dataset",
        graph: |n| {
            let pairs = by_digit(&every(4, &n));
            let grouped = shown(&pairs.group_by_key_with_partitions(1).glom());
            let joined = shown(&pairs.cogroup_with_partitions(&pairs, 1).glom());
            let combined = pairs.combine_by_key(|n| n, |a, b| a + b, |a, b| a + b, 1, true).glom();
            let reduced = every(4, &n).reduce(|a, b| a + b).glom();
            grouped.union(&joined).union(&shown(&combined)).union(&shown(&reduced))
        },
        expected: [None, None, None, Some(&["[(3, ([3], [3]))]", "[(3, 3)]", "[(3, [3])]", "[3]"])],
    },
];

fn large(numbers: &DStream<i64>) -> DStream<(i64, String)> {
    by_digit(numbers).filter(|(_, n)| *n > 10).map_values(|n| n.to_string())
}

/// The numbers of each digit: `,` between those of a partition, `|` between those of two.
fn combined(numbers: &DStream<i64>, map_side: bool) -> DStream<String> {
    let create = |n: i64| n.to_string();
    let combined = by_digit(numbers).combine_by_key(
        create,
        |before, n| format!("{before},{n}"),
        |one, other| format!("{one}|{other}"),
        3,
        map_side,
    );
    shown(&combined)
}

#[test]
fn each_operator_gives_what_its_table_says_in_one_order_on_1_2_and_4_workers() {
    for Case { name, graph, expected } in CASES {
        let found = same_on_all(name, &batches(), graph);
        for (place, expected) in expected.iter().enumerate() {
            let sorted = found.get(&(place as u64 + 1)).map(|rows| {
                let mut rows: Vec<_> = rows.iter().map(String::as_str).collect();
                rows.sort_unstable();
                rows
            });
            assert_eq!(sorted.as_deref(), *expected, "{name}, batch {}", place + 1);
        }
    }
}

/// Five partitions, each of several chunks, with few keys and with many.
fn many() -> Vec<Records> {
    (0..2)
        .map(|batch| {
            (0..5).map(|partition| (0..3_000).map(|n| n * 7919 + partition * 31 + batch).collect()).collect()
        })
        .collect()
}

#[test]
fn values_of_a_key_come_in_the_order_of_partitions_and_positions_however_many_there_are() {
    for keys in [3, 4_001] {
        let grouped = same_on_all("groups", &many(), |n| n.map(move |n| (n % keys, n)).group_by_key());
        for (batch, groups) in grouped {
            let mut expected: HashMap<i64, Vec<i64>> = HashMap::new();
            for n in many()[batch as usize - 1].iter().flatten() {
                expected.entry(n % keys).or_default().push(*n);
            }
            assert_eq!(groups.into_iter().collect::<HashMap<_, _>>(), expected);
        }
    }
}

#[test]
fn sums_joins_and_partitions_of_many_records_are_in_one_order_on_any_number_of_workers() {
    same_on_all("sums", &many(), |n| n.map(|n| (n % 4_001, n)).reduce_by_key(|a, b| a + b));
    same_on_all("a join", &many(), |n| {
        let pairs = n.map(|n| (n % 4_001, n));
        pairs.filter(|(_, n)| n % 3 == 0).full_outer_join(&pairs.filter(|(_, n)| n % 5 == 0))
    });
    same_on_all("partitions", &many(), |n| n.repartition(7).glom());
    let floats = |map_side| {
        move |n: DStream<i64>| {
            let add = |a: f64, b: f64| a + b;
            n.map(|n| (n % 7, 1.0 / (n as f64 + 0.1))).combine_by_key(|n| n, add, add, 3, map_side)
        }
    };
    same_on_all("sums of floating-point numbers", &many(), floats(true));
    same_on_all("sums of floating-point numbers", &many(), floats(false));
}

#[test]
fn records_are_spread_evenly_over_new_partitions() {
    for partitions in [1, 3, 8] {
        let found = same_on_all("repartition", &many(), |n| n.repartition(partitions).glom());
        for (batch, parts) in found {
            let sizes: Vec<_> = parts.iter().map(Vec::len).collect();
            let even = 15_000 / partitions as usize;
            assert!(sizes.iter().all(|size| size.abs_diff(even) <= 5), "{sizes:?}");
            let mut all: Vec<_> = parts.concat();
            let mut expected = many()[batch as usize - 1].concat();
            all.sort_unstable();
            expected.sort_unstable();
            assert_eq!((parts.len(), all), (partitions as usize, expected));
        }
    }
    // Partitions of one record do not all go to the first.
    let small = vec![(0..20).map(|n| vec![n]).collect::<Records>()];
    let found = same_on_all("small partitions", &small, |n| n.repartition(4).glom());
    assert!(found[&1].iter().all(|part| part.len() < 15), "{found:?}");
}

#[test]
fn a_partitioner_decides_where_each_key_goes() {
    let by_tens = || Partitioner::by("tens", 4, |n: &i64| (n / 10) as u32);
    type Graph = Box<dyn Fn(DStream<(i64, i64)>) -> DStream<Vec<i64>>>;
    fn keys<V: Data>(pairs: &DStream<(i64, V)>) -> DStream<Vec<i64>> {
        pairs.map(|(key, _)| key).glom().map(|mut keys| {
            keys.sort_unstable();
            keys
        })
    }
    let shuffles: [(&str, Graph); 5] = [
        ("reduce_by_key", Box::new(move |p| keys(&p.reduce_by_key_with_partitions(|a, _| a, by_tens())))),
        ("group_by_key", Box::new(move |p| keys(&p.group_by_key_with_partitions(by_tens())))),
        (
            "combine_by_key",
            Box::new(move |p| keys(&p.combine_by_key(|n| n, |a, _| a, |a, _| a, by_tens(), true))),
        ),
        ("join", Box::new(move |p| keys(&p.join_with_partitions(&p, by_tens())))),
        ("cogroup", Box::new(move |p| keys(&p.cogroup_with_partitions(&p, by_tens())))),
    ];
    for (name, shuffle) in shuffles {
        let found = same_on_all(name, &batches()[..1], |n| shuffle(n.map(|n| (n, n))));
        assert_eq!(found[&1], [vec![1, 2], vec![11, 12], vec![22], vec![31]], "{name}");
    }
}

#[test]
fn a_partition_that_does_not_exist_stops_the_job_with_the_operators_name() {
    let input = MemoryInput::new(1);
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let pairs = ssc.input_stream("numbers", input.clone())?.map(|n: i64| (n, n));
        let ages = Partitioner::by("decades", 2, |n: &i64| (n / 10) as u32);
        pairs.group_by_key_with_partitions(ages).output("all", MemoryOutput::new())
    })
    .unwrap();
    input.push(0, [5, 25]);
    let error = job.next_batch().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UserCode);
    let text = error.to_string();
    let start = "the function of group_by_key #2 failed in batch 1 on the record 25: the partitioner \"decades\" of group_by_key #2 gave partition 2 of 2 \
                 for the key with hash ";
    assert!(text.starts_with(start) && text.ends_with("; it must give a number below 2"), "{text}");
}

#[test]
fn functions_of_an_output_are_called_for_an_empty_dataset_and_not_where_there_is_none() {
    let calls: [Arc<AtomicUsize>; 4] = Default::default();
    let [collected, collected_thin, partitions, partitions_thin] = calls.clone();
    let count = |calls: Arc<AtomicUsize>| {
        move || {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let stream = ssc.input_stream("numbers", MemoryInput::<i64>::new(3))?;
        let thin = every(3, &stream);
        let (all, some) = (count(collected), count(collected_thin));
        stream.foreach_rdd(|rdd| rdd.collect(move |_, _| all()))?;
        thin.foreach_rdd(|rdd| rdd.collect(move |_, _| some()))?;
        let (all, some) = (count(partitions), count(partitions_thin));
        stream.foreach_rdd(|rdd| rdd.foreach_partition(move |_, _, _| all()))?;
        thin.foreach_rdd(|rdd| rdd.foreach_partition(move |_, _, _| some()))
    })
    .unwrap();
    (0..4).for_each(|_| drop(job.next_batch().unwrap()));
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(calls.map(|calls| calls.load(Ordering::Relaxed)), [4, 1, 12, 3]);
}

#[test]
fn a_job_goes_on_after_a_restart_though_its_output_had_no_dataset_in_the_last_batch() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (MemoryInput::new(2), MemoryOutput::new());
    for turn in 0..3 {
        let mut job = TestJob::start(Conf::new().set_master("local[2]"), Some(dir.path()), |ssc| {
            let stream = ssc.input_stream("numbers", input.clone())?;
            every(2, &stream).output("all", output.clone())
        })
        .unwrap();
        input.push(0, [turn]);
        job.next_batch().unwrap();
        job.ssc.stop(Stop::Gracefully).unwrap();
    }
    assert_eq!(output.batches().into_values().collect::<Vec<_>>(), [vec![1]]);
}

#[test]
fn a_slice_has_the_committed_datasets_of_its_span_with_both_ends() {
    let input = MemoryInput::new(2);
    let (mut all, mut thin, mut unasked) = (None, None, None);
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let stream = ssc.input_stream("numbers", input.clone())?.clone();
        stream.remember(BATCH)?;
        stream.remember(4 * BATCH)?;
        let second = every(2, &stream);
        second.remember(Duration::ZERO)?;
        ssc.remember(20 * BATCH)?;
        (all, thin, unasked) = (Some(stream.clone()), Some(second), Some(stream.map(|n| n)));
        assert_eq!(
            stream.slice(BatchTime(0), BatchTime(1)).unwrap_err().to_string(),
            "the context was not started; call start() first"
        );
        Ok(())
    })
    .unwrap();
    let (all, thin, unasked) = (all.unwrap(), thin.unwrap(), unasked.unwrap());
    let time = |batch: u64| BatchTime(1_000_000 + batch * 1_000);
    assert_eq!(all.slice(time(0), time(9)).unwrap(), []);
    for n in 1..=6i64 {
        if n != 3 {
            input.push(1, [n]);
            input.push(0, [-n]);
        }
        job.next_batch().unwrap();
    }
    let expected =
        |batch: u64| (time(batch), if batch == 3 { vec![] } else { vec![-(batch as i64), batch as i64] });
    let ends = (BatchTime(time(2).0 + 999), BatchTime(time(4).0 + 1));
    assert_eq!(all.slice(ends.0, ends.1).unwrap(), [expected(2), expected(3), expected(4)]);
    assert_eq!(all.slice(BatchTime(0), time(1)).unwrap(), [expected(1)]);
    assert_eq!(thin.slice(time(3), time(5)).unwrap(), [expected(2), expected(4)]);
    assert_eq!(
        unasked.slice(time(1), time(2)).unwrap_err().to_string(),
        "slice() of map #2, which keeps no datasets; call remember(duration) on it before start()"
    );
    let backwards = all.slice(time(2), time(1)).unwrap_err().to_string();
    assert_eq!(backwards, "slice() of input #0: from 1002000 ms to 1001000 ms is no span of time");
    job.ssc.stop(Stop::Gracefully).unwrap();
}

#[test]
fn what_is_older_than_a_stream_remembers_is_asked_for_in_vain() {
    let input = MemoryInput::new(1);
    let mut stream = None;
    let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        numbers.remember(2 * BATCH)?;
        stream = Some(numbers.clone());
        Ok(())
    })
    .unwrap();
    for n in 1..=4i64 {
        input.push(0, [n]);
        job.next_batch().unwrap();
    }
    let stream = stream.unwrap();
    let time = |batch: u64| BatchTime(1_000_000 + batch * 1_000);
    assert_eq!(stream.slice(time(3), time(4)).unwrap(), [(time(3), vec![3]), (time(4), vec![4])]);
    let error = stream.slice(time(2), time(4)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert_eq!(
        error.to_string(),
        "slice() of input #0: it begins at 1002000 ms, but datasets are remembered since 1002001 ms only; remember() them for longer"
    );
    assert_eq!(stream.remember(BATCH).unwrap_err().to_string(), "remember() after start(); call it before");
    job.ssc.stop(Stop::Gracefully).unwrap();
}
