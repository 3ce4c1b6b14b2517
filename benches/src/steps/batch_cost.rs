//! What a batch costs when there is next to nothing in it, and whether a short interval is held.
//!
//! The baseline is the disk: a small append with its fdatasync, at the same pace in the same place.

use super::{HEAD_START, ratio, unless_quick};
use crate::bench::{Bench, LIMIT, expected};
use crate::child::Running;
use crate::figures::{Figures, Target};
use crate::product::{Job, Out, number};
use std::error::Error;
use std::thread;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(10);
const RATE: u64 = 100;
const BATCHES: u64 = 10_000;
const BATCHES_QUICK: u64 = 1_000;
const ENGINE_MS_MAX: f64 = 1.0;

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let batches = if bench.quick { BATCHES_QUICK } else { BATCHES };
    let seconds = batches * INTERVAL.as_millis() as u64 / 1000;
    for repeat in 1..=bench.repeats {
        let dir = bench.fresh_dir(&format!("batch-cost-{repeat}"))?;
        let disk = figures.run(&format!("raw sync {repeat}"), |what| {
            let mut command = bench.command("raw");
            let interval = INTERVAL.as_millis().to_string();
            command.arg("sync").arg(&dir).args([(batches / 10).to_string(), interval]);
            Running::start(what, command, &bench.dir)?.wait(LIMIT)?.json()
        })?;
        let disk_ms = number(&disk, &["sync_ms", "p50"]);
        figures.add("append and sync by hand, p50", "ms", None, disk_ms);

        let topic = format!("trickle-{repeat}");
        bench.create_topic(&topic)?;
        let job = Job {
            topic: topic.clone(),
            checkpoint: dir.join("checkpoint"),
            out: Out::None,
            interval: INTERVAL,
            batch_records_max: None,
            until_caught_up: false,
        };
        figures.profile = profile(&job.line(&bench.program));
        let what = format!("word_count, trickle {repeat}");
        let (stats, sent) = figures.run(&what, |what| {
            let running = job.start(what, bench)?;
            thread::sleep(HEAD_START);
            let sent = bench.start_pacing(&topic, RATE, seconds)?.wait(LIMIT)?.out.trim().parse()?;
            // The last records are to be in a batch before the end is asked for.
            thread::sleep(HEAD_START);
            Ok((job.stats(running.terminate(LIMIT)?)?, sent))
        })?;
        let table = expected(sent);
        let wrong = bench.wrong_topic(&topic, &table)?.or_else(|| stats.wrong(&table));
        figures.wrong.extend(wrong.map(|wrong| format!("{what}: {wrong}")));
        let engine = unless_quick(bench, Target::MedianBelow(ENGINE_MS_MAX));
        figures.add("engine, beyond the sync, p50", "ms", engine, stats.get(&["engine_ms", "p50"]));
        figures.add("engine, beyond the sync, p99", "ms", None, stats.get(&["engine_ms", "p99"]));
        let journal_ms = stats.get(&["journal_ms", "p50"]);
        figures.add("journal, p50", "ms", None, journal_ms);
        figures.add("journal, p99", "ms", None, stats.get(&["journal_ms", "p99"]));
        figures.add("journal over the sync by hand, p50", "", None, ratio(journal_ms, disk_ms));
        figures.add("whole batch, p50", "ms", None, stats.get(&["processing_ms", "p50"]));
        let count = unless_quick(bench, Target::EachAtLeast(batches as f64));
        figures.add("batches at 10 ms", "", count, stats.get(&["batches"]));
        // A batch that is through before the next is due leaves no queue behind.
        let held = unless_quick(bench, Target::MedianBelow(INTERVAL.as_secs_f64() * 1000.0));
        figures.add("from due to committed, p99", "ms", held, stats.get(&["total_delay_ms", "p99"]));
        figures.add("from due to committed, max", "ms", None, stats.get(&["total_delay_ms", "max"]));
        figures.add("peak memory", "MiB", None, stats.peak_rss_mib());
    }
    Ok(())
}

fn profile(line: &str) -> String {
    format!(
        "\
cargo xtask servers up                      # prints the broker's address, for BROKERS below
cargo run --release -p tidegate-servers --features load --bin load -- topic BROKERS trickle-1
{line} &
cargo run --release -p tidegate-servers --features load --bin load -- paced BROKERS trickle-1 {RATE} 100 &
perf trace -s -p $(pgrep -n word_count)     # system calls: waits and syncs
perf record -g --call-graph dwarf -p $(pgrep -n word_count) -- sleep 20
# the sync alone: strace -f -T -e trace=fdatasync,fsync -p $(pgrep -n word_count)"
    )
}
