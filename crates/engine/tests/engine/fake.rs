//! A whole job in memory: a source that can be read again, outputs that remember their batches by partition, and a
//! runtime that runs a plan on the driver's own thread, so that every run takes the same steps.
//!
//! Every call the engine makes is a numbered step. At any of them the process can die (nothing is done from then
//! on, and what the disk held is kept) or the outer system can fail.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tidegate_core::{
    BatchId, BatchPlan, BatchReport, Delivery, EpochStart, Error, ErrorKind, Held, JobId, OutputContext,
    OutputId, PartitionId, Planner, RecordAges, Result, Runtime, RuntimeEvent, RuntimeFactory, SourcePlan,
    SourceRange,
};
use tidegate_engine::{
    BatchInfo, Engine, EngineParts, Journal, ManualClock, OutputPart, Settings, Stop, StreamingListener,
};

pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// Partitions of each output, whatever the number of its writers.
const OUTPUT_PARTITIONS: u32 = 2;

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
}

impl Shape {
    pub(crate) const PLAIN: Shape = Shape {
        outputs: 1,
        writers: 1,
        in_flight: 1,
        prepares_late: false,
        backwards: false,
        records_max: 2,
    };
}

/// What outlives a process: the source and the outputs.
pub(crate) struct World {
    source: Mutex<Vec<Vec<u64>>>,
    stores: Vec<Mutex<Store>>,
    /// What must never happen and did.
    violations: Mutex<Vec<String>>,
}

#[derive(Clone, Default)]
struct Store {
    remembers: bool,
    openings: u64,
    job: Option<JobId>,
    newest: Option<BatchPlan>,
    held: BTreeMap<PartitionId, BatchId>,
    /// Each commit of a partition, in order.
    shown: Vec<(BatchId, PartitionId, Vec<u64>)>,
}

impl World {
    pub(crate) fn new(source: Vec<Vec<u64>>, outputs: usize) -> Arc<World> {
        let store =
            |place| Mutex::new(Store { remembers: place == 0 || place + 1 < outputs, ..Store::default() });
        Arc::new(World {
            source: Mutex::new(source),
            stores: (0..outputs).map(store).collect(),
            violations: Mutex::default(),
        })
    }

    /// Another world that is the same.
    pub(crate) fn copy(&self) -> Arc<World> {
        let stores = self.stores.iter().map(|store| Mutex::new(lock(store).clone())).collect();
        Arc::new(World {
            source: Mutex::new(lock(&self.source).clone()),
            stores,
            violations: Mutex::default(),
        })
    }

    /// A new record arrives, so that there is always a batch to come.
    pub(crate) fn arrives(&self) {
        let mut source = lock(&self.source);
        let count: usize = source.iter().map(Vec::len).sum();
        source[0].push(1000 + count as u64);
    }

