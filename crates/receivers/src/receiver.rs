//! What a receiver must do.

use crate::ReceiverHandle;
use tidegate_core::{InputGuarantee, Result};

/// Gets records from an origin and stores them: Spark's `Receiver`.
///
/// A receiver is started, and started again after each failure, on a thread of its supervisor. It lives in the process of the
/// driver, for the whole run.
pub trait Receiver<T>: Send + 'static {
    /// What it is and where it gets records from, for logs and the guarantee report: `socket 127.0.0.1:9999`. Never a secret.
    fn describe(&self) -> String;

    /// What becomes of records after a crash, with a write-ahead log (`logged`) and without. Say what is true of the origin: one
    /// that repeats what was not acknowledged and numbers what it sends is exactly-once with a log; one that forgets what it has sent
    /// is not.
    fn promise(&self, logged: bool) -> InputGuarantee;

    /// Begins to receive. Must not wait for records: what waits belongs on a thread that [`ReceiverHandle::spawn`] starts.
    ///
    /// # Errors
    /// `Retry`: the origin is away, the receiver is started again after a delay. Others end the job.
    fn on_start(&mut self, handle: ReceiverHandle<T>) -> Result<()>;

    /// Ends receiving: whatever makes the threads of this receiver return. After it the supervisor waits for them. A thread that looks
    /// at [`ReceiverHandle::is_stopped`] at least once a second needs nothing here.
    fn on_stop(&mut self) {}
}
