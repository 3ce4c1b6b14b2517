//! A job's graph, lowered to Timely Dataflow, and the workers that step it.
//!
//! The only crate that names timely. A [`Graph`] is built once, from [`Node`]s; each epoch lowers it anew on every worker.
//! Narrow operators fuse into one push pipeline ([`Push`]) up to an exchange, a union or an output. [`TimelyRuntimes`] has its
//! workers in this process, [`ClusterRuntimes`] in several that speak over sockets we open. May build and step
//! timely; must never decide what a batch contains, nor write anything durable.

mod blame;
mod cluster;
mod context;
mod counts;
mod graph;
mod lower;
pub mod ops;
mod output;
mod partitioner;
mod paths;
mod push;
mod runtime;
#[cfg(feature = "sabotage")]
mod sabotage;
mod source;
mod state;
mod tally;
mod timing;
mod worker;

pub use blame::raise;
pub use cluster::{ClusterRuntimes, ClusterSettings, ClusterToken, PeerProcess};
pub use graph::{Cadence, Graph, Node, OutputDoor, PartitionCount, Presence};
pub use partitioner::Partitioner;
pub use paths::DataPath;
pub use push::{Data, ExchangeData, Push};
pub use runtime::TimelyRuntimes;
pub use state::{
    Difference, MigratableState, StateDescription, StateHandle, StateSettings, StoreChoice, Upgrade,
};
