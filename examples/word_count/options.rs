//! What can be said on the command line.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use tidegate::Error;

/// Counts the words of a Kafka topic, or of another source, into a database, exactly once.
#[derive(Parser)]
pub(crate) struct Options {
    /// Where lines come from: kafka-direct, kafka-receiver, socket:HOST:PORT, files:URL (of a folder) or http:ADDRESS (POST
    /// /lines). What each of them promises, with --wal and without, is logged at the start.
    #[arg(long, default_value = "kafka-direct")]
    pub(crate) source: Source,
    /// Brokers to begin with, HOST:PORT[,HOST:PORT].
    #[arg(long)]
    pub(crate) brokers: Option<String>,
    /// The topic of lines.
    #[arg(long)]
    pub(crate) topic: Option<String>,
    /// Where the write-ahead log of a receiver is: a directory or a URL as for --checkpoint. Without it there is none.
    #[arg(long)]
    pub(crate) wal: Option<String>,
    /// Lets how long batches take decide how much the source may give.
    #[arg(long)]
    pub(crate) backpressure: bool,
    /// A setting of the job, KEY=VALUE; as often as need be.
    #[arg(long, value_parser = setting)]
    pub(crate) conf: Vec<(String, String)>,
    /// Where the journal of batches and the checkpoints of state are kept: a directory, s3://BUCKET/PREFIX,
    /// hdfs://HOST:PORT/PATH or alluxio://HOST:PORT/PATH; without it the database alone knows how far the job is.
    #[arg(long)]
    pub(crate) checkpoint: Option<String>,
    /// Time from one checkpoint of state to the next, at least.
    #[arg(long, value_parser = duration)]
    pub(crate) checkpoint_interval: Option<Duration>,
    /// What keeps the totals: nothing but the output, or state of one of these operators. State needs --checkpoint.
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) state: Keeper,
    /// Where state is while the job runs: memory or disk.
    #[arg(long, value_parser = ["memory", "disk"])]
    pub(crate) state_store: Option<String>,
    /// Also writes the counts of each batch (table batch_counts) and of each window of batches (window_counts): LENGTH/SLIDE,
    /// 500ms/100ms. Needs --checkpoint and a database.
    #[arg(long, value_parser = window)]
    pub(crate) window: Option<Window>,
    /// Where the counts go, as often as need be: a batch is in all of them or in none. Totals of words: sqlite:FILE,
    /// postgres:URL; with --state also elasticsearch:URL/INDEX and hbase:HOST:PORT/TABLE. Counts of each batch: kafka:TOPIC,
    /// parquet:URL (of a folder), and a directory for each batch by text:PREFIX or sequence:PREFIX (Hadoop's SequenceFiles), where PREFIX is a
    /// path or a URL. Without it, or with none, totals are kept in memory only.
    #[arg(long, value_parser = out)]
    out: Vec<Option<Out>>,
    /// local, local[n] or local[*].
    #[arg(long, default_value = "local[*]")]
    pub(crate) master: String,
    /// Length of a batch: 100ms, 2s.
    #[arg(long, default_value = "100ms", value_parser = duration)]
    pub(crate) batch_interval: Duration,
    /// Records a second taken of each partition at most.
    #[arg(long)]
    pub(crate) max_rate_per_partition: Option<u64>,
    /// Ends once all that was in the topic at the start is counted.
    #[arg(long)]
    pub(crate) until_caught_up: bool,
    /// Writes figures of the run to this file, as JSON.
    #[arg(long)]
    pub(crate) stats: Option<PathBuf>,
    /// A setting of the Kafka client, KEY=VALUE; as often as need be.
    #[arg(long, value_parser = setting)]
    pub(crate) kafka: Vec<(String, String)>,
}

impl Options {
    /// Where the counts go.
    pub(crate) fn outs(&self) -> impl Iterator<Item = &Out> {
        self.out.iter().flatten()
    }

    /// Brokers and topic.
    pub(crate) fn kafka(&self) -> Result<(&str, &str), Error> {
        match (&self.brokers, &self.topic) {
            (Some(brokers), Some(topic)) => Ok((brokers, topic)),
            _ => {
                Err(Error::reconfigure("--source kafka-direct and kafka-receiver need --brokers and --topic"))
            }
        }
    }
}

