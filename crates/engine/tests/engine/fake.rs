//! A whole job in memory: a source that can be read again, outputs that remember their batches by partition, and a
//! runtime that runs a plan on the driver's own thread, so that every run takes the same steps.
//!
//! Every call the engine makes is a numbered step. At any of them the process can die (nothing is done from then
//! on, and what the disk held is kept) or the outer system can fail.

use crate::fake_runtime::{FakeRuntimes, sums_shape};
use crate::fake_storage::FakeStorage;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tidegate_core::{
    BatchId, BatchPlan, Delivery, Error, ErrorKind, Held, JobId, OutputContext, OutputId, PartitionId,
    Planner, Result, SourcePlan, SourceRange,
};
use tidegate_engine::{
    BatchInfo, Engine, EngineParts, ManualClock, OutputPart, Publishing, Settings, Stop, StreamingListener,
};

pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Partitions of each output, whatever the number of its writers.
pub(crate) const OUTPUT_PARTITIONS: u32 = 2;

/// How a job is put together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Outputs; of more than one the last does not remember what it holds.
    pub(crate) outputs: usize,
    /// Writers of each output.
    pub(crate) writers: u32,
    /// Batches between plan and commit.
    pub(crate) in_flight: usize,
    /// Outputs prepare a batch only when the next one is being run.
    pub(crate) prepares_late: bool,
    /// The last output commits first.
    pub(crate) backwards: bool,
    /// Records that a batch takes of each partition at most.
    pub(crate) records_max: u64,
    /// Batches from one checkpoint of the running sums to the next; 0: no state.
    pub(crate) every: u32,
    /// Checkpoints that are kept.
    pub(crate) retained: usize,
    /// A snapshot is reported only with the next batch.
    pub(crate) snapshots_late: bool,
    /// The storage is no local directory.
    pub(crate) objects: bool,
    /// Its promise of exclusive creation can't be relied on.
    pub(crate) weak: bool,
    /// Checkpoints are published on a thread of their own, so that no two runs take the same steps.
    pub(crate) background: bool,
    /// Lost state is accepted.
    pub(crate) accept_loss: bool,
}

impl Shape {
    pub(crate) const PLAIN: Shape = Shape {
        outputs: 1,
        writers: 1,
        in_flight: 1,
        prepares_late: false,
        backwards: false,
        records_max: 2,
        every: 0,
        retained: 2,
        snapshots_late: false,
        objects: false,
        weak: false,
        background: false,
        accept_loss: false,
    };
}

/// A running sum for each key, which is the record modulo 3.
pub(crate) type Sums = BTreeMap<u64, u64>;

pub(crate) fn key_of(record: u64) -> u64 {
    record % 3
}

/// What outlives a process: the source, the outputs and the objects of the storage.
pub(crate) struct World {
    pub(crate) source: Mutex<Vec<Vec<u64>>>,
    pub(crate) stores: Vec<Mutex<Store>>,
    pub(crate) objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What must never happen and did.
    violations: Mutex<Vec<String>>,
    /// Whether the state of each batch is checked; not after a loss was accepted.
    pub(crate) sums_known: Mutex<bool>,
}

#[derive(Clone, Default)]
pub(crate) struct Store {
    pub(crate) remembers: bool,
    pub(crate) openings: u64,
    job: Option<JobId>,
    pub(crate) newest: Option<BatchPlan>,
    pub(crate) held: BTreeMap<PartitionId, BatchId>,
    /// Each commit of a partition, in order.
    pub(crate) shown: Vec<(BatchId, PartitionId, Vec<u64>)>,
}

impl World {
    pub(crate) fn new(source: Vec<Vec<u64>>, outputs: usize) -> Arc<World> {
        let store =
            |place| Mutex::new(Store { remembers: place == 0 || place + 1 < outputs, ..Store::default() });
        Arc::new(World {
            source: Mutex::new(source),
            stores: (0..outputs).map(store).collect(),
            objects: Mutex::default(),
            violations: Mutex::default(),
            sums_known: Mutex::new(true),
        })
    }

    /// Another world that is the same.
    pub(crate) fn copy(&self) -> Arc<World> {
        let stores = self.stores.iter().map(|store| Mutex::new(lock(store).clone())).collect();
        Arc::new(World {
            source: Mutex::new(lock(&self.source).clone()),
            stores,
            objects: Mutex::new(lock(&self.objects).clone()),
            violations: Mutex::default(),
            sums_known: Mutex::new(*lock(&self.sums_known)),
        })
    }

