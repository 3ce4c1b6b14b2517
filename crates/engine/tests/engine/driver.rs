//! What the driver does with each report and each request, order by order.

use crate::fake::directory;
use crate::scripted::{Opening, Order, Script, Told};
use std::time::Duration;
use tidegate_core::{Error, ErrorKind, SourcePlan, SourceRange};
use tidegate_engine::Stop;

const HOUR: Duration = Duration::from_secs(3600);

fn started(opening: &Opening<'_>) -> Script {
    let script = Script::start(opening).unwrap();
    assert!(matches!(script.order(), Order::Epoch(1, _)));
    script
}

fn away() -> Error {
    Error::retry("the broker is away")
}

#[test]
fn all_batches_that_are_due_after_the_clock_jumps_are_run_in_order() {
    let script = started(&Opening::default());
    script.advance(3);
    for (batch, second) in [(1, 101), (2, 102), (3, 103)] {
        assert_eq!(script.order(), Order::Run(batch, second));
        script.through(1, batch);
    }
    script.engine.stop(Stop::Gracefully);
    script.end().unwrap();
    assert_eq!(script.orders_left(), [Order::Over(1)]);
}

#[test]
fn a_second_batch_is_processed_while_the_first_is_prepared_and_a_third_waits_for_its_commit() {
    let script = started(&Opening { in_flight: 2, ..Opening::default() });
    script.advance(3);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.processed(1, 1);
    assert_eq!(script.order(), Order::Run(2, 102));
    script.processed(1, 2);
    script.prepared(1, 1);
    assert_eq!(script.order(), Order::Commit(1));
    script.committed(1, 1);
    assert_eq!(script.order(), Order::Run(3, 103));
}

#[test]
fn with_one_batch_in_flight_the_second_waits_for_the_commit_of_the_first() {
    let script = started(&Opening::default());
    script.advance(2);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.through(1, 1);
    assert_eq!(script.order(), Order::Run(2, 102));
}

#[test]
fn outputs_that_have_prepared_before_the_last_worker_is_through_are_waited_for_by_nobody() {
    let script = started(&Opening::default());
    script.advance(1);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.prepared(1, 1);
    script.processed(1, 1);
    assert_eq!(script.order(), Order::Commit(1));
}

#[test]
fn a_graceful_stop_finishes_what_is_planned_and_begins_nothing_new() {
    let script = started(&Opening::default());
    script.advance(2);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.engine.stop(Stop::Gracefully);
    script.through(1, 1);
    script.end().unwrap();
    assert_eq!(script.orders_left(), [Order::Over(1)]);
}

#[test]
fn a_stop_at_once_leaves_what_is_planned_to_the_next_start_which_runs_the_same_plan() {
    let dir = directory();
    let opening = Opening { checkpoint: Some(dir.path()), ..Opening::default() };
    let script = started(&opening);
    script.advance(1);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.engine.stop(Stop::Now);
    script.end().unwrap();
    assert_eq!(script.orders_left(), [Order::Over(1)]);
    let again = started(&Opening { second: 900, ..opening });
    assert_eq!(again.order(), Order::Run(1, 101));
    assert_eq!(again.plan(0), script.plan(0));
    again.through(1, 1);
    again.advance(1);
    assert_eq!(again.order(), Order::Run(2, 901));
}

#[test]
fn a_failure_that_passes_begins_an_epoch_in_which_the_batch_is_run_again() {
    let script = started(&Opening { in_flight: 2, ..Opening::default() });
    script.advance(2);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.processed(1, 1);
    assert_eq!(script.order(), Order::Run(2, 102));
    script.failed(1, away());
    assert_eq!([script.order(), script.order()], [Order::Over(1), Order::Epoch(2, 1)]);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.processed(2, 1);
    assert_eq!(script.order(), Order::Run(2, 102));
    assert_eq!((script.plan(0), script.plan(1)), (script.plan(2), script.plan(3)));
    script.prepared(2, 1);
    assert_eq!(script.order(), Order::Commit(1));
    script.committed(2, 1);
    assert_eq!(script.told(), Told::Retry("the broker is away".to_owned()));
    assert_eq!(script.told(), Told::Completed(1, true));
}

#[test]
fn a_late_report_of_an_older_epoch_means_nothing() {
    let script = started(&Opening::default());
    script.advance(1);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.failed(1, away());
    assert_eq!([script.order(), script.order()], [Order::Over(1), Order::Epoch(2, 1)]);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.processed(1, 1);
    script.prepared(1, 1);
    script.committed(1, 1);
    script.failed(1, Error::user_code("of the past"));
    script.through(2, 1);
    script.engine.stop(Stop::Gracefully);
    script.end().unwrap();
}

