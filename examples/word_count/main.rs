//! The word count, over Kafka or another source: totals in a database, each line counted once however often the job is killed.
//!
//! `cargo run --release --example word_count -- --brokers 127.0.0.1:9092 --topic lines --checkpoint /tmp/ckpt --out
//! sqlite:counts.db --until-caught-up`

mod options;
#[cfg(feature = "sabotage")]
mod sabotage;
mod sinks;
mod source;
mod stats;
mod totals;
mod windows;

use clap::Parser;
use options::Options;
use std::sync::Arc;
use tidegate::{BatchInfo, Conf, Result, Stop, StreamingContext, StreamingListener};
use tidegate_kafka::DirectStream;

pub(crate) fn main() {
    let stats = Arc::new(stats::Stats::default());
    let options = Options::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    if let Err(error) = run(options, &stats) {
        eprintln!("word_count: {error}");
        std::process::exit(1);
    }
}

fn run(options: Options, stats: &Arc<stats::Stats>) -> Result<()> {
    let ssc = StreamingContext::new(conf(&options), options.batch_interval)?;
    match &options.checkpoint {
        Some(url) if url.contains("://") => ssc.checkpoint_on(tidegate_object_store::storage(url)?)?,
        Some(directory) => ssc.checkpoint(directory)?,
        None => {}
    }
    if let Some(url) = &options.wal {
        ssc.write_ahead_log_on(tidegate_object_store::storage(url)?)?;
    }
    let totals = totals::Totals::default();
    let (counts, direct) = source::counts(&ssc, &options)?;
    let rows = totals::to_write(options.state, &counts);
    if options.outs().next().is_none() {
        totals.keep(options.state, &rows)?;
    }
    sinks::write(&options, &counts, &rows)?;
    if let Some(window) = options.window {
        windows::write(&counts, window, &options)?;
    }
    ssc.add_streaming_listener(stats.clone())?;
    if let Some(lines) = direct.filter(|_| options.until_caught_up) {
        ssc.add_streaming_listener(Arc::new(CaughtUp::new(&ssc, &lines)?))?;
        stats.connected();
    }
    ssc.start()?;
    ssc.await_termination()?;
    if let Some(file) = &options.stats {
        stats.write(file, &totals)?;
    }
    Ok(())
}

fn conf(options: &Options) -> Conf {
    let mut conf = Conf::new().set_app_name("word_count").set_master(&options.master);
    conf = options.conf.iter().fold(conf, |conf, (key, value)| conf.set(key, value));
    if options.backpressure {
        conf = conf.set("tidegate.backpressure.enable", "true");
    }
    if let Some(store) = &options.state_store {
        conf = conf.set("tidegate.state.store", store);
    }
    if let Some(interval) = options.checkpoint_interval {
        conf = conf.set("tidegate.checkpoint.interval_ms", &interval.as_millis().to_string());
    }
    conf
}

/// Stops the job once all that was in the topic at the start is counted.
struct CaughtUp {
    ssc: StreamingContext,
    stream: tidegate::StreamId,
    ends: Vec<(String, u64)>,
}

impl CaughtUp {
    fn new(ssc: &StreamingContext, lines: &DirectStream) -> Result<Self> {
        let ends =
            lines.end_offsets()?.into_iter().map(|(partition, end)| (partition.to_string(), end)).collect();
        Ok(CaughtUp { ssc: ssc.clone(), stream: lines.stream_id().clone(), ends })
    }
}

impl StreamingListener for CaughtUp {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        let ranges = batch.plan.source(&self.stream).map_or(&[][..], |source| &source.ranges);
        let counted = |(name, end): &(String, u64)| {
            ranges.iter().any(|range| range.partition == *name && range.until >= *end)
        };
        if self.ends.iter().all(counted) {
            self.ssc.request_stop(Stop::Gracefully);
        }
    }
}
