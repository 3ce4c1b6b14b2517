//! A receiver as the engine uses it: stored, planned, read, committed; and again by the next process.

#![allow(clippy::unwrap_used)] // what is not there fails the test

use std::sync::mpsc::{Receiver as Told, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_core::{
    BatchId, BatchPlan, BatchTime, Emit, Error, ErrorKind, Guarantee, InputContext, InputGuarantee,
    PartitionId, Planner, Progress, ReceiverChange, ReceiverEvent, Result, Source, SourcePlan, Storage,
};
use tidegate_receivers::{
    LogPlace, Marks, Position, Receiver, ReceiverHandle, ReceiverSettings, ReceiverSource, Stored,
};
use tidegate_storage::{FailingStorage, Fault, LocalStorage, MemoryStorage};

const INTERVAL: Duration = Duration::from_secs(1);

/// Hands its handle to the test at each start.
struct Open {
    handles: Sender<ReceiverHandle<u64>>,
}

impl Receiver<u64> for Open {
    fn describe(&self) -> String {
        "a test".to_owned()
    }

    fn promise(&self, logged: bool) -> InputGuarantee {
        let guarantee = if logged { Guarantee::ExactlyOnce } else { Guarantee::AtMostOnce };
        InputGuarantee::new(guarantee, "the test says so")
    }

    fn on_start(&mut self, handle: ReceiverHandle<u64>) -> Result<()> {
        let _ = self.handles.send(handle);
        Ok(())
    }
}

/// One run of a stream.
struct Run {
    source: ReceiverSource<u64>,
    planner: Box<dyn Planner>,
    handles: Told<ReceiverHandle<u64>>,
    handle: ReceiverHandle<u64>,
    /// What listeners would be told of the receiver.
    reports: Told<ReceiverEvent>,
    batches: u64,
}

fn settings() -> ReceiverSettings {
    ReceiverSettings { restart_delay: Duration::from_millis(1), ..ReceiverSettings::default() }
}

fn logged(storage: &Arc<dyn Storage>) -> ReceiverSettings {
    ReceiverSettings { log: LogPlace::On(storage.clone()), ..settings() }
}

impl Run {
    fn start(settings: ReceiverSettings, last: Option<&SourcePlan>) -> Result<Run> {
        Run::join(settings, last, "numbers", &Marks::default())
    }

    fn join(settings: ReceiverSettings, last: Option<&SourcePlan>, name: &str, marks: &Marks) -> Result<Run> {
        let (tell, handles) = channel();
        let source = ReceiverSource::new(Open { handles: tell }, settings, marks);
        let mut planner = source.planner(&InputContext::new(name))?;
        let (report, reports) = channel();
        planner.report_to(Arc::new(move |event| report.send(event).unwrap_or(())));
        planner.resume(last)?;
        let handle = handles.recv().unwrap();
        Ok(Run { source, planner, handles, handle, reports, batches: 0 })
    }

    /// The next thing that is told of the receiver.
    fn report(&self) -> ReceiverChange {
        let event = self.reports.recv().unwrap();
        assert_eq!(event.receiver, "a test");
        event.change
    }

    fn plan(&mut self) -> SourcePlan {
        let plan = self.planner.plan(INTERVAL).unwrap();
        assert_eq!(self.planner.plan(INTERVAL).unwrap(), plan, "asking twice changes nothing");
        self.planner.planned(&plan);
        plan
    }

    fn read(&self, plan: &SourcePlan) -> Result<Vec<u64>> {
        let mut reader = self.source.reader(&"numbers".into(), 0, 1)?;
        let numbered = plan.ranges.iter().enumerate();
        let ranges: Vec<_> =
            numbered.map(|(place, range)| (PartitionId(place as u32), range.clone())).collect();
        reader.start(&ranges)?;
        let mut kept = Kept(Vec::new());
        while reader.read(10, &mut kept)? != Progress::Done {}
        Ok(kept.0)
    }

    fn commit(&mut self, plan: &SourcePlan) {
        self.batches += 1;
        let sources = vec![plan.clone()];
        let batch = BatchPlan { id: BatchId(self.batches), time: BatchTime(0), zero: BatchTime(0), sources };
        self.planner.committed(&batch, plan);
    }

    /// All that is stored and not planned yet, in one batch.
    fn batch(&mut self) -> Vec<u64> {
        let plan = self.plan();
        let read = self.read(&plan).unwrap();
        self.commit(&plan);
        read
    }
}

struct Kept(Vec<u64>);

impl Emit<u64> for Kept {
    fn partition(&mut self, _: PartitionId) {}

    fn record(&mut self, record: u64) {
        self.0.push(record);
    }
}

#[test]
fn what_is_stored_is_in_the_next_batch_once_and_in_order() {
    let mut run = Run::start(settings(), None).unwrap();
    run.handle.store(1).unwrap();
    run.handle.store_many([2, 3]).unwrap();
    assert_eq!(run.batch(), [1, 2, 3]);
    assert_eq!(run.batch(), [] as [u64; 0]);
    run.handle.store(4).unwrap();
    let plan = run.plan();
    run.handle.store(5).unwrap();
    assert_eq!(run.read(&plan).unwrap(), [4]);
    assert_eq!(run.read(&plan).unwrap(), [4], "a batch that is run again reads the same");
    assert_eq!(run.batch(), [5]);
}

#[test]
fn a_batch_has_as_many_partitions_as_blocks_up_to_the_bound() {
    let mut run = Run::start(settings(), None).unwrap();
    for number in 0..3 {
        run.handle.store(number).unwrap();
    }
    assert_eq!(run.plan().ranges.len(), 3);
    for number in 0..10 {
        run.handle.store(number).unwrap();
    }
    let plan = run.plan();
    assert_eq!(plan.ranges.iter().map(|range| range.len()).collect::<Vec<_>>(), [3, 3, 3, 1]);
    assert_eq!(run.read(&plan).unwrap(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_block_of_buffered_records_ends_after_its_interval() {
    let settings = ReceiverSettings { block_interval: Duration::from_millis(5), ..settings() };
    let mut run = Run::start(settings, None).unwrap();
    for number in 0..100 {
        run.handle.buffer(number).unwrap();
    }
    let mut read = Vec::new();
    while read.len() < 100 {
        read.extend(run.batch());
    }
    assert_eq!(read, (0..100).collect::<Vec<_>>());
}

#[test]
fn with_a_log_the_next_process_has_what_was_stored_and_every_batch_again() {
    let directory = tempfile::tempdir().unwrap();
    let local: Arc<dyn Storage> = Arc::new(LocalStorage::open(directory.path()).unwrap());
    for storage in [local, Arc::new(MemoryStorage::new())] {
        let mut run = Run::start(logged(&storage), None).unwrap();
        run.handle.store_many([1, 2]).unwrap();
        let first = run.plan();
        run.commit(&first);
        run.handle.store_many([3]).unwrap();
        let planned = run.plan();
        run.handle.store_many([4, 5]).unwrap();
        drop(run);
        let mut run = Run::start(logged(&storage), Some(&planned)).unwrap();
        assert_eq!(run.read(&planned).unwrap(), [3], "planned, and not committed");
        assert_eq!(run.read(&first).unwrap(), [1, 2], "committed, and run again for state");
        run.commit(&planned);
        run.handle.store(6).unwrap();
        assert_eq!(run.batch(), [4, 5, 6]);
        run.planner.released(&planned);
    }
}

#[test]
fn without_a_log_what_a_process_held_is_gone_and_the_next_goes_on_behind_it() {
    let mut run = Run::start(settings(), None).unwrap();
    run.handle.store_many([1, 2]).unwrap();
    let planned = run.plan();
    drop(run);
    let mut run = Run::start(settings(), Some(&planned)).unwrap();
    assert_eq!(run.read(&planned).unwrap(), [] as [u64; 0]);
    run.handle.store(3).unwrap();
    let plan = run.plan();
    assert_eq!((plan.ranges[0].from, run.read(&plan).unwrap()), (2, vec![3]));
}

#[test]
fn a_log_that_lost_planned_records_is_refused() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut run = Run::start(logged(&storage), None).unwrap();
    run.handle.store(1).unwrap();
    let copy: Vec<_> = storage.list("").unwrap();
    run.handle.store(2).unwrap();
    let planned = run.plan();
    drop(run);
    for object in storage.list("").unwrap() {
        if !copy.contains(&object) {
            storage.delete(&object.path).unwrap();
        }
    }
    let error = Run::start(logged(&storage), Some(&planned)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::DataLost);
    assert!(
        error.to_string().contains("ends at record 1, and batches were planned up to record 2"),
        "{error}"
    );
}

#[test]
fn what_an_origin_sends_again_is_left_out_also_by_the_next_process() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut run = Run::start(logged(&storage), None).unwrap();
    assert_eq!(run.handle.store_at([1, 2], Position::new("p", 0, 2)).unwrap(), Stored::New);
    assert_eq!(run.handle.store_at([1, 2], Position::new("p", 0, 2)).unwrap(), Stored::Before);
    assert_eq!(run.handle.store_once([3], "a").unwrap(), Stored::New);
    assert_eq!(run.batch(), [1, 2, 3]);
    let last = run.plan();
    drop(run);
    let mut run = Run::start(logged(&storage), Some(&last)).unwrap();
    assert_eq!(run.handle.store_once([3], "a").unwrap(), Stored::Before);
    assert_eq!(run.handle.store_at([1, 2, 3], Position::new("p", 0, 3)).unwrap(), Stored::Partly(2));
    assert_eq!(run.handle.position("p"), Some(2));
    assert_eq!(run.handle.store_at([9], Position::next_of("p", 5)).unwrap(), Stored::Gap(2));
    assert_eq!(run.handle.store_at([3], Position::new("p", 2, 3)).unwrap(), Stored::New);
    assert_eq!(run.batch(), [3]);
}

#[test]
fn an_origin_may_move_from_one_stream_of_the_job_to_another() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let marks = Marks::default();
    let one = Run::join(logged(&storage), None, "one", &marks).unwrap();
    let other = Run::join(logged(&storage), None, "other", &marks).unwrap();
    assert_eq!(one.handle.store_at([1], Position::new("p", 0, 1)).unwrap(), Stored::New);
    assert_eq!(other.handle.store_at([1], Position::new("p", 0, 1)).unwrap(), Stored::Before);
    assert_eq!(other.handle.store_at([2], Position::new("p", 1, 2)).unwrap(), Stored::New);
    drop((one, other));
    let marks = Marks::default();
    let one = Run::join(logged(&storage), None, "one", &marks).unwrap();
    let other = Run::join(logged(&storage), None, "other", &marks).unwrap();
    assert_eq!((one.handle.position("p"), other.handle.position("p")), (Some(2), Some(2)));
}

#[test]
fn many_threads_share_writes_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(directory.path()).unwrap());
    let mut run = Run::start(logged(&storage), None).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let handle = run.handle.clone();
            scope.spawn(move || (0..50).for_each(|number| handle.store(thread * 50 + number).unwrap()));
        }
    });
    let mut read = run.batch();
    read.sort_unstable();
    assert_eq!(read, (0..400).collect::<Vec<_>>());
}

