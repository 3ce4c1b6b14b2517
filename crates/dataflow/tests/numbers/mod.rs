//! A deterministic job whose results outlive a process: numbers in, sums by key into files.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidegate_core::{
    Batch, BatchId, BatchPlan, BatchTime, Delivery, Emit, Held, InputContext, Output, OutputContext,
    OutputId, PartitionId, Placement, Planner, Progress, Reader, Result, Seat, Source, SourcePlan,
    SourceRange, StreamId, Writer, Writers,
};
use tidegate_dataflow::{Graph, ops};

/// Partitions of the source. More than workers, and no multiple of them.
const PARTITIONS: usize = 7;

/// Partitions after the shuffle.
const KEYED: u32 = 5;

/// Partitions of the output that is spread over all workers.
const SPREAD: u32 = 3;

/// Records of one partition in a batch.
const RECORDS: u64 = 3_000;

/// Printed by a process that stalls.
pub(crate) const STALLED: &str = "stalled in the middle of a batch";

pub(crate) type Row = (u64, u64);

/// What goes wrong in a process.
#[derive(Clone)]
pub(crate) enum Trap {
    None,
    /// Its readers go no further than this position.
    Stall(u64),
    /// A function panics at this number, the first time.
    Panic(u64, Arc<AtomicBool>),
}

impl Trap {
    pub(crate) fn panic_once_at(partition: u64, position: u64) -> Trap {
        Trap::Panic(number(partition, position), Arc::new(AtomicBool::new(true)))
    }
}

/// The job, with its outputs in `directory`.
pub(crate) fn graph(directory: &Path, trap: Trap) -> Graph {
    let graph = Graph::new(100);
    let numbers = graph.input("numbers".into(), Arc::new(Numbers { trap: trap.clone() })).unwrap();
    let keyed = ops::flat_map(&numbers, move |number: u64| {
        if let Trap::Panic(at, armed) = &trap
            && *at == number
            && armed.swap(false, Ordering::SeqCst)
        {
            panic!("a trap");
        }
        rows_of(number)
    });
    let sums = ops::reduce_by_key(&keyed, KEYED, |a, b| a + b);
    let directory = directory.to_owned();
    let one = Files { name: "one", directory: directory.clone(), writers: Writers::One };
    ops::output(&sums, "one".into(), Arc::new(one)).unwrap();
    let spread = Files { name: "spread", directory, writers: Writers::EachWorker };
    ops::output(&sums, "spread".into(), Arc::new(spread)).unwrap();
    graph
}

fn number(partition: u64, position: u64) -> u64 {
    partition * 1_000_000_007 + position
}

/// One key that many numbers share, and one that few do: so that more rows than fit one chunk cross the shuffle.
fn rows_of(number: u64) -> [Row; 2] {
    [(number % 97, 1), (1_000 + number % 20_011, number)]
}

/// The plan of batch `id`.
pub(crate) fn plan(id: u64) -> BatchPlan {
    let range = |partition| SourceRange::new(format!("n-{partition}"), (id - 1) * RECORDS, id * RECORDS);
    let ranges = (0..PARTITIONS).map(range).collect();
    let sources = vec![SourcePlan { stream: "numbers".into(), ranges }];
    BatchPlan { id: BatchId(id), time: BatchTime(id * 100), zero: BatchTime(0), sources }
}

/// What each output must hold after `batches`: (output, batch) to its rows, in order.
pub(crate) fn expected(batches: RangeInclusive<u64>) -> BTreeMap<(String, u64), Vec<Row>> {
    let mut expected = BTreeMap::new();
    for id in batches {
        let mut sums = BTreeMap::new();
        for (partition, range) in plan(id).sources[0].ranges.iter().enumerate() {
            for (key, value) in (range.from..range.until).flat_map(|at| rows_of(number(partition as u64, at)))
            {
                *sums.entry(key).or_insert(0) += value;
            }
        }
        for output in ["one", "spread"] {
            expected.insert((output.to_owned(), id), sums.clone().into_iter().collect());
        }
    }
    expected
}

/// What the outputs hold.
pub(crate) struct Stored {
    pub(crate) rows: BTreeMap<(String, u64), Vec<Row>>,
    /// The processes that wrote each output.
    pub(crate) writers: BTreeMap<String, BTreeSet<u32>>,
    /// The batches of the output that is spread which were completed.
    pub(crate) whole: BTreeSet<u64>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    process: u32,
    rows: Vec<Row>,
}

/// Reads what was committed to `directory`.
pub(crate) fn stored(directory: &Path) -> Stored {
    let mut stored = Stored { rows: BTreeMap::new(), writers: BTreeMap::new(), whole: BTreeSet::new() };
    for entry in std::fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        stored.whole.extend(name.strip_prefix("spread.whole.").map(|batch| batch.parse::<u64>().unwrap()));
    }
    for (path, output, batch, _) in parts(directory) {
        let part: Part = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        stored.rows.entry((output.clone(), batch)).or_default().extend(part.rows);
        stored.writers.entry(output).or_default().insert(part.process);
    }
    stored.rows.values_mut().for_each(|rows| rows.sort_unstable());
    stored
}