    /// A new record arrives, so that there is always a batch to come.
    pub(crate) fn arrives(&self) {
        let mut source = lock(&self.source);
        let count: usize = source.iter().map(Vec::len).sum();
        source[0].push(1000 + count as u64);
    }

    pub(crate) fn through(&self, plan: &SourcePlan) -> bool {
        let source = lock(&self.source);
        plan.ranges.iter().zip(source.iter()).all(|(range, records)| range.until == records.len() as u64)
    }

    /// The sums when every batch up to that of `plan` has been run once.
    pub(crate) fn sums_after(&self, plan: &SourcePlan) -> Sums {
        let mut sums = Sums::new();
        for (range, records) in plan.ranges.iter().zip(lock(&self.source).iter()) {
            for record in &records[..range.until as usize] {
                *sums.entry(key_of(*record)).or_default() += record;
            }
        }
        sums
    }

    /// Whether every partition of every output was shown all batches up to `batch`.
    pub(crate) fn has_committed(&self, batch: BatchId) -> bool {
        self.stores.iter().all(|store| {
            let store = lock(store);
            let shown = |id, partition| store.shown.iter().any(|(b, p, _)| (b.0, p.0) == (id, partition));
            (1..=batch.0).all(|id| (0..OUTPUT_PARTITIONS).all(|partition| shown(id, partition)))
        })
    }

    /// Paths of the objects below `folder`, oldest first.
    pub(crate) fn paths(&self, folder: &str) -> Vec<String> {
        lock(&self.objects).keys().filter(|path| path.starts_with(folder)).cloned().collect()
    }

    /// Every record is in every output that remembers, once, and all outputs were given the same batches. With
    /// `one_plan` also: whenever a batch was shown, it was shown with the same rows.
    pub(crate) fn check(&self, one_plan: bool) -> Result<(), String> {
        if let Some(violation) = lock(&self.violations).first() {
            return Err(violation.clone());
        }
        let mut expected: Vec<u64> = lock(&self.source).iter().flatten().copied().collect();
        expected.sort_unstable();
        let mut first: Option<BTreeMap<BatchId, Vec<u64>>> = None;
        for (place, store) in self.stores.iter().enumerate() {
            let store = lock(store);
            if !store.remembers && !one_plan {
                continue;
            }
            let mut parts: BTreeMap<(BatchId, PartitionId), &Vec<u64>> = BTreeMap::new();
            for (batch, partition, rows) in &store.shown {
                let before = parts.insert((*batch, *partition), rows);
                if before.is_some_and(|before| store.remembers || before != rows) {
                    return Err(format!(
                        "output {place}: partition {partition} of batch {batch} was shown twice"
                    ));
                }
            }
            let mut batches: BTreeMap<BatchId, Vec<u64>> = BTreeMap::new();
            for ((batch, _), rows) in parts {
                batches.entry(batch).or_default().extend(rows);
            }
            batches.values_mut().for_each(|rows| rows.sort_unstable());
            let mut all: Vec<u64> = batches.values().flatten().copied().collect();
            all.sort_unstable();
            if all != expected {
                return Err(format!("output {place} holds {all:?}, not {expected:?}"));
            }
            if first.get_or_insert_with(|| batches.clone()) != &batches {
                return Err(format!("output {place} cut its batches differently: {batches:?}"));
            }
        }
        Ok(())
    }

    /// Ids of the batches in the first output.
    pub(crate) fn batches(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = lock(&self.stores[0]).shown.iter().map(|(batch, ..)| batch.0).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash,
    Fail(ErrorKind),
}

/// What a crash leaves on the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wreck {
    /// The journal, with what was written and may not have reached the disk.
    pub(crate) journal: Vec<u8>,
    /// How much of it certainly had.
    pub(crate) synced: usize,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Everything in the source was committed, and the job was stopped.
    Done {
        steps: usize,
        epochs: u64,
    },
    Crashed(Wreck),
    Failed(Error),
}

#[derive(PartialEq, Eq)]
enum Told {
    AllCommitted,
    Died,
    Stopped,
}

/// One process.
pub(crate) struct Life {
    pub(crate) world: Arc<World>,
    pub(crate) shape: Shape,
    pub(crate) clock: ManualClock,
    pub(crate) checkpoint: Option<PathBuf>,
    pub(crate) state: Mutex<LifeState>,
    tell: Mutex<Sender<Told>>,
}

#[derive(Default)]
pub(crate) struct LifeState {
    steps: usize,
    fault: Option<(usize, Fault)>,
    pub(crate) epochs: u64,
    dead: bool,
    wreck: Wreck,
    /// What was told of damaged checkpoints.
    damaged: Vec<String>,
    /// Batches that were run, in order.
    pub(crate) run: Vec<u64>,
}