#[test]
fn storing_waits_while_the_stream_holds_as_much_as_it_may() {
    let settings = ReceiverSettings { held_bytes_max: 10, ..settings() };
    let mut run = Run::start(settings, None).unwrap();
    // A number below 128 takes a byte.
    run.handle.store_many(0..10).unwrap();
    assert!(run.handle.admits().unwrap().is_err());
    let (handle, (tell, told)) = (run.handle.clone(), channel());
    let storing = std::thread::spawn(move || {
        handle.store(10).unwrap();
        tell.send(()).unwrap();
    });
    assert!(told.try_recv().is_err(), "nothing is committed yet");
    let plan = run.plan();
    assert_eq!(run.read(&plan).unwrap().len(), 10);
    assert!(told.try_recv().is_err(), "nothing is committed yet");
    run.commit(&plan);
    told.recv().unwrap();
    storing.join().unwrap();
    assert!(run.handle.admits().unwrap().is_ok());
}

#[test]
fn a_record_beyond_the_bound_of_a_block_is_refused_by_name() {
    let settings = ReceiverSettings { block_bytes_max: 5, ..settings() };
    let run = Run::start(settings, None).unwrap();
    let refusal = run.handle.store_many(0..6).unwrap_err().to_string();
    assert!(refusal.contains("6 records of 6 bytes in one call; a block takes at most 5"), "{refusal}");
    run.handle.store_many(0..5).unwrap();
}

