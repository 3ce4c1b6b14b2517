//! The PostgreSQL output against a real server. Each test has a schema of its own, so they run at the same time.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::Duration;
use support::server::{Schema, many};
use support::*;
use tidegate_core::{BatchId, ErrorKind, JobId, Output, PartitionId, Result, Seat, Writer};
use tidegate_sql::{PostgresOutput, Table, postgres_offsets};

#[test]
fn a_batch_is_seen_when_it_is_committed_with_its_plan_beside_it() {
    let mut schema = Schema::new("seen");
    let mut workers = Epoch::open(&schema.counts(), 2).unwrap();
    assert_eq!((workers.held.job.clone(), workers.held.partitions.len()), (Some(JobId::from("job-1")), 0));
    let rows = || vec![count("the", 2), count("tide", 1), count("the", 3)];
    workers.prepare(&batch(1), rows()).unwrap();
    assert_eq!(schema.words(), [""; 0]);
    for writer in &mut workers.writers {
        writer.commit(&batch(1)).unwrap();
    }
    assert_eq!(schema.words(), ["the 5", "tide 1"]);
    workers.run(&batch(2), rows()).unwrap();
    drop(workers);
    assert_eq!(schema.words(), ["the 10", "tide 2"]);

    let held = open::<Count>(&schema.counts()).unwrap();
    let all: BTreeMap<_, _> = (0..4).map(|part| (PartitionId(part), BatchId(2))).collect();
    assert_eq!((held.partitions, held.newest), (all, Some(plan(2, 20, 30))));
    assert_eq!(postgres_offsets(&schema.url, "out").unwrap(), Some(plan(2, 20, 30)));
    assert_eq!(postgres_offsets(&schema.url, "other").unwrap(), None);
}

#[test]
fn a_batch_that_some_writers_committed_is_finished_by_any_number_of_workers() {
    let mut schema = Schema::new("finished");
    let mut workers = Epoch::open(&schema.counts(), 3).unwrap();
    workers.run(&batch(1), many(100)).unwrap();
    workers.prepare(&batch(2), many(100)).unwrap();
    workers.writers[1].commit(&batch(2)).unwrap();
    drop(workers);
    let error = refusal(postgres_offsets(&schema.url, "out")).to_string();
    assert!(error.contains("batch 2 is in 1 of the 4 partitions of output out"), "{error}");

    let mut workers = Epoch::open(&schema.counts(), 1).unwrap();
    assert_eq!(workers.held.newest, Some(plan(2, 20, 30)));
    let held: Vec<u64> = workers.held.partitions.values().map(|batch| batch.0).collect();
    assert_eq!(held, [1, 2, 1, 1]);
    workers.run(&batch(2), many(100)).unwrap();
    let expected: Vec<String> = (0..100).map(|number| format!("w{number:05} {}", 2 * number)).collect();
    assert_eq!(schema.words(), expected);
}

#[test]
fn rows_of_many_chunks_are_one_transaction() {
    let mut schema = Schema::new("chunks");
    let mut workers = Epoch::open(&schema.counts().partitions(1), 1).unwrap();
    let mut rows = many(12_000);
    rows.extend(many(12_000));
    workers.run(&batch(1), rows).unwrap();
    assert_eq!(schema.query("SELECT count(*) || ' ' || sum(count) FROM word_counts"), ["12000 143988000"]);
}

