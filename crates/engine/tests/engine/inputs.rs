//! What inputs are told beside their plans: their rate, what is never read again, that the job stops.

use crate::fake::{INTERVAL, directory};
use crate::scripted::{Aside, Opening, Order, Script, Told};
use tidegate_core::{BatchTime, ReceiverChange, ReceiverEvent};
use tidegate_engine::{PidSettings, ReceiverInfo, Stop};

fn started(opening: &Opening<'_>) -> Script {
    let script = Script::start(opening).unwrap();
    assert!(matches!(script.order(), Order::Epoch(1, _)));
    script
}

/// Runs the batch that is due next.
fn run(script: &Script, batch: u64) {
    assert!(matches!(script.order(), Order::Run(number, _) if number == batch));
    script.through(1, batch);
    script.told();
}

#[test]
fn a_batch_is_released_with_the_plan_behind_its_commit() {
    let dir = directory();
    let script = started(&Opening { checkpoint: Some(dir.path()), ..Opening::default() });
    script.advance(1);
    run(&script, 1);
    assert_eq!(script.asides(), [], "after a crash the journal may not know that it is committed");
    script.advance(1);
    run(&script, 2);
    assert_eq!(script.asides(), [Aside::Released(1)]);
    script.advance(2);
    run(&script, 3);
    run(&script, 4);
    assert_eq!(script.asides(), [Aside::Released(2), Aside::Released(3)]);
}

#[test]
fn batches_that_a_checkpoint_may_need_are_not_released() {
    let dir = directory();
    let states = vec![crate::fake_runtime::sums_shape()];
    let script =
        started(&Opening { checkpoint: Some(dir.path()), states, every: 1000, ..Opening::default() });
    script.advance(3);
    (1..=3).for_each(|batch| run(&script, batch));
    assert_eq!(script.asides(), [], "no checkpoint holds what they made of the state");
}

#[test]
fn with_back_pressure_a_slow_batch_lowers_the_rate_and_the_first_obeys_the_initial_one() {
    let settings = PidSettings { min_rate: 1.0, initial_rate: Some(7.0), ..PidSettings::default() };
    let script = started(&Opening { backpressure: Some(settings), ..Opening::default() });
    assert_eq!(script.asides(), [Aside::Rate(7)]);
    let slowly = |batch| {
        script.advance(1);
        assert!(matches!(script.order(), Order::Run(number, _) if number == batch));
        // One record in two batch intervals.
        script.clock.advance(INTERVAL * 2);
        script.through(1, batch);
        script.told();
        // What was due meanwhile.
        (batch + 1..batch + 3).for_each(|batch| run(&script, batch));
    };
    slowly(1);
    slowly(4);
    let rates: Vec<_> = script.asides().into_iter().filter(|aside| matches!(aside, Aside::Rate(_))).collect();
    assert!(rates.contains(&Aside::Rate(1)), "{rates:?}");
}

#[test]
fn without_back_pressure_inputs_have_their_own_limits_only() {
    let script = started(&Opening::default());
    script.advance(2);
    run(&script, 1);
    run(&script, 2);
    assert!(!script.asides().iter().any(|aside| matches!(aside, Aside::Rate(_))));
}

#[test]
fn a_graceful_stop_goes_on_until_inputs_have_given_what_they_took() {
    let script = started(&Opening { taken: 2, ..Opening::default() });
    script.advance(1);
    run(&script, 1);
    script.engine.stop(Stop::Gracefully);
    let drained = || while script.aside() != Aside::Drain {};
    // Before the clock moves: else the next batch may be planned before the job stops.
    drained();
    for batch in [2, 3] {
        script.advance(1);
        run(&script, batch);
        drained();
    }
    script.end().unwrap();
    assert_eq!(script.orders_left(), [Order::Over(1)], "nothing new is planned");
    assert!(!script.asides().contains(&Aside::Drain));
}

#[test]
fn a_stop_at_once_waits_for_no_input() {
    let script = started(&Opening { taken: 2, ..Opening::default() });
    script.engine.stop(Stop::Now);
    script.end().unwrap();
    assert!(!script.asides().contains(&Aside::Drain));
}

#[test]
fn what_happens_to_a_receiver_is_told_in_order_with_batches_and_what_came_before() {
    let script = started(&Opening { inputs: &["lines", "words"], ..Opening::default() });
    let tell = |input: usize, change| {
        script.receivers[input](ReceiverEvent { receiver: format!("origin {input}"), change });
    };
    let told = |stream: &str, receiver: &str, at: u64| ReceiverInfo {
        stream: stream.into(),
        receiver: receiver.to_owned(),
        active: false,
        starts: 0,
        last_error: None,
        last_error_at: None,
        at: BatchTime(at * 1000),
    };
    tell(0, ReceiverChange::Failed("away".to_owned()));
    let late = ReceiverInfo {
        last_error: Some("away".to_owned()),
        last_error_at: Some(BatchTime(100_000)),
        ..told("lines", "origin 0", 100)
    };
    assert_eq!(script.told(), Told::Receiver("error", late.clone()));
    tell(1, ReceiverChange::Started);
    assert_eq!(
        script.told(),
        Told::Receiver("started", ReceiverInfo { active: true, starts: 1, ..told("words", "origin 1", 100) }),
        "each input has its own"
    );
    script.advance(1);
    assert!(matches!(script.order(), Order::Run(1, _)));
    script.through(1, 1);
    assert!(matches!(script.told(), Told::Completed(1, false)));
    tell(0, ReceiverChange::Started);
    tell(0, ReceiverChange::Stopped);
    let again = ReceiverInfo { starts: 1, at: BatchTime(101_000), ..late };
    assert_eq!(script.told(), Told::Receiver("started", ReceiverInfo { active: true, ..again.clone() }));
    assert_eq!(script.told(), Told::Receiver("stopped", again));
    script.engine.stop(Stop::Now);
    script.end().unwrap();
    tell(0, ReceiverChange::Started);
    assert_eq!(script.told(), Told::Stopped(None), "and nothing behind the end");
}
