//! Figures of a run, from what a listener is told.

use super::totals::Totals;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidegate::{BatchInfo, Error, Result, StreamingListener};

/// Adds up what batches took. Made when the program starts: some figures count from there.
pub(crate) struct Stats {
    started: Instant,
    figures: Mutex<Figures>,
}

impl Default for Stats {
    fn default() -> Self {
        Stats { started: Instant::now(), figures: Mutex::default() }
    }
}

#[derive(Default)]
struct Figures {
    records: u64,
    batches: u64,
    first_plan_ms: f64,
    last_commit_ms: f64,
    connected: Option<Duration>,
    first_commit: Option<Duration>,
    processing: Vec<f64>,
    total_delay: Vec<f64>,
    journal: Vec<f64>,
    engine: Vec<f64>,
    plan: Vec<f64>,
    process: Vec<f64>,
    prepare: Vec<f64>,
    commit: Vec<f64>,
    latencies: BTreeMap<i64, u64>,
}

impl StreamingListener for Stats {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        let since_start = self.started.elapsed();
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = |length: Duration| length.as_secs_f64() * 1e3;
        let planned_at = batch.time().0 as f64 + ms(batch.scheduling_delay);
        if figures.batches == 0 {
            figures.first_plan_ms = planned_at;
            figures.first_commit = Some(since_start);
        }
        figures.last_commit_ms = planned_at + ms(batch.processing_time);
        figures.batches += 1;
        figures.records += batch.records;
        figures.processing.push(ms(batch.processing_time));
        figures.total_delay.push(ms(batch.total_delay()));
        figures.journal.push(ms(batch.stages.journal));
        figures.engine.push(ms(batch.processing_time.saturating_sub(batch.stages.journal)));
        figures.plan.push(ms(batch.stages.plan));
        figures.process.push(ms(batch.stages.process));
        figures.prepare.push(ms(batch.stages.prepare));
        figures.commit.push(ms(batch.stages.commit));
        for (age_ms, records) in &batch.ages.0 {
            *figures.latencies.entry(age_ms + ms(batch.total_delay()) as i64).or_default() += records;
        }
    }
}

impl Stats {
    /// A Kafka client has connected and has been told the ends of the topic.
    pub(crate) fn connected(&self) {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner).connected = Some(self.started.elapsed());
    }

    /// Writes the figures to `file`.
    pub(crate) fn write(&self, file: &Path, totals: &Totals) -> Result<()> {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = (figures.last_commit_ms - figures.first_plan_ms) / 1e3;
        let (words, distinct, hash) = totals.checksum();
        let stats = json!({
            "records": figures.records,
            "batches": figures.batches,
            "seconds": seconds,
            "records_per_second": if seconds > 0.0 { figures.records as f64 / seconds } else { 0.0 },
            "processing_ms": quantiles(&figures.processing),
            "total_delay_ms": quantiles(&figures.total_delay),
            "latency_ms": latencies(&figures.latencies),
            "journal_ms": quantiles(&figures.journal),
            "engine_ms": quantiles(&figures.engine),
            "stages_ms": {
                "plan": quantiles(&figures.plan),
                "process": quantiles(&figures.process),
                "prepare": quantiles(&figures.prepare),
                "commit": quantiles(&figures.commit),
            },
            "connected_ms": figures.connected.map(|length| length.as_secs_f64() * 1e3),
            "first_commit_ms": figures.first_commit.map(|length| length.as_secs_f64() * 1e3),
            "peak_rss_mib": peak_rss_mib(),
            "checksum": { "words": words, "distinct": distinct, "hash": hash },
        });
        let refused =
            |e| Error::reconfigure(format!("{}: can't write the figures", file.display())).because(e);
        std::fs::write(file, format!("{stats:#}\n")).map_err(refused)
    }
}

fn quantiles(values: &[f64]) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted.get(((sorted.len() as f64 * q).ceil() as usize).saturating_sub(1)).copied();
    json!({ "p50": at(0.5), "p99": at(0.99), "max": sorted.last() })
}

fn latencies(counts: &BTreeMap<i64, u64>) -> Value {
    let total: u64 = counts.values().sum();
    let at = |q: f64| {
        let wanted = (total as f64 * q).ceil() as u64;
        let mut seen = 0;
        counts.iter().find(|(_, records)| {
            seen += **records;
            seen >= wanted
        })
    };
    json!({ "p50": at(0.5).map(|(ms, _)| ms), "p99": at(0.99).map(|(ms, _)| ms) })
}

/// The most memory the process ever held, as the kernel counts it; `None` where there is no /proc.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
