//! Records pushed from operator to operator, without anything kept between them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tidegate_core::{Batch, PartitionId};

/// What a stream can carry.
#[diagnostic::on_unimplemented(
    message = "a stream can't carry `{Self}`",
    note = "records go to worker threads, are copied where two operators keep the same one, and are shown when a function fails on \
            one: the type must be `Clone`, `Debug`, `Send` and hold no borrowed reference"
)]
pub trait Data: Clone + Debug + Send + 'static {}
impl<T: Clone + Debug + Send + 'static> Data for T {}

/// What can cross a shuffle, between threads and between processes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't cross a shuffle or go to an output that gathers its rows",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it, besides `Clone` and `Debug`"
)]
pub trait ExchangeData: Data + Serialize + DeserializeOwned {}
impl<T: Data + Serialize + DeserializeOwned> ExchangeData for T {}

/// A stage of a fused pipeline: takes records one by one.
///
/// Calls for one batch: `open` and `push` in any number, every partition of this worker opened at least once (empty ones
/// too); then `flush` once. Where there is no dataset in the batch, `flush` alone.
pub trait Push<T> {
    /// The records that follow belong to `partition` of `batch`.
    fn open(&mut self, batch: &Batch, partition: PartitionId);

    /// One record.
    fn push(&mut self, record: T);

    /// One record that somebody else needs too. A stage that only looks at it does not copy it.
    fn push_ref(&mut self, record: &T);

    /// The batch is through: whatever was held back for it goes on now.
    fn flush(&mut self, batch: &Batch);
}

/// The next stage.
pub(crate) type Next<T> = Box<dyn Push<T>>;

/// One stage feeding several: a record is copied only by those that change or keep it, and never for the last.
pub(crate) struct FanOut<T> {
    first: Vec<Next<T>>,
    last: Next<T>,
}

impl<T: 'static> FanOut<T> {
    /// All of `stages`; for a single one, that one itself.
    ///
    /// # Panics
    /// When there is none: an operator that leads to no output is not lowered.
    pub(crate) fn over(mut stages: Vec<Next<T>>) -> Next<T> {
        let last = stages.pop().expect("a lowered operator leads to an output");
        if stages.is_empty() { last } else { Box::new(FanOut { first: stages, last }) }
    }
}

impl<T> Push<T> for FanOut<T> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        for stage in &mut self.first {
            stage.open(batch, partition);
        }
        self.last.open(batch, partition);
    }

    fn push(&mut self, record: T) {
        for stage in &mut self.first {
            stage.push_ref(&record);
        }
        self.last.push(record);
    }

    fn push_ref(&mut self, record: &T) {
        for stage in &mut self.first {
            stage.push_ref(record);
        }
        self.last.push_ref(record);
    }

    fn flush(&mut self, batch: &Batch) {
        for stage in &mut self.first {
            stage.flush(batch);
        }
        self.last.flush(batch);
    }
}
