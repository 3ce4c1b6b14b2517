//! The connections of one output.
//!
//! Written out here rather than taken from r2d2, which answers a wrong password and a server that is away alike: by
//! trying for half a minute, and then with text that no longer says which it was. An epoch must begin in milliseconds.

use super::address::Address;
use super::failure::failure;
use postgres::{Client, NoTls, Statement};
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_core::{Error, Result};

/// Connections kept for later at most. More are closed when they come back.
const IDLE_MAX: usize = 64;
/// Within this time a connection from the pool says that it lives.
const VALID_WITHIN: Duration = Duration::from_secs(2);

/// Connections to one database, shared by the writers of an output and kept from epoch to epoch.
pub(super) struct Pool {
    address: Address,
    lock_timeout: Duration,
    idle: Mutex<Vec<Session>>,
}

/// A connection and what was prepared on it.
pub(super) struct Session {
    pub(super) client: Client,
    statements: HashMap<String, Statement>,
}

impl Pool {
    pub(super) fn new(address: Address, lock_timeout: Duration) -> Pool {
        Pool { address, lock_timeout, idle: Mutex::default() }
    }

    /// As this one, with another bound for locks and no connection yet.
    pub(super) fn with_lock_timeout(&self, lock_timeout: Duration) -> Pool {
        Pool::new(self.address.clone(), lock_timeout)
    }

    /// Where the server is, for messages.
    pub(super) fn place(&self) -> String {
        format!("PostgreSQL at {}", self.address.shown)
    }

    /// A connection that lives: one that is idle, or a new one.
    pub(super) fn lease(self: &Arc<Self>) -> Result<Lease> {
        while let Some(mut session) = self.pop() {
            if session.client.is_valid(VALID_WITHIN).is_ok() {
                return Ok(Lease { session: Some(session), pool: Arc::clone(self), in_transaction: false });
            }
        }
        let session = self.connect()?;
        Ok(Lease { session: Some(session), pool: Arc::clone(self), in_transaction: false })
    }

    fn pop(&self) -> Option<Session> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn connect(&self) -> Result<Session> {
        let fail = |error: postgres::Error| failure(&format!("{}: can't connect", self.place()), &error);
        let mut client = self.address.config.connect(NoTls).map_err(fail)?;
        // The server, too, shall notice within a minute that a worker's machine is gone: until then the worker's transaction
        // holds its locks. And a commit that is not on disk could be taken back after the journal knows of it.
        let settings = format!(
            "SET lock_timeout = {}; SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; \
             SET tcp_keepalives_count = 3; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
            self.lock_timeout.as_millis().max(1)
        );
        client.batch_execute(&settings).map_err(fail)?;
        Ok(Session { client, statements: HashMap::new() })
    }

    fn give_back(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(session);
        }
    }
}

impl Session {
    /// Executes `statement`, prepared once a connection, and gives the number of rows.
    pub(super) fn execute(
        &mut self,
        statement: &str,
        values: &[&(dyn postgres::types::ToSql + Sync)],
    ) -> Result<u64, postgres::Error> {
        self.prepare(statement)?;
        self.client.execute(&self.statements[statement], values)
    }

    /// Sends `bytes` to a `COPY` statement, prepared once a connection.
    pub(super) fn copy_in(&mut self, statement: &str, bytes: &[u8]) -> Result<u64, postgres::Error> {
        self.prepare(statement)?;
        let mut sink = self.client.copy_in(&self.statements[statement])?;
        // Only gathered here, whatever it answers: sent, and refused, by the finish.
        let _ = sink.write_all(bytes);
        sink.finish()
    }

    fn prepare(&mut self, statement: &str) -> Result<(), postgres::Error> {
        if !self.statements.contains_key(statement) {
            let prepared = self.client.prepare(statement)?;
            self.statements.insert(statement.to_owned(), prepared);
        }
        Ok(())
    }
}

/// A connection in use. What is open on it when it is dropped is rolled back.
pub(super) struct Lease {
    session: Option<Session>,
    pool: Arc<Pool>,
    in_transaction: bool,
}

impl Lease {
    /// Begins a transaction.
    pub(super) fn begin(&mut self) -> Result<()> {
        // Named, because the fence needs it: a role may have another level for its default.
        self.run("BEGIN ISOLATION LEVEL READ COMMITTED")?;
        self.in_transaction = true;
        Ok(())
    }

    /// Begins a transaction that sees one moment and changes nothing.
    pub(super) fn begin_reading(&mut self) -> Result<()> {
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        self.in_transaction = true;
        Ok(())
    }

    /// Commits the transaction.
    pub(super) fn commit(&mut self) -> Result<()> {
        let done = self.run("COMMIT");
        if done.is_err() {
            // Its state is unknown; closing it ends whatever is open.
            self.session = None;
        }
        self.in_transaction = false;
        done
    }

    pub(super) fn in_transaction(&self) -> bool {
        self.in_transaction
    }

    /// The connection.
    pub(super) fn session(&mut self) -> Result<&mut Session> {
        let place = self.pool.place();
        self.session.as_mut().ok_or_else(|| Error::retry(format!("{place}: the connection was closed")))
    }

    fn run(&mut self, statement: &str) -> Result<()> {
        let place = self.pool.place();
        self.session()?.client.batch_execute(statement).map_err(|error| failure(&place, &error))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let clean = !self.in_transaction || self.run("ROLLBACK").is_ok();
        if let Some(session) = self.session.take()
            && clean
            && !session.client.is_closed()
        {
            self.pool.give_back(session);
        }
    }
}
