//! How soon a job that was killed is back: from its connection to the broker to the first batch it commits.
//!
//! The baseline is the same program from nothing. Both write to SQLite, and what the killed one wrote in the end is checked.

use super::{ratio, unless_quick};
use crate::bench::{Bench, LIMIT, TOPIC};
use crate::figures::{Figures, Target};
use crate::product::{Job, Out, Stats, wrong_sqlite};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

const REPEATS: usize = 5;
const REPEATS_QUICK: usize = 2;
const BACK_MS_MAX: f64 = 300.0;
const CUT: u64 = 20;
const INTERVAL: Duration = Duration::from_millis(20);
/// Where in a run the kill comes, as a share of its length: early, late, between.
const KILL_AT: [f64; REPEATS] = [0.3, 0.7, 0.4, 0.6, 0.5];

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let repeats = if bench.quick { REPEATS_QUICK } else { REPEATS };
    for (repeat, share) in (1..=repeats).zip(KILL_AT) {
        let fresh_dir = bench.fresh_dir(&format!("restart-fresh-{repeat}"))?;
        let what = format!("word_count, from nothing {repeat}");
        let fresh = figures.run(&what, |what| job(bench, &fresh_dir).run(what, bench, LIMIT))?;
        check(bench, figures, &fresh_dir, &what)?;
        let fresh_ms = back_ms(&fresh);
        figures.add("from nothing: connected to first commit", "ms", None, fresh_ms);

        let dir = bench.fresh_dir(&format!("restart-killed-{repeat}"))?;
        let job = job(bench, &dir);
        figures.profile = profile(&job.line(&bench.program));
        let what = format!("word_count, killed and restarted {repeat}");
        let again = figures.run(&what, |what| {
            if !job.start(&format!("{what}, first"), bench)?.kill_at(fresh.wall.mul_f64(share))? {
                return Err("the program ended before it was to be killed".into());
            }
            job.run(what, bench, LIMIT)
        })?;
        check(bench, figures, &dir, &what)?;
        let again_ms = back_ms(&again);
        let target = unless_quick(bench, Target::EachBelow(BACK_MS_MAX));
        figures.add("restart: connected to first commit", "ms", target, again_ms);
        figures.add("restart over from nothing", "", None, ratio(again_ms, fresh_ms));
        let commit_ms = again.get(&["first_commit_ms"]);
        figures.add("restart: first commit, as the program counts", "ms", None, commit_ms);
        let left = ratio(again.get(&["records"]), Some(bench.lines as f64));
        // 1 would mean that nothing had been committed before the kill, and that no restart was measured.
        figures.add("share of the input counted after the restart", "", Some(Target::EachBelow(1.0)), left);
    }
    Ok(())
}

fn job(bench: &Bench, dir: &Path) -> Job {
    Job {
        topic: TOPIC.to_owned(),
        checkpoint: dir.join("checkpoint"),
        out: Out::Sqlite(dir.join("counts.db")),
        interval: INTERVAL,
        batch_records_max: Some(bench.lines / CUT),
        until_caught_up: true,
    }
}

fn back_ms(stats: &Stats) -> Option<f64> {
    Some(stats.get(&["first_commit_ms"])? - stats.get(&["connected_ms"])?)
}

fn check(bench: &Bench, figures: &mut Figures, dir: &Path, what: &str) -> Result<(), Box<dyn Error>> {
    let wrong = wrong_sqlite(&dir.join("counts.db"), &bench.expected)?;
    figures.wrong.extend(wrong.map(|wrong| format!("{what}: {wrong}")));
    Ok(())
}

fn profile(line: &str) -> String {
    format!(
        "\
cargo xtask servers up                      # prints the broker's address, for BROKERS below
cargo run --release -p tidegate-servers --features load --bin load -- lines BROKERS {TOPIC} 10000000
timeout -s KILL 2 {line}
strace -f -r -o restart.trace {line}        # what it waits for before the first commit
RUST_LOG=debug {line}"
    )
}
