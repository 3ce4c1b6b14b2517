//! The fake's runtime: runs a plan on the driver's own thread, keeps running sums, and checks what it is told.

use crate::fake::{Life, OUTPUT_PARTITIONS, Shape, Sums, key_of, lock, output_id};
use crate::fake_storage::FakeStorage;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tidegate_core::{
    BatchId, BatchPlan, BatchReport, Checkpoint, EpochStart, Error, PartitionId, RecordAges, Result, Runtime,
    RuntimeEvent, RuntimeFactory, StateCheckpoint, StateFile, StateShape, Storage,
};

/// Partitions of the state.
const STATE_PARTITIONS: u64 = 2;

pub(crate) struct FakeRuntimes {
    life: Arc<Life>,
}

impl FakeRuntimes {
    pub(crate) fn new(life: Arc<Life>) -> FakeRuntimes {
        FakeRuntimes { life }
    }
}

impl RuntimeFactory for FakeRuntimes {
    fn start(&mut self, start: EpochStart) -> Result<Box<dyn Runtime>> {
        self.life.synced();
        lock(&self.life.state).epochs = start.epoch;
        self.life.step()?;
        if !start.careful && !self.life.world.has_committed(start.committed) {
            self.life
                .violation(format!("batch {} is said to be in every output and is not", start.committed));
        }
        let openings = self.life.world.stores.iter().map(|store| lock(store).openings).collect();
        let storage = FakeStorage::new(self.life.clone());
        let state = FakeState::restored(&storage, start.restore.as_deref())?;
        Ok(Box::new(FakeRuntime {
            life: self.life.clone(),
            storage,
            start,
            openings,
            over: false,
            prepared: None,
            waiting: VecDeque::new(),
            state,
            late: None,
        }))
    }
}

/// Rows of a batch by output partition.
type Rows = BTreeMap<PartitionId, Vec<u64>>;

struct FakeRuntime {
    life: Arc<Life>,
    storage: FakeStorage,
    start: EpochStart,
    openings: Vec<u64>,
    over: bool,
    prepared: Option<(Arc<BatchPlan>, Rows)>,
    waiting: VecDeque<(Arc<BatchPlan>, Rows)>,
    state: FakeState,
    /// A snapshot that is not reported yet.
    late: Option<RuntimeEvent>,
}

impl Runtime for FakeRuntime {
    fn run(&mut self, plan: Arc<BatchPlan>) {
        let result = self.process(plan);
        self.end_on(result);
    }

    fn commit(&mut self, batch: BatchId) {
        let result = self.commit_everywhere(batch);
        self.end_on(result);
    }

    fn snapshot(&mut self, batch: BatchId) {
        let result = self.take_snapshot(batch);
        self.end_on(result);
    }
}

impl FakeRuntime {
    fn end_on(&mut self, result: Result<()>) {
        if let Err(error) = result
            && !std::mem::replace(&mut self.over, true)
            && !self.life.is_dead()
        {
            (self.start.events)(RuntimeEvent::Failed(error));
        }
    }

    fn process(&mut self, plan: Arc<BatchPlan>) -> Result<()> {
        if self.over {
            return Ok(());
        }
        self.report_late();
        self.prepare_next()?;
        self.life.step()?;
        lock(&self.life.state).run.push(plan.id.0);
        let mut rows: Rows =
            (0..OUTPUT_PARTITIONS).map(|partition| (PartitionId(partition), vec![])).collect();
        let mut records = 0;
        for (range, partition) in plan.sources[0].ranges.iter().zip(lock(&self.life.world.source).iter()) {
            for record in &partition[range.from as usize..range.until as usize] {
                records += 1;
                let to = PartitionId((record % u64::from(OUTPUT_PARTITIONS)) as u32);
                rows.entry(to).or_default().push(*record);
                self.state.add(*record);
            }
        }
        self.check_sums(&plan);
        self.life.step()?;
        let report = BatchReport { batch: plan.id, records, ages: RecordAges::default(), skipped: 0 };
        self.state.newest = Some(plan.clone());
        (self.start.events)(RuntimeEvent::Processed(report));
        if plan.id <= self.start.committed {
            return Ok(());
        }
        let held_back = self.held_back(&plan);
        self.waiting.push_back((plan, rows));
        if held_back { Ok(()) } else { self.prepare_next() }
    }

