//! What every output must hold, as functions that panic with the broken promise: for whoever writes an output to run on his.
//!
//! The test writes a [`Subject`]: an output, rows for it, and a reader that knows nothing of Tidegate. [`all`] runs every function,
//! each with a subject of its own. Most of them drive the output by hand, as an epoch does, to stop between any two steps.
//!
//! For tests of one's own: [`Epoch`] is an output driven by hand. What an output writes to can be lost at any step of a batch: whoever can
//! take it away has [`lost_in_each_phase`] run a job meanwhile, and [`untroubled`] one to compare with, or puts a [`Phased`] into a job.

use super::{MemoryInput, MemoryOutput, TestJob};
use crate::{Conf, ExchangeData, Result, Stop, StreamingContext};
use driven::{Driven, at};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use tidegate_core::{BatchId, Delivery, JobId, Output};
use tidegate_storage::MemoryStorage;

mod driven;
mod epoch;
mod outages;

pub use epoch::{Epoch, batch, plan};
pub use outages::{Phase, Phased, lost_in_each_phase, untroubled};

/// An output under test. What it writes to is one of a test's own and outlives a job.
pub trait Subject {
    /// Its rows.
    type Row: ExchangeData + Sync + Ord + Debug;
    /// The output.
    type Output: Output<Self::Row>;

    /// The output, as the program makes it at each start.
    ///
    /// # Errors
    /// What making it gives.
    fn output(&self) -> Result<Self::Output>;

    /// The row of `number`: another one for each number, and the same one each time.
    fn row(&self, number: u64) -> Self::Row;

    /// The rows that a reader who knows nothing of Tidegate finds, in any order; one that is there twice is given twice.
    fn visible(&self) -> Vec<Self::Row>;

    /// A row that the output or what is behind it refuses; `None`: there is none.
    fn refused(&self) -> Option<Self::Row> {
        None
    }
}

/// Runs every function of this module, each with a subject of its own.
///
/// # Panics
/// With the promise that is broken.
pub fn all<S: Subject>(make: impl Fn() -> S) {
    what_is_prepared_is_not_seen(&make());
    what_is_given_up_is_not_seen(&make());
    what_a_crash_left_is_not_seen(&make());
    a_batch_that_is_run_again_is_there_once(&make());
    what_some_writers_committed_is_finished_by_others(&make());
    what_was_committed_and_not_completed_is_finished(&make());
    a_writer_of_an_earlier_epoch_changes_nothing(&make());
    a_batch_without_rows_is_remembered(&make());
    the_job_it_belongs_to_is_told(&make());
    a_refused_row_shows_nothing_of_its_batch(&make());
    a_job_that_is_started_again_goes_on(&make());
    a_refusal_is_seen_in_no_other_output(&make());
}

/// Nothing of a batch is seen before its commit, and all of it after.
///
/// # Panics
/// With the promise that is broken.
pub fn what_is_prepared_is_not_seen<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 2);
    let mut seen = 0;
    for (batch, rows) in [(1, 0..20), (2, 20..25), (3, 25..2_000)] {
        epoch.prepare(batch, rows.clone());
        if epoch.delivery() != Delivery::AtLeastOnce {
            is_visible(subject, 0..seen, "before the commit of a batch, what was committed before it");
        }
        epoch.commit(batch);
        seen = rows.end;
        is_visible(subject, 0..seen, "after the commit of a batch");
    }
}

/// What was prepared, and taken back at the end of the epoch, is never seen; its batch is run again.
///
/// # Panics
/// With the promise that is broken.
pub fn what_is_given_up_is_not_seen<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 2);
    epoch.prepare(1, 0..20);
    epoch.abort();
    runs_again_after_loss(subject);
}

/// What was prepared by a process that is no more is never seen; its batch is run again.
///
/// # Panics
/// With the promise that is broken.
pub fn what_a_crash_left_is_not_seen<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 2);
    epoch.prepare(1, 0..20);
    drop(epoch);
    runs_again_after_loss(subject);
}

fn runs_again_after_loss<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 2);
    if epoch.delivery() == Delivery::AtLeastOnce {
        return;
    }
    assert_eq!(epoch.newest(), None, "an output in which nothing was committed holds no batch");
    is_visible(subject, 0..0, "of a batch that was not committed");
    // The batch is planned already, so it is the same one; but not every try has to come to its end.
    epoch.run(1, 0..20);
    epoch.run(2, 20..30);
    is_visible(subject, 0..30, "after the batch was run again");
}