/// What each output holds, as the driver tells the workers.
pub(crate) fn held(directory: &Path) -> BTreeMap<OutputId, BTreeMap<PartitionId, BatchId>> {
    let mut held: BTreeMap<OutputId, BTreeMap<PartitionId, BatchId>> = BTreeMap::new();
    for (_, output, batch, partition) in parts(directory) {
        let newest =
            held.entry(OutputId(output)).or_default().entry(PartitionId(partition)).or_insert(BatchId(batch));
        *newest = (*newest).max(BatchId(batch));
    }
    held
}

/// The committed files: `output.batch.partition`.
fn parts(directory: &Path) -> Vec<(PathBuf, String, u64, u32)> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let part = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        let [output, batch, partition] = name.split('.').collect::<Vec<_>>().try_into().ok()?;
        Some((path, output.to_owned(), batch.parse().ok()?, partition.parse().ok()?))
    };
    files.filter_map(part).collect()
}

/// Numbers without an end; the plans say which are taken.
struct Numbers {
    trap: Trap,
}

impl Source<u64> for Numbers {
    fn describe(&self) -> String {
        "numbers".to_owned()
    }

    fn planner(&self, _: &InputContext) -> Result<Box<dyn Planner>> {
        unreachable!("the tests plan by hand")
    }

    fn reader(&self, _: &StreamId, _: usize, _: usize) -> Result<Box<dyn Reader<u64>>> {
        let stall_at = match self.trap {
            Trap::Stall(at) => at,
            Trap::None | Trap::Panic(..) => u64::MAX,
        };
        Ok(Box::new(NumbersReader { stall_at, told: false, left: Vec::new() }))
    }
}

struct NumbersReader {
    stall_at: u64,
    told: bool,
    left: Vec<(PartitionId, SourceRange)>,
}

impl Reader<u64> for NumbersReader {
    fn start(&mut self, ranges: &[(PartitionId, SourceRange)]) -> Result<()> {
        self.left = ranges.to_vec();
        Ok(())
    }

    fn read(&mut self, _: usize, out: &mut dyn Emit<u64>) -> Result<Progress> {
        let Some((partition, range)) = self.left.last_mut() else { return Ok(Progress::Done) };
        out.partition(*partition);
        out.made_at(range.from as i64 / 1_000);
        let until = range.until.min(range.from + 500).min(self.stall_at.max(range.from));
        (range.from..until).for_each(|at| out.record(number(u64::from(partition.0), at)));
        if range.from == until && !range.is_empty() {
            if !std::mem::replace(&mut self.told, true) {
                println!("{STALLED}");
            }
            return Ok(Progress::Waiting);
        }
        range.from = until;
        if range.is_empty() {
            self.left.pop();
        }
        Ok(Progress::More)
    }
}

/// A directory with a file for each batch and partition.
struct Files {
    name: &'static str,
    directory: PathBuf,
    writers: Writers,
}

impl Output<Row> for Files {
    fn describe(&self) -> String {
        "files".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn writers(&self) -> Writers {
        self.writers
    }

    fn completes(&self) -> bool {
        self.writers == Writers::EachWorker
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        unreachable!("the tests read what is held")
    }

    fn placement(&self) -> Placement<Row> {
        match self.writers {
            Writers::One => Placement::AsIs,
            Writers::EachWorker => Placement::Hash { partitions: SPREAD, hash: Arc::new(|row| row.0 / 3) },
        }
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<Row>>> {
        let (name, directory) = (self.name, self.directory.clone());
        Ok(Box::new(FilesWriter { name, directory, staged: BTreeMap::new() }))
    }
}

struct FilesWriter {
    name: &'static str,
    directory: PathBuf,
    staged: BTreeMap<PartitionId, Vec<Row>>,
}

impl Writer<Row> for FilesWriter {
    fn write(&mut self, _: &Batch, partition: PartitionId, mut rows: Vec<Row>) -> Result<()> {
        self.staged.entry(partition).or_default().append(&mut rows);
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, partitions: &[PartitionId]) -> Result<()> {
        for partition in partitions {
            self.staged.entry(*partition).or_default();
        }
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        for (partition, rows) in std::mem::take(&mut self.staged) {
            let name = format!("{}.{}.{partition}", self.name, batch.id());
            let path = self.directory.join(&name);
            assert!(!path.exists(), "{name} is committed once");
            let part = Part { process: std::process::id(), rows };
            let unseen = self.directory.join(format!("{name}.tmp"));
            std::fs::write(&unseen, serde_json::to_vec(&part).unwrap()).unwrap();
            std::fs::rename(unseen, path).unwrap();
        }
        Ok(())
    }

    fn complete(&mut self, batch: &Batch, partitions: u32) -> Result<()> {
        let there = |partition: &u32| {
            self.directory.join(format!("{}.{}.{partition}", self.name, batch.id())).exists()
        };
        assert_eq!(
            (0..partitions).filter(there).count(),
            SPREAD as usize,
            "all writers committed before one completes"
        );
        std::fs::write(self.directory.join(format!("{}.whole.{}", self.name, batch.id())), "").unwrap();
        Ok(())
    }
}
