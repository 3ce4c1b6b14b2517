//! What is stored once: over repetitions, gaps, restarts and clients at the same time.

use crate::client::{Job, conf, logged, options, send};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use tidegate::core::{Result, Storage, StoredObject};
use tidegate::testkit::MemoryOutput;
use tidegate::{Stop, StreamingContext};
use tidegate_http::create_http_stream;
use tidegate_storage::MemoryStorage;

fn numbered(job: &Job, number: u64, body: &str) -> crate::client::Answer {
    let number = number.to_string();
    job.post(&[("Tidegate-Producer", "meter-1"), ("Tidegate-Sequence", &number)], body.as_bytes())
}

#[test]
fn what_was_answered_is_there_once_after_a_stop_and_repetitions() {
    let directory = tempfile::tempdir().unwrap();
    let output = MemoryOutput::new();
    let start = || Job::start_on(logged(), Some(directory.path()), options(), output.clone(), |_| {});
    let mut job = start();
    assert_eq!(numbered(&job, 1, "one").body, json!({ "stored": 1 }));
    assert_eq!(numbered(&job, 1, "one").body, json!({ "stored": 0, "duplicate": true }));
    assert_eq!(job.rows(), ["one"]);
    assert_eq!(numbered(&job, 2, "two").status, 200);
    let keyed = |job: &Job| job.post(&[("Idempotency-Key", "k")], b"three").body;
    assert_eq!(keyed(&job), json!({ "stored": 1 }));
    job.test.ssc.stop(Stop::Now).unwrap();
    drop(job);

    let mut job = start();
    for number in [1, 2] {
        let again = numbered(&job, number, "again");
        assert_eq!((again.status, again.body), (200, json!({ "stored": 0, "duplicate": true })));
    }
    assert_eq!(keyed(&job), json!({ "stored": 0, "duplicate": true }));
    assert_eq!(numbered(&job, 3, "four").body, json!({ "stored": 1 }));
    assert_eq!(job.rows(), ["one", "two", "three", "four"]);
    job.test.ssc.stop(Stop::Gracefully).unwrap();
}

#[test]
fn a_number_that_was_left_out_is_asked_for() {
    let mut job = Job::start(conf(), None, options());
    assert_eq!(numbered(&job, 7, "a new producer begins anywhere").status, 200);
    let gap = numbered(&job, 9, "too early");
    assert_eq!((gap.status, &gap.body["expected"]), (409, &json!(8)));
    assert_eq!(gap.header("tidegate-expected-sequence"), Some("8"));
    assert_eq!(numbered(&job, 8, "").body, json!({ "stored": 0 }), "an empty request has a number too");
    assert_eq!(numbered(&job, 9, "in time").status, 200);
    assert_eq!(job.rows(), ["a new producer begins anywhere", "in time"]);
}

#[test]
fn keys_and_producers_are_of_one_stream_alone() {
    let output = MemoryOutput::new();
    let mut streams = Vec::new();
    let mut test = tidegate::testkit::TestJob::start(conf(), None, |ssc: &StreamingContext| {
        for name in ["a", "b"] {
            let stream = create_http_stream(ssc, options().named(name))?;
            stream.output(name, output.clone())?;
            streams.push(stream);
        }
        let twice = create_http_stream(ssc, options().named("a")).err().unwrap().to_string();
        assert!(twice.contains("HttpOptions::named"), "{twice}");
        Ok(())
    })
    .unwrap();
    test.next_batch().unwrap();
    for stream in &streams {
        let url = loop {
            if let Some(address) = stream.local_address() {
                break format!("http://{address}/");
            }
            test.next_batch().unwrap();
        };
        for headers in
            [&[("Idempotency-Key", "k")][..], &[("Tidegate-Producer", "p"), ("Tidegate-Sequence", "0")]]
        {
            assert_eq!(send("POST", &url, headers, b"one").body, json!({ "stored": 1 }));
        }
    }
}

/// Counts what is written; while it is closed, nothing is.
#[derive(Debug)]
struct Gate {
    inner: MemoryStorage,
    open: Mutex<bool>,
    opened: Condvar,
    puts: AtomicU64,
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.opened.notify_all();
    }
}

impl Storage for Gate {
    fn describe(&self) -> String {
        "a storage with a gate".to_owned()
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        self.inner.put(path, bytes)
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        self.puts.fetch_add(1, Ordering::Relaxed);
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
        self.inner.put_new(path, bytes)
    }

    fn is_exclusive(&self) -> bool {
        true
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.inner.get(path)
    }

    fn list(&self, folder: &str) -> Result<Vec<StoredObject>> {
        self.inner.list(folder)
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.inner.delete(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.inner.rename(from, to)
    }
}

#[test]
fn clients_at_the_same_time_share_one_write_of_the_log() {
    const CLIENTS: usize = 16;
    let gate = Arc::new(Gate {
        inner: MemoryStorage::new(),
        open: Mutex::new(true),
        opened: Condvar::new(),
        puts: AtomicU64::new(0),
    });
    let record = "x".repeat(100);
    // Each takes a byte more as stored: the stream is full when all of them wait for the log.
    let full = (CLIENTS * 101).to_string();
    let log = gate.clone();
    let conf = conf().set("tidegate.receiver.held_bytes_max", &full);
    let mut job =
        Job::start_on(conf, None, options(), MemoryOutput::new(), |ssc| ssc.write_ahead_log_on(log).unwrap());
    assert_eq!(job.post(&[], b"first").status, 200);
    job.rows();
    gate.set(false);
    let before = gate.puts.load(Ordering::Relaxed);
    let url = format!("http://{}/", job.address);
    let post = |body: &[u8]| send("POST", &url, &[], body).status;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| post(record.as_bytes()))).collect();
        // A body that can't be stored tells whether the stream is full.
        let probe = || post(b"\xff");
        assert_eq!((0..1_000_000).map(|_| probe()).find(|status| *status != 400), Some(429));
        gate.set(true);
        assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    });
    let writes = gate.puts.load(Ordering::Relaxed) - before;
    assert!(writes <= 3, "{writes} writes for {CLIENTS} clients");
    assert_eq!(job.rows().len(), 1 + CLIENTS);
}
