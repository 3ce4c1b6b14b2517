//! An output to a table of a SQLite file.

mod database;
mod failure;
mod schema;
mod writer;

use crate::hash::hash_row;
use crate::memory::{self, Opened, Opening, Takeover};
use crate::row::SqlRow;
use crate::table::Table;
use database::Database;
use failure::failure;
use rusqlite::{Connection, TransactionBehavior};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_core::{
    BatchPlan, Delivery, Error, Held, Output, OutputContext, Placement, Result, Seat, Writer, Writers,
};

/// Longest name a table or column may have. SQLite has no limit of its own.
const NAME_BYTES_MAX: usize = 256;

/// Rows into a table of a SQLite file, each batch once: the rows, the number of the batch and the ranges it took are in
/// one transaction.
///
/// One writer takes all rows, since SQLite lets one connection write at a time. Outputs of one job to one file share a
/// transaction a batch, so they cost one sync to disk together; they must run in one process.
pub struct SqliteOutput {
    file: PathBuf,
    table: Table,
    lock_timeout: Duration,
    opening: Opening,
    database: Mutex<Option<Arc<Database>>>,
}

impl SqliteOutput {
    /// An output to `table` in `file`. The file is made when it is missing, its directory is not.
    pub fn new(file: impl AsRef<Path>, table: Table) -> Self {
        SqliteOutput {
            file: file.as_ref().to_owned(),
            table,
            lock_timeout: Duration::from_secs(5),
            opening: Opening::default(),
            database: Mutex::new(None),
        }
    }

    /// How long to wait for another process that writes the file before the batch is run again: 5 seconds unless set.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    fn place(&self) -> String {
        format!("SQLite {}", self.file.display())
    }

    /// Takes the output over, in one transaction: whatever is refused on the way leaves the file as it was, and an
    /// earlier epoch in its right.
    fn take_over<T: SqlRow>(
        &self,
        connection: &mut Connection,
        context: &OutputContext,
    ) -> Result<(Option<Opened>, Held)> {
        let place = self.place();
        let fail = |error| failure(&place, error);
        let types = self.table.types_of::<T>(NAME_BYTES_MAX)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        schema::make_memory(&transaction).map_err(fail)?;
        let found = schema::registered(&transaction, &context.output).map_err(fail)?;
        let opened = match memory::takeover(&place, context, 1, found.as_ref())? {
            Takeover::NotOurs(job) => return Ok((None, Held { job: Some(job), ..Held::default() })),
            Takeover::Take(opened) => opened,
        };
        schema::make_or_check(&transaction, &place, &self.table, &types, T::DELETES)?;
        schema::register(&transaction, &context.output, &opened).map_err(fail)?;
        let remembered = schema::remembered(&transaction, &context.output.0).map_err(fail)?;
        let held = memory::held(&place, &context.output, opened.job.clone(), remembered)?;
        transaction.commit().map_err(fail)?;
        Ok((Some(opened), held))
    }
}

impl fmt::Debug for SqliteOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteOutput")
            .field("file", &self.file)
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

impl<T: SqlRow> Output<T> for SqliteOutput {
    fn describe(&self) -> String {
        format!("SQLite table {} in {}", self.table.name(), self.file.display())
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn writers(&self) -> Writers {
        Writers::One
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        let place = self.place();
        if self.table.name().contains('.') {
            return Err(Error::reconfigure(format!(
                "{place}: table {}: a SQLite file has no schemas; name the table without a dot",
                self.table.name()
            )));
        }
        let mut connection = database::connect(&self.file, self.lock_timeout)?;
        // A writer of an earlier epoch in this very process may hold the lock that the takeover needs.
        let job = schema::job_of(&connection, &context.output).map_err(|error| failure(&place, error))?;
        if let (Some(found), Some(ours)) = (&job, &context.job)
            && found != ours
        {
            return Ok(Held { job, ..Held::default() });
        }
        let job = job.or_else(|| context.job.clone()).unwrap_or_else(|| context.new_job.clone());
        let database = Database::shared(&self.file, &job, self.lock_timeout)?;
        let mut state = database.lock();
        state.abandon("another run, in this process, has opened the output");
        let (opened, held) = self.take_over::<T>(&mut connection, context)?;
        if let Some(opened) = opened {
            state.renew(connection);
            self.opening.set(opened);
            drop(state);
            *self.database.lock().unwrap_or_else(PoisonError::into_inner) = Some(database);
        }
        Ok(held)
    }

    fn placement(&self) -> Placement<T> {
        let fields = self.table.placing_fields();
        let partitions = self.opening.get().map_or(1, |opened| opened.partitions);
        Placement::Hash { partitions, hash: Arc::new(move |row| hash_row(row, fields)) }
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<T>>> {
        let opened = self.opening.for_writer(&seat.output)?;
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let database =
            database.ok_or_else(|| Error::bug(format!("output {}: opened without a file", seat.output)))?;
        let types = self.table.types_of::<T>(NAME_BYTES_MAX)?;
        let rows = crate::staging::Rows::new(seat.output.clone(), self.table.clone(), types);
        Ok(Box::new(writer::SqliteWriter::new(database, rows, opened.epoch)))
    }
}

/// The plan of the newest batch that `output` holds in `file`, or nothing when it has never held one.
///
/// For a job that keeps nothing but its database: go on from where each of the plan's ranges ends.
///
/// # Errors
/// The file is no SQLite database, or can't be read.
pub fn sqlite_offsets(file: impl AsRef<Path>, output: &str) -> Result<Option<BatchPlan>> {
    let file = file.as_ref();
    if !file.exists() {
        return Ok(None);
    }
    let place = format!("SQLite {}", file.display());
    let fail = |error| failure(&place, error);
    let mut connection = database::connect(file, Duration::from_secs(5))?;
    // One transaction, so that both tables are read as of one moment.
    let transaction = connection.transaction().map_err(fail)?;
    if !schema::has_memory(&transaction).map_err(fail)? {
        return Ok(None);
    }
    let id = tidegate_core::OutputId::from(output);
    let Some(registered) = schema::registered(&transaction, &id).map_err(fail)? else { return Ok(None) };
    let remembered = schema::remembered(&transaction, output).map_err(fail)?;
    let held = memory::held(&place, &id, tidegate_core::JobId(registered.job), remembered)?;
    memory::complete(&place, output, registered.partitions, held)
}
