//! What every place that is written to has to have: a way for a job, and the same by hand.

use crate::row::{Row, Rows};
use tidegate::{DStream, Result};
use tidegate_benches::Failure;

/// The name that outputs get where they want one.
pub(crate) const OUTPUT: &str = "rows";

/// A place for rows.
pub(crate) trait Sink: Sync {
    /// Makes what must be there before anyone writes, in the same way for both.
    fn make(&self) -> std::result::Result<(), Failure> {
        Ok(())
    }

    /// Makes it an output of a job.
    fn save(&self, rows: &DStream<Row>) -> Result<()>;

    /// A client by hand, one of several.
    fn client(&self, thread: u64) -> std::result::Result<Box<dyn Client>, Failure>;

    /// How many rows it holds; none where that can't be told cheaply.
    fn rows(&self) -> std::result::Result<Option<u64>, Failure>;
}

/// A loop's way to write: the best that can be had without more than this.
pub(crate) trait Client {
    /// Writes a batch, so that it is there when this returns, whatever happens to this process then.
    fn write(&mut self, batch: u64, rows: Rows) -> std::result::Result<(), Failure>;
}
