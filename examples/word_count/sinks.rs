//! Where the counts go: one arm for each kind of output, all in one all-or-nothing commit.

use super::options::{Keeper, Options, Out};
use super::totals;
use compact_str::CompactString;
use tidegate::{BatchDirectories, BatchFiles, DStream, Error, ExchangeData, PartFormat, Result, TextFormat};
use tidegate_hadoop::SequenceFormat;
use tidegate_sql::{PostgresOutput, SqlRow, SqliteOutput, Table};

/// Of each batch: how often a word was in it.
pub(crate) type Counts = DStream<(CompactString, i64)>;

/// Writes to each place that was asked for. `totals` are what the state keeps; without state they are the counts themselves.
pub(crate) fn write(options: &Options, totals: &Counts) -> Result<()> {
    for (place, out) in options.outs().enumerate() {
        // By its name an output is found again: the first keeps its own when others are added.
        let name = match place {
            0 => "word_counts".to_owned(),
            place => format!("word_counts-{}", place + 1),
        };
        write_to(out, &name, options.state, totals)?;
    }
    Ok(())
}

fn write_to(out: &Out, name: &str, keeper: Keeper, totals: &Counts) -> Result<()> {
    match out {
        Out::Sqlite(_) | Out::Postgres(_) => save(totals, name, out, totals::table(keeper)),
        Out::Text(prefix) => save_files(totals, name, prefix, "txt", TextFormat),
        Out::Sequence(prefix) => save_files(totals, name, prefix, "seq", SequenceFormat::default()),
    }
}

/// Writes a directory of files for each batch.
fn save_files(
    totals: &Counts,
    name: &str,
    prefix: &str,
    suffix: &str,
    format: impl PartFormat<(String, i64)>,
) -> Result<()> {
    let directories = match prefix.rsplit_once('/') {
        Some((place, prefix)) if place.contains("://") => {
            BatchDirectories::on(tidegate_object_store::storage(place)?, prefix, suffix)?
        }
        _ => BatchDirectories::local(prefix, suffix)?,
    };
    let rows = totals.map(|(word, count)| (word.to_string(), count));
    rows.output(name, BatchFiles::new(directories, format)).map(drop)
}

/// Writes rows into a table of a database.
pub(crate) fn save<T: ExchangeData + SqlRow>(
    rows: &DStream<T>,
    name: &str,
    database: &Out,
    table: Table,
) -> Result<()> {
    match database {
        Out::Sqlite(file) => rows.output(name, SqliteOutput::new(file, table)).map(drop),
        Out::Postgres(url) => rows.output(name, PostgresOutput::new(url, table)?).map(drop),
        Out::Text(_) | Out::Sequence(_) => Err(Error::bug("a table is for a database")),
    }
}
