//! How near the write-ahead log of receivers comes to the disk: blocks that are each durable before the next, beside a file that
//! grows by the same number of bytes with a sync after each.

use super::{of_program, ratio};
use crate::bench::{Bench, LIMIT};
use crate::child::Running;
use crate::figures::Figures;
use crate::product::number;
use std::error::Error;

const KIB: u64 = 1024;
/// Bytes of a block, and the name of it.
const SIZES: [(u64, &str); 3] = [(4 * KIB, "4 KiB"), (64 * KIB, "64 KiB"), (1024 * KIB, "1 MiB")];
const BYTES_MAX: u64 = 256 * 1024 * KIB;
const BLOCKS_MAX: u64 = 2_000;

pub(super) fn run(bench: &Bench, figures: &mut Figures) -> Result<(), Box<dyn Error>> {
    figures.profile = profile();
    for repeat in 1..=bench.repeats {
        for (bytes, size) in SIZES {
            let blocks = (BYTES_MAX / bytes).min(BLOCKS_MAX) / if bench.quick { 10 } else { 1 };
            let (bytes, blocks) = (bytes.to_string(), blocks.to_string());
            let disk = figures.run(&format!("raw write {size} {repeat}"), |what| {
                let dir = bench.fresh_dir(&format!("raw-write-{bytes}-{repeat}"))?;
                let mut command = bench.command("raw");
                command.arg("write").arg(&dir).args([&blocks, &bytes]);
                Running::start(what, command, &bench.dir)?.wait(LIMIT)?.json()
            })?;
            let log = figures.run(&format!("inputs, wal {size} {repeat}"), |what| {
                of_program(bench, what, &["wal", &bytes, &blocks])
            })?;
            let (disk, log) = (number(&disk, &["mb_per_second"]), number(&log, &["mb_per_second"]));
            figures.add(&format!("disk, {size} and a sync"), "MB/s", None, disk);
            figures.add(&format!("log, blocks of {size}"), "MB/s", None, log);
            figures.add(&format!("log over disk, {size}"), "", None, ratio(log, disk));
        }
    }
    Ok(())
}

fn profile() -> String {
    "\
cargo build --release -p tidegate-benches --bin inputs
strace -f -T -e trace=fdatasync,fsync,write target/release/inputs wal 65536 2000 $(mktemp -d)
perf record -g --call-graph dwarf target/release/inputs wal 1048576 256 $(mktemp -d)"
        .to_owned()
}
