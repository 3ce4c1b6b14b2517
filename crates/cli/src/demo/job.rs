//! The job process, `tidegate demo-job`: the word count itself. Nothing here knows that it will be killed.
//!
//! It tells of each committed batch by a line of JSON on standard output ([`Batch`]), and ends when standard input says
//! `stop`: gracefully, exit code 0. A standard input that ends without it means that the demo is gone: then nobody waits for
//! the job, and it ends at once.

use super::{TABLE, TOPIC};
use crate::exit::{self, Failure};
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tidegate::{BatchInfo, Conf, Result, Stop, StreamId, StreamingContext, StreamingListener};
use tidegate_kafka::{ConsumerStrategy, KafkaRecord, LocationStrategy, OffsetRange, create_direct_stream};
use tidegate_sql::{SaveToSql, Table};

pub(super) const BATCH_INTERVAL: Duration = Duration::from_millis(100);
/// What standard input says to end the job gracefully.
pub(super) const STOP: &str = "stop";
/// How long a job whose demo is gone may take to end.
const ORPHAN_MAX: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    checkpoint: PathBuf,
    #[arg(long)]
    database: PathBuf,
    #[arg(long)]
    master: String,
}

/// A committed batch, as the demo is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    /// Its number, from 1.
    pub(super) batch: u64,
    /// From the batch's time to its commit.
    pub(super) delay_ms: u64,
    /// Where it ends in each partition of the topic; all before is in the database.
    pub(super) ends: BTreeMap<i32, u64>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    Ok(count_words(options)?)
}

fn count_words(options: &Options) -> Result<()> {
    let conf = Conf::new().set_app_name("tidegate demo").set_master(&options.master);
    let ssc = StreamingContext::new(conf, BATCH_INTERVAL)?;
    ssc.checkpoint(&options.checkpoint)?;
    let params = [("bootstrap.servers", options.brokers.as_str()), ("auto.offset.reset", "earliest")];
    let strategy = ConsumerStrategy::subscribe([TOPIC], params);
    let lines = create_direct_stream(&ssc, LocationStrategy::PreferConsistent, strategy)?;
    let split = |line: KafkaRecord, out: &mut dyn FnMut((CompactString, i64))| -> Result<()> {
        line.text()?.split(' ').for_each(|word| out((word.into(), 1)));
        Ok(())
    };
    let counts = lines.flat_map_with(split).reduce_by_key(|a, b| a + b);
    counts.save_to_sqlite(&options.database, Table::add(TABLE, ["word"], ["count"]))?;
    ssc.add_streaming_listener(Arc::new(Tell { stream: lines.stream_id().clone() }))?;
    obey_stdin(&ssc)?;
    ssc.start()?;
    ssc.await_termination()
}

/// Ends the job by what standard input says.
fn obey_stdin(ssc: &StreamingContext) -> Result<()> {
    let ssc = ssc.clone();
    let obey = move || {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).is_ok() && line.trim_end() == STOP {
            return ssc.request_stop(Stop::Gracefully);
        }
        ssc.request_stop(Stop::Now);
        std::thread::sleep(ORPHAN_MAX);
        exit::at_once("the demo is gone, and the job did not end by itself");
    };
    let thread = std::thread::Builder::new().name("demo-stdin".to_owned()).spawn(obey);
    thread.map(drop).map_err(|error| tidegate::Error::reconfigure("can't start a thread").because(error))
}

/// Tells of each batch on standard output.
struct Tell {
    stream: StreamId,
}

impl StreamingListener for Tell {
    fn on_batch_completed(&self, info: &BatchInfo) {
        let ranges = info.plan.source(&self.stream).map_or(&[][..], |source| &source.ranges);
        let ends = ranges.iter().filter_map(|range| OffsetRange::try_from(range).ok());
        let batch = Batch {
            batch: info.id().0,
            delay_ms: info.total_delay().as_millis() as u64,
            ends: ends.map(|range| (range.partition, range.until_offset)).collect(),
        };
        let line = serde_json::to_string(&batch).expect("numbers are JSON");
        // When nobody listens, standard input has ended too, and ends the job.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
