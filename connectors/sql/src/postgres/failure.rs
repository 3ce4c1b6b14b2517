//! What an error of PostgreSQL means for the batch.

use crate::staging::shortened;
use postgres::error::SqlState;
use std::error::Error as _;
use tidegate_core::{Error, ErrorKind};

/// The error in Tidegate's words: what went wrong at `place`, and who can do something about it.
pub(super) fn failure(place: &str, error: &postgres::Error) -> Error {
    let Some(told) = error.as_db_error() else {
        return Error::new(kind_of_broken(error), format!("{place}: {}", chain(error)));
    };
    let (kind, advice) = meaning(told.code());
    let mut text = format!("{place}: {} (SQLSTATE {})", shortened(told.message(), 300), told.code().code());
    if let Some(detail) = told.detail() {
        // A detail can be a whole row.
        text.push_str(&format!(": {}", shortened(detail, 100)));
    }
    if !advice.is_empty() {
        text.push_str(&format!(": {advice}"));
    }
    Error::new(kind, text)
}

/// Who can mend what the server said.
fn meaning(code: &SqlState) -> (ErrorKind, &'static str) {
    match code.code() {
        "55P03" => (
            ErrorKind::Retry,
            "the lock is held by a session of an earlier run that the server has not found dead yet, by another output \
             that writes the same rows, or by another application; the batch is run again",
        ),
        "40001" | "40P01" => (ErrorKind::Retry, "the batch is run again"),
        "53100" => (
            ErrorKind::Retry,
            "the server's disk is full: free some space; nothing is lost, and the batch is run again",
        ),
        "53300" => (ErrorKind::Retry, "the server has no connection left; the batch is run again"),
        "57014" => (
            ErrorKind::Retry,
            "the statement was cancelled; the batch is run again. If it is for statement_timeout each time, raise that for the \
             job's user, or take smaller batches",
        ),
        "53200" => (ErrorKind::Retry, "the server has no memory left; the batch is run again"),
        "40003" => (ErrorKind::Retry, "the batch is run again, unless it is in"),
        "25P03" | "25P04" => (
            ErrorKind::Retry,
            "the server ends transactions that wait (idle_in_transaction_session_timeout, transaction_timeout); the batch is run \
             again. A batch waits between prepare and commit for all other outputs: raise the limit for the job's user",
        ),
        "XX001" | "XX002" => (ErrorKind::DataLost, "the server's data are damaged: bring back a copy"),
        "26000" | "42P05" => (
            ErrorKind::Reconfigure,
            "a pooler gives each transaction another session: have it keep sessions (pool_mode = session), or connect to the \
             server itself",
        ),
        "3F000" => (
            ErrorKind::Reconfigure,
            "create the schema, or name another: in the table's name, or by search_path in the URL",
        ),
        "25006" => (
            ErrorKind::Retry,
            "the server is a standby, or a primary that was replaced; target_session_attrs=read-write in the URL finds the \
             one that takes writes. The batch is run again",
        ),
        "57P01" | "57P02" | "57P03" | "57P05" => {
            (ErrorKind::Retry, "the batch is run again when the server is back")
        }
        code if code.starts_with("08") || code.starts_with("53") || code.starts_with("58") => {
            (ErrorKind::Retry, "the batch is run again when the server is back")
        }
        code if code.starts_with("28") => (ErrorKind::Reconfigure, "check user and password in the URL"),
        "3D000" => (ErrorKind::Reconfigure, "create the database, or name another in the URL"),
        "42501" => (
            ErrorKind::Reconfigure,
            "the user must be able to create tables in the table's schema and in the first schema of its search_path, or find the \
             table, tidegate_outputs and tidegate_batches there, with the right to SELECT, INSERT and UPDATE",
        ),
        _ => (ErrorKind::Reconfigure, ""),
    }
}

/// What an error means that the server did not send: the connection broke, or we did something wrong.
fn kind_of_broken(error: &postgres::Error) -> ErrorKind {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() {
            return ErrorKind::Retry;
        }
        cause = error.source();
    }
    // The crate keeps the kinds to itself; these two come without a cause.
    let text = error.to_string();
    if error.is_closed() || text.contains("timeout") || text.contains("error connecting") {
        ErrorKind::Retry
    } else {
        ErrorKind::Reconfigure
    }
}

fn chain(error: &postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_tried_again_or_must_be_mended() {
        let retry = [
            "08006", "08003", "57P01", "57P02", "57P03", "25P03", "40001", "40P01", "53100", "53300",
            "53200", "53400", "25P04", "40003", "57P05", "55P03", "57014", "25006", "58030",
        ];
        for code in retry {
            assert_eq!(meaning(&SqlState::from_code(code)).0, ErrorKind::Retry, "{code}");
        }
        for code in ["XX001", "XX002"] {
            assert_eq!(meaning(&SqlState::from_code(code)).0, ErrorKind::DataLost, "{code}");
        }
        for code in [
            "3F000", "26000", "57P04", "28P01", "3D000", "42501", "23505", "23514", "22003", "22001",
            "42P01", "XX000",
        ] {
            assert_eq!(meaning(&SqlState::from_code(code)).0, ErrorKind::Reconfigure, "{code}");
        }
    }
}
