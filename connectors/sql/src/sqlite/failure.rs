//! What an error of SQLite means for the batch.

use rusqlite::ErrorCode;
use tidegate_core::{Error, ErrorKind};

/// The error in Tidegate's words: what went wrong at `place`, and who can do something about it.
pub(super) fn failure(place: &str, error: rusqlite::Error) -> Error {
    let (kind, advice) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            (ErrorKind::Retry, "another connection writes the file; the batch is run again")
        }
        Some(ErrorCode::DiskFull) => (
            ErrorKind::Retry,
            "the disk is full: free some space; nothing is lost, and the batch is run again",
        ),
        Some(ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted) => {
            (ErrorKind::Retry, "the batch is run again")
        }
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::Reconfigure, "the file is something else: name another, or move it away")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            (ErrorKind::DataLost, "the file is damaged: bring back a copy, or start with a new one")
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
            ErrorKind::Reconfigure,
            "the user that runs the job must be able to write the file and its directory, \
             where `-wal` and `-shm` files stand beside it",
        ),
        _ => (ErrorKind::Reconfigure, ""),
    };
    // Only the text: the error of a failed prepare would print the whole statement.
    let text = match &error {
        rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    };
    let advice = if advice.is_empty() { String::new() } else { format!(": {advice}") };
    Error::new(kind, format!("{place}: {text}{advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn an_error_says_who_can_mend_it() {
        let table = [
            (ffi::SQLITE_BUSY, ErrorKind::Retry),
            (ffi::SQLITE_LOCKED, ErrorKind::Retry),
            (ffi::SQLITE_FULL, ErrorKind::Retry),
            (ffi::SQLITE_IOERR_FSYNC, ErrorKind::Retry),
            (ffi::SQLITE_NOTADB, ErrorKind::Reconfigure),
            (ffi::SQLITE_CORRUPT, ErrorKind::DataLost),
            (ffi::SQLITE_READONLY, ErrorKind::Reconfigure),
            (ffi::SQLITE_CANTOPEN, ErrorKind::Reconfigure),
            (ffi::SQLITE_CONSTRAINT_CHECK, ErrorKind::Reconfigure),
            (ffi::SQLITE_ERROR, ErrorKind::Reconfigure),
        ];
        for (code, kind) in table {
            let error = failure("here", rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
            assert_eq!(error.kind(), kind, "{error}");
        }
        let full = rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_FULL),
            Some("database or disk is full".into()),
        );
        assert_eq!(
            failure("SQLite counts.db", full).to_string(),
            "SQLite counts.db: database or disk is full: the disk is full: free some space; nothing is lost, and the \
             batch is run again"
        );
    }
}