/// What a process did, as far as tests ask.
#[derive(Debug, Default)]
pub(crate) struct Deeds {
    pub(crate) damaged: Vec<String>,
    pub(crate) run: Vec<u64>,
}

/// Runs the job until everything in the source is committed, or until `fault` ends it.
pub(crate) fn live(
    world: &Arc<World>,
    shape: Shape,
    checkpoint: Option<&Path>,
    fault: Option<(usize, Fault)>,
) -> Ended {
    live_and_tell(world, shape, checkpoint, fault).0
}

/// As [`live`], with what the process did.
pub(crate) fn live_and_tell(
    world: &Arc<World>,
    shape: Shape,
    checkpoint: Option<&Path>,
    fault: Option<(usize, Fault)>,
) -> (Ended, Deeds) {
    let (tell, told) = channel();
    let clock = ManualClock::at(1_000_000 * (lives(world) + 1));
    let life = Arc::new(Life {
        world: world.clone(),
        shape,
        clock: clock.clone(),
        checkpoint: checkpoint.map(Path::to_owned),
        state: Mutex::new(LifeState { fault, ..LifeState::default() }),
        tell: Mutex::new(tell),
    });
    let engine = match Engine::start(life.parts(checkpoint)) {
        Ok(engine) => engine,
        Err(error) => return (life.ended(Err(error)), life.deeds()),
    };
    clock.advance(INTERVAL);
    let mut next = told.recv().unwrap();
    if next == Told::AllCommitted {
        engine.stop(Stop::Gracefully);
        // What is left is the last checkpoint.
        next = told.iter().find(|told| *told != Told::AllCommitted).unwrap();
    }
    let result = if next == Told::Stopped { engine.await_end(None).unwrap() } else { Ok(()) };
    drop(engine);
    drop::<Receiver<_>>(told);
    (life.ended(result), life.deeds())
}

/// The clock of each process begins after that of the one before.
fn lives(world: &World) -> u64 {
    world.stores.iter().map(|store| lock(store).openings).max().unwrap_or_default()
}

pub(crate) fn first_segment(checkpoint: &Path) -> PathBuf {
    checkpoint.join("journal/000000000001.log")
}

