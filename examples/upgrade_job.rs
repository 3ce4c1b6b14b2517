//! A job in several versions, to see what becomes of its state from one to the next. It needs no server.
//!
//! `cargo run --example upgrade_job -- --checkpoint DIR --version first` makes a checkpoint; then
//! `tidegate checkpoint check-upgrade DIR -- target/debug/examples/upgrade_job --checkpoint DIR --version changed` tells what
//! becomes of it.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidegate::{
    BatchInfo, Conf, DStream, QueueInput, Result, State, StateSpec, Stop, StreamingContext, StreamingListener,
};

type Sale = (String, i64);

/// Sums up sales, in a few batches.
#[derive(Parser)]
struct Options {
    #[arg(long)]
    checkpoint: PathBuf,
    #[arg(long, value_enum)]
    version: Version,
    /// The application's name.
    #[arg(long, default_value = "sales")]
    app: String,
    /// States that may be left behind, with commas between.
    #[arg(long)]
    drop: Option<String>,
}

/// What the program looks like.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Version {
    /// With the states `totals` and `count`.
    First,
    /// Other operators, the same states.
    Kept,
    /// One more state, `largest`.
    New,
    /// Without the state `count`.
    Dropped,
    /// Totals of another type.
    Changed,
    /// Totals of another type, and a function that makes them.
    Migrated,
    /// Totals in twice as many partitions.
    Partitions,
    /// Reads another input.
    OtherInput,
}

fn main() {
    if let Err(error) = run(&Options::parse()) {
        eprintln!("upgrade_job: {error}");
        std::process::exit(1);
    }
}

fn run(options: &Options) -> Result<()> {
    let mut conf = Conf::new().set_app_name(&options.app).set_master("local[1]");
    if let Some(states) = &options.drop {
        conf = conf.set("tidegate.state.drop", states);
    }
    let ssc = StreamingContext::new(conf, Duration::from_millis(20))?;
    ssc.checkpoint(&options.checkpoint)?;
    build(&ssc, options.version)?;
    ssc.add_streaming_listener(Arc::new(StopAfter { ssc: ssc.clone(), batches: AtomicU32::new(3) }))?;
    ssc.start()?;
    ssc.await_termination()
}

fn build(ssc: &StreamingContext, version: Version) -> Result<()> {
    let sales = match version {
        Version::OtherInput => ssc.queue_stream(&QueueInput::new(), true)?.clone(),
        _ => ssc.constant_stream(vec![("ebb".to_owned(), 1), ("flow".to_owned(), 2)])?.clone(),
    };
    let sales = if version == Version::Kept { sales.filter(|(_, euros)| *euros > 0) } else { sales };
    let totals = totals(&sales, version);
    totals.foreach_rdd(|rdd| rdd.collect(|_, _| {}))?;
    if version != Version::Dropped {
        let count = |new: Vec<i64>, count: Option<u64>| Some(count.unwrap_or(0) + new.len() as u64);
        sales.update_state_by_key(count).uid("count").foreach_rdd(|rdd| rdd.collect(|_, _| {}))?;
    }
    if version == Version::New {
        let largest = |new: Vec<i64>, largest: Option<i64>| new.into_iter().chain(largest).max();
        sales.update_state_by_key(largest).uid("largest").foreach_rdd(|rdd| rdd.collect(|_, _| {}))?;
    }
    Ok(())
}

/// The total of each product; in later versions with the number of its sales.
fn totals(sales: &DStream<Sale>, version: Version) -> DStream<i64> {
    let add = |_: &String, euros: Option<i64>, total: &mut State<'_, i64>| {
        let sum = total.get().copied().unwrap_or(0) + euros.unwrap_or(0);
        total.update(sum);
        sum
    };
    let add_and_count = |_: &String, euros: Option<i64>, total: &mut State<'_, (i64, u64)>| {
        let (sum, count) = total.get().copied().unwrap_or((0, 0));
        let sum = sum + euros.unwrap_or(0);
        total.update((sum, count + 1));
        sum
    };
    match version {
        Version::Changed => sales.map_with_state(StateSpec::function(add_and_count)).uid("totals").clone(),
        Version::Migrated => {
            let spec = StateSpec::function(add_and_count).migrate_from(|sum: i64| (sum, 0));
            sales.map_with_state(spec).uid("totals").clone()
        }
        Version::Partitions => {
            sales.map_with_state(StateSpec::function(add).num_partitions(8)).uid("totals").clone()
        }
        _ => sales.map_with_state(StateSpec::function(add)).uid("totals").clone(),
    }
}

/// Stops the job gracefully, which leaves a checkpoint of its newest batch.
struct StopAfter {
    ssc: StreamingContext,
    batches: AtomicU32,
}

impl StreamingListener for StopAfter {
    fn on_batch_completed(&self, _: &BatchInfo) {
        if self.batches.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.ssc.request_stop(Stop::Gracefully);
        }
    }
}