#[test]
fn insert_appends_values_of_all_types() {
    type Event = (Option<&'static str>, Option<f64>, bool, Vec<u8>, u32, i32, Option<i64>);
    let mut schema = Schema::new("types");
    let columns = ["page", "seconds", "new", "raw", "size", "small", "big"];
    let mut events = Epoch::open(&schema.output(Table::insert("types.Events", columns)), 1).unwrap();
    let row: Event = (None, Some(1.5), true, vec![1, 255], u32::MAX, -1, None);
    events.run(&batch(1), vec![row.clone(), row]).unwrap();
    let seen = schema.query("SELECT e::text FROM \"Events\" e");
    assert_eq!(seen, [r#"(,1.5,t,"\\x01ff",4294967295,-1,)"#; 2]);
}

#[test]
fn an_upsert_takes_the_newer_row() {
    let mut schema = Schema::new("upsert");
    let mut workers =
        Epoch::open(&schema.output(Table::upsert("word_counts", ["word"], ["count"])), 2).unwrap();
    workers.run(&batch(1), many(3)).unwrap();
    workers.run(&batch(2), vec![count("w00001", 9)]).unwrap();
    assert_eq!(schema.words(), ["w00000 0", "w00001 9", "w00002 2"]);
    let error = refusal(workers.run(&batch(3), vec![count("a", 1), count("a", 2)]));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(
        error
            .to_string()
            .contains("batch 3, table word_counts: two rows of the batch have the key word = \"a\"")
    );
}

#[test]
fn an_idle_batch_makes_no_round_trip() {
    let mut schema = Schema::new("idle");
    let mut workers = Epoch::open(&schema.counts(), 1).unwrap();
    workers.run(&batch(1), many(3)).unwrap();
    schema.run("ALTER TABLE tidegate_batches RENAME TO away");
    workers.run(&idle(2), vec![]).unwrap();
    schema.run("ALTER TABLE away RENAME TO tidegate_batches");
    workers.run(&batch(3), vec![]).unwrap();
    assert_eq!(postgres_offsets(&schema.url, "out").unwrap(), Some(plan(3, 30, 40)));
}

#[test]
fn the_writer_of_an_earlier_epoch_can_not_commit() {
    let mut schema = Schema::new("fence");
    let mut zombie = Epoch::open(&schema.counts(), 1).unwrap();
    zombie.run(&batch(1), many(3)).unwrap();
    let mut new = Epoch::open(&schema.counts(), 1).unwrap();
    let error = refusal(zombie.run(&batch(2), many(3)));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert_eq!(
        error.to_string(),
        "output out, batch 2, table word_counts: the output was taken over by another run; nothing of the batch was \
         written here. Let one run of the job live, or give the other one an output of its own"
    );
    // Nothing of it is in, and its locks are gone.
    zombie.writers[0].commit(&batch(2)).unwrap();
    new.run(&batch(2), many(3)).unwrap();
    assert_eq!(schema.words(), ["w00000 0", "w00001 2", "w00002 4"]);
}

#[test]
fn a_takeover_waits_for_what_is_prepared_and_not_for_ever() {
    let mut schema = Schema::new("takeover");
    let mut old = Epoch::open(&schema.counts(), 1).unwrap();
    old.prepare(&batch(1), many(3)).unwrap();
    let error = refusal(open::<Count>(&schema.counts()));
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(
        error.to_string().contains("canceling statement due to lock timeout (SQLSTATE 55P03)"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("held by a session of an earlier run that the server has not found dead yet")
    );
    // It was not taken over, so it may commit; the one that comes then finds the batch.
    old.writers[0].commit(&batch(1)).unwrap();
    assert_eq!(open::<Count>(&schema.counts()).unwrap().newest, Some(plan(1, 10, 20)));
    assert_eq!(schema.words().len(), 3);
}

#[test]
fn an_output_of_another_job_is_named_and_left_alone() {
    let mut schema = Schema::new("jobs");
    let mut mine = Epoch::open(&schema.counts(), 1).unwrap();
    let theirs = Output::<Count>::open(&schema.counts(), &context("out", Some("job-2"))).unwrap();
    assert_eq!(theirs.job, Some("job-1".into()));
    mine.run(&batch(1), many(1)).unwrap();
    let alone = Output::<Count>::open(&schema.counts(), &context("out", None)).unwrap();
    assert_eq!((alone.job, schema.words().len()), (Some("job-1".into()), 1));
}

#[test]
fn the_number_of_partitions_is_the_one_of_the_first_use() {
    let schema = Schema::new("sticky");
    let first = schema.counts().partitions(3);
    open::<Count>(&first).unwrap();
    let second = schema.counts().partitions(8);
    assert_eq!(placed::<Count>(&second, &[]).0, 8);
    open::<Count>(&second).unwrap();
    assert_eq!(placed::<Count>(&second, &[]).0, 3);
}

#[test]
fn a_server_that_goes_away_is_tried_again() {
    let mut schema = Schema::new("away");
    schema.url.push_str("&application_name=tidegate-away");
    let end = "SELECT count(pg_terminate_backend(pid, 5000))::text FROM pg_stat_activity \
               WHERE application_name = 'tidegate-away'";
    let output = schema.counts();
    let mut workers = Epoch::open(&output, 1).unwrap();
    workers.run(&batch(1), many(3)).unwrap();
    // Between two batches nothing is lost, and the writer finds another connection.
    schema.query(end);
    workers.run(&batch(2), many(3)).unwrap();
    // Within one, the batch is run again.
    workers.prepare(&batch(3), many(3)).unwrap();
    schema.query(end);
    let error = refusal(workers.writers[0].commit(&batch(3)));
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    drop(workers);
    let mut workers = Epoch::open(&output, 1).unwrap();
    assert_eq!(workers.held.newest, Some(plan(2, 20, 30)));
    workers.run(&batch(3), many(3)).unwrap();
    assert_eq!(schema.words(), ["w00000 0", "w00001 3", "w00002 6"]);
}

#[test]
fn what_the_server_can_not_do_for_now_is_tried_again() {
    let mut schema = Schema::new("for_now");
    let plain = schema.url.clone();
    // Takes longer than any test, unless it is stopped.
    schema.run(
        "CREATE TABLE word_counts (word TEXT PRIMARY KEY, count BIGINT); \
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON word_counts FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let refused = |url: &str| {
        let output = PostgresOutput::new(url, Table::add("word_counts", ["word"], ["count"])).unwrap();
        let error = match open::<Count>(&output) {
            Ok(_) => refusal(prepare(&mut *writer(&output), &batch(1), vec![count("a", 1)])),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
        error.to_string()
    };
    let text = refused(&format!("{plain}%20-cstatement_timeout%3D200"));
    assert!(
        text.contains("(SQLSTATE 57014): the statement was cancelled; the batch is run again."),
        "{text}"
    );
    let text = refused(&format!("{plain}%20-cdefault_transaction_read_only%3Don"));
    assert!(text.contains("(SQLSTATE 25006): the server is a standby"), "{text}");
    schema.run("DROP ROLE IF EXISTS tidegate_none; CREATE ROLE tidegate_none LOGIN CONNECTION LIMIT 0");
    let text = refused(&plain.replace("//test@", "//tidegate_none@"));
    assert!(text.contains("(SQLSTATE 53300): the server has no connection left"), "{text}");
    schema.run("DROP ROLE tidegate_none");
}

#[test]
fn a_server_that_is_not_there_is_named_without_the_password() {
    // A port that was free a moment ago, and that nothing listens on.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://ann:s3cret@127.0.0.1:{port}/counts");
    let output = PostgresOutput::new(&url, Table::add("word_counts", ["word"], ["count"])).unwrap();
    let error = refusal(open::<Count>(&output));
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(
        error
            .to_string()
            .starts_with(&format!("PostgreSQL at 127.0.0.1:{port}, database counts: can't connect: ")),
        "{error}"
    );
    let described = Output::<Count>::describe(&output);
    assert_eq!(described, format!("PostgreSQL table word_counts at 127.0.0.1:{port}, database counts"));
    for text in [described, error.to_string(), format!("{error:?}"), format!("{output:?}")] {
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_database_or_a_user_that_is_not_there_must_be_mended() {
    let schema = Schema::new("login");
    let server = schema.url.split('?').next().unwrap();
    let (before, _) = server.rsplit_once('/').unwrap();
    let output = PostgresOutput::new(&format!("{before}/nowhere"), Table::insert("t", ["a", "b"])).unwrap();
    let error = refusal(open::<Count>(&output));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let text = error.to_string();
    assert!(
        text.contains("database \"nowhere\" does not exist (SQLSTATE 3D000): create the database"),
        "{text}"
    );

    let host = server.rsplit_once('@').unwrap().1;
    let output =
        PostgresOutput::new(&format!("postgres://nobody:s3cret@{host}"), Table::insert("t", ["a", "b"]));
    let error = refusal(open::<Count>(&output.unwrap()));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().ends_with("check user and password in the URL"), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}

/// What opening says of a table made by `sql`, from the name of the table on.
fn of_table(schema: &mut Schema, sql: &str) -> String {
    schema.run(&format!("DROP TABLE IF EXISTS word_counts; {sql}"));
    let error = refusal(open::<Count>(&schema.counts()));
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    let text = error.to_string();
    text.split_once("database ").unwrap().1.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn a_table_of_another_shape_is_refused_with_all_its_flaws() {
    let mut schema = Schema::new("shape");
    let refused = |flaw: &str| {
        format!(
            "table word_counts does not fit its rows: {flaw}. Change the table, or name another one: a table that is \
             missing is made"
        )
    };
    let no_key = refused("no primary key or unique index is on exactly (word), needed is UNIQUE (word)");
    let table = [
        (
            "CREATE TABLE word_counts (word TEXT PRIMARY KEY, n BIGINT)",
            refused("column count is not there (the columns are word, n), needed is count BIGINT"),
        ),
        (
            "CREATE TABLE word_counts (word TEXT PRIMARY KEY, count INTEGER)",
            refused("column count is integer, needed is BIGINT"),
        ),
        ("CREATE TABLE word_counts (word TEXT, count BIGINT)", no_key.clone()),
        ("CREATE TABLE word_counts (word TEXT, count BIGINT, PRIMARY KEY (word, count))", no_key.clone()),
        ("CREATE TABLE word_counts (word TEXT UNIQUE DEFERRABLE, count BIGINT)", no_key.clone()),
        (
            "CREATE TABLE word_counts (word TEXT, count BIGINT); \
             CREATE UNIQUE INDEX ON word_counts (word) WHERE count > 0; \
             CREATE UNIQUE INDEX ON word_counts (lower(word)); CREATE INDEX ON word_counts (word)",
            no_key,
        ),
        (
            "CREATE TABLE word_counts (word CHAR(9) PRIMARY KEY, count BIGINT GENERATED ALWAYS AS (1) STORED, \
             day DATE NOT NULL)",
            refused(
                "column word is character(9), needed is TEXT; column count is generated by the database, needed is a \
                 column that is written; column day is NOT NULL without a default and not among the columns written, \
                 needed is a default for it",
            ),
        ),
        (
            "CREATE UNLOGGED TABLE word_counts (word TEXT PRIMARY KEY, count BIGINT)",
            "word_counts is an unlogged table, needed is a logged one: a crash of the server would empty it, and leave \
             the memory of its batches: name another one"
                .to_owned(),
        ),
    ];
    for (sql, expected) in table {
        assert_eq!(of_table(&mut schema, sql), expected);
    }
    // None of them has taken the output, which is open to whoever fits.
    schema.run(
        "DROP TABLE word_counts; CREATE TABLE word_counts (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
         count NUMERIC, word VARCHAR(20) NOT NULL, at TIMESTAMPTZ NOT NULL DEFAULT now()); \
         CREATE UNIQUE INDEX ON word_counts (word) INCLUDE (count); \
         INSERT INTO word_counts (word, count) VALUES ('w00001', NULL)",
    );
    let mut workers = Epoch::open(&schema.counts(), 2).unwrap();
    workers.run(&batch(1), many(2)).unwrap();
    assert_eq!(schema.words(), ["w00000 0", "w00001 1"]);
}

#[test]
fn a_row_the_table_refuses_is_told_without_all_of_its_data() {
    let mut schema = Schema::new("refused");
    schema.run("CREATE TABLE word_counts (word TEXT PRIMARY KEY, count BIGINT CHECK (count < 10))");
    let mut workers = Epoch::open(&schema.counts(), 1).unwrap();
    let error = refusal(workers.run(&batch(7), vec![count("fine", 1), count(&"much".repeat(50), 10)]));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    let text = error.to_string();
    assert!(text.starts_with("output out, batch 7, table word_counts, PostgreSQL at "), "{text}");
    let refused = "new row for relation \"word_counts\" violates check constraint \"word_counts_count_check\" (SQLSTATE \
                   23514): Failing row contains (muchmuch";
    assert!(text.contains(refused) && !text.contains(&"much".repeat(20)), "{text}");
    assert_eq!(schema.words(), [""; 0]);
}

#[test]
fn a_sum_that_runs_over_is_refused() {
    let mut schema = Schema::new("overflow");
    let mut workers = Epoch::open(&schema.counts(), 1).unwrap();
    let error = refusal(workers.run(&batch(1), vec![count("a", i64::MAX), count("a", 1)]));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert!(error.to_string().contains("bigint out of range (SQLSTATE 22003)"), "{error}");
    let mut workers = Epoch::open(&schema.counts(), 1).unwrap();
    workers.run(&batch(1), vec![count("a", i64::MAX)]).unwrap();
    let error = refusal(workers.run(&batch(2), vec![count("a", 1)]));
    assert!(error.to_string().contains("bigint out of range (SQLSTATE 22003)"), "{error}");
    assert_eq!(schema.words(), [format!("a {}", i64::MAX)]);
}

#[test]
fn text_with_a_nul_byte_is_refused_by_name() {
    let schema = Schema::new("nul");
    let mut workers = Epoch::open(&schema.output(Table::upsert("t", ["word"], ["note"])), 1).unwrap();
    let rows = vec![("a".to_owned(), "x\0y".to_owned())];
    let error = refusal(workers.run(&batch(5), rows));
    assert_eq!(error.kind(), ErrorKind::Reconfigure);
    assert_eq!(
        error.to_string(),
        "output out, batch 5, table t: row word = \"a\": column note: the text holds a NUL byte, which PostgreSQL's TEXT \
         can't: take it out, or write bytes (Vec<u8>)"
    );
}

#[test]
fn settings_that_can_not_be_are_refused() {
    let schema = Schema::new("settings");
    for partitions in [0, 1025] {
        let text = refusal(open::<Count>(&schema.counts().partitions(partitions))).to_string();
        assert!(text.ends_with(&format!("{partitions} partitions, needed are 1 to 1024")), "{text}");
    }
    let text = refusal(open::<Count>(&schema.output(Table::insert("a.b.c", ["x", "y"])))).to_string();
    assert!(text.ends_with("table a.b.c: a name has one dot at most, between schema and table"), "{text}");
}

#[test]
fn outputs_that_open_for_the_first_time_at_once_all_succeed() {
    let schema = Schema::new("together");
    let open_one = |number: usize| {
        let output = schema.counts().lock_timeout(Duration::from_secs(20));
        move || Output::<Count>::open(&output, &context(&format!("out-{number}"), None)).unwrap().job
    };
    let threads: Vec<_> = (0..6).map(|number| std::thread::spawn(open_one(number))).collect();
    let jobs: BTreeSet<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(jobs, BTreeSet::from([Some(JobId::from("job-1"))]));
}

#[test]
fn an_output_that_is_there_opens_while_a_first_use_is_stuck() {
    let mut schema = Schema::new("stuck");
    let output = schema.counts();
    open::<Count>(&output).unwrap();
    let first_use = "SELECT pg_advisory_xact_lock(hashtextextended(current_schema(), 8388346167643173989))";
    let mut stuck = schema.client.transaction().unwrap();
    stuck.execute(first_use, &[]).unwrap();
    open::<Count>(&output).unwrap();
    let error = refusal(Output::<Count>::open(&output, &context("first", Some("job-1"))));
    assert_eq!(error.kind(), ErrorKind::Retry);
}

#[test]
fn a_writer_before_the_opening_is_a_bug() {
    let schema = Schema::new("unopened");
    let seat = Seat { output: "out".into(), worker: 0, workers: 1 };
    let result: Result<Box<dyn Writer<Count>>> = schema.counts().writer(&seat);
    assert_eq!(refusal(result).to_string(), "output out: a writer was asked for before it was opened");
}
