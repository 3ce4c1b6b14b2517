//! Windows and state by key go on after a stop at any batch as if there had been none, also in another program.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate::core::Storage;
use tidegate::testkit::{BATCH, MemoryInput, MemoryOutput, TestJob};
use tidegate::{Conf, DStream, Result, State, StateSpec, Stop, StreamingContext};
use tidegate_storage::MemoryStorage;

type Pair = (char, i64);
type Rows = Vec<Vec<(u8, char, i64)>>;

/// A job with every kind of state, on inputs and outputs that outlive it.
struct World {
    storage: Arc<MemoryStorage>,
    input: MemoryInput<Pair>,
    output: MemoryOutput<(u8, char, i64)>,
}

impl World {
    fn new() -> World {
        World {
            storage: Arc::new(MemoryStorage::new()),
            input: MemoryInput::new(2),
            output: MemoryOutput::new(),
        }
    }

    fn start(&self, run: Run) -> Result<TestJob> {
        let conf = Conf::new()
            .set_master(&format!("local[{}]", run.workers))
            .set("tidegate.default.parallelism", &run.partitions.to_string())
            .set("tidegate.checkpoint.interval_ms", &(1000 * run.interval).to_string());
        self.start_with(conf, |pairs| everything(&pairs))
    }

    fn start_with(
        &self,
        conf: Conf,
        build: impl FnOnce(DStream<Pair>) -> DStream<(u8, char, i64)>,
    ) -> Result<TestJob> {
        let build = |ssc: &StreamingContext| {
            let pairs = ssc.input_stream("pairs", self.input.clone())?;
            // One partition, so that their number may change from run to run.
            build(pairs.clone()).repartition(1).output_in_place("out", self.output.clone())
        };
        TestJob::start_on(conf, Some(self.storage.clone() as Arc<dyn Storage>), build)
    }

    fn push(&self, batch: &[Pair]) {
        self.input.push(0, batch.iter().copied().step_by(2));
        self.input.push(1, batch.iter().copied().skip(1).step_by(2));
    }

    fn rows(&self) -> Rows {
        let sorted = |mut rows: Vec<_>| {
            rows.sort_unstable();
            rows
        };
        self.output.batches().into_values().map(sorted).collect()
    }
}

fn everything(pairs: &DStream<Pair>) -> DStream<(u8, char, i64)> {
    let as_kind = |kind: u8| move |(key, value): Pair| (kind, key, value);
    let plain = pairs.window(BATCH * 3, BATCH).map(as_kind(0));
    let every = pairs.reduce_by_key_and_window(|a, b| a + b, BATCH * 3, BATCH);
    let totals = pairs.update_state_by_key(|new: Vec<i64>, total: Option<i64>| {
        let total = total.unwrap_or(0) + new.iter().sum::<i64>();
        (total % 7 != 3).then_some(total)
    });
    let spec = StateSpec::function(|key: &char, value: Option<i64>, state: &mut State<'_, i64>| {
        let total = state.get().copied().unwrap_or(0) + value.unwrap_or(0);
        if !state.is_timing_out() {
            state.update(total);
        }
        (*key, if state.is_timing_out() { -total } else { total })
    });
    let mapped = pairs.map_with_state(spec.timeout(BATCH * 2).initial_state([('z', 5)]));
    plain
        .union(&every.map(as_kind(2)))
        .union(&totals.map(as_kind(3)))
        .union(&mapped.map(as_kind(4)))
        .union(&mapped.state_snapshots().map(as_kind(5)))
        .union(
            &pairs
                .reduce_by_key_and_window_with_filter(
                    |a, b| a + b,
                    |a, b| a - b,
                    BATCH * 4,
                    BATCH,
                    3,
                    |_, sum| *sum != 0,
                )
                .map(as_kind(6)),
        )
}

/// How one run is made, and after how many batches it ends.
#[derive(Clone, Copy, Debug)]
struct Run {
    workers: usize,
    partitions: u32,
    interval: u64,
    batches: usize,
    how: Stop,
}

