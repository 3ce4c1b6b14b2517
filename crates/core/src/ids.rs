//! Names that survive a restart. Newtypes, so that a batch is never taken for a partition.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Number of a batch within its job: 1, 2, 3 and so on without gaps, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub u64);

impl BatchId {
    /// The first batch of a job.
    pub const FIRST: BatchId = BatchId(1);

    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> BatchId {
        BatchId(self.0 + 1)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Time of a batch on the stream's clock: milliseconds since 1970-01-01 UTC, a multiple of the batch interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchTime(pub u64);

impl fmt::Display for BatchTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// One logical partition of a dataset. A property of the graph and the plan, never of the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Place of an operator in the graph, counted in the order in which the program builds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorId(pub u32);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                $name(name.to_owned())
            }
        }
    };
}

name! {
    /// Name of one job, made when its first checkpoint is made. What an output remembers carries it, so that
    /// the memory of one job is never taken for that of another.
    JobId
}
name! {
    /// Name of an input stream, the same after a restart.
    StreamId
}
name! {
    /// Name of an output, the same after a restart.
    OutputId
}
name! {
    /// Name of a state, the same after a restart.
    StateId
}
