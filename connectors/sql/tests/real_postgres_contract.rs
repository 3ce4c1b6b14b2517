//! The contract of outputs, held against PostgreSQL tables of every kind; rows that delete; rows that come by `COPY`; and what is
//! refused before the first row.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use support::server::{Schema, many};
use support::*;
use tidegate::testkit::outputs::{self, Subject};
use tidegate_core::{ErrorKind, Result};
use tidegate_sql::{Change, PostgresOutput, Table};

/// A schema with one table, which refuses rows when they are committed, unless it is asked before.
struct Numbers {
    schema: RefCell<Schema>,
    table: Table,
}

impl Numbers {
    fn new(table: Table) -> Numbers {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let mut schema = Schema::new(&format!("contract_{}", MADE.fetch_add(1, Ordering::Relaxed)));
        let key = if table == inserts() { "" } else { "PRIMARY KEY" };
        schema.run(&format!(
            "CREATE TABLE allowed (number BIGINT PRIMARY KEY); INSERT INTO allowed SELECT * FROM generate_series(0, 3000); \
             CREATE TABLE numbers (word TEXT {key}, \
                 number BIGINT REFERENCES allowed DEFERRABLE INITIALLY DEFERRED)"
        ));
        Numbers { schema: RefCell::new(schema), table }
    }

