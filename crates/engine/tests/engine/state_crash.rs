//! The process dies at every step of taking, publishing, retiring and restoring checkpoints; afterwards outputs and state are
//! those of a run without faults.

use crate::fake::{
    Deeds, Ended, Fault, Shape, World, Wreck, checkpoint_with, directory, live, live_and_tell, lock,
};
use proptest::prelude::*;
use std::sync::Arc;
use tempfile::TempDir;
use tidegate_core::ErrorKind;

/// What is left of a journal on disk by a crash. One of objects is left as it is.
#[derive(Clone, Copy, Debug)]
enum Left {
    Written,
    Synced,
    Torn,
}

impl Left {
    fn of(self, wreck: &Wreck) -> &[u8] {
        let Wreck { journal, synced } = wreck;
        let synced = (*synced).min(journal.len());
        match self {
            Left::Written => journal,
            Left::Synced => &journal[..synced],
            Left::Torn => &journal[..synced + (journal.len() - synced) / 2],
        }
    }
}

const STATE: Shape = Shape { every: 1, ..Shape::PLAIN };

/// Each value of each property meets each of every other.
fn shapes() -> Vec<Shape> {
    let outputs = [(1, 1, 1, false), (3, 2, 2, false), (3, 2, 2, true)];
    let checkpoints = [(1, 1, false), (1, 2, true), (2, 2, false)];
    let storages = [(false, false), (true, false), (true, true)];
    let shape = |place: usize| {
        let (outputs, writers, in_flight, prepares_late) = outputs[place / 3];
        let (every, retained, snapshots_late) = checkpoints[place % 3];
        let (objects, weak) = storages[(place / 3 + place) % 3];
        let backwards = writers == 2;
        let shape = Shape { outputs, writers, in_flight, prepares_late, backwards, ..Shape::PLAIN };
        Shape { every, retained, snapshots_late, objects, weak, ..shape }
    };
    (0..9).map(shape).collect()
}

fn world(shape: Shape) -> Arc<World> {
    World::new(vec![vec![1, 2, 3, 4, 5, 8, 9], vec![6, 7]], shape.outputs)
}

fn clean_steps(shape: Shape) -> usize {
    let (world, dir) = (world(shape), directory());
    match live(&world, shape, Some(dir.path()), None) {
        Ended::Done { steps, epochs: 1 } => {
            world.check(true).unwrap();
            assert_eq!(world.batches(), [1, 2, 3, 4]);
            assert!(!world.paths("checkpoints/").is_empty());
            steps
        }
        other => panic!("{shape:?}: a clean run ended with {other:?}"),
    }
}

/// Runs until the crash at step `at`; the directory is what is left of it.
fn crashed(world: &Arc<World>, shape: Shape, dir: &TempDir, at: usize, left: Left) -> TempDir {
    match live(world, shape, Some(dir.path()), Some((at, Fault::Crash))) {
        Ended::Crashed(wreck) => checkpoint_with(left.of(&wreck)),
        other => panic!("{shape:?}: no crash at step {at}: {other:?}"),
    }
}

fn goes_on(world: &Arc<World>, shape: Shape, dir: &TempDir, after: &dyn std::fmt::Display) -> Deeds {
    world.arrives();
    let (ended, deeds) = live_and_tell(world, shape, Some(dir.path()), None);
    assert!(matches!(ended, Ended::Done { .. }), "{shape:?}, {after}: {ended:?}");
    world.check(true).unwrap_or_else(|what| panic!("{shape:?}, {after}: {what}"));
    deeds
}

fn crash_everywhere(left: Left) {
    for shape in shapes() {
        if shape.objects && !matches!(left, Left::Written) {
            continue;
        }
        for at in 1..=clean_steps(shape) {
            let (world, dir) = (world(shape), directory());
            let dir = crashed(&world, shape, &dir, at, left);
            let larger = Shape { records_max: 3, ..shape };
            goes_on(&world, larger, &dir, &format!("crash at step {at}, {left:?}"));
        }
    }
}

#[test]
fn a_crash_at_any_step_leaves_outputs_and_state_as_without_it() {
    crash_everywhere(Left::Written);
}

#[test]
fn a_crash_at_any_step_that_loses_what_was_not_synced_leaves_outputs_and_state_as_without_it() {
    crash_everywhere(Left::Synced);
}

#[test]
fn a_crash_at_any_step_that_tears_the_journal_leaves_outputs_and_state_as_without_it() {
    crash_everywhere(Left::Torn);
}

#[test]
fn a_crash_at_any_step_of_the_recovery_from_a_crash_leaves_outputs_and_state_as_without_it() {
    for (nth, shape) in shapes().into_iter().enumerate().filter(|(nth, _)| [0, 4, 8].contains(nth)) {
        let steps = clean_steps(shape);
        for first in (1 + nth..=steps).step_by(29) {
            for second in 1.. {
                let (world, dir) = (world(shape), directory());
                let dir = crashed(&world, shape, &dir, first, Left::Written);
                world.arrives();
                let fault = Some((second, Fault::Crash));
                let dir = match live(&world, shape, Some(dir.path()), fault) {
                    Ended::Crashed(wreck) => checkpoint_with(&wreck.journal),
                    Ended::Done { .. } => break,
                    other => panic!("{shape:?}: {other:?}"),
                };
                goes_on(&world, shape, &dir, &format!("crash at step {first} and again at {second}"));
            }
        }
    }
}