fn newest_segment(checkpoint: &Path) -> PathBuf {
    let files = fs::read_dir(checkpoint.join("journal")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max().unwrap()
}

/// A checkpoint directory that holds `journal`.
pub(crate) fn checkpoint_with(journal: &[u8]) -> tempfile::TempDir {
    let directory = directory();
    fs::create_dir_all(directory.path().join("journal")).unwrap();
    if !journal.is_empty() {
        fs::write(first_segment(directory.path()), journal).unwrap();
    }
    directory
}

/// A directory in memory where there is one: thousands of crashes need not wait for a disk.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Life {
    fn parts(self: &Arc<Self>, checkpoint: Option<&Path>) -> EngineParts {
        let mut settings = Settings::new("fake", INTERVAL);
        let storage = FakeStorage::new(self.clone());
        settings.storage = checkpoint.map(|_| Arc::new(storage) as _);
        settings.publishing =
            if self.shape.background { Publishing::InBackground } else { Publishing::Inline };
        if self.shape.every > 0 {
            settings.states = vec![sums_shape()];
            settings.checkpoint_interval = INTERVAL * self.shape.every;
            settings.checkpoints_retained = self.shape.retained;
            settings.state_loss_accepted = self.shape.accept_loss;
        }
        settings.batches_in_flight_max = self.shape.in_flight;
        settings.retry_pause = Duration::ZERO;
        let positions = vec![0; lock(&self.world.source).len()];
        EngineParts {
            settings,
            planners: vec![("lines".into(), Box::new(FakePlanner { life: self.clone(), positions }))],
            outputs: (0..self.world.stores.len()).map(|place| self.output(place)).collect(),
            runtimes: Box::new(FakeRuntimes::new(self.clone())),
            clock: Arc::new(self.clock.clone()),
            listeners: vec![self.clone()],
        }
    }

    fn output(self: &Arc<Self>, place: usize) -> OutputPart {
        let life = self.clone();
        let open = move |context: &OutputContext| {
            life.step()?;
            let mut store = lock(&life.world.stores[place]);
            store.openings += 1;
            if !store.remembers {
                return Ok(Held::default());
            }
            if store.newest.is_none() {
                store.job = Some(context.job.clone().unwrap_or_else(|| context.new_job.clone()));
            }
            Ok(Held { job: store.job.clone(), partitions: store.held.clone(), newest: store.newest.clone() })
        };
        let remembers = lock(&self.world.stores[place]).remembers;
        OutputPart {
            id: output_id(place),
            describe: format!("store {place}"),
            delivery: if remembers { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce },
            open: Arc::new(open),
        }
    }

    /// One step of the process; an error when it ends here or has ended.
    pub(crate) fn step(&self) -> Result<()> {
        let mut state = lock(&self.state);
        state.steps += 1;
        if state.steps == 1 {
            state.wreck.synced = self.journal().len(); // the head of a segment is published whole
        }
        match state.fault.filter(|(at, _)| *at == state.steps) {
            _ if state.dead => Err(dead()),
            Some((_, Fault::Crash)) => {
                state.dead = true;
                state.wreck.journal = self.journal();
                drop(state);
                self.tell(Told::Died);
                Err(dead())
            }
            Some((at, Fault::Fail(kind))) => Err(Error::new(kind, format!("failed at step {at}"))),
            None => Ok(()),
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        lock(&self.state).dead
    }

    pub(crate) fn journal(&self) -> Vec<u8> {
        match &self.checkpoint {
            Some(directory) if !self.shape.objects => fs::read(newest_segment(directory)).unwrap(),
            _ => Vec::new(),
        }
    }

    /// The engine can't be here before what it has written is durable.
    pub(crate) fn synced(&self) {
        let length = self.journal().len();
        lock(&self.state).wreck.synced = length;
    }

    fn tell(&self, told: Told) {
        let _ = lock(&self.tell).send(told);
    }

    pub(crate) fn violation(&self, text: String) {
        lock(&self.world.violations).push(text);
    }

    /// Whether the journal, as objects, has the plan.
    fn is_journaled(&self, plan: &SourcePlan) -> bool {
        let text = serde_json::to_string(plan).unwrap();
        let objects = lock(&self.world.objects);
        let mut journal = objects.iter().filter(|(path, _)| path.starts_with("journal/"));
        journal.any(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&text))
    }

    fn deeds(&self) -> Deeds {
        let LifeState { damaged, run, .. } = &*lock(&self.state);
        Deeds { damaged: damaged.clone(), run: run.clone() }
    }

    fn ended(&self, result: Result<()>) -> Ended {
        let state = lock(&self.state);
        match result {
            _ if state.dead => Ended::Crashed(state.wreck.clone()),
            Ok(()) => Ended::Done { steps: state.steps, epochs: state.epochs },
            Err(error) => Ended::Failed(error),
        }
    }
}

impl StreamingListener for Life {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        if self.world.through(&batch.plan.sources[0]) {
            self.tell(Told::AllCommitted);
        }
    }

    fn on_checkpoint_damaged(&self, what: &str) {
        lock(&self.state).damaged.push(what.to_owned());
    }

    fn on_stopped(&self, _: Option<&str>) {
        self.tell(Told::Stopped);
    }
}

struct FakePlanner {
    life: Arc<Life>,
    positions: Vec<u64>,
}

impl Planner for FakePlanner {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        self.life.step()?;
        let ranges = last.map(|last| &last.ranges[..]).unwrap_or_default();
        self.positions.iter_mut().zip(ranges).for_each(|(position, range)| *position = range.until);
        Ok(())
    }

    fn plan(&mut self, _: Duration) -> Result<SourcePlan> {
        self.life.step()?;
        let source = lock(&self.life.world.source);
        let range = |(place, (from, records)): (usize, (&u64, &Vec<u64>))| {
            let until = (records.len() as u64).min(from + self.life.shape.records_max);
            SourceRange::new(format!("lines-{place}"), *from, until)
        };
        let ranges = self.positions.iter().zip(source.iter()).enumerate().map(range).collect();
        Ok(SourcePlan { stream: "lines".into(), ranges })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        if self.life.shape.objects && !self.life.is_journaled(plan) {
            self.life.violation(format!("the source was told of {plan:?}, which is not durable"));
        }
        self.positions = plan.ranges.iter().map(|range| range.until).collect();
        self.life.synced();
        let _ = self.life.step();
        if !self.life.is_dead() && !self.life.world.through(plan) {
            self.life.clock.advance(INTERVAL);
        }
    }

    fn committed(&mut self, _: &BatchPlan, _: &SourcePlan) {
        let _ = self.life.step();
    }
}

pub(crate) fn output_id(place: usize) -> OutputId {
    OutputId(format!("output-{place}"))
}

pub(crate) fn dead() -> Error {
    Error::data_lost("the process is dead")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