#[test]
fn a_rate_limit_bounds_a_batch_too() {
    let mut run = Run::start(settings(), None).unwrap();
    for number in 0..10 {
        run.handle.store(number).unwrap();
    }
    run.planner.limit_rate(4.0);
    let plan = run.plan();
    assert_eq!(run.read(&plan).unwrap(), [0, 1, 2, 3]);
    assert_eq!(run.plan().len(), 4);
}

#[test]
fn a_receiver_that_fails_is_started_again_and_goes_on() {
    let mut run = Run::start(settings(), None).unwrap();
    run.handle.store(1).unwrap();
    run.handle.restart("the test wants it");
    let again = run.handles.recv().unwrap();
    assert!(run.handle.is_stopped() && !again.is_stopped());
    again.spawn("away", |_| Err(Error::retry("the origin is away"))).unwrap();
    let third = run.handles.recv().unwrap();
    third.store(2).unwrap();
    assert_eq!(run.batch(), [1, 2]);
}

#[test]
fn each_start_of_a_receiver_is_told_and_followed_by_its_stop() {
    let mut run = Run::start(settings(), None).unwrap();
    let failed = |text: &str| ReceiverChange::Failed(text.to_owned());
    assert_eq!(run.report(), ReceiverChange::Started);
    run.handle.report_error("a bad record");
    assert_eq!(run.report(), failed("a bad record"));
    run.handle.restart("the origin went away");
    assert_eq!(run.report(), failed("the origin went away"));
    assert_eq!(run.report(), ReceiverChange::Stopped);
    assert_eq!(run.report(), ReceiverChange::Started);
    run.handles.recv().unwrap().fail(Error::reconfigure("no such queue"));
    assert_eq!(run.report(), failed("receiver numbers: no such queue"));
    assert!(run.planner.plan(INTERVAL).is_err(), "it ends the job");
    run.planner.close();
    assert_eq!(run.report(), ReceiverChange::Stopped);
    run.planner.close();
    assert_eq!(run.reports.try_iter().collect::<Vec<_>>(), [], "a stop is told once");
}

