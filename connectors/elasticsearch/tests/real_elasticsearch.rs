//! The Elasticsearch output against a real server. Each test has indices of its own, so they run at the same time.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Server, count, counts, many, strict};
use tidegate::testkit::outputs::{self, Epoch, Phase, Subject, batch};
use tidegate_core::{Error, ErrorKind, Result};
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
    let mut workers = Epoch::open(&server.output(&index), 2).unwrap();
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
    Epoch::open(&server.output(&index), 3).unwrap().run(&batch(1), rows()).unwrap();
    let before = server.documents(&index);
    assert_eq!(before.len(), 1_200);
    let number = |index: &str| {
        server.must("GET", &format!("{index}/_stats?filter_path=_all.primaries.indexing.index_total"), None)
    };
    // On another number of workers, twice, and by the same ones.
    let mut workers = Epoch::open(&server.output(&index), 1).unwrap();
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
    let mut workers = Epoch::open(&server.output(&index), 2).unwrap();
    workers.run(&batch(1), many(100, 1)).unwrap();
    let newer: Vec<_> = many(50, 2).into_iter().chain([Document::delete("w00099")]).collect();
    workers.run(&batch(2), newer).unwrap();
    let before = server.documents(&index);
    Epoch::open(&server.output(&index), 2).unwrap().run(&batch(1), many(100, 1)).unwrap();
    assert_eq!(server.documents(&index), before);
    assert_eq!(before.len(), 99);
}

#[test]
fn a_batch_that_some_writers_committed_is_finished_by_the_next() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Epoch::open(&server.output(&index), 4).unwrap();
    workers.prepare(&batch(1), many(1_000, 1)).unwrap();
    workers.writers[2].commit(&batch(1)).unwrap();
    let part = server.counts(&index).len();
    assert!(part > 0 && part < 1_000, "{part}");
    drop(workers);
    Epoch::open(&server.output(&index), 3).unwrap().run(&batch(1), many(1_000, 1)).unwrap();
    assert_eq!(server.counts(&index).len(), 1_000);
}

#[test]
fn what_the_index_refuses_fails_prepare_and_nothing_is_seen() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Epoch::open(&server.output(&index), 2).unwrap();
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
    let mut workers = Epoch::open(&server.output(&index), 4).unwrap();
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
    let mut workers = Epoch::open(&server.output(&index), 1).unwrap();
    // Tried out in this order the field is a text, and takes both; the other way round it would be a date, and not take "later".
    workers.prepare(&batch(1), vec![Document::new("a", json!({ "when": "later" }))]).unwrap();
    let mut others = Epoch::open(&server.output(&index), 1).unwrap();
    others.run(&batch(1), vec![Document::new("b", json!({ "when": "2024-02-29" }))]).unwrap();
    workers.commit(&batch(1)).unwrap();
    assert_eq!(server.documents(&index).len(), 2);
}

#[test]
fn a_mapping_that_changes_under_the_job_is_followed() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Epoch::open(&server.output(&index), 1).unwrap();
    let red = || vec![Document::new("a", json!({ "colour": "red" }))];
    assert_eq!(refusal(workers.prepare(&batch(1), red())).kind(), ErrorKind::Reconfigure);
    let colour = json!({ "properties": { "colour": { "type": "keyword" } } });
    server.must("PUT", &format!("{index}/_mapping"), Some(&colour));
    let mut workers = Epoch::open(&server.output(&index), 1).unwrap();
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
    let mut workers = Epoch::open(&output(), 2).unwrap();
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
    Epoch::open(&output(), 1).unwrap().run(&batch(3), rows()).unwrap();
    assert_eq!(server.documents(&dead), letters);
    assert_eq!(server.documents(&index).len(), 1_000);
}

#[test]
fn documents_that_fit_the_mapping_in_any_case_are_not_tried_out() {
    let server = Server::shared();
    let index = server.words();
    let tried = || {
        let path = format!("tidegate-staging-{index}-*/_stats/indexing?expand_wildcards=all");
        server.must("GET", &path, None)["_all"]["primaries"]["indexing"]["index_total"].clone()
    };
    let mut workers = Epoch::open(&server.output(&index), 2).unwrap();
    workers.run(&batch(1), many(1_000, 1)).unwrap();
    assert_eq!(tried(), json!(0));
    // The server makes a number of it, which only the server knows.
    let odd = Document::new("odd", json!({ "word": "odd", "count": "7" }));
    workers.run(&batch(2), many(1_000, 2).into_iter().chain([odd]).collect()).unwrap();
    assert_eq!(tried(), json!(1));
    assert_eq!(server.documents(&index).len(), 1_001);
}