const WHOLE: Run =
    Run { workers: 1, partitions: 4, interval: 100, batches: usize::MAX, how: Stop::Gracefully };

fn undisturbed(batches: &[Vec<Pair>]) -> Rows {
    let world = World::new();
    let mut job = world.start(WHOLE).unwrap();
    for batch in batches {
        world.push(batch);
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    world.rows()
}

/// The same batches in several runs.
fn disturbed(batches: &[Vec<Pair>], runs: &[Run]) -> Rows {
    let world = World::new();
    let mut left = batches.iter();
    for run in runs.iter().chain([&WHOLE]) {
        let mut job = world.start(*run).unwrap();
        for batch in left.by_ref().take(run.batches) {
            world.push(batch);
            job.next_batch().unwrap();
        }
        job.ssc.stop(run.how).unwrap();
    }
    world.rows()
}

fn any_run() -> impl Strategy<Value = Run> {
    let how = prop_oneof![Just(Stop::Now), Just(Stop::Gracefully)];
    (1usize..4, 1u32..6, 1u64..4, 0usize..5, how).prop_map(|(workers, partitions, interval, batches, how)| {
        Run { workers, partitions, interval, batches, how }
    })
}

fn any_batches() -> impl Strategy<Value = Vec<Vec<Pair>>> {
    prop::collection::vec(prop::collection::vec((prop::char::range('a', 'e'), -5i64..6), 0..6), 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn stopped_at_any_batch_on_any_number_of_workers_and_partitions_a_job_gives_what_it_gives_undisturbed(
        batches in any_batches(),
        runs in prop::collection::vec(any_run(), 1..5),
    ) {
        prop_assert_eq!(disturbed(&batches, &runs), undisturbed(&batches));
    }
}

fn totals(pairs: &DStream<Pair>) -> DStream<Pair> {
    let add = |new: Vec<i64>, total: Option<i64>| Some(total.unwrap_or(0) + new.iter().sum::<i64>());
    pairs.update_state_by_key(add).uid("totals").clone()
}

/// Runs one batch of a job and stops it.
fn one_batch(
    world: &World,
    conf: Conf,
    batch: &[Pair],
    build: impl FnOnce(DStream<Pair>) -> DStream<(u8, char, i64)>,
) -> Result<Vec<(u8, char, i64)>> {
    let mut job = world.start_with(conf.set_master("local[2]"), build)?;
    world.push(batch);
    job.next_batch()?;
    job.ssc.stop(Stop::Gracefully)?;
    Ok(world.rows().pop().unwrap_or_default())
}

#[test]
fn state_is_found_by_its_name_in_a_program_that_was_changed() {
    let world = World::new();
    let rows =
        one_batch(&world, Conf::new(), &[('a', 1), ('b', 2)], |pairs| totals(&pairs).map(|(k, n)| (0, k, n)));
    assert_eq!(rows.unwrap(), [(0, 'a', 1), (0, 'b', 2)]);
    // Another operator before it, another state beside it, and other code around it.
    let changed = |pairs: DStream<Pair>| {
        let doubled = pairs.map(|(key, value)| (key, value * 2));
        let seen = doubled.map_with_state(StateSpec::function(
            |key: &char, _: Option<i64>, seen: &mut State<'_, u32>| {
                let times = seen.get().copied().unwrap_or(0) + 1;
                seen.update(times);
                (*key, i64::from(times))
            },
        ));
        totals(&doubled).map(|(k, n)| (0, k, n)).union(&seen.map(|(k, n)| (1, k, n)))
    };
    let rows = one_batch(&world, Conf::new(), &[('a', 10)], changed).unwrap();
    assert_eq!(rows, [(0, 'a', 21), (0, 'b', 2), (1, 'a', 1)]);
}

#[test]
fn a_state_that_is_gone_or_of_another_type_is_named_with_the_way_out() {
    let world = World::new();
    one_batch(&world, Conf::new(), &[('a', 1)], |pairs| totals(&pairs).map(|(k, n)| (0, k, n))).unwrap();
    let gone =
        one_batch(&world, Conf::new(), &[], |pairs| pairs.map(|(k, n)| (0, k, n))).unwrap_err().to_string();
    assert!(gone.contains("state \"totals\" is in the checkpoint and not in the program"), "{gone}");
    assert!(gone.contains("tidegate.state.drop=totals"), "{gone}");
    let texts = |pairs: &DStream<Pair>| {
        let add = |new: Vec<i64>, text: Option<String>| Some(format!("{}{new:?}", text.unwrap_or_default()));
        pairs.update_state_by_key(add).uid("totals")
    };
    let typed =
        one_batch(&world, Conf::new(), &[], |pairs| texts(&pairs).map(|(k, text)| (0, k, text.len() as i64)));
    let typed = typed.unwrap_err().to_string();
    assert!(typed.contains("state \"totals\" changed from") && typed.contains("migrate_from"), "{typed}");
    // With a function that makes the new values of the old ones it goes on.
    let migrated = one_batch(&world, Conf::new(), &[('a', 2)], |pairs| {
        texts(&pairs).migrate_from(|total: i64| format!("{total}")).map(|(k, text)| (0, k, text.len() as i64))
    });
    assert_eq!(migrated.unwrap(), [(0, 'a', 4)]); // "1[2]"
    // What was migrated is of the new type from then on.
    let again = one_batch(&world, Conf::new(), &[('a', 3)], |pairs| {
        texts(&pairs).map(|(k, text)| (0, k, text.len() as i64))
    });
    assert_eq!(again.unwrap(), [(0, 'a', 7)]);
    // Told so, the program leaves it behind.
    let drop = Conf::new().set("tidegate.state.drop", "totals");
    one_batch(&world, drop, &[('a', 4)], |pairs| pairs.map(|(k, n)| (0, k, n))).unwrap();
}

#[test]
fn a_job_with_state_and_no_place_for_checkpoints_is_refused() {
    let refusal = TestJob::start(Conf::new().set_master("local[1]"), None, |ssc| {
        let pairs = ssc.constant_stream(vec![('a', 1i64)])?;
        totals(&pairs).print()
    });
    let refusal = refusal.err().unwrap().to_string();
    assert!(
        refusal.contains("operators with state (totals)") && refusal.contains("checkpoint(\"DIR\")"),
        "{refusal}"
    );
}

#[test]
fn a_checkpoint_of_which_a_file_is_torn_is_passed_over_for_the_one_before() {
    let batches: Vec<Vec<Pair>> = (0..6).map(|n| vec![('a', n), ('b', 2 * n), ('c', 1)]).collect();
    let expected = undisturbed(&batches);
    for spoil in ["checkpoints", "state"] {
        let world = World::new();
        let mut job = world.start(Run { interval: 1, ..WHOLE }).unwrap();
        for batch in &batches[..5] {
            world.push(batch);
            job.next_batch().unwrap();
        }
        job.ssc.stop(Stop::Gracefully).unwrap();
        let newest: BTreeMap<String, u64> = world
            .storage
            .list(spoil)
            .unwrap()
            .into_iter()
            .map(|object| (object.path, object.bytes))
            .collect();
        let newest_batch =
            newest.keys().filter_map(|path| path.rsplit('/').next()?.get(..20)).max().unwrap().to_owned();
        let spoiled: Vec<_> = newest
            .keys()
            .filter(|path| path.rsplit('/').next().unwrap().starts_with(&newest_batch))
            .collect();
        assert!(!spoiled.is_empty());
        for path in spoiled {
            let bytes = world.storage.get(path).unwrap().unwrap();
            world.storage.put(path, bytes[..bytes.len() / 2].to_vec()).unwrap();
        }
        let mut job = world.start(WHOLE).unwrap();
        world.push(&batches[5]);
        job.next_batch().unwrap();
        job.ssc.stop(Stop::Gracefully).unwrap();
        assert_eq!(world.rows(), expected, "{spoil}");
    }
}