/// Is away the first time.
struct Late {
    away: bool,
}

impl Receiver<u64> for Late {
    fn describe(&self) -> String {
        "a test".to_owned()
    }

    fn promise(&self, _: bool) -> InputGuarantee {
        InputGuarantee::new(Guarantee::AtMostOnce, "the test says so")
    }

    fn on_start(&mut self, _: ReceiverHandle<u64>) -> Result<()> {
        match std::mem::take(&mut self.away) {
            true => Err(Error::retry("the origin is away")),
            false => Ok(()),
        }
    }
}

#[test]
fn a_receiver_that_could_not_start_is_not_told_to_have_started_nor_stopped() {
    let source = ReceiverSource::new(Late { away: true }, settings(), &Marks::default());
    let mut planner = source.planner(&InputContext::new("numbers")).unwrap();
    let (report, reports) = channel();
    planner.report_to(Arc::new(move |event: ReceiverEvent| report.send(event.change).unwrap()));
    planner.resume(None).unwrap();
    assert_eq!(reports.recv().unwrap(), ReceiverChange::Failed("the origin is away".to_owned()));
    assert_eq!(reports.recv().unwrap(), ReceiverChange::Started);
}

#[test]
fn a_log_that_can_not_be_written_is_told_as_an_error_of_the_receiver() {
    let failing = Arc::new(FailingStorage::new(Arc::new(MemoryStorage::new())));
    let storage: Arc<dyn Storage> = failing.clone();
    let run = Run::start(logged(&storage), None).unwrap();
    assert_eq!(run.report(), ReceiverChange::Started);
    failing.fail_from(failing.calls() + 1, Fault::Refused);
    run.handle.store(1).unwrap_err();
    assert!(matches!(run.report(), ReceiverChange::Failed(text) if text.starts_with("receiver numbers: ")));
}

