//! A checkpoint is data: another program reads keys and values of a state as columns.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use tidegate::testkit::{MemoryInput, TestJob};
use tidegate::{Conf, State, StateSpec, Stop};
use tidegate_servers::duckdb;

/// What is kept of a page.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Visits {
    times: u32,
    last: Option<String>,
    seconds: Vec<f64>,
}

/// What a page is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
struct Page {
    site: String,
    number: i64,
}

#[test]
fn duckdb_finds_keys_and_values_of_a_state_as_typed_columns() {
    let directory = tempfile::tempdir().unwrap();
    let input = MemoryInput::new(1);
    let read = input.clone();
    let conf = Conf::new().set_master("local[2]").set("tidegate.checkpoint.interval_ms", "1000");
    let mut job = TestJob::start(conf, Some(directory.path()), move |ssc| {
        let visits = ssc.input_stream("visits", read)?;
        let count = |_: &Page, who: Option<String>, visits: &mut State<'_, Visits>| {
            let before = visits.get().cloned();
            let before = before.unwrap_or(Visits { times: 0, last: None, seconds: vec![] });
            let seconds = [before.seconds, vec![f64::from(before.times) + 0.5]].concat();
            visits.update(Visits { times: before.times + 1, last: who, seconds });
        };
        let counted = visits.map_with_state(StateSpec::function(count)).uid("visits");
        let totals = visits
            .map(|(page, _): (Page, String)| (page.site, 1i64))
            .update_state_by_key(|new: Vec<i64>, total: Option<i64>| {
                Some(total.unwrap_or(0) + new.iter().sum::<i64>())
            })
            .uid("totals");
        counted.count().print()?;
        totals.count().print()
    })
    .unwrap();
    let page = |site: &str, number| Page { site: site.to_owned(), number };
    input.push(0, [(page("sea", 1), "ann".to_owned()), (page("sea", 1), "bob".to_owned())]);
    job.next_batch().unwrap();
    input.push(0, [(page("land", -7), "eve".to_owned())]);
    job.next_batch().unwrap();
    job.ssc.stop(Stop::Gracefully).unwrap();

    let files = |uid: &str| format!("read_parquet('{}/state/{uid}/*.parquet')", directory.path().display());
    let rows = duckdb(&format!(
        "SELECT key.site, key.number, value.times, value.last, value.seconds[1], removed \
         FROM {} ORDER BY key.site, value.times",
        files("visits")
    ));
    assert_eq!(
        rows.unwrap(),
        [["land", "-7", "1", "eve", "0.5", "false"], ["sea", "1", "2", "bob", "0.5", "false"]]
    );
    let types = duckdb(&format!("DESCRIBE SELECT key, value FROM {}", files("totals"))).unwrap();
    let types: Vec<_> = types.iter().map(|row| row[..2].join(" ")).collect();
    assert_eq!(types, ["key VARCHAR", "value BIGINT"]);
    let newest =
        format!("SELECT key, max_by(value, updated_ms) FROM {} GROUP BY key ORDER BY key", files("totals"));
    assert_eq!(duckdb(&newest).unwrap(), [["land", "1"], ["sea", "2"]]);
}
