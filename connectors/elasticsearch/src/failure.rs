//! Why a call failed, and what that means for the batch.

use serde_json::Value;
use std::fmt;
use tidegate_core::{Error, Result};

/// Characters of a reason that are shown: Elasticsearch repeats the value it can't take.
const REASON_CHARS_MAX: usize = 300;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer, or none that makes sense.
    Away(String),
    /// The server's certificate, or the way it speaks TLS, is not accepted.
    Tls(String),
    /// An answer that refuses.
    Refused(Refusal),
}

/// What Elasticsearch says when it refuses a request, or one document of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// Its name for it: `document_parsing_exception`.
    pub(crate) kind: String,
    pub(crate) reason: String,
}

impl Refusal {
    /// From the field `error` of an answer, or of an item of one.
    pub(crate) fn read(status: u16, error: &Value) -> Refusal {
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let mut reason = match error {
            Value::String(text) => text.clone(),
            _ => text(&error["reason"]),
        };
        // The innermost cause is the one that names what is wrong.
        let mut cause = &error["caused_by"];
        while cause.is_object() {
            if cause["caused_by"].is_null() && !reason.contains(cause["reason"].as_str().unwrap_or("")) {
                reason = format!("{reason}: {}", text(&cause["reason"]));
            }
            cause = &cause["caused_by"];
        }
        Refusal { status, kind: text(&error["type"]), reason: shortened(&reason) }
    }

    /// Whether it passes by itself: the server has too much to do, or a part of it is away.
    pub(crate) fn is_passing(&self) -> bool {
        self.status == 408 || self.status == 429 || self.status >= 500
    }

    /// Whether it is the document that is refused, whoever sends it wherever.
    pub(crate) fn is_of_the_document(&self) -> bool {
        matches!(self.status, 400 | 413 | 422)
    }
}

impl Failure {
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Failure::Away(_) => true,
            Failure::Tls(_) => false,
            Failure::Refused(refusal) => refusal.is_passing(),
        }
    }

    /// Whether the server refuses with that name.
    pub(crate) fn is(&self, kind: &str) -> bool {
        matches!(self, Failure::Refused(refusal) if refusal.kind == kind)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.reason.as_str()) {
            ("", "") => write!(f, "status {}", self.status),
            ("", reason) => write!(f, "status {}: {reason}", self.status),
            (kind, reason) => write!(f, "{kind}: {reason}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Away(text) | Failure::Tls(text) => f.write_str(text),
            Failure::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

/// The error about `place`: what could not be done, why, and who can mend it.
pub(crate) fn failed(place: &str, what: &str, failure: Failure) -> Error {
    if failure.is_passing() {
        return Error::retry(format!("{place}: {what}")).because(failure);
    }
    let advice = match &failure {
        Failure::Tls(_) => {
            "give the certificate of the authority by ca_certificate(), or mend the server's certificate"
        }
        Failure::Refused(refusal) => match (refusal.status, refusal.kind.as_str()) {
            (401, _) => "user and password (basic_auth), or the API key (api_key), are not accepted",
            (403, "cluster_block_exception") => return blocked(place, what, &refusal.reason),
            (403, _) => {
                "the user needs the privileges view_index_metadata and write on the index, and manage and write on \
                 tidegate-staging-*"
            }
            (404, "index_not_found_exception") => "the index is gone: make it, and start again",
            (413, _) => "a document is larger than the server takes (http.max_content_length)",
            (400, "index_closed_exception") => "open the index",
            _ => "Elasticsearch refuses",
        },
        Failure::Away(_) => "it is away",
    };
    Error::reconfigure(format!("{place}: {what}: {advice}")).because(failure)
}

/// An index that takes no documents now. A disk that is too full is the one reason that passes.
fn blocked(place: &str, what: &str, reason: &str) -> Error {
    if reason.contains("flood-stage") || reason.contains("read-only / allow delete") {
        return Error::retry(format!(
            "{place}: {what}: the server's disk is too full: free some space; nothing is lost, and the batch is run again"
        ));
    }
    Error::reconfigure(format!("{place}: {what}: the index is blocked: take the block away ({reason})"))
}

/// A call's result with the failure in the error's words.
pub(crate) trait Place<T> {
    fn at(self, place: &str, what: &str) -> Result<T>;
}

impl<T> Place<T> for Result<T, Failure> {
    fn at(self, place: &str, what: &str) -> Result<T> {
        self.map_err(|failure| failed(place, what, failure))
    }
}

/// The beginning of a text that may be a whole document.
pub(crate) fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(REASON_CHARS_MAX).collect();
    if chars.next().is_some() { format!("{start}…") } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tidegate_core::ErrorKind;

    #[test]
    fn who_can_mend_it_follows_from_what_the_server_says() {
        let refused = |status, kind: &str, reason: &str| {
            Failure::Refused(Refusal { status, kind: kind.to_owned(), reason: reason.to_owned() })
        };
        let block = "cluster_block_exception";
        for (failure, kind, text) in [
            (Failure::Away("refused".to_owned()), ErrorKind::Retry, "index a: can't be written: refused"),
            (refused(429, "es_rejected_execution_exception", ""), ErrorKind::Retry, "can't be written"),
            (refused(503, "", ""), ErrorKind::Retry, "status 503"),
            (refused(401, "security_exception", ""), ErrorKind::Reconfigure, "are not accepted"),
            (refused(403, "security_exception", ""), ErrorKind::Reconfigure, "needs the privileges"),
            (
                refused(403, block, "blocked by: [FORBIDDEN/8/index write (api)]"),
                ErrorKind::Reconfigure,
                "FORBIDDEN/8",
            ),
            (
                refused(403, block, "[TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark]"),
                ErrorKind::Retry,
                "free some space",
            ),
            (refused(404, "index_not_found_exception", ""), ErrorKind::Reconfigure, "is gone"),
            (Failure::Tls("bad".to_owned()), ErrorKind::Reconfigure, "ca_certificate"),
        ] {
            let error = failed("index a", "can't be written", failure);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_refusal_tells_its_innermost_cause_and_no_whole_document() {
        let error = json!({ "type": "document_parsing_exception", "reason": "failed to parse field [n]",
            "caused_by": { "reason": "middle", "caused_by": { "reason": "For input string" } } });
        let refusal = Refusal::read(400, &error);
        assert_eq!(
            refusal.to_string(),
            "document_parsing_exception: failed to parse field [n]: For input string"
        );
        let long = Refusal::read(400, &json!({ "type": "x", "reason": "y".repeat(10_000) }));
        assert_eq!(long.reason.chars().count(), REASON_CHARS_MAX + 1);
    }
}
