//! What a job reaches that only writes, and what a client by hand reaches that writes the same rows to the same place:
//!
//! * `sinks job SINK SERVER DIRECTORY ROWS BATCHES`: a job whose batches, of so many rows, are all due at once.
//! * `sinks hand SINK SERVER DIRECTORY ROWS BATCHES THREADS`: the same in a loop, each thread with its share of every batch.
//! * `sinks paced SINK SERVER DIRECTORY ROWS BATCHES INTERVAL_MS`: a job with a batch at each interval of the machine's clock.
//!
//! One batch before is not timed: it makes connections and tables. Each prints one JSON line. A sink that then holds another number of
//! rows than were written is a failure. Tables and topics are named after the directory, which must be empty; SERVER is `-` where there
//! is none.

mod elasticsearch;
mod files;
mod hand;
mod hbase;
mod job;
mod kafka;
mod postgres;
mod row;
mod sink;
mod sqlite;

use serde_json::{Value, json};
use sink::Sink;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tidegate_benches::{Failure, answer, peak_rss_mib};

/// How much is written: batches that are timed, and rows of each.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rows: u64,
    pub(crate) batches: u64,
}

fn main() -> ExitCode {
    answer(run)
}

fn run(arguments: &[&str]) -> Result<Value, Failure> {
    let [how, sink, server, directory, rows, batches, ref rest @ ..] = *arguments else {
        return Err("sinks job|hand|paced SINK SERVER DIRECTORY ROWS BATCHES [THREADS|INTERVAL_MS]".into());
    };
    let directory = Path::new(directory);
    // Partitions and threads share the rows evenly.
    let load = Load { rows: rows.parse::<u64>()?.next_multiple_of(2), batches: batches.parse()? };
    let sink = sink_of(sink, server, directory)?;
    sink.make()?;
    let mut figures = match (how, rest) {
        ("job", []) => job::flat_out(directory, load, &*sink)?,
        ("paced", [interval]) => {
            job::paced(directory, load, &*sink, Duration::from_millis(interval.parse()?))?
        }
        ("hand", [threads]) => hand::run(load, &*sink, threads.parse()?)?,
        _ => return Err(format!("nothing is measured under the name {how}").into()),
    };
    let (found, written) = (sink.rows()?, load.rows * (load.batches + 1));
    if found.is_some_and(|found| found != written) {
        return Err(format!("{written} rows were written, and there are {}", found.unwrap_or(0)).into());
    }
    figures["peak_rss_mib"] = json!(peak_rss_mib("self"));
    Ok(figures)
}

fn sink_of(sink: &str, server: &str, directory: &Path) -> Result<Box<dyn Sink>, Failure> {
    let name = directory.file_name().and_then(|name| name.to_str()).ok_or("the directory has no name")?;
    let (server, name) = (server.to_owned(), name.replace('-', "_"));
    Ok(match sink {
        "kafka" => Box::new(kafka::Topic { brokers: server, topic: name, exactly_once: true }),
        "kafka-at-least-once" => Box::new(kafka::Topic { brokers: server, topic: name, exactly_once: false }),
        "postgres" => Box::new(postgres::Rows { url: server, table: name }),
        "sqlite" => Box::new(sqlite::Rows { file: new_folder(directory)?.join("rows.db") }),
        "hbase" => Box::new(hbase::Table { gateway: server, name }),
        "elasticsearch" => Box::new(elasticsearch::Index::new(server, name)),
        format => {
            Box::new(files::Folder { path: new_folder(directory)?, format: files::Format::named(format)? })
        }
    })
}

/// A place for files beside the checkpoint.
fn new_folder(directory: &Path) -> Result<PathBuf, Failure> {
    let folder = directory.join("out");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
