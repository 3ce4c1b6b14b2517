//! The Elasticsearch output against a real server. Each test has indices of its own, so they run at the same time.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use serde_json::json;
use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Faulty, Point, Server, Wire, Workers, batch, count, counts, many, strict};
use tidegate::testkit::outputs::{self, Subject};
use tidegate::testkit::{BATCH, MemoryInput, TestJob};
use tidegate::{Conf, Stop, StreamingContext, StreamingListener};
use tidegate_core::{Batch, Error, ErrorKind, Output, Result};
use tidegate_elasticsearch::{Document, ElasticsearchOutput, Refresh, Refused};
use tidegate_servers::Elasticsearch;

fn refusal<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    }
}

#[test]
fn a_batch_is_seen_when_it_is_committed_and_not_before() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Workers::start(&server.output(&index), 2).unwrap();
    workers.prepare(&batch(1), vec![count("ebb", 1), count("flow", 2)]).unwrap();
    assert_eq!(server.counts(&index), counts([]));
    workers.commit(&batch(1)).unwrap();
    assert_eq!(server.counts(&index), counts([("ebb", 1), ("flow", 2)]));
    workers
        .run(&batch(2), vec![count("ebb", 3), Document::delete("flow"), Document::delete("none")])
        .unwrap();
    assert_eq!(server.counts(&index), counts([("ebb", 3)]));
}

#[test]
fn a_batch_that_is_run_again_changes_nothing() {
    let server = Server::shared();
    let index = server.words();
    let rows = || {
        let mut rows = many(1_200, 1);
        rows.push(Document::delete("w00007x"));
        rows
    };
    Workers::start(&server.output(&index), 3).unwrap().run(&batch(1), rows()).unwrap();
    let before = server.documents(&index);
    assert_eq!(before.len(), 1_200);
    let number = |index: &str| {
        server.must("GET", &format!("{index}/_stats?filter_path=_all.primaries.indexing.index_total"), None)
    };
    // On another number of workers, twice, and by the same ones.
    let mut workers = Workers::start(&server.output(&index), 1).unwrap();
    workers.run(&batch(1), rows()).unwrap();
    workers.run(&batch(1), rows()).unwrap();
    assert_eq!(server.documents(&index), before);
    assert_eq!(before["w00007"].1, 1_700_000_001_000, "the version is the batch's time");
    assert_eq!(number(&index)["_all"]["primaries"]["indexing"]["index_total"], json!(1_200));
}

#[test]
fn an_older_batch_that_is_run_after_a_newer_one_does_not_overwrite_it() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Workers::start(&server.output(&index), 2).unwrap();
    workers.run(&batch(1), many(100, 1)).unwrap();
    let newer: Vec<_> = many(50, 2).into_iter().chain([Document::delete("w00099")]).collect();
    workers.run(&batch(2), newer).unwrap();
    let before = server.documents(&index);
    Workers::start(&server.output(&index), 2).unwrap().run(&batch(1), many(100, 1)).unwrap();
    assert_eq!(server.documents(&index), before);
    assert_eq!(before.len(), 99);
}

#[test]
fn a_batch_that_some_writers_committed_is_finished_by_the_next() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Workers::start(&server.output(&index), 4).unwrap();
    workers.prepare(&batch(1), many(1_000, 1)).unwrap();
    workers.commit_one(2, &batch(1)).unwrap();
    let part = server.counts(&index).len();
    assert!(part > 0 && part < 1_000, "{part}");
    drop(workers);
    Workers::start(&server.output(&index), 3).unwrap().run(&batch(1), many(1_000, 1)).unwrap();
    assert_eq!(server.counts(&index).len(), 1_000);
}

#[test]
fn what_the_index_refuses_fails_prepare_and_nothing_is_seen() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Workers::start(&server.output(&index), 2).unwrap();
    let mut rows = many(1_100, 1);
    rows.push(Document::new("bad", json!({ "word": "bad", "count": "many" })));
    rows.push(Document::new("odd", json!({ "word": "odd", "colour": "red" })));
    let error = refusal(workers.prepare(&batch(1), rows));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let error = error.to_string();
    assert!(error.contains(&format!("batch 1, Elasticsearch index {index} at 127.0.0.1")), "{error}");
    // Whichever of both writers came first.
    let bad = error.contains("\"bad\": document_parsing_exception") && error.contains("[count]");
    let odd = error.contains("\"odd\": strict_dynamic_mapping_exception") && error.contains("[colour]");
    assert!(bad || odd, "{error}");
    assert_eq!(server.counts(&index), counts([]));
}

