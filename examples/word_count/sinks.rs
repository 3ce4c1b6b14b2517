//! Where the counts go: one arm for each kind of output, all in one all-or-nothing commit.

use super::options::{Keeper, Options, Out};
use super::totals;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use tidegate::core::Output;
use tidegate::{BatchDirectories, BatchFiles, DStream, Error, ExchangeData, PartFormat, Result, TextFormat};
use tidegate_elasticsearch::{Document, ElasticsearchOutput};
use tidegate_files::FilesOutput;
use tidegate_hadoop::SequenceFormat;
use tidegate_hbase::{HBaseOutput, Mutation};
use tidegate_kafka::{KafkaOutput, ProducerRecord, SaveToKafka};
use tidegate_sql::{PostgresOutput, SqlRow, SqliteOutput, Table};

/// Of each batch: how often a word was in it. Or, of state: how often it was in all so far.
type Counts = DStream<(CompactString, i64)>;

/// The column of a table of HBase that a total is in.
const FAMILY: &str = "counts";
const QUALIFIER: &str = "total";

/// Writes to each place that was asked for. `totals` are what the state keeps; without state they are the counts themselves.
pub(crate) fn write(options: &Options, counts: &Counts, totals: &Counts) -> Result<()> {
    for (place, out) in options.outs().enumerate() {
        // By its name an output is found again: the first keeps its own when others are added.
        let name = match place {
            0 => "word_counts".to_owned(),
            place => format!("word_counts-{}", place + 1),
        };
        write_to(options, out, &name, counts, totals)?;
    }
    Ok(())
}

fn write_to(options: &Options, out: &Out, name: &str, counts: &Counts, totals: &Counts) -> Result<()> {
    match out {
        Out::Sqlite(_) | Out::Postgres(_) => save(totals, name, out, totals::table(options.state)),
        Out::Kafka(topic) => to_kafka(options, topic, counts),
        Out::Parquet(url) => {
            let files = FilesOutput::parquet(tidegate_object_store::storage(url)?);
            add(&in_batches(counts), name, files)
        }
        Out::Text(prefix) => save_files(counts, name, prefix, "txt", TextFormat),
        Out::Sequence(prefix) => save_files(counts, name, prefix, "seq", SequenceFormat::default()),
        Out::Elasticsearch { url, index } => {
            let document = |(word, count): (CompactString, i64)| {
                Document::new(key(&word), serde_json::json!({ "word": word.as_str(), "count": count }))
            };
            let documents = of_state(options, out, totals)?.map(document);
            add(&documents, name, ElasticsearchOutput::new(url, index)?)
        }
        Out::Hbase { gateway, table } => {
            let row = |(word, count): (CompactString, i64)| {
                Mutation::put(key(&word)).cell(FAMILY, QUALIFIER, count.to_string())
            };
            add(&of_state(options, out, totals)?.map(row), name, HBaseOutput::new(gateway, table)?)
        }
    }
}

/// Adds an output that goes by the number, the time or the keys of a batch.
fn add<T: ExchangeData>(rows: &DStream<T>, name: &str, output: impl Output<T>) -> Result<()> {
    #[cfg(feature = "sabotage")]
    let output = super::sabotage::Sabotaged::new(output);
    rows.output(name, output).map(drop)
}

/// By what the total of a word is found again: the same each time.
fn key(word: &str) -> String {
    #[cfg(feature = "sabotage")]
    let word = &super::sabotage::key(word);
    word.to_owned()
}

/// Writes rows into a table of a database.
pub(crate) fn save<T: ExchangeData + SqlRow>(
    rows: &DStream<T>,
    name: &str,
    database: &Out,
    table: Table,
) -> Result<()> {
    match database {
        Out::Sqlite(file) => rows.output(name, SqliteOutput::new(file, table)).map(drop),
        Out::Postgres(url) => rows.output(name, PostgresOutput::new(url, table)?).map(drop),
        other => Err(Error::reconfigure(format!("{other} is no database"))),
    }
}

/// The output is known to the brokers by its name, which is the topic's: no other job has it.
fn to_kafka(options: &Options, topic: &str, counts: &Counts) -> Result<()> {
    let brokers = options.brokers.as_ref().ok_or_else(|| {
        Error::reconfigure(format!("--out kafka:{topic} needs --brokers, to which the topic belongs"))
    })?;
    let output = KafkaOutput::new([("bootstrap.servers", brokers.as_str())], topic)?;
    let record =
        |(word, count): (CompactString, i64)| ProducerRecord::new().key(word).value(count.to_string());
    counts.save_to_kafka_as(topic, output, record).map(drop)
}

/// One row of a Parquet file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct InBatch {
    word: CompactString,
    count: i64,
    /// Number of the batch.
    batch: u64,
}

fn in_batches(counts: &Counts) -> DStream<InBatch> {
    counts.transform(|rdd| {
        rdd.map_partitions_with_batch(|batch, _, rows| {
            let batch = batch.id().0;
            rows.map(move |(word, count)| InBatch { word, count, batch })
        })
    })
}

/// An output that can't add is given totals.
fn of_state<'a>(options: &Options, out: &Out, totals: &'a Counts) -> Result<&'a Counts> {
    match options.state {
        Keeper::None => Err(Error::reconfigure(format!(
            "{out} keeps one count a word and can't add to it; give --state map, which keeps the totals"
        ))),
        Keeper::Update | Keeper::Map => Ok(totals),
    }
}

/// Writes a directory of files for each batch, on this machine or on the storage of a URL.
fn save_files(
    counts: &Counts,
    name: &str,
    prefix: &str,
    suffix: &str,
    format: impl PartFormat<(String, i64)>,
) -> Result<()> {
    let directories = match prefix.rsplit_once('/') {
        Some((place, prefix)) if place.contains("://") => {
            BatchDirectories::on(tidegate_object_store::storage(place)?, prefix, suffix)?
        }
        _ => BatchDirectories::local(prefix, suffix)?,
    };
    let rows = counts.map(|(word, count)| (word.to_string(), count));
    add(&rows, name, BatchFiles::new(directories, format))
}
