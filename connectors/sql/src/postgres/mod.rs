//! An output to a table of a PostgreSQL server.

mod address;
mod columns;
mod copy;
mod failure;
mod pool;
mod schema;
mod table;
mod writer;

use crate::hash::hash_row;
use crate::memory::{self, Opened, Opening, Takeover};
use crate::row::SqlRow;
use crate::staging::Rows;
use crate::table::Table;
use address::Address;
use failure::failure;
use pool::{Lease, Pool};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidegate_core::{
    BatchPlan, Delivery, Error, Held, JobId, Output, OutputContext, OutputId, Packing, Placement, Result,
    Seat, Writer, Writers,
};

/// Longest name a table or column may have; PostgreSQL would cut a longer one.
const NAME_BYTES_MAX: usize = 63;
/// Most partitions an output may have.
const PARTITIONS_MAX: u32 = 1024;
/// How long to wait for a lock, unless set.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows into a table of a PostgreSQL server, each batch once: the rows, the number of the batch and the ranges it took
/// are in one transaction of each writer.
///
/// Each worker has a writer and a connection of its own, and keys are spread over the output's partitions; the number of
/// those is decided when the output is first used. Two outputs of a job must not write the same rows: each would wait
/// for the other to commit.
pub struct PostgresOutput {
    pool: Arc<Pool>,
    table: Table,
    partitions: u32,
    opening: Opening,
    /// Whether the table takes `COPY`; known once it is open.
    copies: AtomicBool,
}

impl PostgresOutput {
    /// An output to `table` of the database at `url`: `postgres://user:password@host:5432/database`.
    ///
    /// # Errors
    /// The URL can't be read, or asks for TLS. The message never repeats it.
    pub fn new(url: &str, table: Table) -> Result<Self> {
        let pool = Arc::new(Pool::new(Address::parse(url)?, LOCK_TIMEOUT));
        Ok(PostgresOutput {
            pool,
            table,
            partitions: 4,
            opening: Opening::default(),
            copies: AtomicBool::new(false),
        })
    }

    /// In how many partitions the output remembers its batches: 4 unless set, 1024 at most. As many workers write at the
    /// same time. Decided when the output is first used; from then on the number found in the database holds.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// How long to wait for a lock before the batch is run again: 10 seconds unless set.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.pool = Arc::new(self.pool.with_lock_timeout(timeout));
        self
    }

    /// Takes the output over. The caller has begun a transaction and commits it.
    fn take_over<T: SqlRow>(
        &self,
        lease: &mut Lease,
        context: &OutputContext,
    ) -> Result<(Option<Opened>, Held)> {
        let place = self.pool.place();
        let fail = |error: postgres::Error| failure(&format!("{place}: output {}", context.output), &error);
        let types = self.table.types_of::<T>(NAME_BYTES_MAX)?;
        let client = &mut lease.session()?.client;
        schema::check_version(client, &place)?;
        schema::make_memory(client, &place)?;
        let mut found = schema::registered(client, &context.output.0, true).map_err(fail)?;
        if found.is_none() {
            schema::wait_for_other_first_uses(client).map_err(fail)?;
            found = schema::registered(client, &context.output.0, true).map_err(fail)?;
        }
        let opened = match memory::takeover(&place, context, self.partitions, found.as_ref())? {
            Takeover::NotOurs(job) => return Ok((None, Held { job: Some(job), ..Held::default() })),
            Takeover::Take(opened) => opened,
        };
        let copies = table::make_or_check(client, &place, &self.table, &types, T::DELETES)?;
        self.copies.store(copies, Ordering::Relaxed);
        let partitions = i32::try_from(opened.partitions)
            .map_err(|_| Error::bug(format!("{place}: partitions beyond 32 bits")))?;
        schema::register(client, &context.output, &opened, partitions).map_err(fail)?;
        let remembered = schema::remembered(client, &context.output.0).map_err(fail)?;
        let held = memory::held(&place, &context.output, opened.job.clone(), remembered)?;
        Ok((Some(opened), held))
    }

    fn check_settings(&self) -> Result<()> {
        let place = self.pool.place();
        if self.table.name_parts().count() > 2 {
            return Err(Error::reconfigure(format!(
                "{place}: table {}: a name has one dot at most, between schema and table",
                self.table.name()
            )));
        }
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return Err(Error::reconfigure(format!(
                "{place}: table {}: {} partitions, needed are 1 to {PARTITIONS_MAX}",
                self.table.name(),
                self.partitions
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOutput")
            .field("server", &self.pool.place())
            .field("table", &self.table)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl<T: SqlRow> Output<T> for PostgresOutput {
    fn describe(&self) -> String {
        self.pool.place().replacen("PostgreSQL", &format!("PostgreSQL table {}", self.table.name()), 1)
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn writers(&self) -> Writers {
        Writers::EachWorker
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        self.check_settings()?;
        let mut lease = self.pool.lease()?;
        lease.begin()?;
        let (opened, held) = self.take_over::<T>(&mut lease, context)?;
        let Some(opened) = opened else { return Ok(held) };
        lease.commit()?;
        if opened.partitions != self.partitions {
            log::info!(
                "{}: output {} keeps its {} partitions; {} would be for one that was never used",
                self.pool.place(),
                context.output,
                opened.partitions,
                self.partitions
            );
        }
        self.opening.set(opened);
        Ok(held)
    }

    fn placement(&self) -> Placement<T> {
        let fields = self.table.placing_fields();
        let partitions = self.opening.get().map_or(self.partitions, |opened| opened.partitions);
        Placement::Hash { partitions, hash: Arc::new(move |row| hash_row(row, fields)) }
    }

    fn packing(&self) -> Option<Packing<T>> {
        if !writer::only_adds::<T>(&self.table) {
            return None;
        }
        let table = self.table.clone();
        Some(Arc::new(move || {
            let types = table.types_of::<T>(NAME_BYTES_MAX)?;
            Ok(Box::new(copy::Tuples::new(table.clone(), types)))
        }))
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<T>>> {
        let opened = self.opening.for_writer(&seat.output)?;
        let types = self.table.types_of::<T>(NAME_BYTES_MAX)?;
        let rows = Rows::new(seat.output.clone(), self.table.clone(), types);
        Ok(Box::new(writer::PostgresWriter::new(
            Arc::clone(&self.pool),
            rows,
            opened.epoch,
            self.copies.load(Ordering::Relaxed),
        )))
    }
}

/// The plan of the newest batch that `output` holds in the database at `url`, or nothing when it has never held one.
///
/// For a job that keeps nothing but its database: go on from where each of the plan's ranges ends.
///
/// # Errors
/// The server can't be reached, or a crash left the batch in some of the output's partitions only: the job must finish it
/// first.
pub fn postgres_offsets(url: &str, output: &str) -> Result<Option<BatchPlan>> {
    let pool = Arc::new(Pool::new(Address::parse(url)?, LOCK_TIMEOUT));
    let place = pool.place();
    let fail = |error: postgres::Error| failure(&format!("{place}: output {output}"), &error);
    let mut lease = pool.lease()?;
    // Both tables as of one moment.
    lease.begin_reading()?;
    let client = &mut lease.session()?.client;
    if !schema::has_memory(client).map_err(fail)? {
        return Ok(None);
    }
    let Some(registered) = schema::registered(client, output, false).map_err(fail)? else { return Ok(None) };
    let remembered = schema::remembered(client, output).map_err(fail)?;
    let held = memory::held(&place, &OutputId::from(output), JobId(registered.job), remembered)?;
    memory::complete(&place, output, registered.partitions, held)
}
