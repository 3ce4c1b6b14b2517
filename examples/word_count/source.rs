//! Where the lines come from, and their words.

use super::options::{Options, Source};
use super::totals;
use compact_str::CompactString;
use tidegate::{DStream, Error, Result, StreamingContext};
use tidegate_files::FileStreams;
use tidegate_http::{HttpOptions, create_http_stream};
use tidegate_kafka::{
    ConsumerStrategy, DirectStream, KafkaRecord, LocationStrategy, Params, create_direct_stream,
    create_streams,
};

/// Members of the consumer group of a job that receives.
const RECEIVERS: usize = 2;

type Counts = DStream<(CompactString, i64)>;

/// The counts of each batch; and the direct stream they are of, which alone can tell when all is counted.
pub(crate) fn counts(ssc: &StreamingContext, options: &Options) -> Result<(Counts, Option<DirectStream>)> {
    let counts = match &options.source {
        Source::KafkaDirect => {
            let lines = create_direct_stream(ssc, LocationStrategy::PreferConsistent, strategy(options)?)?;
            return Ok((words_of_records(&lines), Some(lines)));
        }
        Source::KafkaReceiver => {
            let (_, topic) = options.kafka()?;
            let group = params(options)?.set("group.id", "word_count");
            // What was said on the command line comes last, so that it wins.
            let group = options.kafka.iter().fold(group, |params, (key, value)| params.set(key, value));
            words_of_records(&create_streams(ssc, group, [topic], RECEIVERS)?)
        }
        Source::Socket(host, port) => words_of_text(&*ssc.socket_text_stream(host, *port)?),
        Source::Files(url) => words_of_text(&*ssc.text_file_stream(url)?),
        Source::Http(address) => {
            // Without a number or a key a repeated request would be counted twice.
            let listen = HttpOptions::listen(address).path("/lines").identity_required();
            words_of_text(&**create_http_stream(ssc, listen)?)
        }
    };
    if options.until_caught_up {
        return Err(Error::reconfigure(
            "--until-caught-up needs --source kafka-direct: other sources do not say when all is there",
        ));
    }
    Ok((counts, None))
}

/// Words are what stands between single spaces. A line's text is checked once, and a word is copied only when it is new to
/// the batch.
fn words_of_records(lines: &DStream<KafkaRecord>) -> Counts {
    let split = |line: KafkaRecord, out: &mut dyn FnMut(&str, i64)| -> Result<()> {
        totals::split_words(line.text()?, |word| out(word, 1));
        Ok(())
    };
    lines.flat_map_reduce_by_key(split, |a, b| a + b)
}

fn words_of_text(lines: &DStream<String>) -> Counts {
    let split = |line: String, out: &mut dyn FnMut(&str, i64)| -> Result<()> {
        totals::split_words(&line, |word| out(word, 1));
        Ok(())
    };
    lines.flat_map_reduce_by_key(split, |a, b| a + b)
}

fn params(options: &Options) -> Result<Params> {
    let (brokers, _) = options.kafka()?;
    let params = Params::new().set("bootstrap.servers", brokers).set("auto.offset.reset", "earliest");
    Ok(options.kafka.iter().fold(params, |params, (key, value)| params.set(key, value)))
}

fn strategy(options: &Options) -> Result<ConsumerStrategy> {
    let (_, topic) = options.kafka()?;
    let strategy =
        ConsumerStrategy::subscribe([topic], params(options)?).measure_ages(options.stats.is_some());
    Ok(match options.max_rate_per_partition {
        Some(rate) => strategy.max_rate_per_partition(rate),
        None => strategy,
    })
}
