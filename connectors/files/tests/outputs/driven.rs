//! An output driven by hand, as an epoch of the engine does, on a store that may fail; and what a reader of the folder sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_core::{
    Batch, BatchId, BatchPlan, BatchTime, Held, Output, OutputContext, OutputId, PartitionId, Placement,
    Result, Seat, SourcePlan, SourceRange, Storage, StreamId, Writer,
};
use tidegate_files::FilesOutput;

/// Batch, number within it, and the folder it is to be in.
pub(crate) type Row = (u64, u64, String);

/// Milliseconds from one batch to the next.
pub(crate) const INTERVAL: u64 = 1_000;

pub(crate) fn row(batch: u64, number: u64) -> Row {
    (batch, number, format!("{}", number % 3))
}

/// A batch that takes `rows` records.
pub(crate) fn batch(id: u64, rows: u64) -> Batch {
    let ranges = vec![SourceRange::new("rows-0", 100 * id, 100 * id + rows)];
    Batch::new(Arc::new(BatchPlan {
        id: BatchId(id),
        time: BatchTime(1_000_000_000 + INTERVAL * id),
        zero: BatchTime(1_000_000_000),
        sources: vec![SourcePlan { stream: StreamId::from("rows"), ranges }],
    }))
}

/// One epoch.
pub(crate) struct Epoch {
    output: FilesOutput<Row>,
    pub(crate) held: Held,
    writers: Vec<Box<dyn Writer<Row>>>,
}

impl Epoch {
    pub(crate) fn open(output: FilesOutput<Row>, workers: usize) -> Result<Epoch> {
        let id = OutputId::from("out");
        let context = OutputContext { output: id.clone(), job: Some("job".into()), new_job: "job".into() };
        let held = output.open(&context)?;
        let writers = (0..workers).map(|worker| output.writer(&Seat { output: id.clone(), worker, workers }));
        Ok(Epoch { writers: writers.collect::<Result<_>>()?, output, held })
    }

    pub(crate) fn holds(&self, partition: PartitionId, batch: u64) -> bool {
        self.held.partitions.get(&partition).is_some_and(|held| held.0 >= batch)
    }

    /// The first batch that not all partitions hold, of those that take anything.
    pub(crate) fn next(&self, rows: &[u64]) -> u64 {
        let all: Vec<PartitionId> = (0..self.partitions()).map(PartitionId).collect();
        let open = |batch: &u64| {
            rows[*batch as usize - 1] > 0 && !all.iter().all(|partition| self.holds(*partition, *batch))
        };
        (1..=rows.len() as u64).find(open).unwrap_or(rows.len() as u64 + 1)
    }

    fn partitions(&self) -> u32 {
        match self.output.placement() {
            Placement::Hash { partitions, .. } => partitions,
            Placement::AsIs => panic!("files have partitions of their own"),
        }
    }

    pub(crate) fn prepare(&mut self, id: u64, rows: u64) -> Result<()> {
        let batch = batch(id, rows);
        let Placement::Hash { partitions, hash } = self.output.placement() else { panic!("as above") };
        let mut parts: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
        for row in (0..rows).map(|number| row(id, number)) {
            parts.entry((hash(&row) % u64::from(partitions)) as u32).or_default().push(row);
        }
        let workers = self.writers.len();
        let mut told: BTreeMap<usize, Vec<PartitionId>> = BTreeMap::new();
        for partition in 0..partitions {
            if self.holds(PartitionId(partition), id) {
                continue;
            }
            let worker = partition as usize % workers;
            for rows in parts.remove(&partition).unwrap_or_default().chunks(5) {
                self.writers[worker].write(&batch, PartitionId(partition), rows.to_vec())?;
            }
            told.entry(worker).or_default().push(PartitionId(partition));
        }
        told.into_iter().try_for_each(|(worker, own)| self.writers[worker].prepare(&batch, &own))
    }

    pub(crate) fn commit(&mut self, id: u64, rows: u64) -> Result<()> {
        self.writers.iter_mut().try_for_each(|writer| writer.commit(&batch(id, rows)))
    }

    pub(crate) fn run(&mut self, id: u64, rows: u64) -> Result<()> {
        self.prepare(id, rows)?;
        self.commit(id, rows)
    }

    pub(crate) fn abort(&mut self) {
        self.writers.iter_mut().for_each(|writer| writer.abort());
    }
}

/// The rows that a reader finds who passes over what begins with `_`, file by file, by path.
pub(crate) fn files(storage: &dyn Storage) -> BTreeMap<String, Vec<Row>> {
    let hidden = |path: &str| path.split('/').any(|name| name.starts_with(['_', '.']));
    let listed = storage.list("").unwrap().into_iter().filter(|object| !hidden(&object.path));
    let read = |path: String| {
        let text = String::from_utf8(storage.get(&path).unwrap().unwrap()).unwrap();
        (path, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    };
    listed.map(|object| read(object.path)).collect()
}

pub(crate) fn visible(storage: &dyn Storage) -> Vec<Row> {
    files(storage).into_values().flatten().collect()
}

/// What the name of a file says.
pub(crate) fn partition_and_last(path: &str) -> (PartitionId, u64) {
    let name: Vec<&str> = path.rsplit('/').next().unwrap().split(['-', '.']).collect();
    (PartitionId(name[1].parse().unwrap()), name[3].parse().unwrap())
}

/// All rows of the batches, which have `rows` each: batch 1 the first number of them.
pub(crate) fn all(rows: &[u64]) -> Vec<Row> {
    let of = |(place, rows): (usize, &u64)| {
        (0..*rows).map(move |number| row(place as u64 + 1, number)).collect::<Vec<_>>()
    };
    rows.iter().enumerate().flat_map(of).collect()
}

/// Nothing is seen twice, nothing that is not there, and rows are in their order within a file, whose name is right about them.
pub(crate) fn is_sound(storage: &dyn Storage, rows: &[u64], when: &str) {
    let (expected, mut seen) = (all(rows).into_iter().collect::<BTreeSet<_>>(), BTreeSet::new());
    for (path, found) in files(storage) {
        assert!(found.is_sorted(), "{when}: {path} is not in order: {found:?}");
        let name: Vec<&str> = path.rsplit('/').next().unwrap().split(['-', '.']).collect();
        let (first, last): (u64, u64) = (name[2].parse().unwrap(), name[3].parse().unwrap());
        assert_eq!((found[0].0, found.last().unwrap().0), (first, last), "{when}: batches of {path}");
        for row in found {
            assert!(expected.contains(&row), "{when}: {row:?} of {path} was never given");
            assert!(seen.insert(row.clone()), "{when}: {row:?} of {path} is there twice");
        }
    }
}

/// Just the rows are seen.
pub(crate) fn is_visible(storage: &dyn Storage, rows: &[u64], when: &str) {
    is_sound(storage, rows, when);
    let mut found = visible(storage);
    found.sort();
    assert!(found == all(rows), "{when}: {} of {} rows are seen", found.len(), all(rows).len());
}