/// A batch that is run again after its commit is there once: the output says that it holds it, or writes it over itself, also
/// when a later one is there.
///
/// # Panics
/// With the promise that is broken.
pub fn a_batch_that_is_run_again_is_there_once<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 2);
    epoch.run(1, 0..20);
    epoch.run(2, 20..40);
    drop(epoch);
    for workers in [1, 3] {
        let mut epoch = Driven::open(subject, workers);
        match epoch.delivery() {
            Delivery::AtLeastOnce => return,
            Delivery::Idempotent => {}
            Delivery::ExactlyOnce => {
                assert_eq!(epoch.newest(), Some(BatchId(2)), "the output remembers its newest batch");
                assert_eq!(
                    epoch.newest_plan(),
                    Some(at(2)),
                    "the output remembers the plan of its newest batch"
                );
                assert!(epoch.holds_all(2), "every partition of the output remembers the newest batch");
            }
        }
        epoch.run(1, 0..20);
        epoch.run(2, 20..40);
        is_visible(subject, 0..40, "after batches were run again");
    }
}

/// Where some writers have committed a batch and others have not, the next epoch, on any number of workers, finishes the rest.
///
/// # Panics
/// With the promise that is broken.
pub fn what_some_writers_committed_is_finished_by_others<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 2);
    if epoch.delivery() == Delivery::AtLeastOnce {
        return;
    }
    epoch.run(1, 0..20);
    epoch.prepare(2, 20..40);
    epoch.commit_by_first(2);
    drop(epoch);
    finishes_batch_2(subject, 3);
}

/// Where all writers have committed a batch and it was not completed, which is for outputs that
/// [complete](tidegate_core::Output::completes) batches, the next epoch does it.
///
/// # Panics
/// With the promise that is broken.
pub fn what_was_committed_and_not_completed_is_finished<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 3);
    if !epoch.completes() {
        return;
    }
    epoch.run(1, 0..20);
    epoch.prepare(2, 20..40);
    epoch.commit_by_all(2);
    drop(epoch);
    finishes_batch_2(subject, 1);
}

/// Batch 2, of which some is there, is run again by `workers`, and the next one after it.
fn finishes_batch_2<S: Subject>(subject: &S, workers: usize) {
    let mut epoch = Driven::open(subject, workers);
    epoch.run(2, 20..40);
    is_visible(subject, 0..40, "after a batch that had not come to its end was run again");
    epoch.run(3, 40..41);
    is_visible(subject, 0..41, "after the next batch");
}

/// Once an output was opened again, a writer from before has no say any more, whatever step it is at.
///
/// # Panics
/// With the promise that is broken.
pub fn a_writer_of_an_earlier_epoch_changes_nothing<S: Subject>(subject: &S) {
    let mut old = Driven::open(subject, 1);
    if old.delivery() != Delivery::ExactlyOnce {
        return;
    }
    old.run(1, 0..20);
    let mut new = Driven::open(subject, 1);
    new.run(2, 20..40);
    // It may be refused at any step, or not be heard.
    let _ = old.try_run(2, 20..40);
    is_visible(subject, 0..40, "after a writer of an earlier epoch wrote the batch too");
    new.run(3, 40..60);
    is_visible(subject, 0..60, "after the next batch of the newer epoch");
}

/// A batch in which there is nothing to write is remembered like any other.
///
/// # Panics
/// With the promise that is broken.
pub fn a_batch_without_rows_is_remembered<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 2);
    epoch.run(1, 0..20);
    epoch.run(2, 20..20);
    is_visible(subject, 0..20, "after a batch without rows");
    drop(epoch);
    let epoch = Driven::open(subject, 2);
    if epoch.delivery() == Delivery::ExactlyOnce {
        assert_eq!(epoch.newest_plan(), Some(at(2)), "a batch without rows is remembered");
        assert!(epoch.holds_all(2), "every partition remembers a batch without rows");
    }
}

/// An output that belongs to one job says so to another, or refuses it.
///
/// # Panics
/// With the promise that is broken.
pub fn the_job_it_belongs_to_is_told<S: Subject>(subject: &S) {
    let mut epoch = Driven::open(subject, 1);
    if epoch.delivery() != Delivery::ExactlyOnce {
        return;
    }
    epoch.run(1, 0..20);
    drop(epoch);
    match Driven::try_open(subject, 1, Some(JobId::from("another-job"))) {
        Err(_) => {}
        Ok(epoch) => assert_eq!(epoch.job(), Some(&driven::job()), "the output says whose it is"),
    }
}

