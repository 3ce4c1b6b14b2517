//! The datasets of a window: the rows of each batch that still counts, by the batch's time.

use super::definition::{Origin, StateDefinition};
use super::view::{StateView, Views};
use crate::context::WorkerContext;
use crate::push::ExchangeData;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use tidegate_core::{PartitionId, Result};
use tidegate_state::Row;

/// Where a row is in a window: the time of its batch in milliseconds, and its place among the batch's rows.
pub(crate) type Slot = (u64, u64);

/// The rows of one batch in one partition.
pub(crate) struct Dataset<T> {
    pub(crate) time_ms: u64,
    pub(crate) rows: Vec<T>,
}

/// The rows of the partitions that one worker owns, oldest first. Copies are the same log.
pub(crate) struct WindowLog<T> {
    shared: Rc<RefCell<Log<T>>>,
}

struct Log<T> {
    definition: Arc<StateDefinition<Slot, T>>,
    partitions: BTreeMap<PartitionId, VecDeque<Dataset<T>>>,
    /// Batches after this time are in no view yet.
    viewed_ms: u64,
    /// Batches up to this time are out of the window.
    gone_ms: u64,
}

impl<T> Clone for WindowLog<T> {
    fn clone(&self) -> Self {
        WindowLog { shared: self.shared.clone() }
    }
}

impl<T: ExchangeData> WindowLog<T> {
    /// The log of `owned` partitions of a window of `length_ms`, filled from the checkpoint that the epoch begins with. Its files
    /// may hold batches that had left the window by then: they must not leave it a second time.
    pub(crate) fn open(
        definition: &Arc<StateDefinition<Slot, T>>,
        cx: &WorkerContext,
        owned: &[PartitionId],
        length_ms: u64,
    ) -> Result<WindowLog<T>> {
        let restored = cx.beginning.restore.as_ref();
        let gone_ms = restored.map_or(0, |checkpoint| checkpoint.plan.time.0.saturating_sub(length_ms));
        let mut found: BTreeMap<(PartitionId, u64, PartitionId, u64), T> = BTreeMap::new();
        let mut moved = false;
        definition.fill(cx, owned, &mut |partition, origin, row| {
            let (from, (time_ms, place)) = match origin {
                Origin::OwnFile => (partition, row.key),
                Origin::Moved(from) => (from, row.key),
            };
            moved |= origin != Origin::OwnFile;
            if let Some(value) = row.value.filter(|_| time_ms > gone_ms) {
                found.insert((partition, time_ms, from, place), value);
            }
            Ok(())
        })?;
        let mut partitions: BTreeMap<_, VecDeque<Dataset<T>>> =
            owned.iter().map(|partition| (*partition, VecDeque::new())).collect();
        let mut newest = 0;
        for ((partition, time_ms, _, _), value) in found {
            newest = newest.max(time_ms);
            push(partitions.entry(partition).or_default(), time_ms, [value]);
        }
        let viewed_ms = if moved { 0 } else { newest };
        let log = Log { definition: definition.clone(), partitions, viewed_ms, gone_ms };
        let log = WindowLog { shared: Rc::new(RefCell::new(log)) };
        cx.register(Box::new(log.clone()));
        Ok(log)
    }

    /// The partitions of this worker.
    pub(crate) fn owned(&self) -> Vec<PartitionId> {
        self.shared.borrow().partitions.keys().copied().collect()
    }

    /// Adds the rows of a batch to a partition.
    pub(crate) fn append(&self, partition: PartitionId, time_ms: u64, rows: impl IntoIterator<Item = T>) {
        push(self.shared.borrow_mut().partitions.entry(partition).or_default(), time_ms, rows);
    }

    /// Takes the datasets of batches up to `time_ms` out of a partition, oldest first.
    pub(crate) fn leaving(&self, partition: PartitionId, time_ms: u64) -> Vec<Dataset<T>> {
        let mut log = self.shared.borrow_mut();
        log.gone_ms = log.gone_ms.max(time_ms);
        let Some(datasets) = log.partitions.get_mut(&partition) else { return Vec::new() };
        let stay = datasets.partition_point(|dataset| dataset.time_ms <= time_ms);
        datasets.drain(..stay).collect()
    }

    /// Gives each row of a partition, oldest batch first.
    pub(crate) fn for_each(&self, partition: PartitionId, each: &mut dyn FnMut(&T)) {
        let log = self.shared.borrow();
        let datasets = log.partitions.get(&partition).into_iter().flatten();
        datasets.flat_map(|dataset| &dataset.rows).for_each(each);
    }
}

/// Rows of the newest batch go behind those it has.
fn push<T>(datasets: &mut VecDeque<Dataset<T>>, time_ms: u64, rows: impl IntoIterator<Item = T>) {
    match datasets.back_mut().filter(|newest| newest.time_ms == time_ms) {
        Some(newest) => newest.rows.extend(rows),
        None => {
            let rows: Vec<T> = rows.into_iter().collect();
            if !rows.is_empty() {
                datasets.push_back(Dataset { time_ms, rows });
            }
        }
    }
}

impl<T: ExchangeData> Views for WindowLog<T> {
    fn views(&mut self) -> Result<Vec<StateView>> {
        let mut log = self.shared.borrow_mut();
        let Log { definition, partitions, viewed_ms, gone_ms } = &mut *log;
        let (since, mut newest) = (*viewed_ms, *viewed_ms);
        let mut views = Vec::with_capacity(partitions.len());
        for (partition, datasets) in partitions {
            let mut rows: Vec<Row<Slot, T>> = Vec::new();
            for dataset in datasets.iter().filter(|dataset| dataset.time_ms > since) {
                newest = newest.max(dataset.time_ms);
                rows.extend(dataset.rows.iter().zip(0..).map(|(row, place)| Row {
                    key: (dataset.time_ms, place),
                    value: Some(row.clone()),
                    updated_ms: dataset.time_ms,
                }));
            }
            let (format, partition) = (definition.format().clone(), *partition);
            views.push(StateView {
                uid: definition.entry().uid(),
                partition,
                write: Box::new(move |storage, stem| {
                    let rows = tidegate_state::in_key_order(rows)?;
                    format.write(storage, stem, partition, rows.into_iter().map(Ok))
                }),
                merge: definition.merge(),
                oldest_ms: Some(*gone_ms + 1),
            });
        }
        *viewed_ms = newest;
        Ok(views)
    }
}
