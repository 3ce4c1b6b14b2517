//! What a job that only writes reaches in each output, beside a client by hand that writes the same rows to the same server.
//!
//! Servers other than Kafka are started here, each for its outputs only. The work is that of `src/bin/sinks`.

use super::{ratio, unless_quick};
use crate::bench::{Bench, LIMIT};
use crate::child::Running;
use crate::figures::{Figures, Target};
use crate::product::number;
use serde_json::Value;
use std::error::Error;
use std::fs;
use tidegate_servers::{Elasticsearch, Hbase, Postgres};

/// What every output is to reach of the client by hand.
const OF_HAND_MIN: f64 = 0.7;
const BATCHES: u64 = 10;
const BATCHES_QUICK: u64 = 3;

/// Rows of a batch of files: a client by hand takes a tenth to a fifth of a second for them. Of fewer, the syncs alone would be measured.
const DISK_ROWS: u64 = 1_000_000;

/// One output.
struct Sink {
    /// As the program knows it.
    kind: &'static str,
    title: &'static str,
    server: Server,
    /// Of a batch.
    rows: u64,
    /// How many clients by hand; the best of these is the baseline.
    threads: &'static [u64],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Disk,
    Kafka,
    Postgres,
    Hbase,
    Elasticsearch,
}

const SINKS: [Sink; 11] = [
    Sink::new("kafka", "Kafka, exactly once", Server::Kafka, 100_000),
    Sink::new("kafka-at-least-once", "Kafka, at least once", Server::Kafka, 100_000),
    Sink::new("postgres", "PostgreSQL", Server::Postgres, 100_000),
    // One writes at a time.
    Sink { threads: &[1], ..Sink::new("sqlite", "SQLite", Server::Disk, 100_000) },
    Sink::new("parquet", "Parquet files", Server::Disk, DISK_ROWS),
    Sink::new("json", "JSON files", Server::Disk, DISK_ROWS),
    Sink::new("csv", "CSV files", Server::Disk, DISK_ROWS),
    Sink::new("text", "text files", Server::Disk, DISK_ROWS),
    Sink::new("sequence", "SequenceFiles", Server::Disk, DISK_ROWS),
    Sink::new("hbase", "HBase", Server::Hbase, 5_000),
    Sink::new("elasticsearch", "Elasticsearch", Server::Elasticsearch, 5_000),
];

impl Sink {
    const fn new(kind: &'static str, title: &'static str, server: Server, rows: u64) -> Sink {
        Sink { kind, title, server, rows, threads: &[1, 2] }
    }
}

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    figures.profile = profile();
    for server in [Server::Disk, Server::Kafka, Server::Postgres, Server::Hbase, Server::Elasticsearch] {
        let running = Started::start(bench, server)?;
        for sink in SINKS.iter().filter(|sink| sink.server == server) {
            for repeat in 1..=bench.repeats {
                measure(bench, figures, sink, &running.address(bench), repeat)?;
            }
        }
        running.stop()?;
    }
    Ok(())
}

/// By hand and as a job, in turns.
fn measure(
    bench: &Bench,
    figures: &mut Figures,
    sink: &Sink,
    address: &str,
    repeat: usize,
) -> Result<(), Box<dyn Error>> {
    let title = sink.title;
    let (rows, batches) = if bench.quick { (sink.rows / 10, BATCHES_QUICK) } else { (sink.rows, BATCHES) };
    let writing = |way, last: Option<u64>| Writing { way, kind: sink.kind, address, rows, batches, last };
    let mut best: Option<f64> = None;
    for threads in sink.threads {
        let clients =
            if *threads == 1 { "by hand".to_owned() } else { format!("by hand, {threads} clients") };
        let said = writing("hand", Some(*threads)).run(bench, figures, repeat)?;
        let rate = number(&said, &["rows_per_second"]);
        figures.add(&format!("{title}: {clients}"), "rows/s", None, rate);
        best = best.into_iter().chain(rate).reduce(f64::max);
    }
    let said = writing("job", None).run(bench, figures, repeat)?;
    let rate = number(&said, &["rows_per_second"]);
    figures.add(&format!("{title}: Tidegate"), "rows/s", None, rate);
    let target = unless_quick(bench, Target::MedianAtLeast(OF_HAND_MIN));
    figures.add(&format!("{title}: Tidegate over the best by hand"), "", target, ratio(rate, best));
    for stage in ["process", "write", "prepare", "commit"] {
        let time = number(&said, &[&format!("{stage}_ms")]);
        figures.add(&format!("{title}: a batch, {stage}"), "ms", None, time);
    }
    Ok(())
}

