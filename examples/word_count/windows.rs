//! Counts of each batch and of each window of batches, in tables: every window can be compared with the batches in it.

use super::options::{Options, Out, Window};
use super::sinks::save;
use compact_str::CompactString;
use tidegate::{DStream, Error, Result};
use tidegate_sql::Table;

/// Partitions that the windows' state is in.
const PARTITIONS: u32 = 4;

/// Writes `counts` by their batch, and their sums by the window they are in, into the first database.
pub(crate) fn write(counts: &DStream<(CompactString, i64)>, window: Window, options: &Options) -> Result<()> {
    let database = options.outs().find(|out| matches!(out, Out::Sqlite(_) | Out::Postgres(_)));
    let database = database.ok_or_else(|| {
        Error::reconfigure("--window needs a database for its tables; give --out sqlite:FILE or postgres:URL")
    })?;
    let sums = counts.reduce_by_key_and_window_with_filter(
        |a, b| a + b,
        |a, b| a - b,
        window.length,
        window.slide,
        PARTITIONS,
        |_, count| *count != 0,
    );
    let sums = sums.uid("windows");
    let table = |name: &str, time: &str| Table::upsert(name, [time, "word"], ["count"]);
    save(&by_time(counts), "batch_counts", database, table("batch_counts", "batch_ms"))?;
    save(&by_time(&sums), "window_counts", database, table("window_counts", "window_ms"))
}

/// Rows with the time of their batch, in milliseconds since 1970, before them.
fn by_time(counts: &DStream<(CompactString, i64)>) -> DStream<(u64, CompactString, i64)> {
    counts.transform(|rdd| {
        rdd.map_partitions_with_batch(|batch, _, rows| {
            let time = batch.time().0;
            rows.map(move |(word, count)| (time, word, count))
        })
    })
}