    fn rows(&self) -> Vec<Count> {
        let mut schema = self.schema.borrow_mut();
        let rows = schema.client.query("SELECT word, number FROM numbers", &[]).unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

fn inserts() -> Table {
    Table::insert("numbers", ["word", "number"])
}

fn upserts() -> Table {
    Table::upsert("numbers", ["word"], ["number"])
}

fn row(number: u64) -> Count {
    count(&format!("n{number}"), number as i64)
}

impl Subject for Numbers {
    type Row = Count;
    type Output = PostgresOutput;

    fn output(&self) -> Result<PostgresOutput> {
        Ok(self.schema.borrow().output(self.table.clone()))
    }

    fn row(&self, number: u64) -> Count {
        row(number)
    }

    fn visible(&self) -> Vec<Count> {
        self.rows()
    }

    fn refused(&self) -> Option<Count> {
        Some(count("no", -1))
    }
}

/// As [`Numbers`], with rows that may delete.
struct Changes(Numbers);

impl Subject for Changes {
    type Row = Change<Count>;
    type Output = PostgresOutput;

    fn output(&self) -> Result<PostgresOutput> {
        self.0.output()
    }

    fn row(&self, number: u64) -> Change<Count> {
        Change::Put(row(number))
    }

    fn visible(&self) -> Vec<Change<Count>> {
        self.0.rows().into_iter().map(Change::Put).collect()
    }

    fn refused(&self) -> Option<Change<Count>> {
        Some(Change::Put(count("no", -1)))
    }
}

#[test]
fn an_insert_table_holds_it() {
    outputs::all(|| Numbers::new(inserts()));
}

#[test]
fn an_upsert_table_holds_it() {
    outputs::all(|| Numbers::new(upserts()));
}

#[test]
fn an_add_table_holds_it() {
    outputs::all(|| Numbers::new(Table::add("numbers", ["word"], ["number"])));
}

#[test]
fn an_upsert_table_of_changes_holds_it() {
    outputs::all(|| Changes(Numbers::new(upserts())));
}

#[test]
fn a_change_puts_a_row_or_takes_it_out() {
    let mut schema = Schema::new("changes");
    // Names that the statement has for its own use.
    let table = || Table::upsert("rows", ["f0", "f1"], ["stored"]);
    schema.run("CREATE TABLE rows (f1 INTEGER, f0 TEXT, stored BIGINT UNIQUE, PRIMARY KEY (f0, f1))");
    let row = |word: &str, number: i32, value: i64| (word.to_owned(), number, Some(value));
    let mut workers = Epoch::open(&schema.output(table()).partitions(1), 1).unwrap();
    let rows = vec![row("a", 1, 10), row("a", 2, 20), row("b", 1, 30)].into_iter().map(Change::Put).collect();
    workers.run(&batch(1), rows).unwrap();
    // One that is there, one that is not, and one that takes over the number of the first.
    let rows = vec![
        Change::Put(row("c", 1, 10)),
        Change::Delete(row("a", 1, 0)),
        Change::Delete(("x".to_owned(), 9, None)),
    ];
    workers.run(&batch(2), rows).unwrap();
    assert_eq!(
        schema.query("SELECT f0 || f1 || '=' || stored FROM rows ORDER BY stored"),
        ["c1=10", "a2=20", "b1=30"]
    );
    let error =
        refusal(workers.run(&batch(3), vec![Change::Put(row("a", 2, 1)), Change::Delete(row("a", 2, 1))]));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert_eq!(
        error.to_string(),
        "output out, batch 3, table rows: two rows of the batch have the key f0 = \"a\", f1 = 2: which of them stays would be \
         chance. Reduce by key first (reduce_by_key), or use Table::add"
    );
}

#[test]
fn many_deletes_are_many_chunks_of_one_transaction() {
    let mut schema = Schema::new("many_deletes");
    let mut workers =
        Epoch::open(&schema.output(Table::upsert("word_counts", ["word"], ["count"])).partitions(1), 1)
            .unwrap();
    workers.run(&batch(1), many(11_000).into_iter().map(Change::Put).collect()).unwrap();
    workers.prepare(&batch(2), many(10_999).into_iter().map(Change::Delete).collect()).unwrap();
    assert_eq!(schema.words().len(), 11_000);
    workers.writers[0].commit(&batch(2)).unwrap();
    assert_eq!(schema.words(), ["w10999 10999"]);
}

/// Writes down each statement that inserts into `events`.
const WATCH: &str = "CREATE TABLE statements (text TEXT); \
     CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO statements VALUES (split_part(current_query(), ' ', 1)); RETURN NULL; END $$; \
     CREATE TRIGGER watch AFTER INSERT ON events EXECUTE FUNCTION watch()";

type Event = (String, i32, Option<f64>, bool, Vec<u8>);

fn events(number: i32) -> Vec<Event> {
    (0..number)
        .map(|row| {
            (
                format!("é{row}"),
                row,
                (row % 3 > 0).then_some(f64::from(row) / 2.0),
                row % 2 == 0,
                vec![0, 255],
            )
        })
        .collect()
}

fn events_table() -> Table {
    Table::insert("events", ["word", "number", "half", "even", "raw"])
}

const SUMS: &str = "SELECT count(DISTINCT word) || ' ' || sum(number) || ' ' || sum(half) || ' ' || count(half) || ' ' || \
     count(*) FILTER (WHERE even) || ' ' || count(*) FILTER (WHERE raw = '\\x00ff') FROM events";

#[test]
fn many_rows_of_an_insert_come_by_copy_and_few_as_arrays() {
    let mut schema = Schema::new("copy");
    schema.run("CREATE TABLE events (id BIGINT GENERATED ALWAYS AS IDENTITY, raw BYTEA, number INTEGER, word VARCHAR(20), \
         half DOUBLE PRECISION, even BOOLEAN)");
    schema.run(WATCH);
    let mut workers = Epoch::open(&schema.output(events_table()).partitions(1), 1).unwrap();
    workers.prepare(&batch(1), events(52_000)).unwrap();
    assert_eq!(schema.query("SELECT word FROM events"), [""; 0]);
    workers.writers[0].commit(&batch(1)).unwrap();
    assert_eq!(schema.query(SUMS), ["52000 1351974000 450649333.5 34666 26000 52000"]);
    workers.run(&batch(2), events(6_000)).unwrap();
    workers.run(&batch(3), events(4_000)).unwrap();
    assert_eq!(schema.query("SELECT text FROM statements"), ["COPY", "INSERT", "COPY", "INSERT"]);
}

#[test]
fn columns_that_a_copy_can_not_fill_take_arrays() {
    let mut schema = Schema::new("no_copy");
    schema.run(
        "CREATE TABLE events (raw BYTEA, number NUMERIC, word TEXT, half DOUBLE PRECISION, even BOOLEAN)",
    );
    schema.run(WATCH);
    let mut workers = Epoch::open(&schema.output(events_table()).partitions(1), 1).unwrap();
    workers.run(&batch(1), events(6_000)).unwrap();
    assert_eq!(schema.query(SUMS), ["6000 17997000 6000000 4000 3000 6000"]);
    assert_eq!(schema.query("SELECT text FROM statements"), ["INSERT", "INSERT"]);
}

#[test]
fn a_row_that_a_copy_refuses_is_told_and_takes_its_batch_with_it() {
    let mut schema = Schema::new("copy_refused");
    schema.run("CREATE TABLE events (raw BYTEA, number INTEGER CHECK (number <> 4321), word TEXT, half DOUBLE PRECISION, \
         even BOOLEAN)");
    let output = schema.output(events_table()).partitions(1);
    let mut workers = Epoch::open(&output, 1).unwrap();
    let error = refusal(workers.run(&batch(1), events(12_000)));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let refused = "violates check constraint \"events_number_check\" (SQLSTATE 23514): Failing row contains (\\x00ff, 4321, é4321";
    assert!(error.to_string().contains(refused), "{error}");
    let mut workers = Epoch::open(&output, 1).unwrap();
    workers.run(&batch(1), events(4_321)).unwrap();
    assert_eq!(schema.query("SELECT count(*)::text FROM events"), ["4321"]);
}

/// What opening an upsert table of changes says of the server after `sql`, from the name of the table on.
fn of_server(schema: &mut Schema, sql: &str) -> String {
    schema.run(sql);
    let error =
        refusal(open::<Change<Count>>(&schema.output(Table::upsert("word_counts", ["word"], ["count"]))));
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    error.to_string().split_once("database ").unwrap().1.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn what_would_lose_rows_is_refused_before_the_first_row() {
    let mut schema = Schema::new("losing");
    let made =
        "DROP TABLE IF EXISTS word_counts; CREATE TABLE word_counts (word TEXT PRIMARY KEY, count BIGINT);";
    let table = [
        (
            format!("{made} CREATE RULE none AS ON INSERT TO word_counts DO INSTEAD NOTHING"),
            "word_counts is a table with rules, which do something else in the place of a statement, needed is one without (a \
             trigger may do the same): name another one",
        ),
        (
            "DROP TABLE word_counts; CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
             CREATE TABLE word_counts (word TEXT COLLATE loose, count NUMERIC(9,-2)); \
             CREATE UNIQUE INDEX ON word_counts (word COLLATE \"C\")"
                .to_owned(),
            "table word_counts does not fit its rows: key column word has the collation loose, which takes some texts of other \
             bytes for equal, needed is one that does not: keys are told apart by their bytes; column count is numeric(9,-2), \
             needed is BIGINT. Change the table, or name another one: a table that is missing is made",
        ),
        (
            "DROP TABLE word_counts; CREATE TABLE word_counts (word TEXT, count BIGINT); \
             CREATE UNIQUE INDEX ON word_counts (word COLLATE loose)"
                .to_owned(),
            "table word_counts does not fit its rows: no primary key or unique index is on exactly (word), needed is UNIQUE \
             (word). Change the table, or name another one: a table that is missing is made",
        ),
        (
            format!(
                "{made} CREATE UNLOGGED TABLE tidegate_outputs (output TEXT PRIMARY KEY, job TEXT NOT NULL, epoch BIGINT NOT \
                 NULL, partitions INTEGER NOT NULL); CREATE TABLE tidegate_batches (output TEXT, partition INTEGER, batch \
                 BIGINT, plan TEXT, PRIMARY KEY (output, partition))"
            ),
            "tidegate_outputs is an unlogged table, needed is a logged one: a crash of the server would empty it, and leave the \
             memory of its batches: name another one",
        ),
    ];
    for (sql, expected) in table {
        assert_eq!(of_server(&mut schema, &sql), expected);
    }
}

#[test]
fn rights_that_are_lacking_are_named_with_the_statement_that_gives_them() {
    let mut schema = Schema::new("rights");
    let counts = |schema: &Schema| schema.output(Table::upsert("word_counts", ["word"], ["count"]));
    open::<Change<Count>>(&counts(&schema)).unwrap();
    // Roles are the server's, not the schema's.
    schema.run("DROP ROLE IF EXISTS tidegate_few; CREATE ROLE tidegate_few; GRANT USAGE ON SCHEMA rights TO tidegate_few");
    schema.url.push_str("%20-crole%3Dtidegate_few");
    let lacking = of_server(&mut schema, "SELECT 1");
    assert_eq!(
        lacking,
        "table tidegate_outputs: the user tidegate_few lacks the right to SELECT, INSERT, UPDATE: GRANT INSERT, SELECT, UPDATE ON \
         tidegate_outputs TO \"tidegate_few\""
    );
    let grant = "GRANT INSERT, SELECT, UPDATE ON tidegate_outputs, tidegate_batches TO tidegate_few; \
         GRANT INSERT ON word_counts TO tidegate_few; GRANT SELECT (word) ON word_counts TO tidegate_few";
    assert_eq!(
        of_server(&mut schema, grant),
        "table word_counts: the user tidegate_few lacks the right to UPDATE of count, SELECT of count, DELETE: GRANT DELETE, INSERT, SELECT, UPDATE \
         ON \"word_counts\" TO \"tidegate_few\""
    );
    let batches = |what: &str| format!("ALTER TABLE tidegate_batches {what} ROW LEVEL SECURITY");
    let hidden = of_server(&mut schema, &batches("ENABLE"));
    assert_eq!(
        hidden,
        "table tidegate_batches has row-level security that holds for this user: a batch that is hidden from it would be written \
         twice. Give the user BYPASSRLS, or make it the owner of the table"
    );
    schema.run(&batches("DISABLE"));
    let policies = "GRANT DELETE, UPDATE (count), SELECT (count) ON word_counts TO tidegate_few; ALTER TABLE word_counts ENABLE ROW LEVEL SECURITY";
    let hidden = of_server(&mut schema, policies);
    assert!(
        hidden.starts_with("table word_counts has row-level security that holds for this user"),
        "{hidden}"
    );
    // Just what was named is enough.
    schema.run("ALTER TABLE word_counts DISABLE ROW LEVEL SECURITY");
    let mut workers = Epoch::open(&counts(&schema), 2).unwrap();
    workers.run(&batch(1), many(3).into_iter().map(Change::Put).collect()).unwrap();
    workers.run(&batch(2), many(2).into_iter().map(Change::Delete).collect()).unwrap();
    assert_eq!(schema.words(), ["w00002 2"]);
    drop(workers);
    schema.run("DROP OWNED BY tidegate_few; DROP ROLE tidegate_few");
}
