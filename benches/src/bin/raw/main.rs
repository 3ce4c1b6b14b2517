//! What Tidegate is measured against: the same work in a loop by hand, with no engine, no journal and no recovery.
//!
//! * `raw count BROKERS TOPIC`: word count of all that the topic holds, two threads with a table each, merged at the end.
//!   The clock runs from the start of fetching, with connections and ends known, to the merged table.
//! * `raw latency BROKERS TOPIC RECORDS`: the age of each of that many records on arrival.
//! * `raw sync DIRECTORY COUNT INTERVAL_MS`: how long a small append and its fdatasync take.
//! * `raw write DIRECTORY COUNT BYTES`: how fast a file grows by so many bytes at a time, each with its fdatasync.
//!
//! Each prints one JSON line in the terms of the statistics of the example `word_count`.

mod queue;

use compact_str::CompactString;
use hashbrown::HashTable;
use queue::{Reader, WAIT_FOR_MANY_MS, WAIT_FOR_ONE_MS};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, thread};
use tidegate_benches::{Failure, Quantiles, answer, peak_rss_mib};
use tidegate_servers::lines::{PARTITIONS, TableChecksum};

const THREADS: usize = 2;
/// About what the plan of a small batch takes in a journal.
const APPEND_BYTES: usize = 256;
/// When nothing has come for this long, nothing will.
const SILENCE_MAX: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    answer(run)
}

fn run(arguments: &[&str]) -> Result<Value, Failure> {
    match *arguments {
        ["count", brokers, topic] => count(brokers, topic),
        ["latency", brokers, topic, records] => latency(brokers, topic, records.parse()?),
        ["sync", directory, count, interval_ms] => {
            sync(Path::new(directory), count.parse()?, Duration::from_millis(interval_ms.parse()?))
        }
        ["write", directory, count, bytes] => write(Path::new(directory), count.parse()?, bytes.parse()?),
        _ => Err(
            "raw count BROKERS TOPIC | latency BROKERS TOPIC RECORDS | sync DIRECTORY COUNT INTERVAL_MS | \
                 write DIRECTORY COUNT BYTES"
                .into(),
        ),
    }
}

fn count(brokers: &str, topic: &str) -> Result<Value, Failure> {
    let ready = Barrier::new(THREADS + 1);
    let (tables, start) = thread::scope(|scope| {
        let ready = &ready;
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || count_share(brokers, topic, &partitions_of(thread), ready)))
            .collect();
        ready.wait();
        let start = Instant::now();
        let tables: Result<Vec<_>, Failure> =
            threads.into_iter().map(|thread| thread.join().expect("a reader does not panic")).collect();
        (tables, start)
    });
    let (mut records, mut table) = (0, Table::default());
    for (share, counts) in tables? {
        records += share;
        table.merge(counts);
    }
    let seconds = start.elapsed().as_secs_f64();
    let sum = table.checksum();
    Ok(json!({
        "records": records,
        "seconds": seconds,
        "records_per_second": records as f64 / seconds,
        "peak_rss_mib": peak_rss_mib("self"),
        "checksum": { "words": sum.words, "distinct": sum.distinct, "hash": format!("{:016x}", sum.hash) },
    }))
}

fn partitions_of(thread: usize) -> Vec<i32> {
    (0..PARTITIONS).skip(thread).step_by(THREADS).collect()
}

/// Waits at `ready` whether it could connect or not: the others wait for it.
fn count_share(
    brokers: &str,
    topic: &str,
    partitions: &[i32],
    ready: &Barrier,
) -> Result<(u64, Table), Failure> {
    let reader = Reader::open(brokers, topic, partitions, WAIT_FOR_MANY_MS);
    ready.wait();
    let mut reader = reader?;
    let (mut records, mut table) = (0, Table::default());
    let total = reader.records;
    read_until(&mut reader, total, |record| {
        records += 1;
        table.add_line(record.payload);
    })?;
    Ok((records, table))
}

fn read_until(
    reader: &mut Reader,
    records: u64,
    mut take: impl FnMut(queue::Record<'_>),
) -> Result<(), Failure> {
    reader.start()?;
    let (mut read, mut heard) = (0, Instant::now());
    while read < records {
        match reader.read(&mut take)? {
            0 if heard.elapsed() > SILENCE_MAX => {
                return Err(format!("only {read} of {records} records came").into());
            }
            0 => {}
            got => {
                read += got;
                heard = Instant::now();
            }
        }
    }
    Ok(())
}

/// Words, their hashes and counts. A word is hashed once, and one seen before allocates nothing.
#[derive(Default)]
struct Table(HashTable<(CompactString, u64, u64)>);

impl Table {
    fn add_line(&mut self, line: &[u8]) {
        let mut start = 0;
        for space in memchr::memchr_iter(b' ', line) {
            self.add(&line[start..space], 1);
            start = space + 1;
        }
        self.add(&line[start..], 1);
    }

    fn add(&mut self, word: &[u8], count: u64) {
        let hash = rapidhash::v3::rapidhash_v3(word);
        match self.0.find_mut(hash, |entry| entry.1 == hash && entry.0.as_bytes() == word) {
            Some(entry) => entry.2 += count,
            None => {
                let word = CompactString::from_utf8_lossy(word);
                self.0.insert_unique(hash, (word, hash, count), |entry| entry.1);
            }
        }
    }

    fn merge(&mut self, other: Table) {
        for (word, _, count) in other.0 {
            self.add(word.as_bytes(), count);
        }
    }

    fn checksum(&self) -> TableChecksum {
        TableChecksum::of(self.0.iter().map(|(word, _, count)| (word.as_str(), *count)))
    }
}

fn latency(brokers: &str, topic: &str, records: u64) -> Result<Value, Failure> {
    let mut reader = Reader::open(brokers, topic, &(0..PARTITIONS).collect::<Vec<_>>(), WAIT_FOR_ONE_MS)?;
    let mut ages_ms = Vec::new();
    read_until(&mut reader, records, |record| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ages_ms.push(now.as_secs_f64() * 1000.0 - record.timestamp_ms as f64);
    })?;
    Ok(json!({
        "records": ages_ms.len(),
        "latency_ms": Quantiles::of(ages_ms).map(Quantiles::to_json),
        "peak_rss_mib": peak_rss_mib("self"),
    }))
}

fn sync(directory: &Path, count: u32, interval: Duration) -> Result<Value, Failure> {
    let path = directory.join("raw-sync");
    let mut file = File::create(&path)?;
    let start = Instant::now();
    let mut times_ms = Vec::new();
    for turn in 0..count {
        if let Some(early) = (interval * turn).checked_sub(start.elapsed()) {
            thread::sleep(early);
        }
        let begin = Instant::now();
        file.write_all(&[0; APPEND_BYTES])?;
        file.sync_data()?;
        times_ms.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    fs::remove_file(path)?;
    Ok(json!({ "syncs": count, "sync_ms": Quantiles::of(times_ms).map(Quantiles::to_json) }))
}

fn write(directory: &Path, count: u32, bytes: usize) -> Result<Value, Failure> {
    let path = directory.join("raw-write");
    let mut file = File::create(&path)?;
    let block = vec![b'x'; bytes];
    let start = Instant::now();
    for _ in 0..count {
        file.write_all(&block)?;
        file.sync_data()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    let mb = bytes as f64 * f64::from(count) / 1e6;
    Ok(json!({ "blocks": count, "seconds": seconds, "mb_per_second": mb / seconds }))
}
