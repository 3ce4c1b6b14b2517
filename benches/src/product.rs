//! The program under test: the example `word_count`, as its users would start it, and what it tells about a run.

use crate::bench::Bench;
use crate::child::{Ended, Running};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tidegate_servers::lines::{PARTITIONS, TableChecksum};

/// Where the counts go.
#[derive(Debug, Clone)]
pub(crate) enum Out {
    None,
    Sqlite(PathBuf),
}

/// How the program is to run.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) topic: String,
    pub(crate) checkpoint: PathBuf,
    pub(crate) out: Out,
    pub(crate) interval: Duration,
    /// Records of all partitions that a batch takes at most; none: all there are.
    pub(crate) batch_records_max: Option<u64>,
    pub(crate) until_caught_up: bool,
}

/// What the program wrote about its run. A figure that is not there is `None`: programs of other ages report less.
#[derive(Debug)]
pub(crate) struct Stats {
    figures: Value,
    pub(crate) wall: Duration,
    observed_rss_mib: f64,
}

impl Job {
    /// Starts it; its statistics come into a file beside its checkpoint.
    pub(crate) fn start(&self, what: &str, bench: &Bench) -> Result<Running, Box<dyn Error>> {
        let mut command = Command::new(&bench.program);
        command.args(self.arguments(&bench.brokers)).arg("--stats").arg(self.stats_file());
        Running::start(what, command, &bench.dir)
    }

    pub(crate) fn run(&self, what: &str, bench: &Bench, limit: Duration) -> Result<Stats, Box<dyn Error>> {
        self.stats(self.start(what, bench)?.wait(limit)?)
    }

    pub(crate) fn stats(&self, ended: Ended) -> Result<Stats, Box<dyn Error>> {
        let file = self.stats_file();
        let text = fs::read_to_string(&file)
            .map_err(|error| format!("the program wrote no statistics to {}: {error}", file.display()))?;
        let figures = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Stats { figures, wall: ended.wall, observed_rss_mib: ended.peak_rss_mib })
    }

    /// The command line, for a person to repeat with a profiler.
    pub(crate) fn line(&self, program: &Path) -> String {
        format!("{} {}", program.display(), self.arguments("BROKERS").join(" "))
    }

    fn arguments(&self, brokers: &str) -> Vec<String> {
        let out = match &self.out {
            Out::None => "none".to_owned(),
            Out::Sqlite(file) => format!("sqlite:{}", file.display()),
        };
        let mut arguments: Vec<String> =
            ["--brokers", brokers, "--topic", &self.topic].map(str::to_owned).into();
        arguments.extend(["--checkpoint".to_owned(), self.checkpoint.display().to_string()]);
        arguments.extend(["--out".to_owned(), out, "--master".to_owned(), "local[2]".to_owned()]);
        arguments.extend(["--batch-interval".to_owned(), format!("{}ms", self.interval.as_millis())]);
        if let Some(records) = self.batch_records_max {
            arguments.extend(["--max-rate-per-partition".to_owned(), self.rate(records).to_string()]);
        }
        if self.until_caught_up {
            arguments.push("--until-caught-up".to_owned());
        }
        arguments
    }

    /// The limit is given by the second and partition.
    fn rate(&self, batch_records: u64) -> u64 {
        let partitions = u64::try_from(PARTITIONS).expect("a count of partitions is not negative");
        batch_records * 1000 / partitions / u64::try_from(self.interval.as_millis()).unwrap_or(1).max(1)
    }

    fn stats_file(&self) -> PathBuf {
        self.checkpoint.with_extension("stats")
    }
}

impl Stats {
    /// The figure at `path`, as in `["engine_ms", "p50"]`.
    pub(crate) fn get(&self, path: &[&str]) -> Option<f64> {
        number(&self.figures, path)
    }

    /// The greater of what the program says and what was seen from outside.
    pub(crate) fn peak_rss_mib(&self) -> Option<f64> {
        let seen = Some(self.observed_rss_mib).filter(|seen| *seen > 0.0);
        self.get(&["peak_rss_mib"]).into_iter().chain(seen).max_by(f64::total_cmp)
    }

    /// Why the table is not `expected`; none if it is.
    pub(crate) fn wrong(&self, expected: &TableChecksum) -> Option<String> {
        wrong_table(&self.figures, expected)
    }
}

/// The number at `path` of what a program reported.
pub(crate) fn number(figures: &Value, path: &[&str]) -> Option<f64> {
    path.iter().try_fold(figures, |value, name| value.get(name))?.as_f64()
}

/// Why the table that `figures` tells of is not `expected`; none if it is. A table that is not told of is not right.
pub(crate) fn wrong_table(figures: &Value, expected: &TableChecksum) -> Option<String> {
    let sum = &figures["checksum"];
    // A hash may be written as a number, which JSON readers of 53 bits would spoil, or as hexadecimal text.
    let hash = match &sum["hash"] {
        Value::String(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16).ok(),
        other => other.as_u64(),
    };
    let found = match (sum["words"].as_u64(), sum["distinct"].as_u64(), hash) {
        (Some(words), Some(distinct), Some(hash)) => TableChecksum { words, distinct, hash },
        _ => return Some(format!("no checksum reported, expected {expected}")),
    };
    (found != *expected).then(|| format!("counted {found}, expected {expected}"))
}

/// The same for what a job wrote to SQLite.
pub(crate) fn wrong_sqlite(file: &Path, expected: &TableChecksum) -> Result<Option<String>, Box<dyn Error>> {
    let database = rusqlite::Connection::open(file)?;
    let mut query = database.prepare("SELECT word, count FROM word_counts")?;
    let rows: Vec<(String, i64)> =
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let found = TableChecksum::of(rows.iter().map(|(word, count)| (word.as_str(), count.cast_unsigned())));
    Ok((found != *expected).then(|| format!("the database holds {found}, expected {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn table_is_right_only_if_it_says_so() {
        let expected = TableChecksum { words: 3, distinct: 2, hash: 0xcf8d_6e5c_2060_70dd };
        for (checksum, right) in [
            (json!({ "words": 3, "distinct": 2, "hash": "cf8d6e5c206070dd" }), true),
            (json!({ "words": 3, "distinct": 2, "hash": "0xcf8d6e5c206070dd", "records": 1 }), true),
            (json!({ "words": 3, "distinct": 2, "hash": 0xcf8d_6e5c_2060_70dd_u64 }), true),
            (json!({ "words": 4, "distinct": 2, "hash": "cf8d6e5c206070dd" }), false),
            (json!({ "words": 3, "distinct": 2 }), false),
            (json!(null), false),
        ] {
            let wrong = wrong_table(&json!({ "checksum": checksum }), &expected);
            assert_eq!(wrong.is_none(), right, "{checksum}: {wrong:?}");
        }
    }

    #[test]
    fn limit_of_a_batch_is_asked_for_by_second_and_partition() {
        let job = Job {
            topic: "t".into(),
            checkpoint: "c".into(),
            out: Out::None,
            interval: Duration::from_millis(20),
            batch_records_max: Some(500_000),
            until_caught_up: true,
        };
        assert_eq!(
            job.line(Path::new("word_count")),
            "word_count --brokers BROKERS --topic t --checkpoint c --out none --master local[2] --batch-interval 20ms \
             --max-rate-per-partition 6250000 --until-caught-up"
        );
    }
}
