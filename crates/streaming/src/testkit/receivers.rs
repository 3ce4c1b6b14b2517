//! What every receiver must hold, as functions that panic with the broken promise: for whoever writes a receiver to run on his.
//!
//! The test writes an [`Origin`]: what the receiver gets records from. [`all`] runs every function; each takes a way to make a new
//! origin, and runs jobs with a write-ahead log in memory, on a clock that it moves itself.

use super::{MemoryOutput, TestJob};
use crate::{Conf, DStream, Result, Stop, StreamingContext};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use tidegate_core::{Guarantee, Storage};
use tidegate_storage::MemoryStorage;

/// How long anything may take: far longer than it does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Looks within [`PATIENCE`].
const LOOKS: u128 = PATIENCE.as_millis() / LOOK_EVERY.as_millis();

/// What a receiver under test gets records from. It is one of a test's own, and outlives the job.
pub trait Origin {
    /// The receiver's stream, as the program makes it at each start: of the same name.
    ///
    /// # Errors
    /// What making the stream gives.
    fn stream(&self, ssc: &StreamingContext) -> Result<DStream<String>>;

    /// What the receiver promises with a write-ahead log.
    fn guarantee(&self) -> Guarantee;

    /// Is there from now on: takes connections, or makes them.
    fn appear(&self);

    /// Ends all connections, and takes no new ones until it appears again.
    fn vanish(&self);

    /// Gives `record`, its `number`th, to the receiver; the same one again when it is called again. Waits for a connection, and
    /// for the acknowledgement where there are any.
    fn send(&self, number: u64, record: &str) -> Sent;

    /// A stream whose receiver panics once it gets a record; `None`: no record can bring it to that.
    fn panicking(&self, ssc: &StreamingContext) -> Option<Result<DStream<String>>> {
        let _ = ssc;
        None
    }
}

/// What an origin knows of a record that it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The receiver has it.
    Acknowledged,
    /// The receiver does not have it, or nothing is known: it is to be sent again.
    Unanswered,
    /// This origin is told nothing, ever.
    Untold,
}

/// Runs every function of this module, each with an origin of its own.
///
/// # Panics
/// With the promise that is broken.
pub fn all<O: Origin>(make: impl Fn() -> O) {
    what_is_sent_is_in_the_job(&make());
    an_origin_that_is_away_is_waited_for(&make());
    a_connection_that_is_cut_is_made_again(&make());
    what_is_acknowledged_is_in_the_job_after_a_restart(&make());
    what_is_sent_again_is_there_once(&make());
    a_job_that_stops_does_not_wait_for_the_origin(&make());
    a_panic_ends_the_job_with_its_words(&make());
}

/// Records come into the job, once each, as they were sent.
///
/// # Panics
/// With the promise that is broken.
pub fn what_is_sent_is_in_the_job(origin: &impl Origin) {
    let test = Test::new(origin);
    origin.appear();
    let mut job = test.start();
    test.send(&job, 0..100);
    test.await_records(&mut job, 0..100);
    stop(&job, Stop::Gracefully);
}

/// A job starts and makes batches while its origin is away, and gets its records once it is there.
///
/// # Panics
/// With the promise that is broken.
pub fn an_origin_that_is_away_is_waited_for(origin: &impl Origin) {
    let test = Test::new(origin);
    origin.vanish();
    let mut job = test.start();
    (0..3).for_each(|_| drop(job.next_batch().expect("a job makes batches while its origin is away")));
    origin.appear();
    test.send(&job, 0..10);
    test.await_records(&mut job, 0..10);
    stop(&job, Stop::Gracefully);
}

/// After a cut what is sent arrives as before. What was acknowledged before it is there too.
///
/// # Panics
/// With the promise that is broken.
pub fn a_connection_that_is_cut_is_made_again(origin: &impl Origin) {
    let test = Test::new(origin);
    origin.appear();
    let mut job = test.start();
    for round in 0..3 {
        let records = round * 10..round * 10 + 10;
        test.send(&job, records.clone());
        if origin.guarantee() == Guarantee::AtMostOnce {
            test.await_records(&mut job, 0..records.end);
        }
        origin.vanish();
        origin.appear();
    }
    test.await_records(&mut job, 0..30);
    stop(&job, Stop::Gracefully);
}

/// What was acknowledged and taken by no batch is in the job that is started after a stop at once; and what a batch has taken is
/// not there a second time.
///
/// # Panics
/// With the promise that is broken.
pub fn what_is_acknowledged_is_in_the_job_after_a_restart(origin: &impl Origin) {
    let test = Test::new(origin);
    origin.appear();
    let mut job = test.start();
    test.send(&job, 0..10);
    test.await_records(&mut job, 0..10);
    let mut sent = 10;
    if origin.guarantee() != Guarantee::AtMostOnce {
        sent = 20;
        test.send(&job, 10..sent);
    }
    stop(&job, Stop::Now);
    drop(job);
    let mut job = test.start();
    test.await_records(&mut job, 0..sent);
    test.send(&job, sent..sent + 10);
    test.await_records(&mut job, 0..sent + 10);
    stop(&job, Stop::Gracefully);
}