/// A row that is refused is so before the commit, and nothing of its batch is seen, then or later.
///
/// # Panics
/// With the promise that is broken.
pub fn a_refused_row_shows_nothing_of_its_batch<S: Subject>(subject: &S) {
    let Some(refused) = subject.refused() else { return };
    let mut epoch = Driven::open(subject, 1);
    epoch.run(1, 0..20);
    let mut rows: Vec<_> = (20..40).map(|number| subject.row(number)).collect();
    rows.insert(10, refused);
    let error =
        epoch.try_prepare(2, rows).expect_err("a row that can't be written is refused before the commit");
    assert!(error.to_string().len() > 20, "the refusal says what is wrong: {error}");
    epoch.abort();
    is_visible(subject, 0..20, "of a batch with a row that was refused");
    let mut epoch = Driven::open(subject, 1);
    epoch.run(2, 20..40);
    is_visible(subject, 0..40, "after the batch was run without the row");
}

/// A whole job, stopped and started again on other numbers of workers, has each row once.
///
/// # Panics
/// With the promise that is broken.
pub fn a_job_that_is_started_again_goes_on<S: Subject>(subject: &S) {
    let (input, storage) = (MemoryInput::new(3), Arc::new(MemoryStorage::new()));
    let mut given = 0;
    for workers in [2, 1, 3] {
        let conf = Conf::new().set_master(&format!("local[{workers}]"));
        let mut job = TestJob::start_on(conf, Some(storage.clone()), |ssc| {
            ssc.input_stream("rows", input.clone())?.output("subject", subject.output()?)
        })
        .expect("the job starts");
        for batch in 0..3u64 {
            let rows = given..given + 10 * batch;
            for (place, number) in rows.clone().enumerate() {
                input.push(place % 3, [subject.row(number)]);
            }
            given = rows.end;
            job.next_batch().expect("the batch is committed");
        }
        job.ssc.stop(Stop::Gracefully).expect("the job stops");
        is_visible(subject, 0..given, "of a job that was started again");
    }
}

/// What this output refuses is seen in no other output of the job either; and in all of them, once, when the row is taken out.
///
/// # Panics
/// With the promise that is broken.
pub fn a_refusal_is_seen_in_no_other_output<S: Subject>(subject: &S) {
    let Some(refused) = subject.refused() else { return };
    let (input, storage) = (MemoryInput::new(1), Arc::new(MemoryStorage::new()));
    let other = MemoryOutput::new();
    let start = |mend: bool| {
        let refused = refused.clone();
        TestJob::start_on(
            Conf::new().set_master("local[2]"),
            Some(storage.clone()),
            |ssc: &StreamingContext| {
                let rows =
                    ssc.input_stream("rows", input.clone())?.filter(move |row| !mend || *row != refused);
                rows.output_in_place("other", other.clone())?;
                rows.output("subject", subject.output()?)
            },
        )
        .expect("the job starts")
    };
    let mut job = start(false);
    input.push(0, (0..20).map(|number| subject.row(number)));
    job.next_batch().expect("the batch is committed");
    input.push(0, (20..40).map(|number| subject.row(number)).chain([refused.clone()]));
    job.next_batch().expect_err("a row that can't be written stops the job");
    drop(job);
    is_visible(subject, 0..20, "of a batch with a row that was refused");
    assert_eq!(other.rows().len(), 20, "another output shows nothing of a batch that this one refused");
    let mut job = start(true);
    job.completed().expect("the batch is run again without the row");
    job.ssc.stop(Stop::Gracefully).expect("the job stops");
    is_visible(subject, 0..40, "after the row was taken out");
    assert_eq!(other.rows().len(), 40, "the other output has the batch once");
}

/// The reader finds just the rows of `numbers`.
fn is_visible<S: Subject>(subject: &S, numbers: Range<u64>, when: &str) {
    let mut expected: Vec<_> = numbers.map(|number| subject.row(number)).collect();
    let mut found = subject.visible();
    expected.sort();
    found.sort();
    if found != expected {
        let missing: Vec<_> = expected.iter().filter(|row| !found.contains(row)).take(5).collect();
        panic!(
            "{when}: {} rows are to be seen, {} are; the first that are missing: {missing:?}",
            expected.len(),
            found.len()
        );
    }
}
