//! The process dies, or the outer system fails, at every step there is; afterwards every record is in every output once.

use crate::fake::{Ended, Fault, Shape, World, Wreck, checkpoint_with, directory, live};
use proptest::prelude::*;
use std::sync::Arc;
use tidegate_core::ErrorKind;

/// What is left of the journal by a crash.
#[derive(Clone, Copy, Debug)]
enum Left {
    /// All that was written.
    Written,
    /// What was synced, and nothing more.
    Synced,
    /// What was synced and a part of what was written after it.
    Torn,
    /// Nothing: the disk is gone, the outputs are not.
    Nothing,
}

impl Left {
    fn of(self, wreck: &Wreck) -> &[u8] {
        let Wreck { journal, synced } = wreck;
        let synced = (*synced).min(journal.len());
        match self {
            Left::Written => journal,
            Left::Synced => &journal[..synced],
            Left::Torn => &journal[..synced + (journal.len() - synced) / 2],
            Left::Nothing => &[],
        }
    }
}

fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for outputs in [1, 3] {
        for writers in [1, 2] {
            for (in_flight, prepares_late) in [(1, false), (2, false), (2, true)] {
                let backwards = writers == 2;
                shapes.push(Shape { outputs, writers, in_flight, prepares_late, backwards, ..Shape::PLAIN });
            }
        }
    }
    shapes
}

fn world(shape: Shape) -> Arc<World> {
    World::new(vec![vec![1, 2, 3, 4, 5], vec![6, 7]], shape.outputs)
}

fn clean_steps(shape: Shape) -> usize {
    let (world, dir) = (world(shape), directory());
    match live(&world, shape, Some(dir.path()), None) {
        Ended::Done { steps, epochs: 1 } => {
            world.check(true).unwrap();
            assert_eq!(world.batches(), [1, 2, 3]);
            steps
        }
        other => panic!("{shape:?}: a clean run ended with {other:?}"),
    }
}

/// Crashes at step `at`; more arrives; the job is started anew, and its batches may now be larger.
fn crash_and_go_on(shape: Shape, at: usize, left: Left) {
    let (world, dir) = (world(shape), directory());
    let Ended::Crashed(wreck) = live(&world, shape, Some(dir.path()), Some((at, Fault::Crash))) else {
        panic!("{shape:?}: no crash at step {at}");
    };
    let after = checkpoint_with(left.of(&wreck));
    world.arrives();
    let ended = live(&world, Shape { records_max: 3, ..shape }, Some(after.path()), None);
    assert!(matches!(ended, Ended::Done { epochs: 1, .. }), "{shape:?}, step {at}, {left:?}: {ended:?}");
    // Without a journal nobody knows the plan of a batch that only an output without a memory has seen.
    let one_plan = !matches!(left, Left::Nothing);
    world.check(one_plan).unwrap_or_else(|what| panic!("{shape:?}, crash at step {at}, {left:?}: {what}"));
}

fn crash_everywhere(left: Left) {
    for shape in shapes() {
        for at in 1..=clean_steps(shape) {
            crash_and_go_on(shape, at, left);
        }
    }
}

#[test]
fn a_crash_at_any_step_loses_and_doubles_nothing() {
    crash_everywhere(Left::Written);
}

#[test]
fn a_crash_at_any_step_that_loses_what_was_not_synced_loses_and_doubles_nothing() {
    crash_everywhere(Left::Synced);
}

#[test]
fn a_crash_at_any_step_that_tears_the_journal_loses_and_doubles_nothing() {
    crash_everywhere(Left::Torn);
}

#[test]
fn a_crash_at_any_step_and_the_journal_lost_the_outputs_alone_know_how_to_go_on() {
    crash_everywhere(Left::Nothing);
}

#[test]
fn a_job_without_a_checkpoint_goes_on_from_its_outputs_after_a_crash_at_any_step() {
    for shape in shapes() {
        for at in 1..=clean_steps(shape) {
            let world = world(shape);
            let ended = live(&world, shape, None, Some((at, Fault::Crash)));
            assert!(matches!(ended, Ended::Crashed(_)), "{ended:?}");
            world.arrives();
            let ended = live(&world, shape, None, None);
            assert!(matches!(ended, Ended::Done { .. }), "{shape:?}, step {at}: {ended:?}");
            world.check(false).unwrap_or_else(|what| panic!("{shape:?}, crash at step {at}: {what}"));
        }
    }
}

#[test]
fn a_failure_that_passes_at_any_step_loses_and_doubles_nothing() {
    for shape in shapes() {
        let steps = clean_steps(shape);
        let mut new_epochs = 0;
        for at in 1..=steps {
            let (world, dir) = (world(shape), directory());
            let fault = Some((at, Fault::Fail(ErrorKind::Retry)));
            match live(&world, shape, Some(dir.path()), fault) {
                Ended::Done { epochs, .. } => new_epochs += usize::from(epochs > 1),
                // A job that can't reach its outer systems does not start.
                Ended::Failed(error) if error.kind() == ErrorKind::Retry => {
                    let ended = live(&world, shape, Some(dir.path()), None);
                    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
                }
                other => panic!("{shape:?}, failure at step {at}: {other:?}"),
            }
            world.check(true).unwrap_or_else(|what| panic!("{shape:?}, failure at step {at}: {what}"));
        }
        assert!(new_epochs * 2 > steps, "{shape:?}: only {new_epochs} of {steps} failures ended an epoch");
    }
}