#[test]
fn a_failure_at_any_step_leaves_outputs_and_state_as_without_it() {
    for kind in [ErrorKind::Retry, ErrorKind::UserCode] {
        // The diagonal has each value of each property.
        for shape in shapes().into_iter().step_by(if kind == ErrorKind::Retry { 1 } else { 4 }) {
            for at in 1..=clean_steps(shape) {
                let (world, dir) = (world(shape), directory());
                match live(&world, shape, Some(dir.path()), Some((at, Fault::Fail(kind)))) {
                    Ended::Done { .. } => world.check(true).unwrap(),
                    // It does not start, or its function is not what it should be.
                    Ended::Failed(error) => {
                        let text = error.to_string();
                        assert!(text.ends_with(&format!("failed at step {at}")), "{shape:?}: {text}");
                    }
                    other => panic!("{shape:?}, failure at step {at}: {other:?}"),
                }
                goes_on(&world, shape, &dir, &format!("{kind:?} failure at step {at}"));
            }
        }
    }
}

/// A job that ran to its end and stopped, with its storage.
fn stopped(shape: Shape) -> (Arc<World>, TempDir) {
    let (world, dir) = (world(shape), directory());
    let ended = live(&world, shape, Some(dir.path()), None);
    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
    (world, dir)
}

fn change(world: &World, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    change(lock(&world.objects).get_mut(path).unwrap());
}

#[test]
fn after_a_graceful_stop_nothing_is_run_again() {
    for shape in shapes() {
        let (world, dir) = stopped(shape);
        let deeds = goes_on(&world, shape, &dir, &"a stop");
        assert_eq!(deeds.run, [5], "{shape:?}");
        assert_eq!(deeds.damaged, [""; 0]);
    }
}

#[test]
fn as_many_checkpoints_are_kept_as_asked_for_and_no_file_that_none_names() {
    for retained in [1, 2, 3] {
        let shape = Shape { retained, ..STATE };
        let (world, dir) = stopped(shape);
        goes_on(&world, shape, &dir, &"a stop");
        let kept: Vec<_> = (6 - retained..=5).map(|batch| format!("checkpoints/{batch:020}.json")).collect();
        assert_eq!(world.paths("checkpoints/"), kept);
        let manifests: Vec<String> =
            kept.iter().map(|path| String::from_utf8(lock(&world.objects)[path].clone()).unwrap()).collect();
        for file in world.paths("state/") {
            assert!(manifests.iter().any(|manifest| manifest.contains(&file)), "{file} is named by none");
        }
    }
}

#[test]
fn what_a_crash_has_left_behind_is_deleted_by_a_later_checkpoint() {
    let shape = Shape { retained: 1, ..STATE };
    for at in 1..=clean_steps(shape) {
        let (world, dir) = (world(shape), directory());
        let dir = crashed(&world, shape, &dir, at, Left::Written);
        goes_on(&world, shape, &dir, &"a crash");
        assert_eq!(world.paths("checkpoints/").len(), 1, "crash at step {at}");
        assert!(world.paths("state/").len() <= 2, "crash at step {at}: {:?}", world.paths("state/"));
    }
}

#[test]
fn a_newest_manifest_that_is_torn_flipped_or_missing_costs_running_more_batches_again() {
    for shape in shapes().into_iter().filter(|shape| shape.retained == 2) {
        let (before, dir) = stopped(shape);
        let newest = before.paths("checkpoints/").pop().unwrap();
        let length = lock(&before.objects)[&newest].len();
        let damages = (0..length).step_by(41).flat_map(|at| [(at, 0), (at, 1 << (at % 8))]);
        for (at, flip) in damages {
            let world = before.copy();
            change(&world, &newest, |bytes| if flip == 0 { bytes.truncate(at) } else { bytes[at] ^= flip });
            let dir = copy(&dir);
            let deeds = goes_on(&world, shape, &dir, &format!("damage {flip} at {at}"));
            assert!(deeds.run.len() > 1 && deeds.damaged.len() == 1, "{deeds:?}");
            assert!(deeds.damaged[0].starts_with(&format!("{newest} in the fake storage: ")), "{deeds:?}");
        }
        lock(&before.objects).remove(&newest);
        let deeds = goes_on(&before, shape, &dir, &"the newest manifest is missing");
        assert!(deeds.run.len() > 1 && deeds.damaged.is_empty(), "{deeds:?}");
    }
}

/// Another directory with the journal of `dir`.
fn copy(dir: &TempDir) -> TempDir {
    let files = std::fs::read_dir(dir.path().join("journal"));
    let newest = files.ok().and_then(|files| files.map(|entry| entry.unwrap().path()).max());
    checkpoint_with(&newest.map(|path| std::fs::read(path).unwrap()).unwrap_or_default())
}

