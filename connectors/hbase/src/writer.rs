//! The writer of one seat: keeps a batch's mutations, makes sure that they can be written, and writes them at the commit.
//!
//! Killed before `commit`: the table holds nothing of the batch. Killed within: it holds some of the rows, and the batch, run again,
//! writes them over themselves and the others too. Killed after: it is run again, and writes all over itself.

use crate::failure::Place;
use crate::gateway::Gateway;
use crate::mutation::{Mutation, shown};
use std::collections::HashSet;
use std::sync::Arc;
use tidegate_core::{Batch, Error, OutputId, PartitionId, Result, Writer};

/// The row on which it is tried whether the table can be written: a family of it is taken away as of the first millisecond of 1970.
const PROBE: &[u8] = b"\0tidegate";

/// What the writers of an output have in common.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) table: Arc<str>,
    /// `HBase table words at localhost:9090`.
    pub(crate) place: String,
    pub(crate) call_rows: usize,
    pub(crate) call_bytes: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) cell_bytes: usize,
}

impl Target {
    /// The table's families, once it is known that it can be written.
    ///
    /// # Errors
    /// `Reconfigure` when it is missing, disabled, read-only or not to be written by the gateway's user.
    pub(crate) fn check(&self, gateway: &mut Gateway, place: &str) -> Result<Vec<String>> {
        let families = gateway.families(&self.table).at(place, "can't be looked at")?;
        if families.is_empty() {
            return Err(Error::reconfigure(format!(
                "{place}: there is no such table: make it, with its families"
            )));
        }
        if !gateway.is_enabled(&self.table).at(place, "can't be looked at")? {
            return Err(Error::reconfigure(format!(
                "{place}: the table is disabled: enable it, and start again"
            )));
        }
        gateway
            .mutate(&self.table, &[Mutation::delete(PROBE)], &families[..1], 1)
            .at(place, "can't be written")?;
        Ok(families)
    }
}

pub(crate) struct MutationWriter {
    target: Target,
    gateway: Gateway,
    output: OutputId,
    rows: Vec<Mutation>,
    keys: HashSet<Box<[u8]>>,
    /// Of `rows`.
    bytes: usize,
    /// The table's, as prepare found them.
    families: Vec<String>,
}

impl MutationWriter {
    pub(crate) fn new(target: Target, gateway: Gateway, output: OutputId) -> Self {
        MutationWriter {
            target,
            gateway,
            output,
            rows: Vec::new(),
            keys: HashSet::new(),
            bytes: 0,
            families: Vec::new(),
        }
    }

    fn place(&self, batch: &Batch) -> String {
        format!("output {}, batch {}, {}", self.output, batch.id(), self.target.place)
    }

    fn take(&mut self, batch: &Batch, row: Mutation) -> Result<()> {
        if let Some(flaw) = row.flaw(self.target.cell_bytes) {
            return Err(Error::user_code(format!("{}: {flaw}", self.place(batch))));
        }
        if self.keys.contains(row.key()) {
            return Err(Error::reconfigure(format!(
                "{}: two mutations of the batch are of the row {}: which of them stays would be chance. Reduce by key first \
                 (reduce_by_key)",
                self.place(batch),
                shown(row.key())
            )));
        }
        self.bytes += row.bytes();
        if self.bytes > self.target.batch_bytes {
            return Err(Error::reconfigure(format!(
                "{}: the mutations of the batch that come to one worker have more than {} bytes: set \
                 batch_bytes_max() higher, or bound the batch (tidegate.backpressure, rates)",
                self.place(batch),
                self.target.batch_bytes
            )));
        }
        self.keys.insert(row.key().into());
        self.rows.push(row);
        Ok(())
    }

    fn check_families(&self, place: &str) -> Result<()> {
        for row in &self.rows {
            let missing = row.families().find(|name| !self.families.iter().any(|family| family == name));
            if let Some(missing) = missing {
                return Err(Error::reconfigure(format!(
                    "{place}: row {}: the table has no family {missing}, its families are {}. Nothing of the batch is seen. Mend \
                     the job, or add the family",
                    shown(row.key()),
                    self.families.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// How many of `rows` go into the next call: at least one.
    fn call_length(&self, rows: &[Mutation]) -> usize {
        let mut bytes = 0;
        let fits = |row: &&Mutation| {
            bytes += row.bytes();
            bytes <= self.target.call_bytes
        };
        rows.iter().take(self.target.call_rows).take_while(fits).count().max(1)
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.keys.clear();
        self.bytes = 0;
    }
}

/// The timestamp of a batch's cells. Never the clock's: it is the same each time the batch is run, and higher in a later one.
fn timestamp(batch: &Batch, place: &str) -> Result<i64> {
    i64::try_from(batch.time().0).map_err(|_| Error::bug(format!("{place}: a time beyond 63 bits")))
}

impl Writer<Mutation> for MutationWriter {
    fn write(&mut self, batch: &Batch, _: PartitionId, rows: Vec<Mutation>) -> Result<()> {
        rows.into_iter().try_for_each(|row| self.take(batch, row))
    }

    fn prepare(&mut self, batch: &Batch, _: &[PartitionId]) -> Result<()> {
        // An idle stream costs no call.
        if self.rows.is_empty() {
            return Ok(());
        }
        let place = self.place(batch);
        self.families = self.target.check(&mut self.gateway, &place)?;
        self.check_families(&place)
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        let place = self.place(batch);
        let timestamp = timestamp(batch, &place)?;
        let mut from = 0;
        while from < self.rows.len() {
            let until = from + self.call_length(&self.rows[from..]);
            self.gateway
                .mutate(&self.target.table, &self.rows[from..until], &self.families, timestamp)
                .at(&place, "can't be written")?;
            from = until;
        }
        self.clear();
        Ok(())
    }

    fn abort(&mut self) {
        self.clear();
    }
}
