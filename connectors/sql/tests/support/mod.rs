//! Batches and steps of one writer, for the tests of both databases.
#![allow(dead_code, unused_imports, reason = "no test uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[cfg(feature = "postgres")]
pub(crate) mod server;

use std::sync::Arc;
pub(crate) use tidegate::testkit::outputs::{Epoch, batch, plan};
use tidegate_core::{
    Batch, Error, Held, Output, OutputContext, PartitionId, Placement, Result, Seat, Writer,
};

pub(crate) type Count = (String, i64);

pub(crate) fn count(word: &str, count: i64) -> Count {
    (word.to_owned(), count)
}

/// A batch that takes none.
pub(crate) fn idle(id: u64) -> Batch {
    Batch::new(Arc::new(plan(id, id * 10, id * 10)))
}

pub(crate) fn context(output: &str, job: Option<&str>) -> OutputContext {
    OutputContext { output: output.into(), job: job.map(Into::into), new_job: "job-1".into() }
}

/// Opens `output` as `out` of `job-1`.
pub(crate) fn open<T>(output: &impl Output<T>) -> Result<Held> {
    output.open(&context("out", Some("job-1")))
}

pub(crate) fn writer<T>(output: &impl Output<T>) -> Box<dyn Writer<T>> {
    seat(output, 0, 1).unwrap()
}

pub(crate) fn seat<T>(output: &impl Output<T>, worker: usize, workers: usize) -> Result<Box<dyn Writer<T>>> {
    output.writer(&Seat { output: "out".into(), worker, workers })
}

/// Number of partitions, and the partition of each row.
pub(crate) fn placed<T>(output: &impl Output<T>, rows: &[T]) -> (u32, Vec<PartitionId>) {
    let Placement::Hash { partitions, hash } = output.placement() else { panic!("not placed by hash") };
    let places = rows.iter().map(|row| PartitionId((hash(row) % u64::from(partitions)) as u32)).collect();
    (partitions, places)
}

pub(crate) const ALL: [PartitionId; 1] = [PartitionId(0)];

/// Writes and prepares one batch of one partition.
pub(crate) fn prepare<T>(writer: &mut dyn Writer<T>, batch: &Batch, rows: Vec<T>) -> Result<()> {
    writer.write(batch, PartitionId(0), rows)?;
    writer.prepare(batch, &ALL)
}

/// Writes, prepares and commits one batch of one partition.
pub(crate) fn run<T>(writer: &mut dyn Writer<T>, batch: &Batch, rows: Vec<T>) -> Result<()> {
    prepare(writer, batch, rows)?;
    writer.commit(batch)
}

/// The message of what must have failed.
pub(crate) fn refusal<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    }
}