/// What is vouched for without being tried out is taken, and what is not taken is found before the commit.
#[test]
fn of_values_at_the_borders_of_every_type_those_are_written_that_the_server_takes() {
    let server = Server::shared();
    let types = ["keyword", "text", "long", "integer", "short", "byte", "double", "float", "boolean", "date"];
    let mut fields: serde_json::Map<String, Value> =
        types.iter().map(|of| ((*of).to_owned(), json!({ "type": of }))).collect();
    let raw = json!({ "type": "long", "ignore_malformed": true, "fields": { "raw": { "type": "keyword" } } });
    fields.insert("several".to_owned(), raw);
    fields.insert("object".to_owned(), json!({ "properties": { "long": { "type": "long" } } }));
    let body = json!({
        "settings": { "number_of_replicas": 0, "number_of_shards": 1 },
        "mappings": { "dynamic": "strict", "properties": fields.clone() }
    });
    let mut values: Vec<Value> =
        vec![json!(null), json!(true), json!(false), json!([]), json!({}), json!({ "long": 1 })];
    values.extend([json!([1, 2]), json!(["a", "b"]), json!([[1]]), json!([{ "long": 1 }]), json!(u64::MAX)]);
    for border in [i64::from(i8::MAX), i64::from(i16::MAX), i64::from(i32::MAX), i64::MAX] {
        values.extend([
            json!(border),
            json!(-border - 1),
            json!(border.saturating_add(1)),
            json!(border as f64),
        ]);
    }
    for number in [0.0, -0.0, 0.5, 1e38, 3.5e38, -3.5e38, f64::MAX, f64::MIN_POSITIVE, 253_402_300_800_000.0]
    {
        values.push(json!(number));
    }
    values.extend([json!(253_402_300_799_999u64), json!(253_402_300_800_000u64), json!(2026), json!(-2026)]);
    for text in ["", "a", "1", "true", "\u{0}", "\u{10FFFF}", "2026", "2026-11-26", "1969-12-31T00:00:00Z"] {
        values.push(json!(text));
    }
    for text in [
        "2026-11-26T23:59:59Z",
        "2026-11-26T23:59:59.999Z",
        "9999-12-28T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-26T24:00:00Z",
        "2026-11-26T23:59:60Z",
    ] {
        values.push(json!(text));
    }
    values.extend([32_766, 32_767].map(|bytes| json!("x".repeat(bytes))));
    values.push(json!("\u{e9}".repeat(16_383)));
    let documents: Vec<Document> = fields
        .keys()
        .flat_map(|field| values.iter().enumerate().map(move |(place, value)| (field, place, value)))
        .map(|(field, place, value)| Document::new(format!("{field}-{place}"), json!({ field: value })))
        .collect();
    // The server alone, one by one.
    let alone = server.index(&body);
    for document in &documents {
        let source = serde_json::from_str(document.source().unwrap()).unwrap();
        server.call("PUT", &format!("{alone}/_doc/{}", document.id()), Some(&source));
    }
    let expected: Vec<String> = server.documents(&alone).into_keys().collect();
    assert!(expected.len() > 200 && expected.len() < documents.len(), "{}", expected.len());
    let (index, dead) = (server.index(&body), server.name());
    let output = server.output(&index).on_refused(Refused::DeadLetter(dead.clone()));
    Epoch::open(&output, 2).unwrap().run(&batch(1), documents.clone()).unwrap();
    assert_eq!(server.documents(&index).into_keys().collect::<Vec<_>>(), expected);
    assert_eq!(server.documents(&dead).len(), documents.len() - expected.len());
}

#[test]
fn two_documents_of_one_id_in_a_batch_are_refused() {
    let server = Server::shared();
    let mut workers = Epoch::open(&server.output(&server.words()), 1).unwrap();
    let error = refusal(workers.prepare(&batch(1), vec![count("a", 1), Document::delete("a")]));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("two documents of the batch have the id \"a\""), "{error}");
}

#[test]
fn what_no_job_can_write_to_is_told_at_its_start() {
    let server = Server::shared();
    let start = |index: &str| Epoch::open(&server.output(index), 1);
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
    let error = refusal(Epoch::open(&server.output(&server.words()).partitions(0), 1)).to_string();
    assert!(error.contains("needed are 1 to 1024"), "{error}");
}

