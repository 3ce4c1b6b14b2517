//! Datasets that a stream keeps in memory for a while, and reading them: `remember` and `slice`.

use crate::{Batch, BatchTime, DStream, Data, Error, ExchangeData, PartitionId, Result, StreamingContext};
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_core::{BatchId, Delivery, Held, OperatorId, Output, OutputContext, Seat, Writer, Writers};

/// The streams of a context that remember, and for how long at least.
#[derive(Default)]
pub(crate) struct Remembering {
    at_least: Mutex<Duration>,
    streams: Mutex<HashMap<OperatorId, Arc<dyn Any + Send + Sync>>>,
}

impl StreamingContext {
    /// Each stream that remembers keeps its datasets for at least `duration`.
    ///
    /// In Spark this makes *every* stream remember. Here a stream is asked by [`DStream::remember`], because what all of them
    /// give would have to be copied and kept for the few that are ever looked at.
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn remember(&self, duration: Duration) -> Result<()> {
        self.refuse_if_started("remember()")?;
        let mut at_least = lock(&self.remembering().at_least);
        *at_least = duration.max(*at_least);
        Ok(())
    }
}

impl<T: ExchangeData> DStream<T> {
    /// Keeps the datasets of the last `duration` in memory once they are committed, for [`slice`](DStream::slice). Called more
    /// than once, the longest counts.
    ///
    /// They are kept by the process of the driver, as they are: a minute of a stream must fit in its memory to be remembered.
    /// They end with it, and after a restart the stream begins to remember anew. Unlike in Spark, a stream that remembers is
    /// computed even if nothing else uses it.
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn remember(&self, duration: Duration) -> Result<()> {
        self.context().refuse_if_started("remember()")?;
        if let Some(kept) = self.kept() {
            let mut kept = lock(&kept.datasets);
            kept.duration = duration.max(kept.duration);
            return Ok(());
        }
        let kept = Kept {
            context: Arc::downgrade(self.context().remembering()),
            slide_ms: self.node().cadence().slide_ms(),
            datasets: Arc::new(Mutex::new(Datasets { duration, ..Datasets::default() })),
        };
        self.output(&self.free_name("remember"), kept.clone())?;
        lock(&self.context().remembering().streams).insert(self.node().id(), Arc::new(kept));
        Ok(())
    }

    /// The datasets of the batches from `from` to `to`, both included, with their times: of a stream that remembers, in the order of
    /// time.
    ///
    /// Both times are moved back to the stream's slide, as in Spark: with batches at 1,000 and 2,000 ms `slice(1999, 2000)` gives
    /// both. A batch in which the stream has no dataset is missing; an empty one is empty. Only committed batches are there:
    /// where Spark would compute a batch that is not there yet, it is missing here.
    ///
    /// ```
    /// # use tidegate::{BatchTime, Conf, testkit::{MemoryInput, TestJob}};
    /// # use std::time::Duration;
    /// # fn main() -> tidegate::Result<()> {
    /// let input = MemoryInput::new(1);
    /// let mut squares = None;
    /// let mut job = TestJob::start(Conf::new(), None, |ssc| {
    ///     let stream = ssc.input_stream("numbers", input.clone())?.map(|n: u64| n * n);
    ///     stream.remember(Duration::from_secs(60))?;
    ///     squares = Some(stream);
    ///     Ok(())
    /// })?;
    /// input.push(0, [2, 3]);
    /// let time = job.next_batch()?.time();
    /// assert_eq!(squares.unwrap().slice(BatchTime(0), time)?, [(time, vec![4, 9])]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when the stream does not remember, or no longer that far back; when the context was not started; when
    /// `to` is before `from`.
    pub fn slice(&self, from: BatchTime, to: BatchTime) -> Result<Vec<(BatchTime, Vec<T>)>> {
        self.context().engine()?;
        let kept = self.kept().ok_or_else(|| {
            Error::reconfigure(format!(
                "slice() of {}, which keeps no datasets; call remember(duration) on it before start()",
                self.node().name()
            ))
        })?;
        kept.slice(from, to).map_err(|error| error.context(format!("slice() of {}", self.node().name())))
    }

