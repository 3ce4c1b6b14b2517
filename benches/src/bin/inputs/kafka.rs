//! All that is in a topic, by a direct stream and by receivers.

use crate::job::{Job, Sum, Way, sum_of};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tidegate::{Conf, DStream, Result, Stop, StreamingContext};
use tidegate_benches::Failure;
use tidegate_kafka::{
    ConsumerStrategy, KafkaRecord, LocationStrategy, Params, create_direct_stream, create_streams,
};
use tidegate_servers::lines::{Lines, SEED};

const INTERVAL: Duration = Duration::from_millis(100);
/// Members of the group where records are received.
const RECEIVERS: usize = 2;

/// A topic, and how it is read.
pub(crate) struct Topic<'a> {
    pub(crate) brokers: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) way: Way,
    /// The group of what is received.
    pub(crate) group: String,
}

impl Topic<'_> {
    pub(crate) fn lines(&self, ssc: &StreamingContext) -> Result<DStream<KafkaRecord>> {
        let params =
            Params::new().set("bootstrap.servers", self.brokers).set("auto.offset.reset", "earliest");
        match self.way {
            Way::Direct => {
                let strategy = ConsumerStrategy::subscribe([self.topic], params);
                Ok((*create_direct_stream(ssc, LocationStrategy::PreferConsistent, strategy)?).clone())
            }
            Way::Received | Way::Logged => {
                create_streams(ssc, params.set("group.id", &self.group), [self.topic], RECEIVERS)
            }
        }
    }
}

/// Sums the topic up, which holds `lines` lines.
pub(crate) fn run(topic: &Topic<'_>, lines: u64, directory: &Path) -> std::result::Result<Value, Failure> {
    let job = Job::new(Conf::new(), topic.way, INTERVAL, directory)?;
    let records = topic.lines(&job.ssc)?;
    job.add_up(&records.flat_map(|line: KafkaRecord| line.text().map(sum_of).ok()))?;
    job.ssc.start()?;
    let (mut begun_ms, mut batches) = (None, 0u64);
    let ended_ms = loop {
        let batch = job.next()?;
        if batch.records > 0 {
            batches += 1;
            // Its records came within the interval before it: what a group needs to share partitions out is not counted.
            begun_ms.get_or_insert(batch.time().0.saturating_sub(INTERVAL.as_millis() as u64));
        }
        if job.sum().records >= lines {
            break batch.committed_at.0;
        }
    };
    job.stop(Stop::Gracefully)?;
    let expected = expected(lines);
    if job.sum() != expected {
        return Err(format!("summed up {:?}, expected {expected:?}", job.sum()).into());
    }
    let seconds = ended_ms.saturating_sub(begun_ms.unwrap_or(ended_ms)) as f64 / 1000.0;
    Ok(json!({
        "records": lines,
        "batches": batches,
        "seconds": seconds,
        "records_per_second": lines as f64 / seconds,
        "mb_per_second": expected.bytes as f64 / seconds / 1e6,
    }))
}

fn expected(lines: u64) -> Sum {
    let source = Lines::new(SEED);
    let mut text = String::new();
    (0..lines).fold(Sum::default(), |sum, i| {
        text.clear();
        source.append(i, &mut text);
        sum.plus(Sum::of(&text))
    })
}
