//! The databases a job writes to, read as an operator would: totals and offsets in one read transaction.

use crate::truth::{Positions, Totals};
use crate::windows::{ByTime, Windows};
use postgres::{Client, NoTls};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const BATCHES: &str = "SELECT partition, batch, plan FROM tidegate_batches WHERE output = 'word_counts'";
const PARTITIONS: &str = "SELECT partitions FROM tidegate_outputs WHERE output = 'word_counts'";
const TOTALS: &str = "SELECT word, count FROM word_counts";
const BATCH_COUNTS: &str = "SELECT batch_ms, word, count FROM batch_counts";
const WINDOW_COUNTS: &str = "SELECT window_ms, word, count FROM window_counts";

/// What a database holds at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Number of partitions of the output; 0 when it was never used.
    pub partitions: u32,
    /// What each partition of the output holds. One that is missing holds nothing.
    pub held: BTreeMap<u32, Held>,
    /// The table of counts.
    pub totals: Totals,
}

/// What one partition of the output holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The newest batch.
    pub batch: u64,
    /// Where it ended in the topic.
    pub positions: Positions,
}

impl Snapshot {
    /// The newest batch of all; 0 for none.
    pub fn newest(&self) -> u64 {
        self.held.values().map(|held| held.batch).max().unwrap_or(0)
    }

    /// Where the newest batch ended.
    pub fn positions(&self) -> Positions {
        self.held
            .values()
            .max_by_key(|held| held.batch)
            .map(|held| held.positions.clone())
            .unwrap_or_default()
    }

    /// Records up to there.
    pub fn records(&self) -> u64 {
        self.positions().values().sum()
    }

    fn new(partitions: i64, rows: Vec<(i64, i64, Option<String>)>, totals: Totals) -> Snapshot {
        // The plan stands in one row of each transaction, so in at least one row of each batch that is there.
        let plans: BTreeMap<i64, Positions> =
            rows.iter().filter_map(|(_, batch, plan)| Some((*batch, ends(plan.as_deref()?)))).collect();
        let held = rows.iter().map(|(partition, batch, _)| {
            let positions =
                plans.get(batch).unwrap_or_else(|| panic!("no row has the plan of batch {batch}"));
            let number = |number: i64| u32::try_from(number).expect("a partition's number is small");
            (number(*partition), Held { batch: batch.unsigned_abs(), positions: positions.clone() })
        });
        Snapshot {
            partitions: u32::try_from(partitions).expect("few partitions"),
            held: held.collect(),
            totals,
        }
    }
}