/// One run of `src/bin/sinks`.
pub(super) struct Writing<'a> {
    pub(super) way: &'a str,
    pub(super) kind: &'a str,
    pub(super) address: &'a str,
    /// Of a batch.
    pub(super) rows: u64,
    pub(super) batches: u64,
    /// Threads or milliseconds, where the way has them.
    pub(super) last: Option<u64>,
}

impl Writing<'_> {
    /// What the program says. Its files are gone after that.
    pub(super) fn run(
        &self,
        bench: &Bench,
        figures: &mut Figures,
        repeat: usize,
    ) -> Result<Value, Box<dyn Error>> {
        let last = self.last.map(|last| last.to_string());
        // Tables and topics are named after it, so no two runs may have it in common.
        let name = format!(
            "{}-{}{}-{}-{repeat}",
            self.kind,
            self.way,
            last.as_deref().unwrap_or_default(),
            self.rows
        );
        let dir = bench.fresh_dir(&name)?;
        let said = figures.run(&format!("sinks, {name}"), |what| {
            let mut command = bench.command("sinks");
            command.args([self.way, self.kind, self.address]).arg(&dir);
            command.args([self.rows.to_string(), self.batches.to_string()]).args(last);
            Running::start(what, command, &bench.dir)?.wait(LIMIT)?.json()
        })?;
        fs::remove_dir_all(dir)?;
        Ok(said)
    }
}

/// A server that runs, or what needs none of its own.
enum Started {
    Nothing,
    Kafka,
    Postgres(Postgres),
    Hbase(Hbase),
    Elasticsearch(Elasticsearch),
}

impl Started {
    fn start(bench: &Bench, server: Server) -> Result<Started, Box<dyn Error>> {
        Ok(match server {
            Server::Disk => Started::Nothing,
            Server::Kafka => Started::Kafka,
            Server::Postgres => {
                println!("==> starting PostgreSQL");
                Started::Postgres(Postgres::start(&bench.fresh_dir("postgres")?)?)
            }
            Server::Hbase => {
                println!("==> starting HBase");
                Started::Hbase(Hbase::start(&bench.fresh_dir("hbase")?)?)
            }
            Server::Elasticsearch => {
                println!("==> starting Elasticsearch");
                Started::Elasticsearch(Elasticsearch::start(&bench.fresh_dir("elasticsearch")?)?)
            }
        })
    }

    fn address(&self, bench: &Bench) -> String {
        match self {
            Started::Nothing => "-".to_owned(),
            Started::Kafka => bench.brokers.clone(),
            Started::Postgres(server) => server.url(),
            Started::Hbase(server) => server.thrift(),
            Started::Elasticsearch(server) => server.url(),
        }
    }

    fn stop(self) -> Result<(), Box<dyn Error>> {
        match self {
            Started::Nothing | Started::Kafka => {}
            Started::Postgres(mut server) => server.stop()?,
            Started::Hbase(mut server) => server.stop()?,
            Started::Elasticsearch(mut server) => server.stop()?,
        }
        Ok(())
    }
}

fn profile() -> String {
    "\
cargo build --release -p tidegate-benches --bin sinks
cargo xtask servers up kafka postgres hbase elasticsearch   # prints the addresses, for SERVER below; - where there is none
perf record -g --call-graph dwarf target/release/sinks job postgres SERVER $(mktemp -d) 100000 10   # or hand, with 1 or 2 at the end
# which stage is long: the JSON line that it prints"
        .to_owned()
}