#[test]
fn a_state_file_that_is_torn_or_missing_has_the_job_go_on_from_the_checkpoint_before() {
    for shape in shapes().into_iter().filter(|shape| shape.retained == 2) {
        for missing in [false, true] {
            let (world, dir) = stopped(shape);
            let newest = world.paths("state/").pop().unwrap();
            if missing {
                lock(&world.objects).remove(&newest);
            } else {
                change(&world, &newest, |bytes| bytes.truncate(3));
            }
            let deeds = goes_on(&world, shape, &dir, &"a state file is damaged");
            assert!(deeds.run.len() > 1 && deeds.damaged.len() == 1, "{deeds:?}");
            assert!(deeds.damaged[0].ends_with(&format!("{newest}: does not match")), "{deeds:?}");
        }
    }
}

#[test]
fn without_any_checkpoint_all_batches_are_run_again_from_the_first_while_their_plans_are_there() {
    for objects in [false, true] {
        let shape = Shape { objects, ..STATE };
        let (world, dir) = stopped(shape);
        lock(&world.objects).retain(|path, _| !path.starts_with("checkpoints/"));
        let deeds = goes_on(&world, shape, &dir, &"no checkpoint is left");
        assert_eq!(deeds.run, [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_lost_journal_is_made_good_by_the_newest_checkpoint_or_the_job_is_refused() {
    let (mut went_on, mut refused) = (0, 0);
    for shape in shapes() {
        for at in 1..=clean_steps(shape) {
            let (world, dir) = (world(shape), directory());
            drop(crashed(&world, shape, &dir, at, Left::Written));
            lock(&world.objects).retain(|path, _| !path.starts_with("journal/"));
            let dir = directory();
            world.arrives();
            match live(&world, shape, Some(dir.path()), None) {
                Ended::Done { .. } => {
                    went_on += 1;
                    // Nobody knows the plan of a batch that only an output without a memory has seen.
                    world.check(false).unwrap_or_else(|what| panic!("{shape:?}, crash at {at}: {what}"));
                }
                Ended::Failed(error) => {
                    refused += 1;
                    assert_eq!(error.kind(), ErrorKind::DataLost, "{shape:?}, crash at {at}: {error}");
                    assert!(
                        error.to_string().contains("the state of the job is lost")
                            || error.to_string().starts_with("an output holds batch"),
                        "{error}"
                    );
                    let accepting = Shape { accept_loss: true, ..shape };
                    *lock(&world.sums_known) = false;
                    let ended = live(&world, accepting, Some(dir.path()), None);
                    assert!(matches!(ended, Ended::Done { .. }), "{shape:?}, crash at {at}: {ended:?}");
                    world.check(false).unwrap_or_else(|what| panic!("{shape:?}, crash at {at}: {what}"));
                }
                other => panic!("{shape:?}, crash at {at}: {other:?}"),
            }
        }
    }
    assert!(went_on > refused && refused > 0, "{went_on} went on, {refused} were refused");
}

prop_compose! {
    fn any_shape()(
        (outputs, writers, in_flight) in (1usize..4, 1u32..3, 1usize..3),
        (prepares_late, backwards, snapshots_late) in any::<(bool, bool, bool)>(),
        (objects, weak, background) in any::<(bool, bool, bool)>(),
        (records_max, every, retained) in (1u64..6, 1u32..4, 1usize..4),
    ) -> Shape {
        Shape {
            outputs, writers, in_flight, prepares_late, backwards, records_max,
            every, retained, snapshots_late, objects, weak, background, accept_loss: false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_number_of_crashes_leaves_outputs_and_state_as_without_them(
        shape in any_shape(),
        partitions in prop::collection::vec(0usize..9, 1..4),
        lives in prop::collection::vec(
            (1usize..150, prop_oneof![Just(Left::Written), Just(Left::Synced), Just(Left::Torn)], any::<bool>(), 1u32..3, 1u64..6),
            0..6,
        ),
    ) {
        let mut next = 0..;
        let source = partitions.iter().map(|count| next.by_ref().take(*count).collect()).collect();
        let world = World::new(source, shape.outputs);
        world.arrives();
        let mut dir = directory();
        let mut shape = shape;
        for (at, left, crash, writers, records_max) in lives {
            let fault = if crash { Fault::Crash } else { Fault::Fail(ErrorKind::Retry) };
            match live(&world, shape, Some(dir.path()), Some((at, fault))) {
                Ended::Crashed(wreck) => dir = checkpoint_with(left.of(&wreck)),
                Ended::Done { .. } => world.check(true).unwrap(),
                Ended::Failed(error) => prop_assert_eq!(error.kind(), ErrorKind::Retry),
            }
            world.arrives();
            shape = Shape { writers, records_max, ..shape };
        }
        let ended = live(&world, shape, Some(dir.path()), None);
        prop_assert!(matches!(ended, Ended::Done { .. }), "{:?}", ended);
        prop_assert_eq!(world.check(true), Ok(()));
    }
}