#[test]
fn a_failure_that_does_not_pass_stops_the_job_and_the_next_start_loses_and_doubles_nothing() {
    for shape in shapes() {
        for at in 1..=clean_steps(shape) {
            let (world, dir) = (world(shape), directory());
            let fault = Some((at, Fault::Fail(ErrorKind::UserCode)));
            match live(&world, shape, Some(dir.path()), fault) {
                Ended::Done { epochs: 1, .. } => {} // a source that is told something has no say
                Ended::Failed(error) => {
                    assert_eq!(error.kind(), ErrorKind::UserCode);
                    assert!(error.to_string().ends_with(&format!("failed at step {at}")), "{error}");
                    world.arrives();
                    let ended = live(&world, shape, Some(dir.path()), None);
                    assert!(matches!(ended, Ended::Done { .. }), "{ended:?}");
                }
                other => panic!("{shape:?}, failure at step {at}: {other:?}"),
            }
            world.check(true).unwrap_or_else(|what| panic!("{shape:?}, failure at step {at}: {what}"));
        }
    }
}

#[test]
fn a_journal_torn_at_any_byte_of_its_last_records_goes_on() {
    let shape = Shape { outputs: 3, writers: 2, in_flight: 2, prepares_late: true, ..Shape::PLAIN };
    for at in (1..=clean_steps(shape)).step_by(9) {
        let (before, wreck) = crashed(shape, at);
        for length in wreck.synced..=wreck.journal.len() {
            let (world, dir) = (before.copy(), checkpoint_with(&wreck.journal[..length]));
            world.arrives();
            let ended = live(&world, shape, Some(dir.path()), None);
            assert!(matches!(ended, Ended::Done { .. }), "step {at}, cut at {length}: {ended:?}");
            world.check(true).unwrap_or_else(|what| panic!("step {at}, cut at {length}: {what}"));
        }
    }
}

#[test]
fn a_journal_cut_further_back_than_a_crash_can_is_mended_by_the_outputs_or_refused() {
    let shape = Shape { outputs: 1, writers: 2, in_flight: 2, ..Shape::PLAIN };
    let (before, wreck) = crashed(shape, clean_steps(shape));
    let (mut went_on, mut refused) = (0, 0);
    for length in (second_frame(&wreck.journal)..wreck.journal.len()).step_by(5) {
        let (world, dir) = (before.copy(), checkpoint_with(&wreck.journal[..length]));
        world.arrives();
        match live(&world, shape, Some(dir.path()), None) {
            Ended::Done { .. } => {
                went_on += 1;
                world.check(true).unwrap_or_else(|what| panic!("cut at {length}: {what}"));
            }
            Ended::Failed(error) => {
                refused += 1;
                assert_eq!(error.kind(), ErrorKind::DataLost, "cut at {length}: {error}");
                assert!(error.to_string().starts_with("an output holds batch 3, but"), "{error}");
            }
            other => panic!("cut at {length}: {other:?}"),
        }
    }
    assert!(went_on > 0 && refused > 0, "{went_on} went on, {refused} were refused");
}

fn crashed(shape: Shape, at: usize) -> (Arc<World>, Wreck) {
    let (world, dir) = (world(shape), directory());
    match live(&world, shape, Some(dir.path()), Some((at, Fault::Crash))) {
        Ended::Crashed(wreck) => (world, wreck),
        other => panic!("{other:?}"),
    }
}

/// Where the head ends.
fn second_frame(journal: &[u8]) -> usize {
    let magics = journal.windows(4).enumerate().filter(|(_, bytes)| bytes == b"TGf1");
    magics.map(|(at, _)| at).nth(1).unwrap()
}

fn any_left() -> impl Strategy<Value = Left> {
    prop_oneof![Just(Left::Written), Just(Left::Synced), Just(Left::Torn)]
}

prop_compose! {
    fn any_shape()(
        outputs in 1usize..4,
        writers in 1u32..3,
        in_flight in 1usize..3,
        prepares_late: bool,
        backwards: bool,
        records_max in 1u64..6,
    ) -> Shape {
        Shape { outputs, writers, in_flight, prepares_late, backwards, records_max, ..Shape::PLAIN }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_number_of_crashes_on_any_number_of_writers_loses_and_doubles_nothing(
        shape in any_shape(),
        partitions in prop::collection::vec(0usize..9, 1..4),
        lives in prop::collection::vec((1usize..80, any_left(), any::<bool>(), 1u32..3, 1u64..6), 0..5),
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
            // An output has the same partitions on any number of writers.
            shape = Shape { writers, records_max, ..shape };
        }
        let ended = live(&world, shape, Some(dir.path()), None);
        prop_assert!(matches!(ended, Ended::Done { .. }), "{:?}", ended);
        prop_assert_eq!(world.check(true), Ok(()));
    }
}
