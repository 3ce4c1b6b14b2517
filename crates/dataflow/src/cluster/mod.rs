//! The dataflow as several processes: the driver's, which is process 0 of the mesh, and its peers.
//!
//! Every process runs the same program and so builds the same graph. The driver listens; each [`PeerProcess`] keeps one
//! control connection to it, over which it is ordered to start an epoch, run, commit and stop, and reports what its workers and
//! writers did. For each epoch the processes open new sockets to each other (a higher index connects to a lower) and hand
//! them to timely. A connection begins with the job's [`ClusterToken`]; nothing else that arrives is looked at before.
//! What arrives after it is bounded. Connections are not encrypted, so a mesh belongs on the loopback or a private network.
//!
//! When a process is lost its connections break, which ends the epoch with an error of kind `Retry` that names it; the next
//! epoch waits for a process with its index to come back. Timely's own network threads panic on a broken socket; here
//! they never see one (see `mesh`), so a lost peer takes nothing else down.

mod door;
mod driver;
mod frame;
mod mesh;
mod message;
mod peer;
mod token;

pub use driver::{ClusterRuntimes, ClusterSettings};
pub use peer::PeerProcess;
pub use token::ClusterToken;