#[test]
fn documents_that_refuse_each_other_fail_prepare_too() {
    let server = Server::shared();
    let index = server.index(&json!({ "settings": { "number_of_replicas": 0 } }));
    let mut workers = Workers::start(&server.output(&index), 4).unwrap();
    // Each alone would be taken: the first makes the field a date, which the others are none of.
    let rows: Vec<Document> = (0..40)
        .map(|n| {
            Document::new(format!("d{n}"), json!({ "when": if n == 0 { "2024-02-29" } else { "later" } }))
        })
        .collect();
    let first = rows[..1].to_vec();
    workers.run(&batch(1), first).unwrap();
    let error = refusal(workers.prepare(&batch(2), rows[1..].to_vec())).to_string();
    assert!(error.contains("[when]") && error.contains("later"), "{error}");
    assert_eq!(server.documents(&index).len(), 1);
}

#[test]
fn the_order_in_which_documents_come_at_the_commit_does_not_matter() {
    let server = Server::shared();
    let index = server.index(&json!({ "settings": { "number_of_replicas": 0 } }));
    let mut workers = Workers::start(&server.output(&index), 1).unwrap();
    // Tried out in this order the field is a text, and takes both; the other way round it would be a date, and not take "later".
    workers.prepare(&batch(1), vec![Document::new("a", json!({ "when": "later" }))]).unwrap();
    let mut others = Workers::start(&server.output(&index), 1).unwrap();
    others.run(&batch(1), vec![Document::new("b", json!({ "when": "2024-02-29" }))]).unwrap();
    workers.commit(&batch(1)).unwrap();
    assert_eq!(server.documents(&index).len(), 2);
}

#[test]
fn a_mapping_that_changes_under_the_job_is_followed() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Workers::start(&server.output(&index), 1).unwrap();
    let red = || vec![Document::new("a", json!({ "colour": "red" }))];
    assert_eq!(refusal(workers.prepare(&batch(1), red())).kind(), ErrorKind::Reconfigure);
    let colour = json!({ "properties": { "colour": { "type": "keyword" } } });
    server.must("PUT", &format!("{index}/_mapping"), Some(&colour));
    let mut workers = Workers::start(&server.output(&index), 1).unwrap();
    workers.run(&batch(1), red()).unwrap();
    // Also within an epoch: what is looser becomes strict again.
    let shape = json!({ "properties": { "shape": { "type": "long" } } });
    server.must("PUT", &format!("{index}/_mapping"), Some(&shape));
    let error = refusal(workers.prepare(&batch(2), vec![Document::new("b", json!({ "shape": "round" }))]));
    assert!(error.to_string().contains("[shape] of type [long]"), "{error}");
}

#[test]
fn refused_documents_become_dead_letters_of_the_same_batch() {
    let server = Server::shared();
    let (index, dead) = (server.words(), server.name());
    let output = || server.output(&index).on_refused(Refused::DeadLetter(dead.clone()));
    let rows = || {
        let mut rows = many(1_000, 1);
        rows.extend((0..5).map(|n| Document::new(format!("bad{n}"), json!({ "count": "many" }))));
        rows
    };
    let mut workers = Workers::start(&output(), 2).unwrap();
    workers.prepare(&batch(3), rows()).unwrap();
    assert_eq!((server.documents(&index).len(), server.documents(&dead).len()), (0, 0));
    workers.commit(&batch(3)).unwrap();
    assert_eq!(server.documents(&index).len(), 1_000);
    let letters = server.documents(&dead);
    assert_eq!(letters.len(), 5);
    let (letter, version) = &letters["out:1700000003000:bad2"];
    assert_eq!(*version, 1_700_000_003_000);
    assert_eq!(
        (&letter["output"], &letter["batch"], &letter["index"], &letter["id"]),
        (&json!("out"), &json!(3), &json!(index), &json!("bad2"))
    );
    assert_eq!(letter["document"], json!("{\"count\":\"many\"}"));
    assert!(letter["reason"].as_str().unwrap().contains("with id 'bad2'"), "{letter}");
    // Run again, as after a crash.
    Workers::start(&output(), 1).unwrap().run(&batch(3), rows()).unwrap();
    assert_eq!(server.documents(&dead), letters);
    assert_eq!(server.documents(&index).len(), 1_000);
}

#[test]
fn two_documents_of_one_id_in_a_batch_are_refused() {
    let server = Server::shared();
    let mut workers = Workers::start(&server.output(&server.words()), 1).unwrap();
    let error = refusal(workers.prepare(&batch(1), vec![count("a", 1), Document::delete("a")]));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("two documents of the batch have the id \"a\""), "{error}");
}

