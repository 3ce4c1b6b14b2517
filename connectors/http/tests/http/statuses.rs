//! Each status, and what it says.

use crate::client::{Job, PATIENCE, conf, next_answer, options, raw, send, to_the_end};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc::channel;
use std::time::Duration;
use tidegate::Stop;

const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

#[test]
fn records_of_every_format_are_taken_as_they_are() {
    let mut job = Job::start(conf(), None, options());
    let answer = job.post(&[], b"one\r\n\ntwo");
    assert_eq!((answer.status, &answer.body), (200, &json!({ "stored": 3 })));
    assert_eq!(job.post(&[NDJSON], b"{\"n\": 1}\n{\"n\": 2}\n").body, json!({ "stored": 2 }));
    let csv = job.post(&[("Content-Type", "text/csv; header=present")], b"a,b\n1,\"x\ny\"\n");
    assert_eq!(csv.body, json!({ "stored": 1 }));
    assert_eq!(job.post(&[("Content-Type", "application/json")], b"[1,\n2]").body, json!({ "stored": 1 }));
    assert_eq!(job.post(&[], b"").body, json!({ "stored": 0 }));
    let mut rows = job.rows();
    rows.sort_unstable();
    assert_eq!(rows, ["", "1,\"x\ny\"", "[1,\n2]", "one", "two", "{\"n\": 1}", "{\"n\": 2}"]);
}

#[test]
fn a_body_with_a_bad_line_is_refused_whole_with_the_line() {
    let mut job = Job::start(conf(), None, options());
    for (kind, body, line) in [
        ("application/x-ndjson", &b"{}\n{\n"[..], 2),
        ("text/plain", b"a\nb\n\xff", 3),
        ("text/csv", b"a,b\nc\n", 2),
    ] {
        let answer = job.post(&[("Content-Type", kind)], body);
        assert_eq!((answer.status, &answer.body["line"]), (400, &json!(line)), "{answer:?}");
        assert!(answer.error().starts_with(&format!("line {line}: ")), "{answer:?}");
    }
    assert_eq!(job.rows(), Vec::<String>::new(), "nothing of it is stored");
}

#[test]
fn what_is_refused_by_its_head_says_why() {
    let job = Job::start(conf(), None, options().path("/events").token("secret").body_bytes_max(10));
    let url = |path: &str| format!("http://{}{path}", job.address);
    let token = ("Authorization", "Bearer secret");
    let post = |headers: &[(&str, &str)], body: &[u8]| send("POST", &url("/events"), headers, body);

    let none = post(&[], b"a");
    assert_eq!((none.status, none.header("www-authenticate")), (401, Some("Bearer")));
    assert!(!none.body.to_string().contains("secret"));
    assert_eq!(post(&[("Authorization", "Bearer secreT")], b"a").status, 401);
    assert_eq!(post(&[token], b"a").status, 200);

    let elsewhere = send("POST", &url("/other"), &[token], b"a");
    assert_eq!(elsewhere.status, 404);
    assert!(elsewhere.error().contains("/events"), "{elsewhere:?}");
    let get = send("GET", &url("/events"), &[token], b"");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    let large = post(&[token], b"01234567890");
    assert_eq!(large.status, 413);
    assert!(large.error().contains("at most 10 bytes"), "{large:?}");
    assert_eq!(post(&[token, ("Content-Type", "image/png")], b"a").status, 415);
    assert_eq!(post(&[token, ("Content-Encoding", "gzip")], b"a").status, 415);
    assert_eq!(post(&[token, ("Tidegate-Producer", "p")], b"a").status, 400);

    let health = send("GET", &url("/health"), &[], b"");
    assert_eq!((health.status, health.body), (200, json!({ "status": "up" })), "it asks for no token");
    assert_eq!(send("DELETE", &url("/health"), &[], b"").status, 405);
}

#[test]
fn a_body_of_unknown_length_is_bounded_and_what_a_block_can_t_take_is_told() {
    let job = Job::start(conf(), None, options().body_bytes_max(10));
    let chunked =
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n";
    let answer = to_the_end(raw(job.address, chunked));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let job = Job::start(conf().set("tidegate.receiver.block_bytes_max", "100"), None, options());
    let answer = job.post(&[], &[b'x'; 100]);
    assert_eq!(answer.status, 413);
    assert!(answer.error().contains("101 bytes as stored, at most 100"), "{answer:?}");
    assert_eq!(job.post(&[], &[b'x'; 99]).status, 200);
}