#[test]
fn a_receiver_that_panics_ends_the_job_with_words() {
    let mut run = Run::start(settings(), None).unwrap();
    let (begun, begin) = channel();
    let begin = Mutex::new(begin);
    run.handle
        .spawn("bad", move |_| {
            let _ = begin.lock().unwrap().recv();
            panic!("it lost its mind")
        })
        .unwrap();
    begun.send(()).unwrap();
    let error = loop {
        if let Err(error) = run.planner.plan(INTERVAL) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::UserCode);
    assert!(
        error.to_string().contains("receiver numbers: a thread of it panicked: it lost its mind"),
        "{error}"
    );
}

#[test]
fn a_log_that_can_not_be_written_fails_the_store_and_the_job() {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let failing = Arc::new(FailingStorage::new(memory));
    let storage: Arc<dyn Storage> = failing.clone();
    let mut run = Run::start(logged(&storage), None).unwrap();
    run.handle.store(1).unwrap();
    failing.fail_from(failing.calls() + 1, Fault::Refused);
    let error = run.handle.store(2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(run.handle.store(3).is_err(), "nothing is stored behind it");
    assert!(run.planner.plan(INTERVAL).is_err());
}

#[test]
fn a_job_that_stops_takes_no_more_and_gives_what_it_took() {
    let mut run = Run::start(settings(), None).unwrap();
    run.handle.buffer(1).unwrap();
    assert!(!run.planner.drain());
    assert!(run.handle.store(2).is_err());
    let plan = run.plan();
    assert_eq!(run.read(&plan).unwrap(), [1]);
    assert!(run.planner.drain());
}

#[test]
fn a_log_that_is_away_holds_up_no_stop() {
    let memory: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let failing = Arc::new(FailingStorage::new(memory));
    let storage: Arc<dyn Storage> = failing.clone();
    let mut run = Run::start(logged(&storage), None).unwrap();
    run.handle.store(1).unwrap();
    let before = failing.calls();
    failing.fail_from(before + 1, Fault::Away);
    let (tell, told) = channel();
    run.handle
        .spawn("waits", move |handle| {
            let stored = handle.store(2);
            tell.send(stored.is_err()).unwrap();
            stored
        })
        .unwrap();
    while failing.calls() == before {
        std::thread::yield_now();
    }
    // It waits for the thread, which waits for the log.
    run.planner.close();
    assert!(told.recv().unwrap(), "what was not stored is not acknowledged");
}

#[test]
fn records_that_fit_into_no_single_block_are_stored_in_several() {
    let settings = ReceiverSettings { block_bytes_max: 10, ..settings() };
    let mut run = Run::start(settings, None).unwrap();
    assert!(run.handle.store_many(0..25).is_err());
    run.handle.store_in_blocks(0..25).unwrap();
    run.handle.store_in_blocks([]).unwrap();
    let plan = run.plan();
    assert_eq!(plan.ranges.iter().map(|range| range.len()).collect::<Vec<_>>(), [10, 10, 5]);
    assert_eq!(run.read(&plan).unwrap(), (0..25).collect::<Vec<_>>());
}

/// Panics when it is to end.
struct Clings;

impl Receiver<u64> for Clings {
    fn describe(&self) -> String {
        "a test".to_owned()
    }

    fn promise(&self, _: bool) -> InputGuarantee {
        InputGuarantee::new(Guarantee::AtMostOnce, "the test says so")
    }

    fn on_start(&mut self, handle: ReceiverHandle<u64>) -> Result<()> {
        handle.restart("so that it is stopped");
        Ok(())
    }

    fn on_stop(&mut self) {
        panic!("it will not go")
    }
}

#[test]
fn a_receiver_that_panics_while_it_is_stopped_ends_the_job_with_words() {
    let source = ReceiverSource::new(Clings, settings(), &Marks::default());
    let mut planner = source.planner(&InputContext::new("numbers")).unwrap();
    planner.resume(None).unwrap();
    let error = loop {
        if let Err(error) = planner.plan(INTERVAL) {
            break error;
        }
    };
    assert!(error.to_string().contains("receiver numbers: its on_stop panicked: it will not go"), "{error}");
}
