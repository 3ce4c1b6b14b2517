//! What listeners are told of the receivers of a whole job.

use std::sync::mpsc::{Receiver as Told, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate::core::Guarantee;
use tidegate::testkit::{MemoryOutput, TestJob};
use tidegate::{
    Conf, Error, ErrorKind, InputGuarantee, Receiver, ReceiverHandle, ReceiverInfo, Result, Stop,
    StreamingContext, StreamingListener,
};

/// Hands its handle to the test at each start.
struct Open(Sender<ReceiverHandle<i64>>);

impl Receiver<i64> for Open {
    fn describe(&self) -> String {
        "a test".to_owned()
    }

    fn promise(&self, _: bool) -> InputGuarantee {
        InputGuarantee::new(Guarantee::AtMostOnce, "the test says so")
    }

    fn on_start(&mut self, handle: ReceiverHandle<i64>) -> Result<()> {
        self.0.send(handle).map_err(|_| Error::bug("the test is gone"))
    }
}

struct Tell(Mutex<Sender<String>>);

impl Tell {
    fn tell(&self, what: &str, receiver: &ReceiverInfo) {
        assert_eq!((&*receiver.stream.0, &*receiver.receiver), ("numbers", "a test"));
        assert_eq!(receiver.last_error.is_some(), receiver.last_error_at.is_some());
        let is = if receiver.active { "active" } else { "ended" };
        let error = receiver.last_error.as_deref().unwrap_or("none");
        let text = format!("{what}: {is}, start {}, last error: {error}", receiver.starts);
        self.0.lock().unwrap().send(text).unwrap();
    }
}

impl StreamingListener for Tell {
    fn on_receiver_started(&self, receiver: &ReceiverInfo) {
        self.tell("started", receiver);
    }

    fn on_receiver_error(&self, receiver: &ReceiverInfo) {
        self.tell("error", receiver);
    }

    fn on_receiver_stopped(&self, receiver: &ReceiverInfo) {
        self.tell("stopped", receiver);
    }

    fn on_stopped(&self, error: Option<&str>) {
        self.0.lock().unwrap().send(format!("the job: {}", error.unwrap_or("no error"))).unwrap();
    }
}

/// A started job of one receiver: its handles, and what listeners are told.
fn start() -> (TestJob, Told<ReceiverHandle<i64>>, Told<String>) {
    let ((open, handles), (tell, told)) = (channel(), channel());
    let build = |ssc: &StreamingContext| {
        ssc.add_streaming_listener(Arc::new(Tell(Mutex::new(tell))))?;
        ssc.named_receiver_stream("numbers", Open(open))?.output("seen", MemoryOutput::new())
    };
    let conf = Conf::new().set_master("local[1]").set("tidegate.receiver.restart_delay_ms", "1");
    (TestJob::start(conf, None, build).unwrap(), handles, told)
}

#[test]
fn a_receiver_that_is_started_again_and_stops_with_the_job_is_told_step_by_step() {
    let (mut job, handles, told) = start();
    let first = handles.recv().unwrap();
    assert_eq!(told.recv().unwrap(), "started: active, start 1, last error: none");
    first.report_error("a bad record");
    assert_eq!(told.recv().unwrap(), "error: active, start 1, last error: a bad record");
    first.spawn("away", |_| Err(Error::retry("the origin is away"))).unwrap();
    assert_eq!(told.recv().unwrap(), "error: active, start 1, last error: the origin is away");
    assert_eq!(told.recv().unwrap(), "stopped: ended, start 1, last error: the origin is away");
    let second = handles.recv().unwrap();
    assert_eq!(told.recv().unwrap(), "started: active, start 2, last error: the origin is away");
    second.store(1).unwrap();
    assert_eq!(job.next_batch().unwrap().records, 1);
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert_eq!(told.recv().unwrap(), "stopped: ended, start 2, last error: the origin is away");
    assert_eq!(told.recv().unwrap(), "the job: no error", "the receivers end before the job does");
}

#[test]
fn a_receiver_that_fails_for_good_is_told_before_the_job_that_it_ends() {
    let (mut job, handles, told) = start();
    let handle = handles.recv().unwrap();
    assert_eq!(told.recv().unwrap(), "started: active, start 1, last error: none");
    handle.fail(Error::reconfigure("no such queue"));
    let why = "receiver numbers: no such queue";
    assert_eq!(told.recv().unwrap(), format!("error: active, start 1, last error: {why}"));
    let error = loop {
        if let Err(error) = job.next_batch() {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(handle.wait_stopped(Duration::ZERO));
    assert_eq!(told.recv().unwrap(), format!("stopped: ended, start 1, last error: {why}"));
    let end = told.recv().unwrap();
    assert!(end.starts_with("the job: ") && end.contains(why), "{end}");
}
