//! Puts input into a broker, as a process of its own: `cargo xtask bench` runs it beside what it measures.
//!
//! `load topic BROKERS TOPIC` creates a topic; `load lines BROKERS TOPIC COUNT` creates one and fills it with the deterministic
//! lines; `load paced BROKERS TOPIC RATE SECONDS` writes to one that is there, each line with the time at which it was due.
//! Prints how many lines the broker has acknowledged.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;
use tidegate_servers::lines::PARTITIONS;
use tidegate_servers::load;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(lines) => {
            println!("{lines}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<u64, Box<dyn Error>> {
    match *arguments {
        ["topic", brokers, topic] => {
            load::create_topic(brokers, topic, PARTITIONS, &[])?;
            Ok(0)
        }
        ["lines", brokers, topic, count] => {
            let count = count.parse()?;
            load::create_topic(brokers, topic, PARTITIONS, &[])?;
            load::produce_lines(brokers, topic, 0..count)?;
            Ok(count)
        }
        ["paced", brokers, topic, rate, seconds] => {
            let duration = Duration::from_secs(seconds.parse()?);
            Ok(load::produce_paced(brokers, topic, rate.parse()?, duration)?)
        }
        _ => {
            Err("load topic BROKERS TOPIC | lines BROKERS TOPIC COUNT | paced BROKERS TOPIC RATE SECONDS"
                .into())
        }
    }
}
