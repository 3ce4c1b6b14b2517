//! The REST interface of Alluxio's proxy, as far as it is needed here.
//!
//! A path may hold any characters: what a URL does not take is escaped.

use crate::{ANSWER_LIMIT, limit};
use serde_json::{Value, json};
use std::fmt;
use std::thread;
use std::time::Duration;
use ureq::Agent;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How often is looked whether a file that was closed is whole.
const LOOKS: usize = 50;
/// The status of a rename of what is not in the store below Alluxio.
pub(super) const NOT_BELOW: &str = "UNKNOWN";
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A proxy.
#[derive(Clone)]
pub(super) struct Rest {
    agent: Agent,
    /// `http://host:port/api/v1`.
    base: String,
}

/// A file or a folder of a listing.
#[derive(Debug)]
pub(super) struct Entry {
    /// From the root of Alluxio on, with a slash in front.
    pub(super) path: String,
    pub(super) is_folder: bool,
    pub(super) bytes: u64,
    /// Milliseconds since 1970.
    pub(super) modified: u64,
    /// Its writer has closed it.
    pub(super) is_complete: bool,
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum RestError {
    /// No answer, or none that makes sense.
    Away(String),
    /// An answer with a status of Alluxio's own, such as `NOT_FOUND`, and its words.
    Status(String, String),
}

impl RestError {
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, RestError::Status(status, _) if status == wanted)
    }

    /// Whether there is nothing of that name, or a file where a folder of it would be.
    pub(super) fn is_missing(&self) -> bool {
        match self {
            RestError::Status(status, text) => {
                status == "NOT_FOUND"
                    || status == "INVALID_ARGUMENT" && text.contains("is a file, not a directory")
            }
            RestError::Away(_) => false,
        }
    }
}

impl fmt::Display for RestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestError::Away(text) => f.write_str(text),
            RestError::Status(status, text) => write!(f, "{status}: {text}"),
        }
    }
}

impl std::error::Error for RestError {}

type Answer<T> = Result<T, RestError>;

