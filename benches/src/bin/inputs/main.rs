//! What inputs cost, and what becomes of a job that is given more than its output takes:
//!
//! * `inputs kafka direct|received|logged BROKERS TOPIC LINES DIRECTORY`: all lines of a topic summed up; a direct stream, a receiver,
//!   a receiver with a write-ahead log.
//! * `inputs overload direct|logged free|held BROKERS TOPIC RATE SECONDS DIRECTORY`: a topic that is being written to, for so many
//!   seconds, into an output that takes RATE lines a second; without back-pressure (`free`) and with it.
//! * `inputs wal BLOCK_BYTES BLOCKS DIRECTORY`: blocks stored by a receiver with a log, one after the other.
//! * `inputs http received|logged RECORDS SECONDS DIRECTORY`: clients post requests of so many records for so long.
//!
//! Each prints one JSON line. A job that lost or doubled a record is a failure. The directory must be empty.

mod http;
mod job;
mod kafka;
mod overload;
mod wal;

use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use tidegate_benches::{Failure, answer, peak_rss_mib};

fn main() -> ExitCode {
    answer(run)
}

fn run(arguments: &[&str]) -> Result<Value, Failure> {
    let mut figures = match *arguments {
        ["kafka", way, brokers, topic, lines, directory] => {
            kafka::run(&of(brokers, topic, way, directory)?, lines.parse()?, Path::new(directory))?
        }
        ["overload", way, held @ ("free" | "held"), brokers, topic, rate, seconds, directory] => {
            let topic = of(brokers, topic, way, directory)?;
            overload::run(&topic, held == "held", rate.parse()?, seconds.parse()?, Path::new(directory))?
        }
        ["wal", bytes, blocks, directory] => wal::run(bytes.parse()?, blocks.parse()?, Path::new(directory))?,
        ["http", way, records, seconds, directory] => {
            http::run(way.parse()?, records.parse()?, seconds.parse()?, Path::new(directory))?
        }
        _ => return Err("inputs kafka|overload|wal|http ...; see the head of the program's source".into()),
    };
    figures["peak_rss_mib"] = json!(peak_rss_mib("self"));
    Ok(figures)
}

/// A topic read by a group of this run alone.
fn of<'a>(brokers: &'a str, topic: &'a str, way: &str, directory: &str) -> Result<kafka::Topic<'a>, Failure> {
    let group = directory.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    Ok(kafka::Topic { brokers, topic, way: way.parse()?, group })
}
