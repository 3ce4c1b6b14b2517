//! The write-ahead log of receivers: how fast one caller stores blocks that are each durable before the next.

use crate::job::{Job, Way, sum_of};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use tidegate::core::Guarantee;
use tidegate::{Conf, Error, InputGuarantee, Receiver, ReceiverHandle, Result, Stop};
use tidegate_benches::Failure;

const INTERVAL: Duration = Duration::from_millis(100);
const RECORD_BYTES: usize = 1024;
/// What the length of a record takes in a block.
const LENGTH_BYTES: usize = 2;

/// Hands its handle out.
struct Open(Sender<ReceiverHandle<String>>);

impl Receiver<String> for Open {
    fn describe(&self) -> String {
        "blocks".to_owned()
    }

    fn promise(&self, _: bool) -> InputGuarantee {
        InputGuarantee::new(Guarantee::AtMostOnce, "nobody sends again")
    }

    fn on_start(&mut self, handle: ReceiverHandle<String>) -> Result<()> {
        self.0.send(handle).map_err(|_| Error::bug("nobody wants to store"))
    }
}

/// Stores `blocks` blocks of `bytes` bytes each.
pub(crate) fn run(bytes: usize, blocks: u64, directory: &Path) -> std::result::Result<Value, Failure> {
    let job = Job::new(Conf::new(), Way::Logged, INTERVAL, directory)?;
    let (give, given) = channel();
    job.add_up(&job.ssc.named_receiver_stream("blocks", Open(give))?.map(|record: String| sum_of(&record)))?;
    job.ssc.start()?;
    let handle = given.recv()?;
    let record = "x".repeat(RECORD_BYTES - LENGTH_BYTES);
    let records = bytes / RECORD_BYTES;
    let begun = Instant::now();
    for _ in 0..blocks {
        handle.store_many(std::iter::repeat_n(record.clone(), records))?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    job.stop(Stop::Gracefully)?;
    let stored = records as u64 * blocks;
    if job.sum().records != stored {
        return Err(format!("{} records came, {stored} were stored", job.sum().records).into());
    }
    let mb = (records * RECORD_BYTES) as f64 * blocks as f64 / 1e6;
    Ok(json!({ "blocks": blocks, "seconds": seconds, "mb_per_second": mb / seconds }))
}
