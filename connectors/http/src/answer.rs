//! What is sent back: a status and a JSON object, always.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

/// Tells the number that a client's next request must have.
pub(crate) const EXPECTED: HeaderName = HeaderName::from_static("tidegate-expected-sequence");

#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    body: Value,
    header: Option<(HeaderName, HeaderValue)>,
    /// The connection ends: what is left of the request is not read.
    close: bool,
}

impl Answer {
    fn new(status: StatusCode, body: Value) -> Answer {
        Answer { status, body, header: None, close: false }
    }

    fn refuse(status: StatusCode, why: impl Into<String>) -> Answer {
        Answer::new(status, json!({ "error": why.into() }))
    }

    fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Answer {
        self.header = Some((name, value.into()));
        self
    }

    /// Ends the connection.
    pub(crate) fn close(mut self) -> Answer {
        self.close = true;
        self
    }

    /// Whether the connection ends with it.
    pub(crate) fn is_last(&self) -> bool {
        self.close
    }

    /// It tells a client that his records are stored, now or before.
    pub(crate) fn is_stored(&self) -> bool {
        self.body.get("stored").is_some()
    }

    pub(crate) fn up() -> Answer {
        Answer::new(StatusCode::OK, json!({ "status": "up" }))
    }

    pub(crate) fn stored(records: usize) -> Answer {
        Answer::new(StatusCode::OK, json!({ "stored": records }))
    }

    pub(crate) fn duplicate() -> Answer {
        Answer::new(StatusCode::OK, json!({ "stored": 0, "duplicate": true }))
    }

    pub(crate) fn bad_request(why: impl Into<String>) -> Answer {
        Answer::refuse(StatusCode::BAD_REQUEST, why)
    }

    pub(crate) fn bad_line(line: u64, why: &str) -> Answer {
        let body = json!({ "error": format!("line {line}: {why}; nothing is stored"), "line": line });
        Answer::new(StatusCode::BAD_REQUEST, body)
    }

    pub(crate) fn no_token() -> Answer {
        Answer::refuse(StatusCode::UNAUTHORIZED, "send the stream's token: Authorization: Bearer TOKEN")
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            .close()
    }

    pub(crate) fn no_such_path(path: &str) -> Answer {
        Answer::refuse(StatusCode::NOT_FOUND, format!("records are taken at {path}")).close()
    }

    pub(crate) fn wrong_method(allowed: &'static str) -> Answer {
        Answer::refuse(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}"))
            .header(ALLOW, HeaderValue::from_static(allowed))
            .close()
    }

    pub(crate) fn too_slow() -> Answer {
        Answer::refuse(StatusCode::REQUEST_TIMEOUT, "the body did not come in time; nothing is stored")
            .close()
    }

    pub(crate) fn gap(expected: u64) -> Answer {
        let error =
            format!("the next request of this producer must have number {expected}; nothing is stored");
        Answer::new(StatusCode::CONFLICT, json!({ "error": error, "expected": expected }))
            .header(EXPECTED, HeaderValue::from(expected))
    }

    pub(crate) fn too_large(why: String) -> Answer {
        Answer::refuse(StatusCode::PAYLOAD_TOO_LARGE, why).close()
    }

    pub(crate) fn unknown_type(why: &str) -> Answer {
        Answer::refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, why).close()
    }

    pub(crate) fn busy(after: Duration) -> Answer {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        Answer::refuse(StatusCode::TOO_MANY_REQUESTS, "the stream takes no more now; nothing is stored")
            .header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// What went wrong is in the job's log: it is no matter of clients.
    pub(crate) fn failed() -> Answer {
        let why = "the records can't be stored, and the job ends; its log says why";
        Answer::refuse(StatusCode::INTERNAL_SERVER_ERROR, why).close()
    }

    pub(crate) fn stopping() -> Answer {
        let why = "the job is stopping; nothing is stored, send it again later";
        Answer::refuse(StatusCode::SERVICE_UNAVAILABLE, why).close()
    }

    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(format!("{}\n", self.body))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_told_in_whole_seconds_rounded_up() {
        for (wait, told) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (59_500, "60")] {
            let response = Answer::busy(Duration::from_millis(wait)).into_response();
            assert_eq!(response.headers()[RETRY_AFTER], told, "{wait} ms");
        }
    }
}