impl Rest {
    pub(super) fn new(authority: &str) -> Rest {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_LIMIT))
            // A connection kept from before a restart of the proxy would fail the next call.
            .max_idle_connections(0)
            // Of the environment: it would be told every object.
            .proxy(None)
            .build();
        Rest { agent: config.into(), base: format!("http://{authority}/api/v1") }
    }

    /// A file that nobody sees as whole before it is closed; in the store below Alluxio when this returns.
    pub(super) fn write(&self, path: &str, bytes: &[u8]) -> Answer<()> {
        let options = json!({ "recursive": true, "writeType": "CACHE_THROUGH" });
        let stream = self.stream(&format!("paths/{}/create-file", escaped(path)), &options)?;
        let written = if bytes.is_empty() {
            Ok(Vec::new())
        } else {
            let url = format!("{}/streams/{stream}/write", self.base);
            self.send(&url, "application/octet-stream", bytes, limit(bytes.len() as u64))
        };
        // Also after a failed write: an open stream is kept by the proxy for an hour.
        let closed = self.close(&stream, limit(bytes.len() as u64));
        written.and(closed)?;
        self.is_complete(path, bytes.len() as u64)
    }

    /// The proxy says that a stream is closed also when closing failed, and when another of its threads is still at it. So whether the file
    /// is whole is asked for.
    fn is_complete(&self, path: &str, bytes: u64) -> Answer<()> {
        for _ in 0..LOOKS {
            let entry = self.entry(path)?;
            if entry.is_complete && entry.bytes == bytes {
                return Ok(());
            }
            thread::sleep(BETWEEN_LOOKS);
        }
        let text =
            format!("{path} was written and is not complete; has a worker room? the proxy's log says why");
        Err(RestError::Status("UNAVAILABLE".to_owned(), text))
    }

    /// The bytes of a file.
    pub(super) fn read(&self, path: &str, length: u64) -> Answer<Vec<u8>> {
        let stream = self.stream(&format!("paths/{}/open-file", escaped(path)), &json!({}))?;
        let url = format!("{}/streams/{stream}/read", self.base);
        let read = self.send(&url, "application/json", &[], limit(length));
        // What was read is right whatever becomes of the stream, which the proxy closes after an hour.
        let _ = self.close(&stream, ANSWER_LIMIT);
        read
    }

    /// Gives a file another name, in a folder that is there. `ALREADY_EXISTS` when anything has it.
    pub(super) fn rename(&self, from: &str, to: &str) -> Answer<()> {
        let (old, new) = (escaped(from), escaped(to));
        match self.call(&format!("paths/{old}/rename?dst={new}"), &json!({})) {
            // A master that was killed just after it had renamed the file there knows it by the old name for good, unless it is told to
            // look.
            Err(e) if e.is(NOT_BELOW) => {
                let was_done = !self.is_below(from)? && self.is_below(to)?;
                if was_done { Ok(()) } else { Err(e) }
            }
            other => other.map(drop),
        }
    }

    /// Whether a file is in the store below Alluxio, of which the master learns what it does not know.
    fn is_below(&self, path: &str) -> Answer<bool> {
        match self.status(path, &json!({ "commonOptions": { "syncIntervalMs": 0 } })) {
            Ok(_) => Ok(true),
            Err(e) if e.is_missing() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Makes a folder and those above it; one that is there is no error.
    pub(super) fn make_folder(&self, path: &str) -> Answer<()> {
        let options = json!({ "recursive": true, "allowExists": true, "writeType": "CACHE_THROUGH" });
        self.call(&format!("paths/{}/create-directory", escaped(path)), &options).map(drop)
    }

    /// Removes a file, or an empty folder.
    pub(super) fn delete(&self, path: &str) -> Answer<()> {
        self.call(&format!("paths/{}/delete", escaped(path)), &json!({ "recursive": false })).map(drop)
    }

    /// What is in a folder, and below it if that is wanted; a file answers with itself.
    pub(super) fn list(&self, path: &str, below: bool, limit: Duration) -> Answer<Vec<Entry>> {
        let url = format!("{}/paths/{}/list-status", self.base, escaped(path));
        let options = json!({ "recursive": below }).to_string();
        let answer = self.send(&url, "application/json", options.as_bytes(), limit)?;
        let entries =
            serde_json::from_slice::<Vec<Value>>(&answer).map_err(|e| RestError::Away(e.to_string()))?;
        entries.iter().map(|entry| parse(entry).ok_or_else(|| unclear("a listing", &answer))).collect()
    }

    /// Whether a file is in the store below Alluxio.
    pub(super) fn is_persisted(&self, path: &str) -> Answer<bool> {
        let (status, answer) = self.status(path, &json!({}))?;
        status["persisted"].as_bool().ok_or_else(|| unclear("a status", &answer))
    }

    /// A file or a folder.
    pub(super) fn entry(&self, path: &str) -> Answer<Entry> {
        let (status, answer) = self.status(path, &json!({}))?;
        parse(&status).ok_or_else(|| unclear("a status", &answer))
    }

    fn status(&self, path: &str, options: &Value) -> Answer<(Value, Vec<u8>)> {
        let answer = self.call(&format!("paths/{}/get-status", escaped(path)), options)?;
        let status = serde_json::from_slice(&answer).map_err(|e| RestError::Away(e.to_string()))?;
        Ok((status, answer))
    }

    fn stream(&self, call: &str, options: &Value) -> Answer<String> {
        let answer = self.call(call, options)?;
        let id = String::from_utf8_lossy(&answer).trim().to_owned();
        let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { Ok(id) } else { Err(unclear("a stream", &answer)) }
    }

    fn close(&self, stream: &str, limit: Duration) -> Answer<()> {
        let url = format!("{}/streams/{stream}/close", self.base);
        self.send(&url, "application/json", &[], limit).map(drop)
    }

    fn call(&self, call: &str, options: &Value) -> Answer<Vec<u8>> {
        let url = format!("{}/{call}", self.base);
        self.send(&url, "application/json", options.to_string().as_bytes(), ANSWER_LIMIT)
    }

    fn send(&self, url: &str, kind: &str, bytes: &[u8], limit: Duration) -> Answer<Vec<u8>> {
        let away = |e: ureq::Error| RestError::Away(e.to_string());
        let request = self.agent.post(url).header("Content-Type", kind);
        let request = request.config().timeout_global(Some(limit)).build();
        let mut answer = request.send(bytes).map_err(away)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec().map_err(away)?;
        if status == 200 {
            return Ok(body);
        }
        let error: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (error["statusCode"].as_str(), error["message"].as_str()) {
            (Some(code), text) => Err(RestError::Status(code.to_owned(), text.unwrap_or("").to_owned())),
            (None, _) => Err(unclear(&format!("status {status}"), &body)),
        }
    }
}

/// A path as it stands in a URL.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn parse(entry: &Value) -> Option<Entry> {
    Some(Entry {
        path: entry["path"].as_str()?.to_owned(),
        is_folder: entry["folder"].as_bool()?,
        bytes: entry["length"].as_u64()?,
        modified: entry["lastModificationTimeMs"].as_u64()?,
        is_complete: entry["completed"].as_bool()?,
    })
}

/// An answer that Alluxio's proxy would not give: something else listens there, or it is on its way up or down.
fn unclear(what: &str, answer: &[u8]) -> RestError {
    let begin = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
    RestError::Away(format!("the answer is no answer of Alluxio's proxy: {what}, {begin:?}"))
}
