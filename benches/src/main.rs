//! `cargo xtask bench`: measures the example `word_count` against baselines in the same run, on a broker of its own.
//!
//! Every figure that has a target is taken in turns with its baseline, so that a machine that slows down slows both. What must
//! not be here: anything of Tidegate as a library. What is measured is a program, as its users have it; what state, inputs and
//! outputs cost is measured by programs of this package (`bin/state`, `bin/inputs`, `bin/sinks`), which are users of the library.

mod bench;
mod child;
mod document;
mod figures;
mod machine;
mod noise;
mod options;
mod product;
mod spark;
mod steps;

use bench::{Bench, LIMIT, TOPIC};
use child::Running;
use figures::{Figures, Verdict};
use options::Options;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, process};
use steps::{Broker, Step};
use tidegate_servers::needs::Need;
use tidegate_servers::{Kafka, cache_dir};

const LINES: u64 = 10_000_000;
const LINES_QUICK: u64 = 1_000_000;
const REPEATS: usize = 3;
const BROKER_HEAP_MIB: u32 = 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match Options::parse(&arguments).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every table was right and every target met.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    // `cargo xtask` clears directories of this form once their process is gone.
    let dir = cache_dir().join(format!("run-{}", process::id()));
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let broker = options.steps().iter().map(|step| step.broker).max().unwrap_or(Broker::Absent);
    let mut kafka = (broker != Broker::Absent).then(|| start_kafka(&dir)).transpose()?;
    let bench = prepare(options, kafka.as_ref(), dir.clone())?;
    if broker == Broker::Full {
        fill(&bench)?;
    }
    let measured: Vec<(&Step, Figures)> =
        options.steps().into_iter().map(|step| (step, step.figures(&bench))).collect();
    kafka.as_mut().map_or(Ok(()), Kafka::stop)?;
    report(options, &measured)?;
    let well = measured.iter().all(|(_, figures)| {
        figures.wrong.is_empty() && matches!(figures.worst(), Verdict::Met | Verdict::NoTarget)
    });
    if well {
        fs::remove_dir_all(&dir)?;
    } else {
        println!("the logs are in {}", dir.display());
    }
    Ok(well)
}

fn start_kafka(dir: &Path) -> Result<Kafka, Box<dyn Error>> {
    for need in [Need::Java, Need::Maven] {
        need.check()?;
    }
    println!("==> starting Kafka in {}", dir.display());
    Ok(Kafka::options().heap_mib(BROKER_HEAP_MIB).start(&dir.join("kafka"))?)
}

fn prepare(options: &Options, kafka: Option<&Kafka>, dir: PathBuf) -> Result<Bench, Box<dyn Error>> {
    let own = env::current_exe()?;
    let programs = own.parent().ok_or("this program lies in no directory")?.to_owned();
    let lines = if options.quick { LINES_QUICK } else { LINES };
    let bench = Bench {
        program: options.program.clone().unwrap_or_else(|| programs.join("examples/word_count")),
        brokers: kafka.map(Kafka::bootstrap).unwrap_or_default(),
        quick: options.quick,
        repeats: options.repeats.unwrap_or(if options.quick { 1 } else { REPEATS }),
        spark: options.spark,
        lines,
        expected: bench::expected(lines),
        programs,
        dir,
    };
    let measures_it = |step: &&Step| step.broker != Broker::Absent && step.group.is_none();
    if options.steps().iter().any(measures_it) && !bench.program.exists() {
        return Err(format!("there is no program {}; build it first", bench.program.display()).into());
    }
    Ok(bench)
}

/// Writes the lines that several steps read.
fn fill(bench: &Bench) -> Result<(), Box<dyn Error>> {
    println!("==> writing {} lines", bench.lines);
    let mut load = bench.command("load");
    load.args(["lines", &bench.brokers, TOPIC, &bench.lines.to_string()]);
    Running::start("load lines", load, &bench.dir)?.wait(LIMIT).map(drop)
}

fn report(options: &Options, measured: &[(&Step, Figures)]) -> Result<(), Box<dyn Error>> {
    let machine = machine::describe();
    println!("\n{machine}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let mut document = fs::read_to_string(&path).unwrap_or_default();
    for (step, figures) in measured {
        println!("\n== {}\n{}", step.title, figures.table());
        if figures.worst() == Verdict::Missed {
            println!("how to look into it:\n{}", figures.profile);
        }
        let body = format!("## {}\n\n{machine}.\n\n{}", step.title, figures.markdown());
        document = document::with_part(&document, step.name, &body);
    }
    if options.writes() {
        fs::write(&path, document)?;
        println!("written to docs/benchmarks.md");
    } else {
        println!("not written to docs/benchmarks.md: a quick run, or another program");
    }
    Ok(())
}
