//! What can be done to any store's server, for tests that are the same for all of them.

use crate::{Alluxio, Hdfs, S3, ServerError};

/// A server of a store: as the methods of the same names of each.
pub trait Server: Send {
    /// Whether all its processes are there.
    fn is_running(&mut self) -> bool;

    /// Ends it in order and waits. Does nothing if it is stopped.
    ///
    /// # Errors
    /// A process does not end in time, or fails as it ends.
    fn stop(&mut self) -> Result<(), ServerError>;

    /// Ends it as a crash would (SIGKILL).
    fn kill(&mut self);

    /// Starts it after [`stop`](Server::stop) or [`kill`](Server::kill): same ports, same data. A running one is left alone.
    ///
    /// # Errors
    /// A process ends at once, or is not ready in time.
    fn start_again(&mut self) -> Result<(), ServerError>;
}

macro_rules! servers {
    ($($kind:ident)*) => {$(
        impl Server for $kind {
            fn is_running(&mut self) -> bool {
                $kind::is_running(self)
            }

            fn stop(&mut self) -> Result<(), ServerError> {
                $kind::stop(self)
            }

            fn kill(&mut self) {
                $kind::kill(self);
            }

            fn start_again(&mut self) -> Result<(), ServerError> {
                $kind::start_again(self)
            }
        }
    )*};
}

servers! { Alluxio Hdfs S3 }
