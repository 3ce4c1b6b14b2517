//! Why a call failed, and what that means for the batch.

use std::fmt;
use tidegate_core::{Error, Result};

/// Characters of the server's words that are shown: it sends whole stack traces.
const TEXT_CHARS_MAX: usize = 300;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No answer, or none that makes sense.
    Away(String),
    /// HBase refuses, in its own words.
    Refused(String),
}

/// What HBase refuses for until someone changes the table, the rights or the job: names of its exceptions, and the way out.
const LASTING: [(&str, &str); 10] = [
    ("TableNotFoundException", "there is no such table: make it"),
    ("TableNotEnabledException", "the table is disabled: enable it"),
    ("NoSuchColumnFamilyException", "the table has no such family: add it"),
    ("AccessDeniedException", "the gateway's user needs the right to write the table (W), and to look at it"),
    (
        "AccessControlException",
        "the gateway's user needs the right to write the table (W), and to look at it",
    ),
    ("KeyValue size too large", "a cell is larger than the gateway takes (hbase.client.keyvalue.maxsize)"),
    ("DoNotRetryIOException", "HBase refuses"),
    ("region is read only", "the table is read-only: alter it"),
    ("read only", "the table or the gateway is read-only"),
    ("IllegalArgument", "HBase refuses"),
];

impl Failure {
    fn advice(&self) -> Option<&'static str> {
        match self {
            Failure::Away(_) => None,
            Failure::Refused(text) => {
                LASTING.iter().find(|(name, _)| text.contains(name)).map(|(_, advice)| *advice)
            }
        }
    }

    /// Whether trying again mends it: a region moves, a server is away.
    pub(crate) fn is_passing(&self) -> bool {
        self.advice().is_none()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Away(text) => f.write_str(text),
            Failure::Refused(text) => {
                let line = text.lines().next().unwrap_or_default();
                let start: String = line.chars().take(TEXT_CHARS_MAX).collect();
                f.write_str(&start)
            }
        }
    }
}

impl std::error::Error for Failure {}

/// A call's result with the failure in the error's words: what could not be done at `place`, why, and who can mend it.
pub(crate) trait Place<T> {
    fn at(self, place: &str, what: &str) -> Result<T>;
}

impl<T> Place<T> for Result<T, Failure> {
    fn at(self, place: &str, what: &str) -> Result<T> {
        self.map_err(|failure| match failure.advice() {
            None => Error::retry(format!("{place}: {what}")).because(failure),
            Some(advice) => Error::reconfigure(format!("{place}: {what}: {advice}")).because(failure),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ErrorKind;

    #[test]
    fn who_can_mend_it_follows_from_what_hbase_says() {
        let refused = |text: &str| Failure::Refused(text.to_owned());
        for (failure, kind, text) in [
            (Failure::Away("refused".to_owned()), ErrorKind::Retry, "table t: can't be written: refused"),
            (
                refused("org.apache.hadoop.hbase.NotServingRegionException: t\n\tat x"),
                ErrorKind::Retry,
                "Exception: t",
            ),
            (
                refused("org.apache.hadoop.hbase.TableNotFoundException: t"),
                ErrorKind::Reconfigure,
                "make it: org",
            ),
            (
                refused(
                    "RetriesExhaustedWithDetailsException: Failed 1 action: \n Caused by: NoSuchColumnFamilyException",
                ),
                ErrorKind::Reconfigure,
                "no such family",
            ),
        ] {
            let error = Err::<(), _>(failure).at("table t", "can't be written").unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text) && !error.to_string().contains('\n'), "{error}");
        }
    }
}