#[test]
fn what_no_job_can_write_to_is_told_at_its_start() {
    let server = Server::shared();
    let start = |index: &str| Workers::start(&server.output(index), 1);
    let told = |index: &str, text: &str| {
        let error = refusal(start(index));
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    told(&server.name(), "there is no such index");

    let (a, b, both) = (server.words(), server.words(), server.name());
    let add = |index: &String| json!({ "add": { "index": index, "alias": both } });
    server.must("POST", "_aliases", Some(&json!({ "actions": [add(&a)] })));
    start(&both).unwrap().run(&batch(1), vec![count("ebb", 1)]).unwrap();
    assert_eq!(server.counts(&a), counts([("ebb", 1)]));
    server.must("POST", "_aliases", Some(&json!({ "actions": [add(&b)] })));
    told(&both, "several indices");

    server.must("PUT", &format!("{a}/_settings"), Some(&json!({ "index.blocks.write": true })));
    told(&a, "set index.blocks.write to false");
    server.must("POST", &format!("{b}/_close"), None);
    told(&b, "it is closed");
    let error = refusal(Workers::start(&server.output(&server.words()).partitions(0), 1)).to_string();
    assert!(error.contains("needed are 1 to 1024"), "{error}");
}

#[test]
fn an_index_that_is_blocked_or_gone_fails_prepare() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Workers::start(&server.output(&index), 1).unwrap();
    let set = |name: &str, value: bool| {
        server.must("PUT", &format!("{index}/_settings"), Some(&json!({ name: value })));
    };
    set("index.blocks.write", true);
    assert_eq!(refusal(workers.prepare(&batch(1), many(1, 1))).kind(), ErrorKind::Reconfigure);
    set("index.blocks.write", false);
    set("index.blocks.read_only_allow_delete", true);
    let mut workers = Workers::start(&server.output(&server.words()), 1).unwrap();
    let error = refusal(Workers::start(&server.output(&index), 1));
    assert_eq!(error.kind(), ErrorKind::Retry, "a full disk passes: {error}");
    set("index.blocks.read_only_allow_delete", false);
    server.must("DELETE", &index, None);
    let gone = server.words();
    workers.run(&batch(1), many(1, 1)).unwrap();
    let mut workers = Workers::start(&server.output(&gone), 1).unwrap();
    server.must("DELETE", &gone, None);
    let error = refusal(workers.prepare(&batch(1), many(1, 1)));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("there is no such index"), "{error}");
    assert_eq!(server.call("GET", &gone, None).0, 404, "it was not made by writing into it");
}

#[test]
fn a_missing_index_is_made_as_it_was_asked_for() {
    let server = Server::shared();
    let index = server.name();
    let output = || server.output(&index).create_with(strict()).refresh(Refresh::WaitFor);
    Workers::start(&output(), 1).unwrap().run(&batch(1), many(2, 1)).unwrap();
    // It is there now, and stays as it is.
    Workers::start(&output().refresh(Refresh::Now), 1).unwrap().run(&batch(2), many(3, 2)).unwrap();
    // Without a refresh of our own.
    let found = server.must("POST", &format!("{index}/_search"), None);
    assert_eq!(found["hits"]["total"]["value"], json!(3));
    let mapping = server.must("GET", &format!("{index}/_mapping"), None);
    assert_eq!(mapping[&index]["mappings"]["dynamic"], json!("strict"));
}

#[test]
fn a_connection_that_is_cut_at_any_byte_costs_a_run_of_the_batch_and_no_document() {
    let server = Server::shared();
    let index = server.words();
    let wire = Wire::to(&server);
    let output = || ElasticsearchOutput::new(&wire.url, &index).unwrap().patience(Duration::ZERO);
    let mut expected = counts([]);
    for (id, bytes) in [(1, 0), (2, 200), (3, 2_000), (4, 20_000), (5, 60_000), (6, 90_000)] {
        let rows = || many(1_000, id as i64);
        let mut workers = Workers::start(&output(), 1).unwrap();
        workers.prepare(&batch(id), rows()).unwrap();
        assert_eq!(server.counts(&index), expected, "nothing of batch {id} is seen");
        wire.cut_after(bytes);
        let error = refusal(workers.commit(&batch(id)));
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert!(wire.mend() > 0, "nothing was cut at {bytes} bytes");
        Workers::start(&output(), 1).unwrap().run(&batch(id), rows()).unwrap();
        expected = server.counts(&index);
        assert!(expected.len() == 1_000 && expected.values().all(|count| *count == id as i64));
    }
}

#[test]
fn a_cut_connection_is_made_anew_within_the_patience() {
    let server = Server::shared();
    let index = server.words();
    let wire = Wire::to(&server);
    let output = ElasticsearchOutput::new(&wire.url, &index).unwrap();
    let mut workers = Workers::start(&output, 1).unwrap();
    workers.prepare(&batch(1), many(1_000, 1)).unwrap();
    wire.cut_once_after(5_000);
    workers.commit(&batch(1)).unwrap();
    assert_eq!(wire.mend(), 1);
    assert_eq!(server.counts(&index).len(), 1_000);
}

