//! A job with an HTTP stream, and a client of it.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;
use tidegate::testkit::{MemoryOutput, TestJob};
use tidegate::{Conf, StreamingContext};
use tidegate_http::{HttpOptions, create_http_stream};

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Job {
    pub(crate) test: TestJob,
    pub(crate) output: MemoryOutput<String>,
    pub(crate) address: SocketAddr,
}

pub(crate) fn conf() -> Conf {
    Conf::new().set_master("local[2]").set("tidegate.receiver.restart_delay_ms", "5")
}

pub(crate) fn logged() -> Conf {
    conf().set("tidegate.receiver.write_ahead_log.enable", "true")
}

pub(crate) fn options() -> HttpOptions {
    HttpOptions::listen("127.0.0.1:0")
}

impl Job {
    pub(crate) fn start(conf: Conf, checkpoint: Option<&Path>, options: HttpOptions) -> Job {
        Job::start_on(conf, checkpoint, options, MemoryOutput::new(), |_| {})
    }

    pub(crate) fn start_on(
        conf: Conf,
        checkpoint: Option<&Path>,
        options: HttpOptions,
        output: MemoryOutput<String>,
        prepare: impl FnOnce(&StreamingContext),
    ) -> Job {
        let mut stream = None;
        let test = TestJob::start(conf, checkpoint, |ssc| {
            prepare(ssc);
            let records = create_http_stream(ssc, options)?;
            records.output("records", output.clone())?;
            stream = Some(records);
            Ok(())
        });
        let (test, stream) = (test.unwrap(), stream.unwrap());
        let address = (0..PATIENCE.as_millis()).find_map(|_| {
            let address = stream.local_address();
            if address.is_none() {
                test.ssc.await_termination_or_timeout(Duration::from_millis(1)).unwrap();
            }
            address
        });
        Job { test, output, address: address.expect("the stream listens") }
    }

    /// The records of all batches, once the next one is there.
    pub(crate) fn rows(&mut self) -> Vec<String> {
        self.test.next_batch().unwrap();
        self.output.rows()
    }

    pub(crate) fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        send("POST", &format!("http://{}/", self.address), headers, body)
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    pub(crate) headers: Vec<(String, String)>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

/// A request on a connection of its own.
pub(crate) fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_send(method, url, headers, body).unwrap()
}

pub(crate) fn try_send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, ureq::Error> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE));
    let agent: ureq::Agent = config.build().into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = match method {
        "POST" => agent.run(request.body(body)?)?,
        _ => agent.run(request.body(())?)?,
    };
    let text = response.body_mut().read_to_string()?;
    let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    Ok(Answer {
        status: response.status().as_u16(),
        body: serde_json::from_str(&text).unwrap(),
        headers: response.headers().iter().map(header).collect(),
    })
}

/// Sends `text` as it is; what is to come can be sent and read on.
pub(crate) fn raw(address: SocketAddr, text: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(text.as_bytes()).unwrap();
    connection
}

/// The next answer, after which the connection goes on.
pub(crate) fn next_answer(connection: &mut TcpStream) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    connection.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// All that comes until the other side closes.
pub(crate) fn to_the_end(mut connection: impl Read) -> String {
    let mut text = Vec::new();
    // A connection that is reset has said what it had to say.
    let _ = connection.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}
