//! State by key: each form of `update_state_by_key` and `map_with_state` against tables, on any number of workers.

use std::collections::BTreeMap;
use tidegate::testkit::{BATCH, TestJob, run_on};
use tidegate::{BatchTime, Conf, DStream, Partitioner, State, StateSpec, Stop};

type Pair = (char, i64);

fn batches() -> Vec<Vec<Pair>> {
    vec![
        vec![('a', 1), ('b', 2), ('a', 3)],
        vec![],
        vec![('c', 4)],
        vec![('a', 5)],
        vec![],
        vec![],
        vec![('b', 6)],
    ]
}

fn sorted<U: Ord>(mut batches: Vec<Vec<U>>) -> Vec<Vec<U>> {
    batches.iter_mut().for_each(|batch| batch.sort());
    batches
}

fn total(values: Vec<i64>, total: Option<i64>) -> Option<i64> {
    Some(total.unwrap_or(0) + values.iter().sum::<i64>())
}

/// Running totals over plain collections.
fn totals() -> Vec<Vec<Pair>> {
    let mut totals = BTreeMap::new();
    let after = |batch: Vec<Pair>| {
        batch.into_iter().for_each(|(key, value)| *totals.entry(key).or_insert(0) += value);
        totals.clone().into_iter().collect()
    };
    batches().into_iter().map(after).collect()
}

#[test]
fn every_form_of_update_state_by_key_keeps_totals() {
    for workers in [1, 2, 4] {
        let plain = |pairs: DStream<Pair>| pairs.update_state_by_key(total).clone();
        assert_eq!(sorted(run_on(workers, plain, batches())), totals());
        let placed = |pairs: DStream<Pair>| {
            let by_letter = Partitioner::by("letter", 3, |key: &char| u32::from(*key) % 3);
            pairs.update_state_by_key_with_partitions(total, by_letter).clone()
        };
        assert_eq!(sorted(run_on(workers, placed, batches())), totals());
        let timed = |pairs: DStream<Pair>| {
            pairs.update_state_by_key_with_time(|_, _, values, state| total(values, state), 5, vec![]).clone()
        };
        assert_eq!(sorted(run_on(workers, timed, batches())), totals());
        let whole = |pairs: DStream<Pair>| {
            let each = |keys: std::vec::IntoIter<(char, Vec<i64>, Option<i64>)>| {
                keys.filter_map(|(key, values, state)| Some((key, total(values, state)?)))
            };
            pairs.update_state_by_key_with_iterator(each, 2, vec![]).clone()
        };
        assert_eq!(sorted(run_on(workers, whole, batches())), totals());
    }
}

#[test]
fn a_key_is_removed_by_none_and_looked_at_in_every_batch_until_then() {
    // Counts the batches since a key's last value and forgets it at the third.
    let idle = |values: Vec<i64>, idle: Option<i64>| match (values.is_empty(), idle) {
        (false, _) => Some(0),
        (true, Some(idle)) if idle < 2 => Some(idle + 1),
        (true, _) => None,
    };
    for workers in [1, 2] {
        let job = move |pairs: DStream<Pair>| pairs.update_state_by_key(idle).clone();
        assert_eq!(
            sorted(run_on(workers, job, batches())),
            [
                vec![('a', 0), ('b', 0)],
                vec![('a', 1), ('b', 1)],
                vec![('a', 2), ('b', 2), ('c', 0)],
                vec![('a', 0), ('c', 1)],
                vec![('a', 1), ('c', 2)],
                vec![('a', 2)],
                vec![('b', 0)],
            ]
        );
    }
}

#[test]
fn an_initial_state_is_what_the_first_batch_begins_with() {
    let job = |pairs: DStream<Pair>| {
        pairs.update_state_by_key_with_initial_state(total, 2, vec![('a', 100), ('z', 7)]).clone()
    };
    assert_eq!(sorted(run_on(2, job, vec![vec![('a', 1)], vec![]])), vec![vec![('a', 101), ('z', 7)]; 2]);
}

fn running() -> StateSpec<char, i64, i64, Pair> {
    StateSpec::function(|key: &char, value: Option<i64>, state: &mut State<'_, i64>| {
        let total = state.get().copied().unwrap_or(0) + value.unwrap_or(0);
        state.update(total);
        (*key, total)
    })
}