#[test]
fn a_server_that_is_away_is_a_retry_with_its_address() {
    let output = ElasticsearchOutput::new("http://127.0.0.1:9", "words").unwrap();
    let error = refusal(Workers::start(&output.patience(Duration::ZERO), 1));
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("index words at 127.0.0.1:9"), "{error}");
}

struct Words {
    server: Server,
    index: String,
}

impl Subject for Words {
    type Row = Document;
    type Output = ElasticsearchOutput;

    fn output(&self) -> Result<ElasticsearchOutput> {
        Ok(self.server.output(&self.index))
    }

    fn row(&self, number: u64) -> Document {
        count(&format!("w{number}"), number as i64)
    }

    fn visible(&self) -> Vec<Document> {
        let documents = self.server.documents(&self.index).into_iter();
        documents.map(|(id, (source, _))| Document::new(id, source)).collect()
    }

    fn refused(&self) -> Option<Document> {
        Some(Document::new("bad", json!({ "word": "bad", "count": "many" })))
    }
}

#[test]
fn it_keeps_what_an_output_promises() {
    let server = Server::shared();
    outputs::all(|| Words { server: server.clone(), index: server.words() });
}

/// Tells when the job tries anew.
struct Retries(Mutex<Sender<String>>);

impl StreamingListener for Retries {
    fn on_retry(&self, error: &str) {
        // A test that does not listen any more has seen what it wanted.
        let _ = self.0.lock().unwrap().send(error.to_owned());
    }
}

type Rows = MemoryInput<(String, i64)>;

fn start(output: impl Output<Document>, input: &Rows, retried: Option<Sender<String>>) -> TestJob {
    let build = |ssc: &StreamingContext| {
        if let Some(retried) = retried {
            ssc.add_streaming_listener(Arc::new(Retries(Mutex::new(retried))))?;
        }
        let counts = ssc.input_stream("rows", input.clone())?;
        counts
            .map(|(word, n)| Document::new(&word, json!({ "word": word, "count": n })))
            .output("words", output)
    };
    TestJob::with_memory(Conf::new().set_master("local[2]"), build).unwrap()
}

/// Rows of batch `id`: most of them replace those of the batch before.
fn rows(id: usize) -> Vec<(String, i64)> {
    (0..1_000).map(|n| (format!("w{:05}", n + 100 * id), id as i64)).collect()
}

/// A server of its own, killed at a point of each batch, and started again when the job has noticed.
#[test]
fn a_server_killed_at_any_point_leaves_what_a_run_without_faults_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(Mutex::new(Elasticsearch::start(dir.path()).unwrap()));
    let server = Server::at(node.lock().unwrap().url());
    let (index, untroubled) = (server.words(), server.words());
    let input = MemoryInput::new(2);
    let mut job = start(server.output(&untroubled), &input, None);
    for id in 1..=4 {
        input.push(id % 2, rows(id));
        job.next_batch().unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    let expected = server.documents(&untroubled);

    let wire = Arc::new(Wire::to(&server));
    let points = Arc::new(Mutex::new(BTreeMap::from([
        (2, Point::BeforePrepare),
        (3, Point::Prepared),
        (4, Point::InCommit),
    ])));
    let fault = {
        let (node, wire, points) = (node.clone(), wire.clone(), points.clone());
        move |point: Point, batch: &Batch| {
            let mut points = points.lock().unwrap();
            if points.get(&batch.id().0) != Some(&point) {
                return;
            }
            points.remove(&batch.id().0);
            if point == Point::InCommit {
                wire.cut_after(20_000);
            } else {
                node.lock().unwrap().kill();
            }
        }
    };
    let inner = ElasticsearchOutput::new(&wire.url, &index).unwrap().patience(Duration::from_millis(100));
    let (retried, retries) = channel();
    let input = MemoryInput::new(2);
    let mut job = start(Faulty { inner, fault: Arc::new(fault) }, &input, Some(retried));
    for id in 1..=4 {
        input.push(id % 2, rows(id));
        job.clock.advance(BATCH);
        if id > 1 {
            let error = retries.recv().unwrap();
            assert!(error.contains(&index), "{error}");
            let mut node = node.lock().unwrap();
            node.kill();
            wire.mend();
            node.start_again().unwrap();
        }
        job.completed().unwrap();
        // What the job tried while the server was starting.
        retries.try_iter().for_each(drop);
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    assert!(points.lock().unwrap().is_empty());
    assert_eq!(server.documents(&index), expected);
    assert_eq!(expected.len(), 1_300);
}