    /// The state is that of a run without faults.
    fn check_sums(&self, plan: &BatchPlan) {
        let expected = self.life.world.sums_after(&plan.sources[0]);
        let sums = &self.state.sums;
        if self.life.shape.every > 0 && *sums != expected && *lock(&self.life.world.sums_known) {
            self.life.violation(format!("after batch {} the state is {sums:?}, not {expected:?}", plan.id));
        }
    }

    fn take_snapshot(&mut self, batch: BatchId) -> Result<()> {
        if self.over {
            return Ok(());
        }
        let newest = self.state.newest.clone().filter(|newest| newest.id == batch);
        let newest =
            newest.ok_or_else(|| Error::bug(format!("batch {batch} is not the newest processed")))?;
        self.life.step()?;
        let states = self.state.write(&self.storage, batch, self.start.epoch)?;
        if self.late.is_some() {
            self.life.violation("a snapshot is asked for before the last was reported".to_owned());
        }
        self.late = Some(RuntimeEvent::Snapshot(batch, states));
        if !self.life.shape.snapshots_late || self.life.world.through(&newest.sources[0]) {
            self.report_late();
        }
        Ok(())
    }

    fn report_late(&mut self) {
        if let Some(event) = self.late.take()
            && !self.life.is_dead()
        {
            (self.start.events)(event);
        }
    }

    /// Whether a batch is prepared only once the next is run. There must be a next one.
    fn held_back(&self, plan: &BatchPlan) -> bool {
        let Shape { in_flight, prepares_late, .. } = self.life.shape;
        prepares_late && in_flight > 1 && !self.life.world.through(&plan.sources[0])
    }

    fn prepare_next(&mut self) -> Result<()> {
        if self.prepared.is_some() {
            return Ok(());
        }
        let Some((plan, rows)) = self.waiting.pop_front() else { return Ok(()) };
        for _ in 0..self.openings.len() as u32 * self.life.shape.writers {
            self.life.step()?;
        }
        let batch = plan.id;
        self.prepared = Some((plan, rows));
        (self.start.events)(RuntimeEvent::Prepared(batch));
        Ok(())
    }

    fn commit_everywhere(&mut self, batch: BatchId) -> Result<()> {
        if self.over {
            return Ok(());
        }
        let prepared = self.prepared.take().filter(|(plan, _)| plan.id == batch);
        let (plan, rows) = prepared.ok_or_else(|| Error::bug(format!("batch {batch} was not prepared")))?;
        self.check_that_the_journal_knows(batch);
        let mut outputs: Vec<usize> = (0..self.openings.len()).collect();
        if self.life.shape.backwards {
            outputs.reverse();
        }
        for output in outputs {
            for writer in 0..self.life.shape.writers {
                self.life.step()?; // not in yet
                self.commit_one(output, writer, &plan, &rows)?;
                self.life.step()?; // in, and nobody was told
            }
        }
        (self.start.events)(RuntimeEvent::Committed(batch, Vec::new()));
        self.report_late();
        match self.waiting.front() {
            Some((plan, _)) if !self.held_back(plan) => self.prepare_next(),
            _ => Ok(()),
        }
    }