#[test]
fn map_with_state_maps_each_record_with_the_state_of_its_key() {
    for workers in [1, 2, 4] {
        let mapped = |pairs: DStream<Pair>| pairs.map_with_state(running()).clone();
        assert_eq!(
            sorted(run_on(workers, mapped, batches())),
            [
                vec![('a', 1), ('a', 4), ('b', 2)],
                vec![],
                vec![('c', 4)],
                vec![('a', 9)],
                vec![],
                vec![],
                vec![('b', 8)]
            ]
        );
        let states =
            |pairs: DStream<Pair>| pairs.map_with_state(running().num_partitions(3)).state_snapshots();
        assert_eq!(sorted(run_on(workers, states, batches())), totals());
        let begun = |pairs: DStream<Pair>| {
            pairs.map_with_state(running().initial_state([('a', 100), ('z', 1)])).state_snapshots()
        };
        assert_eq!(
            sorted(run_on(workers, begun, vec![vec![('a', 1)], vec![]])),
            [vec![('a', 101), ('z', 1)], vec![('a', 101), ('z', 1)]]
        );
    }
}

#[test]
fn a_state_that_is_removed_is_gone_and_can_come_again() {
    let job = |pairs: DStream<Pair>| {
        let spec = StateSpec::function_with_time(
            |_: BatchTime, key: &char, value: Option<i64>, state: &mut State<'_, i64>| {
                let before = state.get().copied();
                match value.unwrap_or(0) {
                    0 if state.exists() => state.remove(),
                    0 => {}
                    value => state.update(value),
                }
                before.map(|before| (*key, before))
            },
        );
        pairs.map_with_state(spec).clone()
    };
    let input =
        vec![vec![('a', 1)], vec![('a', 0)], vec![('a', 2)], vec![('a', 3)], vec![('a', 0)], vec![('a', 0)]];
    assert_eq!(
        run_on(2, job, input),
        [vec![], vec![('a', 1)], vec![], vec![('a', 2)], vec![('a', 3)], vec![]]
    );
}

#[test]
fn a_state_times_out_once_its_key_had_no_record_for_longer_than_the_timeout() {
    // A state that is only looked at is kept alive too, as in Spark.
    let look = |key: &char, value: Option<i64>, state: &mut State<'_, i64>| {
        if let (Some(value), false) = (value, state.exists()) {
            state.update(value);
        }
        (*key, if state.is_timing_out() { -1 } else { value.unwrap_or(0) })
    };
    for workers in [1, 2, 4] {
        let job = move |pairs: DStream<Pair>| {
            pairs.map_with_state(StateSpec::function(look).timeout(BATCH * 2)).clone()
        };
        let input = vec![
            vec![('a', 1), ('b', 2)],
            vec![('a', 3)],
            vec![],
            vec![],
            vec![('a', 4)],
            vec![],
            vec![],
            vec![],
            vec![],
        ];
        assert_eq!(
            sorted(run_on(workers, job, input)),
            [
                vec![('a', 1), ('b', 2)],
                vec![('a', 3)],
                vec![],
                vec![('b', -1)], // 3 batches after its record
                vec![('a', 4)],  // its record comes first: 'a' does not time out
                vec![],
                vec![],
                vec![('a', -1)],
                vec![],
            ]
        );
    }
}

#[test]
fn a_state_that_is_timing_out_can_not_be_updated() {
    let conf = Conf::new().set_master("local[1]");
    let input = tidegate::testkit::MemoryInput::new(1);
    let spec = StateSpec::function(|_: &char, _: Option<i64>, state: &mut State<'_, i64>| state.update(1))
        .timeout(BATCH);
    let read = input.clone();
    let mut job =
        TestJob::with_memory(conf, move |ssc| ssc.input_stream("pairs", read)?.map_with_state(spec).print())
            .unwrap();
    input.push(0, [('a', 1)]);
    job.next_batch().unwrap();
    job.next_batch().unwrap();
    let error = job.next_batch().unwrap_err().to_string();
    assert!(error.contains("map_with_state #1") && error.contains("timing out"), "{error}");
    assert!(job.ssc.stop(Stop::Now).is_err());
}