#[test]
fn an_index_that_is_blocked_or_gone_fails_prepare() {
    let server = Server::shared();
    let index = server.words();
    let mut workers = Epoch::open(&server.output(&index), 1).unwrap();
    let set = |name: &str, value: bool| {
        server.must("PUT", &format!("{index}/_settings"), Some(&json!({ name: value })));
    };
    set("index.blocks.write", true);
    assert_eq!(refusal(workers.prepare(&batch(1), many(1, 1))).kind(), ErrorKind::Reconfigure);
    set("index.blocks.write", false);
    set("index.blocks.read_only_allow_delete", true);
    let mut workers = Epoch::open(&server.output(&server.words()), 1).unwrap();
    let error = refusal(Epoch::open(&server.output(&index), 1));
    assert_eq!(error.kind(), ErrorKind::Retry, "a full disk passes: {error}");
    set("index.blocks.read_only_allow_delete", false);
    server.must("DELETE", &index, None);
    let gone = server.words();
    workers.run(&batch(1), many(1, 1)).unwrap();
    let mut workers = Epoch::open(&server.output(&gone), 1).unwrap();
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
    Epoch::open(&output(), 1).unwrap().run(&batch(1), many(2, 1)).unwrap();
    // It is there now, and stays as it is.
    Epoch::open(&output().refresh(Refresh::Now), 1).unwrap().run(&batch(2), many(3, 2)).unwrap();
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
    let (wire, url) = server.wire();
    let output = || ElasticsearchOutput::new(&url, &index).unwrap().patience(Duration::ZERO);
    let mut expected = counts([]);
    for (id, bytes) in [(1, 0), (2, 200), (3, 2_000), (4, 20_000), (5, 60_000), (6, 90_000)] {
        let rows = || many(1_000, id as i64);
        let mut workers = Epoch::open(&output(), 1).unwrap();
        workers.prepare(&batch(id), rows()).unwrap();
        assert_eq!(server.counts(&index), expected, "nothing of batch {id} is seen");
        wire.cut_after(bytes);
        let error = refusal(workers.commit(&batch(id)));
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
        assert_eq!(wire.cuts() as u64, id, "nothing was cut at {bytes} bytes");
        wire.open();
        Epoch::open(&output(), 1).unwrap().run(&batch(id), rows()).unwrap();
        expected = server.counts(&index);
        assert!(expected.len() == 1_000 && expected.values().all(|count| *count == id as i64));
    }
}

#[test]
fn a_cut_connection_is_made_anew_within_the_patience() {
    let server = Server::shared();
    let index = server.words();
    let (wire, url) = server.wire();
    let output = ElasticsearchOutput::new(&url, &index).unwrap();
    let mut workers = Epoch::open(&output, 1).unwrap();
    workers.prepare(&batch(1), many(1_000, 1)).unwrap();
    wire.cut_once_after(5_000);
    workers.commit(&batch(1)).unwrap();
    assert_eq!(wire.cuts(), 1);
    assert_eq!(server.counts(&index).len(), 1_000);
}

#[test]
fn a_server_that_is_away_is_a_retry_with_its_address() {
    let output = ElasticsearchOutput::new("http://127.0.0.1:9", "words").unwrap();
    let error = refusal(Epoch::open(&output.patience(Duration::ZERO), 1));
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

/// Rows of a batch: most of them replace those of the batch before.
fn rows(batch: u64) -> Vec<Document> {
    (0..1_000).map(|n| count(&format!("w{:05}", n + 100 * batch), batch as i64)).collect()
}

/// A server of its own, lost in each phase of a batch and started again when the job has noticed.
#[test]
fn a_server_lost_in_any_phase_of_a_batch_leaves_what_a_run_without_faults_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let node = Arc::new(Mutex::new(Elasticsearch::start(dir.path()).unwrap()));
    let server = Server::at(node.lock().unwrap().url());
    let (index, whole) = (server.words(), server.words());
    outputs::untroubled(server.output(&whole), rows);

    let (wire, url) = server.wire();
    let wire = Arc::new(wire);
    let lose = {
        let (node, wire) = (node.clone(), wire.clone());
        move |phase| match phase {
            Phase::BeforePrepare | Phase::Prepared => node.lock().unwrap().kill(),
            // While it has the first part of what is to be written.
            Phase::Committing => {
                let node = node.clone();
                let is_meant = |request: &[u8]| {
                    request.len() > 20_000 && request.windows(5).any(|path| path == b"_bulk")
                };
                wire.call_at(is_meant, move || node.lock().unwrap().kill());
            }
            Phase::PartlyCommitted => wire.cut(),
        }
    };
    let output = ElasticsearchOutput::new(&url, &index).unwrap().patience(Duration::from_millis(100));
    let noticed = outputs::lost_in_each_phase(output, rows, lose, |_| {
        node.lock().unwrap().start_again().unwrap();
        wire.open();
    });
    assert_eq!(noticed.iter().map(|(phase, _)| *phase).collect::<Vec<_>>(), Phase::ALL);
    for (phase, error) in noticed {
        let names = format!("Elasticsearch index {index} at {}", wire.address());
        assert!(error.contains(&names), "{phase:?}: {error}");
    }
    let expected = server.documents(&whole);
    assert_eq!(expected.len(), 1_500);
    assert_eq!(server.documents(&index), expected);
}