#[test]
fn requests_without_a_number_or_a_key_are_refused_when_that_is_wanted() {
    let job = Job::start(conf(), None, options().identity_required());
    let answer = job.post(&[], b"a");
    assert_eq!(answer.status, 400);
    assert!(answer.error().contains("Idempotency-Key"), "{answer:?}");
    assert_eq!(job.post(&[("Idempotency-Key", "a")], b"a").status, 200);
}

#[test]
fn a_full_stream_tells_clients_to_come_back_before_they_send_a_body() {
    let mut job = Job::start(conf().set("tidegate.receiver.held_bytes_max", "1"), None, options());
    assert_eq!(job.post(&[], b"one").status, 200);
    // The body is not sent yet, and the answer comes all the same.
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
    let answer = next_answer(&mut raw(job.address, head));
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!(job.post(&[], b"two").status, 429);
    assert_eq!(job.rows(), ["one"]);
    assert_eq!(job.post(&[], b"two").status, 200);
    assert_eq!(job.rows(), ["one", "two"]);
}

#[test]
fn a_client_that_is_told_to_come_back_keeps_its_connection_within_the_bounds_of_a_body() {
    let full = conf().set("tidegate.receiver.held_bytes_max", "1");
    let mut job = Job::start(full, None, options().body_bytes_max(10));
    assert_eq!(job.post(&[], b"one").status, 200);
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n";
    let mut connection = raw(job.address, &format!("{head}\r\n"));
    for body in ["two", "2.0"] {
        let answer = next_answer(&mut connection);
        assert!(answer.starts_with("HTTP/1.1 429 ") && !answer.contains("connection: close"), "{answer}");
        connection.write_all(format!("{body}{head}\r\n").as_bytes()).unwrap();
    }
    assert!(next_answer(&mut connection).starts_with("HTTP/1.1 429 "));
    assert_eq!(job.rows(), ["one"]);
    connection.write_all(format!("ten{head}\r\ntwo").as_bytes()).unwrap();
    let answer = next_answer(&mut connection);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{\"stored\":1}\n"), "{answer}");
    drop(connection);

    // The stream is full again. Who asks before sending is told not to; more than a body may have is not read.
    let asks = to_the_end(raw(job.address, &format!("{head}Expect: 100-continue\r\n\r\n")));
    assert!(asks.starts_with("HTTP/1.1 429 ") && asks.contains("connection: close"), "{asks}");
    let endless = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n";
    let answer = to_the_end(raw(job.address, endless));
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert_eq!(job.rows(), ["one", "two"]);
}

#[test]
fn a_stream_at_its_rate_tells_how_long_to_wait_and_takes_more_then() {
    let job = Job::start(conf().set("tidegate.receiver.max_rate", "2"), None, options());
    assert_eq!(job.post(&[], b"1\n2\n3\n4").status, 200);
    let answer = job.post(&[], b"more");
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(answer.status == 429 && (1..=2).contains(&after), "{answer:?}");
    let mut answers = (0..100_000).map(|_| job.post(&[], b"more").status);
    assert_eq!(answers.find(|status| *status != 429), Some(200));
}

#[test]
fn a_client_that_is_too_slow_is_cut_off() {
    let quick = Duration::from_millis(20);
    let job = Job::start(conf(), None, options().patience(quick, quick));
    for begun in ["", "POST / HTTP/1.1\r\nHo"] {
        let answer = to_the_end(raw(job.address, begun));
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{begun}: {answer}");
    }
    let answer = to_the_end(raw(job.address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na"));
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[test]
fn connections_and_requests_at_work_are_bounded() {
    let job = Job::start(conf(), None, options().connections_max(1));
    let health = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = raw(job.address, health);
    first.read_exact(&mut [0; 12]).unwrap();
    let mut second = raw(job.address, health);
    second.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let waits = second.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(waits, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waits:?}");
    drop(first);
    second.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 12];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(second);

    let job = Job::start(conf(), None, options().requests_max(1));
    let body_comes = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut first = raw(job.address, body_comes);
    let mut asks = [0; 25];
    first.read_exact(&mut asks).unwrap();
    assert_eq!(&asks, b"HTTP/1.1 100 Continue\r\n\r\n", "it is at work");
    let answer = job.post(&[], b"b");
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    first.write_all(b"one").unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn a_request_on_its_way_when_the_job_stops_is_not_stored_and_told_so() {
    let job = Job::start(conf(), None, options());
    let half = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut connection = raw(job.address, half);
    connection.read_exact(&mut [0; 25]).unwrap();
    let (ssc, (tell, told)) = (job.test.ssc.clone(), channel());
    std::thread::spawn(move || tell.send(ssc.stop(Stop::Now)));
    let answer = to_the_end(connection);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("the job is stopping"), "{answer}");
    told.recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(job.output.rows(), Vec::<String>::new());
}
