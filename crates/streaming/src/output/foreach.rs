//! Functions of the job as outputs.

use crate::{Batch, Data, Error, PartitionId, Result};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use tidegate_core::{Delivery, Held, Output, OutputContext, Seat, Writer, Writers};

/// What a function of the job may return: nothing, or a `Result` whose error stops the job.
pub trait Outcome {
    /// As a result.
    ///
    /// # Errors
    /// The function's own, as `UserCode`.
    fn into_result(self) -> Result<()>;
}

impl Outcome for () {
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> Outcome for Result<(), E> {
    fn into_result(self) -> Result<()> {
        self.map_err(|error| Error::user_code("error").because(error))
    }
}

/// The rows of a batch that fall to one writer, by partition.
type Rows<T> = BTreeMap<PartitionId, Vec<T>>;
type Run<T> = Arc<dyn Fn(&Batch, Rows<T>) -> Result<()> + Send + Sync>;

/// Runs a function when the batch is committed: by then no output can refuse it any more.
pub(crate) struct Foreach<T> {
    run: Run<T>,
    writers: Writers,
    rows: PhantomData<fn(T)>,
}

impl<T: Data> Foreach<T> {
    pub(crate) fn partitions<R: Outcome>(
        f: impl Fn(&Batch, PartitionId, std::vec::IntoIter<T>) -> R + Send + Sync + 'static,
    ) -> Self {
        let run = move |batch: &Batch, rows: Rows<T>| {
            rows.into_iter()
                .try_for_each(|(partition, rows)| f(batch, partition, rows.into_iter()).into_result())
        };
        Foreach { run: Arc::new(run), writers: Writers::EachWorker, rows: PhantomData }
    }

    pub(crate) fn records<R: Outcome>(f: impl Fn(&Batch, T) -> R + Send + Sync + 'static) -> Self {
        let run = move |batch: &Batch, rows: Rows<T>| {
            rows.into_values().flatten().try_for_each(|row| f(batch, row).into_result())
        };
        Foreach { run: Arc::new(run), writers: Writers::EachWorker, rows: PhantomData }
    }

    pub(crate) fn collected<R: Outcome>(f: impl Fn(&Batch, Vec<T>) -> R + Send + Sync + 'static) -> Self {
        let run = move |batch: &Batch, rows: Rows<T>| {
            f(batch, rows.into_values().flatten().collect()).into_result()
        };
        Foreach { run: Arc::new(run), writers: Writers::One, rows: PhantomData }
    }
}

impl<T: Data> Output<T> for Foreach<T> {
    fn describe(&self) -> String {
        "a function of the job".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn writers(&self) -> Writers {
        self.writers
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        Ok(Held::default())
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(ForeachWriter { run: self.run.clone(), rows: Rows::new() }))
    }
}

struct ForeachWriter<T> {
    run: Run<T>,
    rows: Rows<T>,
}

impl<T> Writer<T> for ForeachWriter<T> {
    fn write(&mut self, _: &Batch, partition: PartitionId, mut rows: Vec<T>) -> Result<()> {
        self.rows.entry(partition).or_default().append(&mut rows);
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, partitions: &[PartitionId]) -> Result<()> {
        for partition in partitions {
            self.rows.entry(*partition).or_default();
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        (self.run)(batch, rows).map_err(|e| e.context(format!("its function failed on batch {}", batch.id())))
    }
}
