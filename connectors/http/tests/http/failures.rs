//! A log that can't be written, an address that is taken.

use crate::client::{Job, PATIENCE, conf, options};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tidegate::testkit::{MemoryOutput, TestJob};
use tidegate_http::{HttpOptions, create_http_stream};
use tidegate_storage::{FailingStorage, Fault, MemoryStorage};

#[test]
fn a_full_disk_is_an_error_for_the_client_and_ends_the_job_with_the_reason() {
    let storage = FailingStorage::new(Arc::new(MemoryStorage::new()));
    let log = Arc::new(storage.clone());
    let prepare = |ssc: &tidegate::StreamingContext| ssc.write_ahead_log_on(log).unwrap();
    let mut job = Job::start_on(conf(), None, options(), MemoryOutput::new(), prepare);
    assert_eq!(job.post(&[], b"one").status, 200);
    assert_eq!(job.rows(), ["one"]);
    storage.fail_from(storage.calls() + 1, Fault::Refused);
    for body in [b"two", b"not"] {
        let answer = job.post(&[], body);
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.error().contains("can't be stored"), "{answer:?}");
    }
    let error = job.test.next_batch().unwrap_err().to_string();
    assert!(error.contains("receiver http: ") && error.contains("inputs/http/log"), "{error}");
    assert_eq!(job.output.rows(), ["one"]);
}

#[test]
fn an_address_that_is_taken_is_waited_for() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let mut stream = None;
    let mut test = TestJob::start(conf(), None, |ssc| {
        let records = create_http_stream(ssc, HttpOptions::listen(address.to_string()))?;
        records.output("records", MemoryOutput::new())?;
        stream = Some(records);
        Ok(())
    })
    .unwrap();
    test.next_batch().unwrap();
    drop(other);
    let listens = (0..PATIENCE.as_millis()).any(|_| {
        test.ssc.await_termination_or_timeout(Duration::from_millis(1)).unwrap();
        stream.as_ref().unwrap().local_address() == Some(address)
    });
    assert!(listens);
}
