//! How fast a topic that is full already is counted: the program, the loop by hand, and Spark, in turns.

use super::{ratio, unless_quick};
use crate::bench::{Bench, LIMIT, TOPIC};
use crate::child::Running;
use crate::figures::{Figures, Target, show};
use crate::product::{Job, Out, Stats, number, wrong_table};
use crate::spark::{Batches, Spark};
use serde_json::Value;
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use tidegate_servers::cache_dir;

const OF_RAW_MIN: f64 = 0.8;
const OF_SPARK_MIN: f64 = 6.0;
const RSS_MIB_MAX: f64 = 150.0;
/// How many batches the input is cut into where it is not taken in one.
const CUT: u64 = 20;
/// Short enough that the limit of a batch never waits for the clock.
const INTERVAL: Duration = Duration::from_millis(20);

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    let spark = match bench.spark {
        true => Some(Spark::build(cache_dir().parent().expect("the cache lies in the target directory"))?),
        false => None,
    };
    let cut = bench.lines / CUT;
    let cut_label = format!("{} a batch", show(cut as f64));
    let job = |dir: &Path, batch_records_max: Option<u64>| Job {
        topic: TOPIC.to_owned(),
        checkpoint: dir.join("checkpoint"),
        out: Out::None,
        interval: if batch_records_max.is_some() { INTERVAL } else { Duration::from_millis(100) },
        batch_records_max,
        until_caught_up: true,
    };
    figures.profile = profile(&job(Path::new("/tmp/profile"), None).line(&bench.program), bench.lines);
    // The page cache of the broker is warm for all alike.
    raw_count(bench, figures, "raw, warm-up")?;
    for repeat in 1..=bench.repeats {
        let raw = raw_count(bench, figures, &format!("raw {repeat}"))?;
        let raw_rate = number(&raw, &["records_per_second"]);
        figures.add("loop by hand", "records/s", None, raw_rate);
        figures.add("loop by hand, peak memory", "MiB", None, number(&raw, &["peak_rss_mib"]));
        let raw_wall = number(&raw, &["wall_seconds"]);

        let mut counted = |name: &str, limit| -> Result<Stats, Box<dyn Error>> {
            let dir = bench.fresh_dir(&format!("throughput-{name}-{repeat}").replace(' ', "-"))?;
            let what = format!("word_count, {name} {repeat}");
            let stats = figures.run(&what, |what| job(&dir, limit).run(what, bench, LIMIT))?;
            figures.wrong.extend(stats.wrong(&bench.expected).map(|wrong| format!("{what}: {wrong}")));
            Ok(stats)
        };
        let one = counted("one batch", None)?;
        let cuts = counted("cut", Some(cut))?;
        let (one_rate, cut_rate) = (one.get(&["records_per_second"]), cuts.get(&["records_per_second"]));
        let of_raw = unless_quick(bench, Target::MedianAtLeast(OF_RAW_MIN));
        figures.add("Tidegate, one batch", "records/s", None, one_rate);
        figures.add("Tidegate, one batch, over the loop", "", of_raw, ratio(one_rate, raw_rate));
        let cut_name = format!("Tidegate, {cut_label}");
        figures.add(&cut_name, "records/s", None, cut_rate);
        figures.add(&format!("{cut_name}, over the loop"), "", of_raw, ratio(cut_rate, raw_rate));
        let wall = one.wall.as_secs_f64();
        figures.add("whole process, one batch: loop / Tidegate", "", None, ratio(raw_wall, Some(wall)));
        figures.add("batches of the one-batch run", "", None, one.get(&["batches"]));
        figures.add(&format!("batches of the run with {cut_label}"), "", None, cuts.get(&["batches"]));
        let memory = unless_quick(bench, Target::EachBelow(RSS_MIB_MAX));
        figures.add("Tidegate, one batch, peak memory", "MiB", memory, one.peak_rss_mib());
        figures.add(&format!("{cut_name}, peak memory"), "MiB", None, cuts.peak_rss_mib());

        let Some(spark) = &spark else { continue };
        for (name, batches, rate) in [
            ("one batch".to_owned(), Batches::One, one_rate),
            (cut_label.clone(), Batches::Of(cut), cut_rate),
        ] {
            // No comma may be in it: to Spark that would be two directories.
            let directory = if matches!(batches, Batches::One) { "one-batch" } else { "cut" };
            let dir = bench.fresh_dir(&format!("spark-{directory}-{repeat}"))?;
            let what = format!("Spark, {name} {repeat}");
            let peer = figures.run(&what, |what| spark.run(what, bench, batches, &dir)?.json())?;
            figures.wrong.extend(wrong_table(&peer, &bench.expected).map(|wrong| format!("{what}: {wrong}")));
            let spark_rate = number(&peer, &["records_per_second"]);
            figures.add(&format!("Spark, {name}"), "records/s", None, spark_rate);
            let of_spark = unless_quick(bench, Target::MedianAtLeast(OF_SPARK_MIN));
            figures.add(&format!("Tidegate over Spark, {name}"), "", of_spark, ratio(rate, spark_rate));
            let memory = number(&peer, &["peak_rss_mib"]);
            figures.add(&format!("Spark, {name}, peak memory"), "MiB", None, memory);
        }
    }
    Ok(())
}

/// The loop by hand, with the length of its whole process as `wall_seconds`.
fn raw_count(bench: &Bench, figures: &mut Figures, what: &str) -> Result<Value, Box<dyn Error>> {
    let (mut counted, wall) = figures.run(what, |what| {
        let mut command = bench.command("raw");
        command.args(["count", &bench.brokers, TOPIC]);
        let ended = Running::start(what, command, &bench.dir)?.wait(LIMIT)?;
        Ok((ended.json()?, ended.wall))
    })?;
    counted["wall_seconds"] = wall.as_secs_f64().into();
    figures.wrong.extend(wrong_table(&counted, &bench.expected).map(|wrong| format!("{what}: {wrong}")));
    Ok(counted)
}

fn profile(line: &str, lines: u64) -> String {
    format!(
        "\
cargo xtask servers up                      # prints the broker's address, for BROKERS below
cargo run --release -p tidegate-servers --features load --bin load -- lines BROKERS {TOPIC} {lines}
perf record -g --call-graph dwarf {line}
perf report --no-children
# without perf: valgrind --tool=callgrind {line}, on fewer lines; memory: valgrind --tool=massif"
    )
}
