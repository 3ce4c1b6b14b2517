//! What a job is, told without running it: for tools that compare it with a checkpoint.

use crate::{Error, PathGuarantee, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use tidegate_core::{OutputId, StateId, StreamId};
use tidegate_dataflow::StateDescription;

/// Names the file into which [`start`](crate::StreamingContext::start) writes a [`JobDescription`]; the process then ends with
/// exit code 0, before anything is reached, read or written.
pub const DESCRIBE_ENV: &str = "TIDEGATE_DESCRIBE";

/// What a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDescription {
    /// The application's name.
    pub app: String,
    /// Length of a batch in milliseconds.
    pub interval_ms: u64,
    /// Operators, in the order in which they were built.
    pub operators: Vec<String>,
    /// Input streams that lead to an output, with what they are.
    pub inputs: Vec<(StreamId, String)>,
    /// Outputs, with what they are.
    pub outputs: Vec<(OutputId, String)>,
    /// States.
    pub states: Vec<StateDescription>,
    /// States of a checkpoint that the job may leave behind.
    pub dropped: Vec<StateId>,
    /// What it promises from each input to each output.
    pub paths: Vec<PathGuarantee>,
}

impl JobDescription {
    /// Writes it as JSON.
    ///
    /// # Errors
    /// `Reconfigure` when the file can't be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a description has string keys only");
        let refused =
            |e| Error::reconfigure(format!("{}: can't write what the job is", file.display())).because(e);
        std::fs::write(file, text).map_err(refused)
    }

    /// Reads what a job wrote.
    ///
    /// # Errors
    /// `Reconfigure` when it is not there or something else.
    pub fn read(file: &Path) -> Result<JobDescription> {
        let refused = || Error::reconfigure(format!("{}: no description of a job", file.display()));
        let text = std::fs::read_to_string(file).map_err(|e| refused().because(e))?;
        serde_json::from_str(&text).map_err(|e| refused().because(e))
    }
}
