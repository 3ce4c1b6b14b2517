//! One error for the whole project: what happened, and what its reader must do about it.

use std::error::Error as StdError;
use std::fmt;

/// A result with Tidegate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the reader of an error must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing: the outer system was away. The engine ends the epoch and runs the planned batches again.
    Retry,
    /// Change the job, its settings or its environment, then start again. Nothing that was committed is lost.
    Reconfigure,
    /// Decide: data that the job needs is gone or unreadable, and going on would lose it silently.
    DataLost,
    /// Nothing, if an older checkpoint is there: a file of this one can't be used, and the engine goes on from the one before.
    DamagedCheckpoint,
    /// Mend the function of the job that panicked or gave an error.
    UserCode,
    /// Report it: an invariant of Tidegate does not hold.
    Bug,
}

/// What went wrong, in words that name the thing, the place and the way out.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None }
    }

    /// The outer system was away; running the batch again mends it.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retry, message)
    }

    /// The job, a setting or the environment must change.
    pub fn reconfigure(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Reconfigure, message)
    }

    /// Data is gone or unreadable.
    pub fn data_lost(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::DataLost, message)
    }

    /// A file of a checkpoint can't be used.
    pub fn damaged_checkpoint(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::DamagedCheckpoint, message)
    }

    /// A function of the job failed.
    pub fn user_code(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UserCode, message)
    }

    /// An invariant of Tidegate does not hold.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts `what` before the message: `what: message`.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What the reader must do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut said = self.message.clone();
        let mut cause = self.source.as_ref().map(|source| source.as_ref() as &dyn StdError);
        while let Some(error) = cause {
            // Many libraries end an error with its cause, and give the cause too.
            let text = error.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_its_causes_in_order() {
        let disk = std::io::Error::other("no space left on device");
        let error = Error::reconfigure("journal/1.log: can't append").because(disk).context("batch 7");
        assert_eq!(error.to_string(), "batch 7: journal/1.log: can't append: no space left on device");
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
    }

    /// Says its cause itself, as many do.
    #[derive(Debug)]
    struct Telling(&'static str, Option<Box<dyn StdError + Send + Sync>>);

    impl fmt::Display for Telling {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)?;
            self.1.iter().try_for_each(|cause| write!(f, " - {cause}"))
        }
    }

    impl StdError for Telling {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            self.1.as_deref().map(|cause| cause as &(dyn StdError + 'static))
        }
    }

    #[test]
    fn what_an_error_says_of_its_causes_itself_is_said_once() {
        let status = Telling("status 403", None);
        let request = Telling("request", Some(Box::new(Telling("retried", Some(Box::new(status))))));
        let error = Error::retry("s3://b/x: can't be put").because(request);
        assert_eq!(error.to_string(), "s3://b/x: can't be put: request - retried - status 403");
    }
}
