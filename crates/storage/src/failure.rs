//! What the local file system refuses, as an error: whether it may pass.

use std::io::{self, ErrorKind};
use std::path::Path;
use tidegate_core::Error;

/// The error about `file`: `Retry` where its file system is away for a while, else `Reconfigure` with what helps.
pub(crate) fn of(file: &Path, what: &str, help: &str, e: io::Error) -> Error {
    let away =
        matches!(e.kind(), ErrorKind::StaleNetworkFileHandle | ErrorKind::TimedOut | ErrorKind::NetworkDown);
    let file = file.display();
    let error = if away {
        Error::retry(format!("{file}: {what}"))
    } else {
        Error::reconfigure(format!("{file}: {what}{help}"))
    };
    error.because(e)
}
