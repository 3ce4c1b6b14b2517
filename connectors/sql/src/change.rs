//! Rows that come and rows that go: what an upsert table is kept equal to its source by.

use crate::row::{SqlRef, SqlRow, SqlType};
use serde::{Deserialize, Serialize};

/// A row that is put into a [`Table::upsert`](crate::Table::upsert) table, or taken out of it.
///
/// A delete is decided by the key fields of its row; the others are not looked at. One that finds no row does nothing. A batch with
/// two changes of one key is refused, as with two rows of one key: which of them is the later is not known any more once the
/// batch is spread over workers. Bring them down to one first (`reduce_by_key`).
///
/// ```
/// use tidegate::testkit::{MemoryInput, TestJob};
/// use tidegate::{Conf, Stop};
/// use tidegate_sql::{Change, SaveToSql, Table};
///
/// # fn main() -> tidegate::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// # let file = directory.path().join("users.db");
/// let events = MemoryInput::new(1);
/// let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
///     ssc.input_stream("events", events.clone())?
///         .map(|(user, city): (String, Option<String>)| match city {
///             Some(city) => Change::Put((user, city)),
///             None => Change::Delete((user, String::new())),
///         })
///         .save_to_sqlite(&file, Table::upsert("users", ["user"], ["city"]))
/// })?;
/// events.push(0, [("ann".to_owned(), Some("Kiel".to_owned())), ("bob".to_owned(), Some("Husum".to_owned()))]);
/// job.next_batch()?;
/// events.push(0, [("ann".to_owned(), None)]);
/// job.next_batch()?;
/// job.ssc.stop(Stop::Gracefully)?;
///
/// # let database = rusqlite::Connection::open(&file).unwrap();
/// # let users: String = database.query_row("SELECT group_concat(user) FROM users", [], |row| row.get(0)).unwrap();
/// assert_eq!(users, "bob");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Change<T> {
    /// The row takes the place of the row with its key.
    Put(T),
    /// The row with the key of this one goes.
    Delete(T),
}

impl<T> Change<T> {
    /// The row that is put, or of which the key goes.
    pub fn row(&self) -> &T {
        match self {
            Change::Put(row) | Change::Delete(row) => row,
        }
    }
}

impl<T: SqlRow> SqlRow for Change<T> {
    const DELETES: bool = true;

    fn types() -> Vec<SqlType> {
        T::types()
    }

    fn each_value(&self, each: &mut dyn FnMut(SqlRef<'_>)) {
        self.row().each_value(each);
    }

    fn is_delete(&self) -> bool {
        matches!(self, Change::Delete(_)) || self.row().is_delete()
    }
}
