//! `cargo xtask bench`: builds what is measured and what measures, and runs it.
//!
//! The measuring is a program of its own, in `benches/`: it needs librdkafka, and this one must compile at once.

use crate::cargo::Cargo;
use crate::servers::check_needs;
use crate::{Outcome, TaskResult};

const HELP: &str = "\
cargo xtask bench [OPTION...] [STEP...]

Measures the example word_count against a loop by hand, Spark Streaming and the disk, in turns, on a Kafka of its own, and
jobs with state against the same without, inputs against each other, and outputs against clients by hand; and writes
docs/benchmarks.md. Without a step all are run, which takes about 40 minutes. Leave the machine alone meanwhile: what others use is
written down, and runs with much of it are marked.

  throughput     a full topic counted, against the loop by hand and Spark; peak memory
  batch-cost     a trickle at an interval of 10 ms: what the engine adds to the sync of its journal
  latency        10,000 records a second at an interval of 10 ms: age of a record at its commit
  restart        SIGKILL in mid-run: from connected to the first commit
  state          1,000,000 keys: a batch, a checkpoint of which 1 % changed, recovery; windows with an inverse; needs no Kafka
  kafka-inputs   a topic by a direct stream, by receivers, and by receivers with a write-ahead log
  wal            the write-ahead log against the disk with the same blocks; needs no Kafka
  http           requests of 1, 100 and 1,000 records, with a log and without; needs no Kafka
  overload       five times what the output takes for a minute, with back-pressure and without: delay and memory
  inputs         the four before together, which take about 10 minutes
  outputs        rows into each output, against a client by hand on the same server
  exactly-once   a job into Kafka with transactions and without, in batches of 100 ms and 1 s
  sinks          the two before together, which take about 7 minutes

  --quick        a tenth of the input, once: shows that everything works; judges and writes nothing
  --repeats N    how often each is measured (3; restart always 5)
  --no-spark     leaves Spark out; the throughput is then not written down
  --program FILE another build of word_count, to compare two; its figures are not written down

The run fails when a table was wrong, a step broke, or a target was missed or could not be judged. It then says how to
look into it.
";

/// The programs, in release: they are measured.
const BUILDS: [&str; 3] = [
    "build --release -p tidegate-benches",
    "build --release -p tidegate-servers --features load --bin load",
    "build --release -p tidegate-cli --example word_count",
];

/// Runs the benchmarks that `arguments` ask for.
pub(crate) fn run(arguments: &[&str]) -> TaskResult {
    if arguments.iter().any(|argument| matches!(*argument, "--help" | "-h" | "help")) {
        print!("{HELP}");
        return Ok(Outcome::Passed);
    }
    check_needs()?;
    for build in BUILDS {
        if Cargo::new(build).run()? == Outcome::Failed {
            return Ok(Outcome::Failed);
        }
    }
    Cargo::new("run --release -p tidegate-benches --bin bench --").arguments(arguments).run()
}
