//! What the processes of a cluster tell each other.

use crate::counts::Counts;
use crate::graph::GraphShape;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tidegate_core::{BatchId, BatchPlan, Error, ErrorKind, OutputId, OutputReport, PartitionId};

/// Who connects, and what for. The first message on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hello {
    /// To the driver: process `process` is there; others reach it at `port` of the address it comes from.
    Control { process: usize, port: u16 },
    /// To a process of a lower index: a connection of the mesh of `epoch`.
    Mesh { epoch: u64, process: usize },
}

/// From the driver to a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Join the mesh of a new epoch.
    Start(Box<Start>),
    /// Run a batch.
    Run(BatchPlan),
    /// Commit a batch in every writer.
    Commit(BatchId),
    /// End the epoch.
    Stop,
    /// The job has ended.
    Leave,
}

/// An epoch as a process must start it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Number of the mesh, never used twice by a driver.
    pub(crate) epoch: u64,
    /// Workers in each process.
    pub(crate) workers: usize,
    /// Where processes 1, 2 and so on take connections. Process 0 does at the driver's address.
    pub(crate) peers: Vec<SocketAddr>,
    /// The graph that the driver built.
    pub(crate) shape: GraphShape,
    pub(crate) first: BatchId,
    pub(crate) held: BTreeMap<OutputId, BTreeMap<PartitionId, BatchId>>,
    pub(crate) committed: BatchId,
    pub(crate) careful: bool,
}

/// From a process to the driver.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) epoch: u64,
    pub(crate) what: What,
}

/// What a process reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum What {
    Built { seats: usize },
    Ready,
    Processed { batch: BatchId, counts: Counts },
    Prepared(BatchId),
    Committed { batch: BatchId, done: OutputReport },
    Failed { kind: Kind, message: String },
}

/// An [`ErrorKind`] on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Retry,
    Reconfigure,
    DataLost,
    UserCode,
    Bug,
}

impl What {
    /// An error, with its causes as text.
    pub(crate) fn failed(error: &Error) -> What {
        let kind = match error.kind() {
            ErrorKind::Retry => Kind::Retry,
            ErrorKind::Reconfigure => Kind::Reconfigure,
            ErrorKind::DataLost => Kind::DataLost,
            ErrorKind::UserCode => Kind::UserCode,
            _ => Kind::Bug,
        };
        What::Failed { kind, message: error.to_string() }
    }
}

impl Kind {
    pub(crate) fn error(self, message: String) -> Error {
        let kind = match self {
            Kind::Retry => ErrorKind::Retry,
            Kind::Reconfigure => ErrorKind::Reconfigure,
            Kind::DataLost => ErrorKind::DataLost,
            Kind::UserCode => ErrorKind::UserCode,
            Kind::Bug => ErrorKind::Bug,
        };
        Error::new(kind, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::frame;
    use crate::counts::Skipped;
    use tidegate_core::RecordAges;

    #[test]
    fn a_start_with_all_it_carries_is_read_as_it_was_sent() {
        let held = BTreeMap::from([("counts".into(), BTreeMap::from([(PartitionId(3), BatchId(9))]))]);
        let peers = vec!["[::1]:4711".parse().unwrap()];
        let start = Start {
            epoch: 2,
            workers: 4,
            peers,
            shape: GraphShape::default(),
            first: BatchId(10),
            held: held.clone(),
            committed: BatchId(9),
            careful: false,
        };
        let bytes = frame::encode(&Order::Start(Box::new(start))).unwrap();
        let Some(Order::Start(read)) = frame::read(&mut &bytes[..]).unwrap() else { panic!("a start") };
        assert_eq!((read.first, read.held), (BatchId(10), held));
    }

    #[test]
    fn what_was_counted_is_read_as_it_was_sent() {
        let mut counts = Counts::default();
        // Ages before the batch and after it.
        counts.read(8, &RecordAges(BTreeMap::from([(-5, 1), (1200, 7)])));
        counts.skipped("decode #1", Skipped { records: 2, first: (PartitionId(3), "no JSON".to_owned()) });
        let what = What::Processed { batch: BatchId(1), counts: counts.clone() };
        let bytes = frame::encode(&Report { epoch: 1, what }).unwrap();
        let report: Report = frame::read(&mut &bytes[..]).unwrap().unwrap();
        assert!(matches!(report.what, What::Processed { counts: read, .. } if read == counts));
    }
}
