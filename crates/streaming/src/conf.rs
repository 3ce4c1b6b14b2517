//! Settings of a job, by key as in `SparkConf`.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Keys that go by two names: Spark's, and ours.
const ALIASES: &[(&str, &str)] = &[
    ("spark.master", "tidegate.master"),
    ("spark.app.name", "tidegate.app.name"),
    ("spark.default.parallelism", "tidegate.default.parallelism"),
    ("spark.streaming.kafka.maxRatePerPartition", "tidegate.kafka.max_rate_per_partition"),
    ("spark.streaming.concurrentJobs", "tidegate.batches_in_flight_max"),
    ("spark.streaming.receiver.writeAheadLog.enable", "tidegate.receiver.write_ahead_log.enable"),
    ("spark.streaming.receiver.maxRate", "tidegate.receiver.max_rate"),
    ("spark.streaming.blockInterval", "tidegate.receiver.block_interval_ms"),
    ("spark.streaming.receiverRestartDelay", "tidegate.receiver.restart_delay_ms"),
    ("spark.streaming.backpressure.enabled", "tidegate.backpressure.enable"),
    ("spark.streaming.backpressure.initialRate", "tidegate.backpressure.initial_rate"),
    ("spark.streaming.backpressure.rateEstimator", "tidegate.backpressure.rate_estimator"),
    ("spark.streaming.backpressure.pid.proportional", "tidegate.backpressure.pid.proportional"),
    ("spark.streaming.backpressure.pid.integral", "tidegate.backpressure.pid.integral"),
    ("spark.streaming.backpressure.pid.derived", "tidegate.backpressure.pid.derived"),
    ("spark.streaming.backpressure.pid.minRate", "tidegate.backpressure.pid.min_rate"),
];

/// Keys whose values a checkpoint may show. The value of any other may be a secret.
const SHOWN: &[&str] = &[
    "tidegate.master",
    "tidegate.app.name",
    "tidegate.default.parallelism",
    "tidegate.batches_in_flight_max",
    "tidegate.checkpoint.interval_ms",
    "tidegate.checkpoint.retained",
    "tidegate.state.drop",
    "tidegate.state.store",
    "tidegate.state.memory_bytes",
    "tidegate.kafka.max_rate_per_partition",
    "tidegate.receiver.write_ahead_log.enable",
    "tidegate.receiver.max_rate",
    "tidegate.backpressure.enable",
];

/// Partitions of a shuffle that is not told otherwise. Not the number of workers: results never depend on that.
const DEFAULT_PARALLELISM: u32 = 4;

/// Settings of a job.
///
/// Any key can be set; those Tidegate knows are `tidegate.master`, `tidegate.app.name`, `tidegate.default.parallelism`
/// (partitions of a shuffle, 4), `tidegate.batches_in_flight_max` (1 or 2; 2), `tidegate.retry.pause_ms` (100) and
/// `tidegate.retry.pause_max_ms` (10,000), `tidegate.signals` (`true`: SIGINT and SIGTERM stop the job gracefully, a second
/// one at once), `tidegate.checkpoint.interval_ms` (from one checkpoint of state to the next at least: 10,000, or a batch
/// where that is longer), `tidegate.checkpoint.retained` (1 to 1000; 3), `tidegate.state.accept_loss` (`false`; `true` has a
/// job whose state is lost begin with empty state), `tidegate.state.drop` (names of states of a checkpoint that the program has
/// no more and may leave behind, with commas between), `tidegate.state.store` (`memory` or `disk`: for state larger than memory),
/// `tidegate.state.directory` (where the store on disk is: `store` in a local checkpoint directory) and
/// `tidegate.state.memory_bytes` (what its caches and buffers may take; 268,435,456),
/// and those of the connectors. Receivers have `tidegate.receiver.write_ahead_log.enable` (`false`),
/// `tidegate.receiver.block_interval_ms` (200), `tidegate.receiver.block_bytes_max` (4,194,304; 8,388,608 at most),
/// `tidegate.receiver.held_bytes_max` (bytes of one stream that are in no committed batch: 67,108,864), `tidegate.receiver.max_rate`
/// (records a second of one stream; no limit) and `tidegate.receiver.restart_delay_ms` (2,000). Sockets have
/// `tidegate.socket.line_bytes_max` (1,048,576) and `tidegate.socket.bad_lines` (`fail` or `skip`). Back-pressure has
/// `tidegate.backpressure.enable` (`false`), `tidegate.backpressure.initial_rate` (records a second of one input until batches were
/// measured; no limit) and `tidegate.backpressure.pid.proportional` (1), `.integral` (0.2), `.derived` (0), `.min_rate` (100).
/// Spark's names of the same settings are taken too.
#[derive(Clone, Default)]
pub struct Conf {
    settings: BTreeMap<String, String>,
}

impl Conf {
    /// No settings: `local[*]`, application `tidegate`.
    pub fn new() -> Conf {
        Conf::default()
    }

    /// Names the application. A checkpoint directory belongs to one.
    #[must_use]
    pub fn set_app_name(self, name: &str) -> Conf {
        self.set("tidegate.app.name", name)
    }

