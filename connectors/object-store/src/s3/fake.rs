//! A server that answers as a test says, for what no real one can be brought to answer.

use super::{Connections, S3Storage, settings_of};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// The first line of a request, such as `GET /b/x?uploads HTTP/1.1`, and its headers, one a line.
pub(super) type Request = String;

/// Status with its word, headers each with its end of line, and body.
pub(super) type Answer = (&'static str, String, String);

/// A folder `jobs` of the bucket `b` on a server that answers by `answer` until the test's process ends.
pub(super) fn storage(
    answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (S3Storage, Connections) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, answer) = (client.unwrap(), answer.clone());
            thread::spawn(move || serve(&client, &*answer));
        }
    });
    let settings = [
        ("AWS_ENDPOINT_URL", &*endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let (settings, connections) =
        (settings_of(std::iter::empty(), &settings).unwrap(), Connections::default());
    (S3Storage::new("b", "jobs", &settings, connections.clone()).unwrap(), connections)
}

/// Until the client closes the connection.
fn serve(client: &TcpStream, answer: &dyn Fn(&Request) -> Answer) {
    let mut reader = BufReader::new(client);
    loop {
        let (mut request, mut length) = (Request::new(), 0);
        loop {
            let mut line = String::new();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            if line == "\r\n" {
                break;
            }
            let header = line.to_ascii_lowercase();
            length = header.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
            request.push_str(&line);
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).unwrap();
        let (status, headers, body) = answer(&request);
        let length = if headers.contains("content-length") {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let answered = format!("HTTP/1.1 {status}\r\n{headers}{length}\r\n{body}");
        let mut client = client;
        if client.write_all(answered.as_bytes()).is_err() {
            return;
        }
    }
}