/// Where lines come from.
#[derive(Clone)]
pub(crate) enum Source {
    KafkaDirect,
    KafkaReceiver,
    Socket(String, u16),
    Files(String),
    Http(String),
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        match text.split_once(':') {
            None if text == "kafka-direct" => Ok(Source::KafkaDirect),
            None if text == "kafka-receiver" => Ok(Source::KafkaReceiver),
            Some(("socket", address)) => {
                let (host, port) = address.rsplit_once(':').ok_or("a socket is socket:HOST:PORT")?;
                let port = port.parse().map_err(|_| "a socket's port is a number up to 65535")?;
                Ok(Source::Socket(host.to_owned(), port))
            }
            Some(("files", url)) if !url.is_empty() => Ok(Source::Files(url.to_owned())),
            Some(("http", address)) if !address.is_empty() => Ok(Source::Http(address.to_owned())),
            _ => Err("must be kafka-direct, kafka-receiver, socket:HOST:PORT, files:URL or http:ADDRESS"
                .to_owned()),
        }
    }
}

/// What keeps the totals.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keeper {
    /// The output: each batch's counts are added to it.
    None,
    /// `update_state_by_key`: the output is given every total in every batch.
    Update,
    /// `map_with_state`: the output is given the totals that changed.
    Map,
}

/// A window of batches.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) length: Duration,
    pub(crate) slide: Duration,
}

/// One place where counts go.
#[derive(Clone)]
pub(crate) enum Out {
    /// Totals by word.
    Sqlite(PathBuf),
    /// Totals by word.
    Postgres(String),
    /// A record for each word of each batch.
    Kafka(String),
    /// A row for each word of each batch.
    Parquet(String),
    /// A directory of lines for each batch.
    Text(String),
    /// A directory of sequence files for each batch.
    Sequence(String),
    /// Totals by word, of state.
    Elasticsearch { url: String, index: String },
    /// Totals by word, of state.
    Hbase { gateway: String, table: String },
}

impl std::fmt::Display for Out {
    /// Without what may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Out::Sqlite(file) => write!(f, "--out sqlite:{}", file.display()),
            Out::Postgres(_) => f.write_str("--out postgres:..."),
            Out::Kafka(topic) => write!(f, "--out kafka:{topic}"),
            Out::Parquet(url) => write!(f, "--out parquet:{url}"),
            Out::Text(prefix) => write!(f, "--out text:{prefix}"),
            Out::Sequence(prefix) => write!(f, "--out sequence:{prefix}"),
            Out::Elasticsearch { index, .. } => write!(f, "--out elasticsearch:.../{index}"),
            Out::Hbase { gateway, table } => write!(f, "--out hbase:{gateway}/{table}"),
        }
    }
}

/// `None` for none.
fn out(text: &str) -> Result<Option<Out>, String> {
    const KINDS: &str = "must be sqlite:FILE, postgres:URL, kafka:TOPIC, parquet:URL, text:PREFIX, sequence:PREFIX, \
                         elasticsearch:URL/INDEX, hbase:HOST:PORT/TABLE or none";
    if text == "none" {
        return Ok(None);
    }
    let (kind, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or(KINDS)?;
    let last = || {
        let parts = rest.rsplit_once('/').filter(|(start, last)| !start.ends_with('/') && !last.is_empty());
        let owned = parts.map(|(start, last)| (start.to_owned(), last.to_owned()));
        owned.ok_or_else(|| format!("{kind}: needs a name after the last /"))
    };
    Ok(Some(match kind {
        "sqlite" => Out::Sqlite(rest.into()),
        // With or without the prefix, what follows must be a URL: postgres:postgres://... or postgres://...
        "postgres" if rest.starts_with("//") => Out::Postgres(text.to_owned()),
        "postgres" => Out::Postgres(rest.to_owned()),
        "kafka" => Out::Kafka(rest.to_owned()),
        "parquet" => Out::Parquet(rest.to_owned()),
        "text" => Out::Text(rest.to_owned()),
        "sequence" => Out::Sequence(rest.to_owned()),
        "hbase" => last().map(|(gateway, table)| Out::Hbase { gateway, table })?,
        "elasticsearch" => last().map(|(url, index)| Out::Elasticsearch { url, index })?,
        _ => return Err(KINDS.to_owned()),
    }))
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "must be a number with ms or s".to_owned())?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err("must end in ms or s".to_owned()),
    }
}

fn window(text: &str) -> Result<Window, String> {
    let (length, slide) = text.split_once('/').ok_or("must be LENGTH/SLIDE, as 500ms/100ms")?;
    Ok(Window { length: duration(length)?, slide: duration(slide)? })
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
