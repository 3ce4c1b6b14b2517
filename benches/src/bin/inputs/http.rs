//! Clients that post to an HTTP stream, each a request after the answer to the one before, over connections that are kept.

use crate::job::{Job, Way, sum_of};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tidegate::{Conf, DStream, Stop};
use tidegate_benches::Failure;
use tidegate_benches::Quantiles;
use tidegate_http::{HttpOptions, create_http_stream};

const INTERVAL: Duration = Duration::from_millis(100);
const CLIENTS: usize = 8;
const RECORD_BYTES: usize = 100;
/// Before a request that was refused because the stream is full is made again.
const PAUSE: Duration = Duration::from_millis(5);

/// Posts for `seconds`, `records` records a request.
pub(crate) fn run(way: Way, records: usize, seconds: u64, directory: &Path) -> Result<Value, Failure> {
    let job = Job::new(Conf::new(), way, INTERVAL, directory)?;
    let stream = create_http_stream(&job.ssc, HttpOptions::listen("127.0.0.1:0"))?;
    job.add_up(&DStream::clone(&*stream).map(|record: String| sum_of(&record)))?;
    job.ssc.start()?;
    let address = loop {
        job.next()?;
        if let Some(address) = stream.local_address() {
            break address;
        }
    };
    let body = vec!["x".repeat(RECORD_BYTES); records].join("\n");
    let limit = Duration::from_secs(seconds);
    let begun = Instant::now();
    let posted: Vec<Posted> = thread::scope(|scope| {
        let post = || post(address, &body, begun, limit);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(post)).collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client does not panic"))
            .collect::<Result<_, Failure>>()
    })?;
    let passed = begun.elapsed().as_secs_f64();
    job.stop(Stop::Gracefully)?;
    let refused: u64 = posted.iter().map(|client| client.refused).sum();
    let answers_ms: Vec<f64> = posted.into_iter().flat_map(|client| client.answers_ms).collect();
    let requests = answers_ms.len() as u64;
    let acknowledged = requests * records as u64;
    if job.sum().records != acknowledged {
        return Err(format!("{} records came, {acknowledged} were acknowledged", job.sum().records).into());
    }
    Ok(json!({
        "requests": requests,
        "refused": refused,
        "requests_per_second": requests as f64 / passed,
        "records_per_second": acknowledged as f64 / passed,
        "answer_ms": Quantiles::of(answers_ms).map(Quantiles::to_json),
    }))
}

/// What one client saw.
#[derive(Default)]
struct Posted {
    answers_ms: Vec<f64>,
    refused: u64,
}

fn post(address: SocketAddr, body: &str, begun: Instant, limit: Duration) -> Result<Posted, Failure> {
    let mut connection = connect(address)?;
    let request =
        format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut posted = Posted::default();
    while begun.elapsed() < limit {
        let sent = Instant::now();
        connection.get_mut().write_all(request.as_bytes())?;
        match answer(&mut connection)? {
            200 => posted.answers_ms.push(sent.elapsed().as_secs_f64() * 1000.0),
            status @ (429 | 503) => {
                posted.refused += 1;
                thread::sleep(PAUSE);
                // One that stops ends its connections; one that takes no more for now keeps them.
                if status == 503 {
                    connection = connect(address)?;
                }
            }
            other => return Err(format!("a request was answered with {other}").into()),
        }
    }
    Ok(posted)
}

fn connect(address: SocketAddr) -> Result<BufReader<TcpStream>, Failure> {
    let connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    Ok(BufReader::new(connection))
}

/// The status of the next answer, which is read to its end.
fn answer(connection: &mut impl BufRead) -> Result<u16, Failure> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("no HTTP: {line}"))?;
    let mut length = 0;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            None => break,
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse()?
            }
            Some(_) => {}
        }
    }
    std::io::copy(&mut connection.take(length), &mut std::io::sink())?;
    Ok(status)
}