    fn kept(&self) -> Option<Arc<Kept<T>>> {
        let kept = lock(&self.context().remembering().streams).get(&self.node().id()).cloned()?;
        kept.downcast().ok()
    }
}

/// The memory of one stream, as the output that fills it.
struct Kept<T> {
    context: std::sync::Weak<Remembering>,
    slide_ms: u64,
    datasets: Arc<Mutex<Datasets<T>>>,
}

struct Datasets<T> {
    duration: Duration,
    /// The time before the job's first batch.
    zero: BatchTime,
    by_time: BTreeMap<BatchTime, Vec<T>>,
    /// What came before this time is not remembered.
    since: Option<BatchTime>,
}

impl<T> Default for Datasets<T> {
    fn default() -> Self {
        Datasets {
            duration: Duration::ZERO,
            zero: BatchTime::default(),
            by_time: BTreeMap::new(),
            since: None,
        }
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Kept { context: self.context.clone(), slide_ms: self.slide_ms, datasets: self.datasets.clone() }
    }
}

impl<T: Data> Kept<T> {
    fn slice(&self, from: BatchTime, to: BatchTime) -> Result<Vec<(BatchTime, Vec<T>)>> {
        if to < from {
            return Err(Error::reconfigure(format!("from {from} to {to} is no span of time")));
        }
        let datasets = lock(&self.datasets);
        let Some(since) = datasets.since else { return Ok(Vec::new()) };
        let zero = datasets.zero.0;
        let aligned = |time: BatchTime| {
            let after = time.0.saturating_sub(zero);
            BatchTime(zero + after - after % self.slide_ms)
        };
        let (from, to) = (aligned(from), aligned(to));
        if from < since {
            return Err(Error::reconfigure(format!(
                "it begins at {from}, but datasets are remembered since {since} only; remember() them for longer"
            )));
        }
        Ok(datasets.by_time.range(from..=to).map(|(time, rows)| (*time, rows.clone())).collect())
    }

    fn keep(&self, batch: &Batch, rows: Vec<T>) {
        let at_least = self.context.upgrade().map_or(Duration::ZERO, |context| *lock(&context.at_least));
        let mut datasets = lock(&self.datasets);
        let (time, zero) = (batch.time(), batch.plan().zero);
        datasets.zero = zero;
        datasets.by_time.insert(time, rows);
        // A job that has begun with this process has no past that could be missing.
        let first = batch.id() == BatchId::FIRST || time.0 <= zero.0 + self.slide_ms;
        datasets.since.get_or_insert(if first { BatchTime(0) } else { time });
        let span = datasets.duration.max(at_least).as_millis() as u64;
        if let Some(newest) = datasets.by_time.keys().next_back().copied()
            && let Some(over) = newest.0.checked_sub(span)
            && datasets.by_time.first_key_value().is_some_and(|(oldest, _)| oldest.0 <= over)
        {
            let kept = datasets.by_time.split_off(&BatchTime(over + 1));
            datasets.by_time = kept;
            datasets.since = datasets.since.max(Some(BatchTime(over + 1)));
        }
    }
}

impl<T: Data> Output<T> for Kept<T> {
    fn describe(&self) -> String {
        "memory of the process".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn writers(&self) -> Writers {
        Writers::One
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        Ok(Held::default())
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<T>>> {
        Ok(Box::new(Keeper { kept: self.clone(), rows: BTreeMap::new() }))
    }
}

struct Keeper<T> {
    kept: Kept<T>,
    rows: BTreeMap<PartitionId, Vec<T>>,
}

impl<T: Data> Writer<T> for Keeper<T> {
    fn write(&mut self, _: &Batch, partition: PartitionId, mut rows: Vec<T>) -> Result<()> {
        self.rows.entry(partition).or_default().append(&mut rows);
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, _: &[PartitionId]) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let rows = std::mem::take(&mut self.rows).into_values().flatten().collect();
        self.kept.keep(batch, rows);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
