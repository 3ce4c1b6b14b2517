//! The end of a stream whose output packs rows: they become bytes where they are, and those go to the writer.

use super::output::Place;
use crate::blame::cut;
use crate::context::WorkerContext;
use crate::lower::{Edge, Segment};
use crate::output::{SeatFor, WriterInbox};
use crate::push::{Data, Next, Push};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tidegate_core::{Batch, OutputId, Packed, Packer, Packing, PartitionId, Result};

pub(super) enum PackedTo<T> {
    Writer(WriterInbox<T>),
    Exchange(Edge<Packed>),
}

/// The last stage of a pipeline: rows in packed pieces to the writer, or over an exchange to the worker that has it.
pub(super) struct Pack<T> {
    cx: Rc<WorkerContext>,
    output: OutputId,
    packing: Packing<T>,
    to: PackedTo<T>,
    place: Place<T>,
    /// Of the batch at hand.
    packers: BTreeMap<PartitionId, Box<dyn Packer<T>>>,
    at: PartitionId,
    /// Partitions of the dataset.
    opened: BTreeSet<PartitionId>,
    batch: Option<Batch>,
}

impl<T: Data> Pack<T> {
    pub(super) fn stage(
        segment: &Segment<'_>,
        seat: &SeatFor<T>,
        packing: Packing<T>,
        to: PackedTo<T>,
        place: Place<T>,
    ) -> Next<T> {
        Box::new(Pack {
            cx: segment.cx().clone(),
            output: seat.id.clone(),
            packing,
            to,
            place,
            packers: BTreeMap::new(),
            at: PartitionId(0),
            opened: BTreeSet::new(),
            batch: None,
        })
    }

    fn add(&mut self, partition: PartitionId, row: &T) -> Result<()> {
        let packer = match self.packers.entry(partition) {
            Entry::Occupied(packer) => packer.into_mut(),
            Entry::Vacant(none) => none.insert((self.packing)()?),
        };
        if packer.add(row).map_err(|error| error.context(format!("the row {}", cut(row))))? {
            let pieces = packer.take()?;
            self.send(partition, pieces);
        }
        Ok(())
    }

    fn send(&mut self, partition: PartitionId, pieces: Vec<Packed>) {
        let batch = self.batch.as_ref().expect("a partition is opened before its records");
        match &mut self.to {
            PackedTo::Writer(inbox) => {
                pieces.into_iter().for_each(|rows| inbox.packed(batch, partition, rows));
            }
            PackedTo::Exchange(edge) => edge.send(partition, pieces),
        }
    }

    /// The epoch ends with the first failure.
    fn check(&self, done: Result<()>) {
        if let Err(error) = done {
            let batch =
                self.batch.as_ref().map(|batch| format!(", batch {}", batch.id())).unwrap_or_default();
            self.cx.fail(error.context(format!("output \"{}\"{batch}", self.output)));
        }
    }
}

impl<T: Data> Push<T> for Pack<T> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        self.batch = Some(batch.clone());
        self.at = partition;
        self.opened.insert(partition);
    }

    fn push(&mut self, record: T) {
        self.push_ref(&record);
    }

    fn push_ref(&mut self, record: &T) {
        let partition = (self.place)(record).unwrap_or(self.at);
        let done = self.add(partition, record);
        self.check(done);
    }

    /// Sends a piece without rows too: a partition of the dataset exists though it has none.
    fn flush(&mut self, _: &Batch) {
        for (partition, mut packer) in std::mem::take(&mut self.packers) {
            match packer.take() {
                Ok(pieces) => self.send(partition, pieces),
                Err(error) => self.check(Err(error)),
            }
            self.opened.remove(&partition);
        }
        for partition in std::mem::take(&mut self.opened) {
            self.send(partition, vec![Packed::default()]);
        }
    }
}
