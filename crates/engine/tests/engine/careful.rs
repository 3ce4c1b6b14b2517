//! A function of the job fails: the batch is run again carefully, and nothing of it is committed.

use crate::scripted::{Opening, Order, Script, Told};
use tidegate_core::{Error, ErrorKind};
use tidegate_engine::Stop;

/// A job with a batch prepared and another being processed, whose function fails.
fn failing() -> Script {
    let script = Script::start(&Opening { in_flight: 2, ..Opening::default() }).unwrap();
    assert_eq!(script.order(), Order::Epoch(1, 1));
    script.advance(2);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.processed(1, 1);
    assert_eq!(script.order(), Order::Run(2, 102));
    script.failed(1, Error::user_code("map #3 panicked"));
    assert_eq!([script.order(), script.order()], [Order::Over(1), Order::Epoch(2, 1)]);
    let start = script.start_of_epoch();
    assert_eq!((start.careful, start.committed), (true, u64::MAX));
    assert_eq!(script.order(), Order::Run(1, 101));
    script
}

fn ends_with(script: &Script, expected: &str) {
    let error = script.end().unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::UserCode, expected));
    let orders = script.orders_left();
    assert!(orders.iter().all(|order| matches!(order, Order::Over(2))), "{orders:?}");
    assert_eq!(script.told(), Told::Stopped(Some(expected.to_owned())));
}

#[test]
fn the_job_ends_with_the_error_of_the_careful_epoch() {
    let script = failing();
    script.processed(2, 1);
    // Whatever a runtime says, nothing is committed.
    script.prepared(2, 1);
    assert_eq!(script.order(), Order::Run(2, 102));
    script.failed(2, Error::user_code("map #3 panicked on batch 2, record \"x\""));
    ends_with(&script, "map #3 panicked on batch 2, record \"x\"");
}

#[test]
fn the_job_ends_with_the_first_error_when_the_careful_epoch_finds_nothing() {
    let script = failing();
    script.processed(2, 1);
    assert_eq!(script.order(), Order::Run(2, 102));
    script.processed(2, 2);
    ends_with(&script, "map #3 panicked");
}

#[test]
fn the_job_ends_with_the_first_error_when_the_careful_epoch_fails_otherwise() {
    let script = failing();
    script.failed(2, Error::retry("the broker is away"));
    ends_with(&script, "map #3 panicked");
}

#[test]
fn a_stop_ends_a_careful_epoch_with_the_first_error() {
    for how in [Stop::Gracefully, Stop::Now] {
        let script = failing();
        script.engine.stop(how);
        ends_with(&script, "map #3 panicked");
    }
}