    fn through(&self, plan: &SourcePlan) -> bool {
        let source = lock(&self.source);
        plan.ranges.iter().zip(source.iter()).all(|(range, records)| range.until == records.len() as u64)
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

enum Told {
    AllCommitted,
    Died,
    Stopped,
}

/// One process.
struct Life {
    world: Arc<World>,
    shape: Shape,
    clock: ManualClock,
    checkpoint: Option<PathBuf>,
    state: Mutex<LifeState>,
    tell: Mutex<Sender<Told>>,
}

#[derive(Default)]
struct LifeState {
    steps: usize,
    fault: Option<(usize, Fault)>,
    epochs: u64,
    dead: bool,
    wreck: Wreck,
}

/// Runs the job until everything in the source is committed, or until `fault` ends it.
pub(crate) fn live(
    world: &Arc<World>,
    shape: Shape,
    checkpoint: Option<&Path>,
    fault: Option<(usize, Fault)>,
) -> Ended {
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
        Err(error) => return life.ended(Err(error)),
    };
    clock.advance(INTERVAL);
    let result = match told.recv().unwrap() {
        Told::AllCommitted => {
            engine.stop(Stop::Gracefully);
            engine.await_end(None).unwrap()
        }
        Told::Stopped => engine.await_end(None).unwrap(),
        Told::Died => Ok(()),
    };
    drop(engine);
    drop::<Receiver<_>>(told);
    life.ended(result)
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
        settings.checkpoint = checkpoint.map(Path::to_owned);
        settings.batches_in_flight_max = self.shape.in_flight;
        settings.retry_pause = Duration::ZERO;
        let positions = vec![0; lock(&self.world.source).len()];
        EngineParts {
            settings,
            planners: vec![("lines".into(), Box::new(FakePlanner { life: self.clone(), positions }))],
            outputs: (0..self.world.stores.len()).map(|place| self.output(place)).collect(),
            runtimes: Box::new(FakeRuntimes { life: self.clone() }),
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
    fn step(&self) -> Result<()> {
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

    fn is_dead(&self) -> bool {
        lock(&self.state).dead
    }

    fn journal(&self) -> Vec<u8> {
        self.checkpoint
            .as_deref()
            .map_or_else(Vec::new, |directory| fs::read(newest_segment(directory)).unwrap())
    }

    /// The engine can't be here before what it has written is durable.
    fn synced(&self) {
        let length = self.journal().len();
        lock(&self.state).wreck.synced = length;
    }

    fn tell(&self, told: Told) {
        let _ = lock(&self.tell).send(told);
    }

    fn violation(&self, text: String) {
        lock(&self.world.violations).push(text);
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

    fn on_stopped(&self, error: Option<&str>) {
        if error.is_some() {
            self.tell(Told::Stopped);
        }
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

struct FakeRuntimes {
    life: Arc<Life>,
}

impl RuntimeFactory for FakeRuntimes {
    fn start(&mut self, start: EpochStart) -> Result<Box<dyn Runtime>> {
        self.life.synced();
        lock(&self.life.state).epochs = start.epoch;
        self.life.step()?;
        let openings = self.life.world.stores.iter().map(|store| lock(store).openings).collect();
        let (life, over) = (self.life.clone(), false);
        Ok(Box::new(FakeRuntime { life, start, openings, over, prepared: None, waiting: VecDeque::new() }))
    }
}

/// Rows of a batch by output partition.
type Rows = BTreeMap<PartitionId, Vec<u64>>;

struct FakeRuntime {
    life: Arc<Life>,
    start: EpochStart,
    openings: Vec<u64>,
    over: bool,
    prepared: Option<(Arc<BatchPlan>, Rows)>,
    waiting: VecDeque<(Arc<BatchPlan>, Rows)>,
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

    fn snapshot(&mut self, _: BatchId) {}
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
        self.prepare_next()?;
        self.life.step()?;
        let mut rows: Rows =
            (0..OUTPUT_PARTITIONS).map(|partition| (PartitionId(partition), vec![])).collect();
        let mut records = 0;
        for (range, partition) in plan.sources[0].ranges.iter().zip(lock(&self.life.world.source).iter()) {
            for record in &partition[range.from as usize..range.until as usize] {
                records += 1;
                let to = PartitionId((record % u64::from(OUTPUT_PARTITIONS)) as u32);
                rows.entry(to).or_default().push(*record);
            }
        }
        self.life.step()?;
        let report = BatchReport { batch: plan.id, records, ages: RecordAges::default() };
        (self.start.events)(RuntimeEvent::Processed(report));
        let held_back = self.held_back(&plan);
        self.waiting.push_back((plan, rows));
        if held_back { Ok(()) } else { self.prepare_next() }
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
        (self.start.events)(RuntimeEvent::Committed(batch));
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
        let copy = checkpoint_with(&self.life.journal());
        let journal = Journal::open(copy.path(), "fake", &"copy".into(), "the test").unwrap();
        if journal.last().is_none_or(|last| last.id < batch) {
            self.life.violation(format!("batch {batch} is committed and the journal does not know it"));
        }
    }
}

fn output_id(place: usize) -> OutputId {
    OutputId(format!("output-{place}"))
}

fn dead() -> Error {
    Error::data_lost("the process is dead")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
