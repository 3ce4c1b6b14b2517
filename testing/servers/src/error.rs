//! What can go wrong with a server, said so that the reader knows what to do next.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// How many of a log's last lines an error shows.
const TAIL_LINES: usize = 15;

/// Why a server is not there. Its text is complete: the cause, the log's last lines, and what to install where that helps.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// A program that must be on this machine is not.
    Missing {
        /// What is missing and what for, as the start of a sentence: `Maven is needed to fetch Apache Kafka 4.1.0`.
        what: String,
        /// The one command that installs it.
        install: String,
    },
    /// Maven could not bring the files.
    Fetch {
        /// What was to be fetched.
        what: String,
        /// The last lines that Maven printed.
        output: String,
    },
    /// The server ended, or was not ready in time.
    Server {
        /// What happened, as a sentence.
        what: String,
        /// Where its log is.
        log: PathBuf,
        /// The last lines of that log.
        tail: String,
    },
    /// A client's call to the server failed.
    Client {
        /// What was tried.
        what: String,
        /// What the client library answered.
        cause: String,
    },
    /// The tests' shared servers are not there.
    NotShared {
        /// The environment variable that is not set.
        variable: &'static str,
    },
    /// The operating system refused.
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

impl ServerError {
    pub(crate) fn server(what: impl Into<String>, log: &Path) -> Self {
        let text = fs::read(log).unwrap_or_default();
        let tail = last_lines(&String::from_utf8_lossy(&text));
        Self::Server { what: what.into(), log: log.to_owned(), tail }
    }

    #[cfg(feature = "load")]
    pub(crate) fn client(what: impl Into<String>, cause: impl fmt::Display) -> Self {
        Self::Client { what: what.into(), cause: cause.to_string() }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { what, install } => {
                write!(f, "{what}; install it with: {install} (or your system's package manager)")
            }
            Self::Fetch { what, output } => {
                write!(
                    f,
                    "{what} could not be fetched from Maven Central; is the network up? Maven's last lines:\n{output}"
                )
            }
            Self::Server { what, log, tail } => {
                write!(f, "{what}; the last lines of {}:\n{tail}", log.display())
            }
            Self::Client { what, cause } => write!(f, "{what}: {cause}"),
            Self::NotShared { variable } => {
                write!(f, "{variable} is not set: this test needs the servers that `cargo xtask test` starts")
            }
            Self::Io { what, source } => write!(f, "{what}: {source}"),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Says what was tried when the operating system refuses.
pub(crate) trait Tried<T> {
    /// Turns the refusal into a [`ServerError::Io`] that opens with `what`.
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, ServerError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, ServerError> {
        self.map_err(|source| ServerError::Io { what: what(), source })
    }
}

/// The end of `text` that a person still reads.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_is_named_with_the_command_that_installs_it() {
        let error = ServerError::Missing {
            what: "Maven is needed to fetch Apache Kafka 4.1.0".into(),
            install: "apt-get install maven".into(),
        };
        assert_eq!(
            error.to_string(),
            "Maven is needed to fetch Apache Kafka 4.1.0; install it with: apt-get install maven \
             (or your system's package manager)"
        );
    }

    #[test]
    fn only_the_last_lines_of_a_long_log_are_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let tail = last_lines(&log);
        assert_eq!((tail.lines().next(), tail.lines().last()), (Some("line 85"), Some("line 99")));
    }
}