/// Where exactly once is promised: what is sent again, in the same run and after a restart, is acknowledged and there once.
///
/// # Panics
/// With the promise that is broken.
pub fn what_is_sent_again_is_there_once(origin: &impl Origin) {
    if origin.guarantee() != Guarantee::ExactlyOnce {
        return;
    }
    let test = Test::new(origin);
    origin.appear();
    let mut job = test.start();
    test.send(&job, 0..10);
    test.send(&job, 0..10);
    test.await_records(&mut job, 0..10);
    test.send(&job, 5..10);
    stop(&job, Stop::Now);
    drop(job);
    let mut job = test.start();
    test.send(&job, 0..10);
    test.send(&job, 10..20);
    test.await_records(&mut job, 0..20);
    stop(&job, Stop::Gracefully);
}

/// A stop ends: with a silent connection, without one, and while the origin is away.
///
/// # Panics
/// With the promise that is broken.
pub fn a_job_that_stops_does_not_wait_for_the_origin(origin: &impl Origin) {
    for how in [Stop::Gracefully, Stop::Now] {
        let test = Test::new(origin);
        origin.appear();
        let mut job = test.start();
        test.send(&job, 0..1);
        test.await_records(&mut job, 0..1);
        stop(&job, how);
        drop(job);
        origin.vanish();
        let job = test.start();
        stop(&job, how);
    }
}

/// A receiver that panics ends the job, with the words of the panic.
///
/// # Panics
/// With the promise that is broken.
pub fn a_panic_ends_the_job_with_its_words(origin: &impl Origin) {
    let test = Test::new(origin);
    origin.appear();
    let mut makes = true;
    let job = TestJob::start_on(conf(), Some(test.storage.clone()), |ssc| match origin.panicking(ssc) {
        Some(stream) => stream?.output("records", test.output.clone()),
        None => {
            makes = false;
            origin.stream(ssc)?.output("records", test.output.clone())
        }
    });
    let mut job = job.expect("the job starts");
    if !makes {
        stop(&job, Stop::Now);
        return;
    }
    origin.send(0, "panic");
    let failed = look(&job.ssc.clone(), || job.next_batch().err());
    let text = failed.expect("a receiver that panicked ends the job").to_string();
    assert!(text.contains("panicked: "), "the error says that it panicked, and how: {text}");
    drop(job);
}

/// One job over its starts.
struct Test<'a, O> {
    origin: &'a O,
    storage: Arc<dyn Storage>,
    output: MemoryOutput<String>,
}

fn conf() -> Conf {
    Conf::new()
        .set_master("local[2]")
        .set("tidegate.receiver.write_ahead_log.enable", "true")
        .set("tidegate.receiver.restart_delay_ms", "5")
}

fn record(number: u64) -> String {
    format!("record {number}")
}

impl<'a, O: Origin> Test<'a, O> {
    fn new(origin: &'a O) -> Self {
        Test { origin, storage: Arc::new(MemoryStorage::new()), output: MemoryOutput::new() }
    }

    fn start(&self) -> TestJob {
        let build = |ssc: &StreamingContext| self.origin.stream(ssc)?.output("records", self.output.clone());
        TestJob::start_on(conf(), Some(self.storage.clone()), build).expect("the job starts")
    }

    /// Sends each record until it is acknowledged.
    fn send(&self, job: &TestJob, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let sent =
                || Some(self.origin.send(number, &record(number))).filter(|sent| *sent != Sent::Unanswered);
            assert!(
                look(&job.ssc, sent).is_some(),
                "record {number} was sent for {PATIENCE:?} and not acknowledged"
            );
        }
    }

    /// Makes batches until all these records are there, and no others.
    fn await_records(&self, job: &mut TestJob, numbers: std::ops::Range<u64>) {
        let counted = || {
            let mut counted: BTreeMap<String, u64> = BTreeMap::new();
            self.output.rows().into_iter().for_each(|row| *counted.entry(row).or_default() += 1);
            counted
        };
        let wanted: BTreeMap<_, _> = numbers.map(|number| (record(number), 1)).collect();
        let all_there = |counted: &BTreeMap<String, u64>| wanted.keys().all(|row| counted.contains_key(row));
        let ssc = job.ssc.clone();
        let seen = look(&ssc, || {
            job.next_batch().expect("the job goes on");
            all_there(&counted()).then_some(())
        });
        if seen.is_some() {
            // One that came twice may be one batch behind.
            job.next_batch().expect("the job goes on");
        }
        let counted = counted();
        let missing: Vec<_> = wanted.keys().filter(|row| !counted.contains_key(*row)).collect();
        assert!(missing.is_empty(), "not in the job after {PATIENCE:?}: {missing:?}");
        let at_least = self.origin.guarantee() == Guarantee::AtLeastOnce;
        let wrong: Vec<_> = counted
            .iter()
            .filter(|(row, count)| !wanted.contains_key(*row) || (!at_least && **count != 1))
            .collect();
        assert!(wrong.is_empty(), "not sent, or there more than once: {wrong:?}");
    }
}

/// Looks until there is something to see, for [`PATIENCE`]; between two looks it waits for the end of a job that goes on.
fn look<T>(ssc: &StreamingContext, mut see: impl FnMut() -> Option<T>) -> Option<T> {
    (0..LOOKS).find_map(|_| {
        see().or_else(|| {
            let _ = ssc.await_termination_or_timeout(LOOK_EVERY);
            None
        })
    })
}

fn stop(job: &TestJob, how: Stop) {
    let (ssc, (tell, told)) = (job.ssc.clone(), channel());
    std::thread::spawn(move || tell.send(ssc.stop(how)).ok());
    let stopped = told.recv_timeout(PATIENCE).expect("a job stops, whatever its receiver waits for");
    stopped.expect("a job that is stopped has not failed");
}