    /// Where the job runs: `local` (one worker thread), `local[n]`, `local[*]` (a thread for each core).
    #[must_use]
    pub fn set_master(self, master: &str) -> Conf {
        self.set("tidegate.master", master)
    }

    /// Sets `key`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Conf {
        self.settings.insert(own_name(key).to_owned(), value.to_owned());
        self
    }

    /// The value of `key`, by either of its names.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(own_name(key)).map(String::as_str)
    }

    /// The application's name.
    pub fn app_name(&self) -> &str {
        self.get("tidegate.app.name").unwrap_or("tidegate")
    }

    /// Where the job runs.
    ///
    /// # Errors
    /// `Reconfigure` for a master that is none of the known.
    pub fn master(&self) -> Result<Master> {
        self.get("tidegate.master").unwrap_or("local[*]").parse()
    }

    /// Partitions of a shuffle that is not told otherwise.
    ///
    /// # Errors
    /// `Reconfigure` when it is no positive number.
    pub fn default_parallelism(&self) -> Result<u32> {
        let partitions = self.number("tidegate.default.parallelism", u64::from(DEFAULT_PARALLELISM))?;
        match u32::try_from(partitions) {
            Ok(partitions) if partitions > 0 => Ok(partitions),
            _ => Err(self.refuse("tidegate.default.parallelism", "a number from 1 to 4294967295")),
        }
    }

    /// The settings that a checkpoint may show.
    pub(crate) fn shown(&self) -> BTreeMap<String, String> {
        let shown = self.settings.iter().filter(|(key, _)| SHOWN.contains(&key.as_str()));
        shown.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    pub(crate) fn duration_ms(&self, key: &str, default: Duration) -> Result<Duration> {
        // Spark writes times with their unit.
        match self.get(key).and_then(|text| text.trim().strip_suffix("ms")) {
            Some(number) => match number.trim().parse() {
                Ok(number) => Ok(Duration::from_millis(number)),
                Err(_) => Err(self.refuse(key, "a whole number of milliseconds")),
            },
            None => Ok(Duration::from_millis(self.number(key, default.as_millis() as u64)?)),
        }
    }

    /// A number that may have a fraction; `None` when it is not set.
    pub(crate) fn decimal(&self, key: &str) -> Result<Option<f64>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Some(number)),
            _ => Err(self.refuse(key, "a number that is not below 0")),
        }
    }

    pub(crate) fn number(&self, key: &str, default: u64) -> Result<u64> {
        match self.get(key) {
            None => Ok(default),
            Some(text) => text.trim().parse().map_err(|_| self.refuse(key, "a whole number")),
        }
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(self.refuse(key, "true or false")),
        }
    }

    pub(crate) fn refuse(&self, key: &str, wanted: &str) -> Error {
        Error::reconfigure(format!("{key} = {}: must be {wanted}", self.get(key).unwrap_or_default()))
    }
}

/// Shows keys only: a value may be a secret.
impl fmt::Debug for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.settings.keys()).finish()
    }
}

fn own_name(key: &str) -> &str {
    ALIASES.iter().find(|(spark, _)| *spark == key).map_or(key, |(_, own)| own)
}

/// Where a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Master {
    /// Worker threads of this process.
    Local {
        /// How many.
        workers: usize,
    },
}

impl std::str::FromStr for Master {
    type Err = Error;

    fn from_str(text: &str) -> Result<Master> {
        let refused = || {
            Error::reconfigure(format!(
                "master \"{text}\": must be local, local[n] with n from 1 to 1024, or local[*]"
            ))
        };
        let workers = match text.strip_prefix("local").ok_or_else(refused)? {
            "" => 1,
            "[*]" => std::thread::available_parallelism().map_or(1, usize::from),
            count => {
                let count =
                    count.strip_prefix('[').and_then(|count| count.strip_suffix(']')).ok_or_else(refused)?;
                count.parse().ok().filter(|count| (1..=1024).contains(count)).ok_or_else(refused)?
            }
        };
        Ok(Master::Local { workers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_is_read_as_spark_reads_it() {
        let workers = |text: &str| text.parse::<Master>().map(|Master::Local { workers }| workers);
        assert_eq!(workers("local").unwrap(), 1);
        assert_eq!(workers("local[3]").unwrap(), 3);
        assert!(workers("local[*]").unwrap() >= 1);
        for wrong in ["local[0]", "local[x]", "local[2", "spark://host:7077", ""] {
            let refusal = workers(wrong).unwrap_err().to_string();
            assert!(
                refusal.starts_with(&format!("master \"{wrong}\": must be local, local[n]")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_setting_goes_by_sparks_name_and_ours_and_is_never_shown() {
        let conf =
            Conf::new().set("spark.streaming.kafka.maxRatePerPartition", "1000").set("password", "hunter2");
        assert_eq!(conf.get("tidegate.kafka.max_rate_per_partition"), Some("1000"));
        assert!(!format!("{conf:?}").contains("hunter2"));
        assert_eq!(conf.shown(), [("tidegate.kafka.max_rate_per_partition".into(), "1000".into())].into());
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        let conf = Conf::new().set("spark.default.parallelism", "many");
        let refusal = conf.default_parallelism().unwrap_err().to_string();
        assert_eq!(refusal, "tidegate.default.parallelism = many: must be a whole number");
    }
}
