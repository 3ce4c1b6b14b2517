//! What the user may choose of an output.

use std::time::Duration;

/// What becomes of a batch with documents that the index refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Refused {
    /// The job stops before anything of the batch is seen in any output. Its error names the first documents and the reasons.
    #[default]
    Fail,
    /// The refused documents are written into the index of this name, each with the reason and its batch, as part of the same
    /// batch. It is made if it is missing.
    DeadLetter(String),
}

/// When a search finds what a commit wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// At the index's own next refresh, within a second unless it is configured.
    #[default]
    Later,
    /// Before the commit is over: it waits for that refresh, with each of its requests.
    WaitFor,
    /// At once, by a refresh at the end of each commit, which costs the server much.
    Now,
}

/// Bounds of what is sent and kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bulk_documents: usize,
    pub(crate) bulk_bytes: usize,
    pub(crate) batch_bytes: usize,
    /// How long one request may take.
    pub(crate) request: Duration,
    /// How long a call is tried anew.
    pub(crate) patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            bulk_documents: 1_000,
            bulk_bytes: 5 * 1024 * 1024,
            batch_bytes: 256 * 1024 * 1024,
            request: Duration::from_secs(30),
            patience: Duration::from_secs(10),
        }
    }
}