#[test]
fn a_failure_that_does_not_pass_stops_the_job_with_that_error_and_listeners_are_told() {
    for kind in [ErrorKind::Reconfigure, ErrorKind::DataLost, ErrorKind::Bug] {
        let script = started(&Opening::default());
        script.advance(1);
        script.failed(1, Error::new(kind, "no such table"));
        let error = script.end().unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (kind, "no such table".to_owned()));
        assert_eq!(script.told(), Told::Stopped(Some("no such table".to_owned())));
    }
}

#[test]
fn a_job_that_pauses_before_its_next_try_can_be_stopped() {
    for (how, ends_well) in [(Stop::Now, true), (Stop::Gracefully, false)] {
        let script = started(&Opening { retry_pause: HOUR, ..Opening::default() });
        script.advance(1);
        assert_eq!(script.order(), Order::Run(1, 101));
        script.failed(1, away());
        script.engine.stop(how);
        // What was planned is not finished, and whoever asked for that must know.
        assert_eq!(script.end().map_err(|error| error.to_string()).is_ok(), ends_well);
    }
}

#[test]
fn a_job_that_may_try_so_often_gives_up_with_the_last_failure_and_a_commit_counts_anew() {
    let script = started(&Opening { retry_attempts_max: Some(2), ..Opening::default() });
    let fail = |epoch: u64, batch: u64| {
        assert_eq!(script.order(), Order::Run(batch, 100 + batch));
        script.failed(epoch as usize, away());
        assert_eq!(script.order(), Order::Over(epoch));
        assert_eq!(script.told(), Told::Retry("the broker is away".to_owned()));
    };
    script.advance(1);
    for epoch in [1, 2] {
        fail(epoch, 1);
        assert_eq!(script.order(), Order::Epoch(epoch + 1, 1));
    }
    assert_eq!(script.order(), Order::Run(1, 101));
    script.through(3, 1);
    assert_eq!(script.told(), Told::Completed(1, true));
    script.advance(1);
    for epoch in [3, 4] {
        fail(epoch, 2);
        assert_eq!(script.order(), Order::Epoch(epoch + 1, 2));
    }
    fail(5, 2);
    let error = script.end().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    let told = error.to_string();
    assert!(told.starts_with("given up after 2 tries in which no batch was committed"), "{told}");
    assert!(told.ends_with(&away().to_string()), "{told}");
}

#[test]
fn a_report_that_can_not_be_is_a_bug_and_commits_nothing() {
    let script = started(&Opening::default());
    script.advance(1);
    assert_eq!(script.order(), Order::Run(1, 101));
    script.committed(1, 1);
    let error = script.end().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Bug, "batch 1 was committed out of order")
    );
    let script = started(&Opening::default());
    script.prepared(1, 7);
    let error = script.end().unwrap_err();
    assert_eq!(error.to_string(), "a report on batch 7, which is not on its way");
}

#[test]
fn a_panic_on_the_drivers_thread_ends_the_job_for_all_who_wait() {
    let script = started(&Opening { panics: true, ..Opening::default() });
    script.advance(1);
    let error = script.end().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Bug, "the driver panicked: the input lost its mind")
    );
    assert!(matches!(script.told(), Told::Stopped(Some(_))));
}

#[test]
fn an_input_is_told_of_its_own_ranges_though_the_program_now_builds_its_inputs_in_another_order() {
    let dir = directory();
    let inputs = ["clicks", "views"];
    let opening = Opening { checkpoint: Some(dir.path()), inputs: &inputs, ..Opening::default() };
    let script = started(&opening);
    script.advance(1);
    assert_eq!(script.order(), Order::Run(1, 101));
    drop(script);
    let inputs = ["views", "new", "clicks"];
    let script = started(&Opening { inputs: &inputs, ..opening });
    assert_eq!(script.order(), Order::Run(1, 101));
    script.through(1, 1);
    for name in ["views", "clicks"] {
        let ranges = vec![SourceRange::new(format!("{name}-0"), 0, 1)];
        let plan = SourcePlan { stream: name.into(), ranges };
        assert_eq!(script.input_told(), (name.into(), plan));
    }
    assert_eq!(script.told(), Told::Completed(1, true));
}

#[test]
fn the_directory_of_a_job_is_free_as_soon_as_its_end_is_told() {
    let dir = directory();
    for _ in 0..100 {
        let script = started(&Opening { checkpoint: Some(dir.path()), ..Opening::default() });
        script.engine.stop(Stop::Now);
        script.end().unwrap();
    }
}