    fn commit_one(&self, output: usize, writer: u32, plan: &Arc<BatchPlan>, rows: &Rows) -> Result<()> {
        let mut store = lock(&self.life.world.stores[output]);
        if store.openings != self.openings[output] {
            return Err(Error::bug("a writer of an older epoch commits"));
        }
        if store.newest.as_ref().is_some_and(|newest| newest.zero != plan.zero) {
            self.life.violation(format!("batch {} counts its slides from another time", plan.id));
        }
        let held = self.start.held.get(&output_id(output));
        let open = |partition: &PartitionId| {
            partition.0 % self.life.shape.writers == writer
                && held.and_then(|held| held.get(partition)).is_none_or(|held| *held < plan.id)
        };
        for (partition, rows) in rows.iter().filter(|(partition, _)| open(partition)) {
            store.shown.push((plan.id, *partition, rows.clone()));
            if store.remembers {
                store.held.insert(*partition, plan.id);
                store.newest = Some(BatchPlan::clone(plan));
            }
        }
        Ok(())
    }

    /// The plan must be on the disk before anything of the batch is seen.
    fn check_that_the_journal_knows(&self, batch: BatchId) {
        if self.life.checkpoint.is_none() {
            return;
        }
        let knows = if self.life.shape.objects {
            lock(&self.life.world.objects).contains_key(&format!("journal/{:020}.json", batch.0))
        } else {
            let plan = format!("{{\"id\":{},\"time\":", batch.0);
            memchr::memmem::find(&self.life.journal(), plan.as_bytes()).is_some()
        };
        if !knows {
            self.life.violation(format!("batch {batch} is committed and the journal does not know it"));
        }
    }
}

/// The running sums of one epoch, and the files that hold them.
#[derive(Default)]
struct FakeState {
    sums: Sums,
    newest: Option<Arc<BatchPlan>>,
    files: BTreeMap<PartitionId, StateFile>,
    changed: BTreeSet<PartitionId>,
}

/// What the fake's state is.
pub(crate) fn sums_shape() -> StateShape {
    StateShape {
        uid: "sums".into(),
        operator: "running_sum".to_owned(),
        partitions: STATE_PARTITIONS as u32,
        placement: "key modulo 2".to_owned(),
        columns: vec!["key: UInt64".to_owned(), "value: UInt64".to_owned()],
    }
}

fn state_partition(key: u64) -> PartitionId {
    PartitionId((key % STATE_PARTITIONS) as u32)
}

impl FakeState {
    fn restored(storage: &FakeStorage, from: Option<&Checkpoint>) -> Result<FakeState> {
        let mut state = FakeState::default();
        let files = from.iter().flat_map(|checkpoint| &checkpoint.states).flat_map(|state| &state.files);
        for file in files {
            let bytes = storage.get(&file.path)?.unwrap_or_default();
            if bytes.len() as u64 != file.bytes || crc32c::crc32c(&bytes) != file.crc32c {
                return Err(Error::damaged_checkpoint(format!("{}: does not match", file.path)));
            }
            let sums: Sums = serde_json::from_slice(&bytes).unwrap();
            state.sums.extend(sums);
            state.files.insert(file.partition, file.clone());
        }
        Ok(state)
    }

    fn add(&mut self, record: u64) {
        *self.sums.entry(key_of(record)).or_default() += record;
        self.changed.insert(state_partition(key_of(record)));
    }

    /// Writes the partitions that have changed; the others keep their files.
    fn write(&mut self, storage: &FakeStorage, batch: BatchId, epoch: u64) -> Result<Vec<StateCheckpoint>> {
        for partition in std::mem::take(&mut self.changed) {
            let sums: Sums = self
                .sums
                .iter()
                .filter(|(key, _)| state_partition(**key) == partition)
                .map(|(k, v)| (*k, *v))
                .collect();
            let bytes = serde_json::to_vec(&sums).unwrap();
            let file = StateFile {
                path: format!("state/sums/{:020}-{epoch}-{partition}.json", batch.0),
                partition,
                rows: sums.len() as u64,
                bytes: bytes.len() as u64,
                crc32c: crc32c::crc32c(&bytes),
                newest_ms: 0,
            };
            storage.put(&file.path, bytes)?;
            self.files.insert(partition, file);
        }
        Ok(vec![StateCheckpoint { shape: sums_shape(), files: self.files.values().cloned().collect() }])
    }
}