/// Where the ranges of a plan end, by partition of the one topic; none for another source.
fn ends(plan: &str) -> Positions {
    let plan: serde_json::Value = serde_json::from_str(plan).expect("a plan is JSON");
    let ranges = plan["sources"][0]["ranges"].as_array().expect("a plan has ranges").iter();
    let end = |range: &serde_json::Value| {
        let (_, partition) = range["partition"].as_str()?.rsplit_once('-')?;
        Some((partition.parse().ok()?, range["until"].as_u64()?))
    };
    ranges.filter_map(end).collect()
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A SQLite file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// A database of one test.
#[derive(Debug)]
pub enum Database {
    /// A file, which the job makes.
    Sqlite(PathBuf),
    /// A database of its own in a server.
    Postgres {
        /// Where it is.
        url: String,
    },
}

impl Database {
    /// A new one: a file in `directory`, or a database in the server at `server`.
    pub fn new(kind: Kind, directory: &Path, server: &str) -> Database {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        match kind {
            Kind::Sqlite => Database::Sqlite(directory.join(format!("counts{number}.db"))),
            Kind::Postgres => {
                let name = format!("acceptance_{}_{number}", std::process::id());
                let mut client = Client::connect(server, NoTls).expect("PostgreSQL is there");
                client.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).expect("an old one goes");
                client
                    .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
                    .expect("a new one comes");
                let (start, _) = server.rsplit_once('/').expect("a URL ends in its database");
                Database::Postgres { url: format!("{start}/{name}") }
            }
        }
    }

    /// What the job is given as `--out`.
    pub fn out(&self) -> String {
        match self {
            Database::Sqlite(file) => format!("sqlite:{}", file.display()),
            Database::Postgres { url } => format!("postgres:{url}"),
        }
    }

    /// Runs statements.
    pub fn execute(&self, statements: &str) {
        match self {
            Database::Sqlite(file) => {
                let connection = Connection::open(file).expect("the file can be opened");
                connection.busy_timeout(Duration::from_secs(10)).expect("a timeout can be set");
                connection.execute_batch(statements).expect("the statements are right");
            }
            Database::Postgres { .. } => {
                self.client().batch_execute(statements).expect("the statements are right")
            }
        }
    }

    /// A session of PostgreSQL.
    pub fn client(&self) -> Client {
        match self {
            Database::Sqlite(file) => panic!("{} has no sessions", file.display()),
            Database::Postgres { url } => Client::connect(url, NoTls).expect("PostgreSQL is there"),
        }
    }

    /// What it holds now.
    pub fn read(&self) -> Snapshot {
        match self {
            Database::Sqlite(file) if !file.exists() => Snapshot::default(),
            Database::Sqlite(file) => read_sqlite(file).expect("the file can be read"),
            Database::Postgres { .. } => read_postgres(&mut self.client()).expect("the server can be read"),
        }
    }

    /// What it holds of batches and windows. Of a job that runs they may be of different moments.
    pub fn windows(&self) -> Windows {
        Windows { batches: self.by_time(BATCH_COUNTS), windows: self.by_time(WINDOW_COUNTS) }
    }

    fn by_time(&self, query: &str) -> ByTime {
        let rows: Vec<(i64, String, i64)> = match self {
            Database::Sqlite(file) => {
                let connection = Connection::open(file).expect("the file can be opened");
                let mut query = connection.prepare(query).expect("the table is there");
                let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
                rows.and_then(Iterator::collect).expect("the rows can be read")
            }
            Database::Postgres { .. } => {
                let rows = self.client().query(query, &[]).expect("the table can be read");
                rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
            }
        };
        let mut by_time = ByTime::new();
        for (time, word, count) in rows {
            let before = by_time.entry(time).or_default().insert(word, count);
            assert_eq!(before, None, "a word stands twice at {time}");
        }
        by_time
    }

    /// As [`Database::read`], or nothing while the server is away.
    pub fn try_read(&self) -> Option<Snapshot> {
        match self {
            Database::Sqlite(_) => Some(self.read()),
            Database::Postgres { url } => read_postgres(&mut Client::connect(url, NoTls).ok()?).ok(),
        }
    }
}

fn read_sqlite(file: &Path) -> rusqlite::Result<Snapshot> {
    let mut connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    let transaction = connection.transaction()?;
    let tables: i64 = transaction.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('tidegate_batches', 'tidegate_outputs', 'word_counts')",
        [],
        |row| row.get(0),
    )?;
    if tables < 3 {
        return Ok(Snapshot::default());
    }
    let partitions = transaction.query_row(PARTITIONS, [], |row| row.get(0))?;
    let rows = transaction
        .prepare(BATCHES)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let totals = transaction
        .prepare(TOTALS)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Snapshot::new(partitions, rows, totals))
}

fn read_postgres(client: &mut Client) -> Result<Snapshot, postgres::Error> {
    let mut transaction = client
        .build_transaction()
        .isolation_level(postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()?;
    let there = "SELECT count(*) FROM pg_class WHERE relname IN ('tidegate_batches', 'tidegate_outputs', 'word_counts')";
    if transaction.query_one(there, &[])?.get::<_, i64>(0) < 3 {
        return Ok(Snapshot::default());
    }
    let partitions: i32 = transaction.query_one(PARTITIONS, &[])?.get(0);
    let rows = transaction.query(BATCHES, &[])?;
    let rows = rows.iter().map(|row| (i64::from(row.get::<_, i32>(0)), row.get(1), row.get(2))).collect();
    let totals = transaction.query(TOTALS, &[])?.iter().map(|row| (row.get(0), row.get(1))).collect();
    Ok(Snapshot::new(i64::from(partitions), rows, totals))
}
