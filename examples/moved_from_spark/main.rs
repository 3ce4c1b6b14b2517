//! Words of a Kafka topic: the most frequent ones of the last minute, and a total for each. It is the job that
//! docs/coming-from-spark-streaming.md moves from Spark, and stands there piece by piece.

use std::time::Duration;
use tidegate::{BatchTime, Conf, DStream, MapWithStateDStream, Result, State, StateSpec, StreamingContext};
use tidegate_kafka::{ConsumerStrategy, KafkaRecord, LocationStrategy, create_direct_stream};
use tidegate_sql::{SaveToSql, Table};

fn main() -> Result<()> {
    let ssc = StreamingContext::get_or_create("checkpoint", create)?;
    ssc.start()?;
    ssc.await_termination()
}

fn create() -> Result<StreamingContext> {
    let conf = Conf::new().set_app_name("words").set_master("local[2]");
    let ssc = StreamingContext::new(conf, Duration::from_secs(1))?;
    let params =
        [("bootstrap.servers", "127.0.0.1:9092"), ("group.id", "words"), ("auto.offset.reset", "earliest")];
    let topics = ConsumerStrategy::subscribe(["lines"], params);
    let lines = create_direct_stream(&ssc, LocationStrategy::PreferConsistent, topics)?;
    let pairs = words(&lines);
    top_of_last_minute(&pairs).print()?;
    totals(&pairs).save_to_sqlite("words.db", Table::upsert("words", ["word"], ["total"]))?;
    Ok(ssc)
}

fn words(lines: &DStream<KafkaRecord>) -> DStream<(String, i64)> {
    lines.flat_map_with(|line: KafkaRecord, out: &mut dyn FnMut((String, i64))| -> Result<()> {
        line.text()?.split(' ').for_each(|word| out((word.to_owned(), 1)));
        Ok(())
    })
}

fn top_of_last_minute(pairs: &DStream<(String, i64)>) -> DStream<(String, i64)> {
    let (minute, slide) = (Duration::from_secs(60), Duration::from_secs(10));
    pairs
        .reduce_by_key_and_window_with_filter(|a, b| a + b, |a, b| a - b, minute, slide, 4, |_, n| *n != 0)
        .uid("last-minute")
        .transform(|rdd| rdd.sort_by(|(_, times)| *times, false))
}

fn totals(pairs: &DStream<(String, i64)>) -> MapWithStateDStream<String, i64, (String, i64)> {
    let count = |_: BatchTime, word: &String, times: Option<i64>, total: &mut State<'_, i64>| {
        let sum = total.get().copied().unwrap_or(0) + times?;
        total.update(sum);
        Some((word.clone(), sum))
    };
    let hour = Duration::from_secs(60 * 60);
    let spec = StateSpec::function_with_time(count).timeout(hour);
    pairs.reduce_by_key(|a, b| a + b).map_with_state(spec).uid("totals")
}

#[cfg(test)]
mod tests;
