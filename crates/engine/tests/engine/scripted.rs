//! A runtime that does nothing by itself: the test sees each order and makes each report.

use crate::fake::INTERVAL;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidegate_core::{
    BatchId, BatchPlan, BatchReport, Delivery, EpochStart, Error, Held, Planner, ReceiverReport, RecordAges,
    Result, Runtime, RuntimeEvent, RuntimeFactory, SourcePlan, SourceRange, StateCheckpoint, StateShape,
    Storage, StreamId,
};
use tidegate_engine::{
    BatchInfo, CheckpointInfo, Engine, EngineHandle, EngineParts, ManualClock, OutputPart, PidSettings,
    Publishing, ReceiverInfo, Settings, StreamingListener,
};
use tidegate_storage::LocalStorage;

/// What the engine asks of its runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// An epoch begins with this number and this first batch.
    Epoch(u64, u64),
    /// Run a batch of this number and time in seconds.
    Run(u64, u64),
    Commit(u64),
    Snapshot(u64),
    /// The epoch of that number is over.
    Over(u64),
}

/// What listeners are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// This batch is committed; whether it was run again.
    Completed(u64, bool),
    Retry(String),
    Checkpoint(CheckpointInfo),
    Damaged(String),
    /// Of a receiver: `started`, `error` or `stopped`.
    Receiver(&'static str, ReceiverInfo),
    Stopped(Option<String>),
}

/// What an input is told beside its plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aside {
    /// It may take so many records a second.
    Rate(u64),
    /// Nothing below this position is read again.
    Released(u64),
    /// It is to take no more.
    Drain,
}

type Report = Arc<dyn Fn(RuntimeEvent) + Send + Sync>;

/// A job whose runtime the test plays.
pub(crate) struct Script {
    pub(crate) engine: EngineHandle,
    pub(crate) clock: ManualClock,
    orders: Receiver<Order>,
    told: Receiver<Told>,
    committed: Receiver<(StreamId, SourcePlan)>,
    asides: Receiver<Aside>,
    /// Where the inputs tell of their receivers, in their order.
    pub(crate) receivers: Vec<ReceiverReport>,
    plans: Arc<Mutex<Vec<Arc<BatchPlan>>>>,
    reports: Arc<Mutex<Vec<Report>>>,
    starts: Arc<Mutex<Vec<Start>>>,
}

/// How an epoch was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) committed: u64,
    pub(crate) restored: Option<u64>,
    pub(crate) careful: bool,
}

/// What a script starts with.
pub(crate) struct Opening<'a> {
    pub(crate) checkpoint: Option<&'a Path>,
    pub(crate) in_flight: usize,
    pub(crate) retry_pause: Duration,
    pub(crate) retry_attempts_max: Option<u32>,
    /// Names of the inputs. Each batch takes one record of each.
    pub(crate) inputs: &'a [&'a str],
    /// What stands behind an input's name in that of its partition.
    pub(crate) suffix: String,
    pub(crate) second: u64,
    pub(crate) panics: bool,
    /// In place of a checkpoint directory.
    pub(crate) storage: Option<Arc<dyn Storage>>,
    pub(crate) states: Vec<StateShape>,
    /// Batches from one checkpoint to the next.
    pub(crate) every: u32,
    pub(crate) publishing: Publishing,
    pub(crate) backpressure: Option<PidSettings>,
    /// Batches for which an input still has records once it takes no more.
    pub(crate) taken: u32,
}

impl Default for Opening<'_> {
    fn default() -> Self {
        Opening {
            checkpoint: None,
            in_flight: 1,
            retry_pause: Duration::ZERO,
            retry_attempts_max: None,
            inputs: &["lines"],
            suffix: "-0".to_owned(),
            second: 100,
            panics: false,
            storage: None,
            states: Vec::new(),
            every: 1,
            publishing: Publishing::InBackground,
            backpressure: None,
            taken: 0,
        }
    }
}

impl Script {
    pub(crate) fn start(opening: &Opening<'_>) -> Result<Script> {
        let mut settings = Settings::new("scripted", INTERVAL);
        let local = opening.checkpoint.map(|directory| LocalStorage::open(directory).unwrap());
        settings.storage = local.map(|local| Arc::new(local) as _).or(opening.storage.clone());
        settings.publishing = opening.publishing;
        settings.states = opening.states.clone();
        settings.checkpoint_interval = INTERVAL * opening.every;
        settings.batches_in_flight_max = opening.in_flight;
        settings.backpressure = opening.backpressure;
        settings.retry_pause = opening.retry_pause;
        settings.retry_pause_max = opening.retry_pause;
        settings.retry_attempts_max = opening.retry_attempts_max;
        let ((order, orders), (tell, told), (commit, committed)) = (channel(), channel(), channel());
        let (aside, asides) = channel();
        let (plans, reports, starts) = (Arc::default(), Arc::default(), Arc::default());
        let clock = ManualClock::at(opening.second * 1000);
        let (report, given) = channel();
        let planner = |name: &&str| {
            let planner = OneByOne {
                report: report.clone(),
                stream: StreamId::from(*name),
                partition: format!("{name}{}", opening.suffix),
                at: 0,
                tell: commit.clone(),
                aside: aside.clone(),
                panics: opening.panics,
                taken: opening.taken,
            };
            (planner.stream.clone(), Box::new(planner) as Box<dyn Planner>)
        };
        let output = OutputPart {
            id: "seen".into(),
            describe: "the test".to_owned(),
            delivery: Delivery::AtLeastOnce,
            open: Arc::new(|_| Ok(Held::default())),
        };
        let runtimes = Played {
            order,
            plans: Arc::clone(&plans),
            reports: Arc::clone(&reports),
            starts: Arc::clone(&starts),
        };
        let engine = Engine::start(EngineParts {
            settings,
            planners: opening.inputs.iter().map(planner).collect(),
            outputs: vec![output],
            runtimes: Box::new(runtimes),
            clock: Arc::new(clock.clone()),
            listeners: vec![Arc::new(Tell(Mutex::new(tell)))],
        })?;
        let receivers = given.try_iter().collect();
        Ok(Script { engine, clock, orders, told, committed, asides, receivers, plans, reports, starts })
    }

    /// The next order.
    pub(crate) fn order(&self) -> Order {
        self.orders.recv().unwrap()
    }

    /// The next thing that is told.
    pub(crate) fn told(&self) -> Told {
        self.told.recv().unwrap()
    }

    /// The next input that is told that its part of a batch is committed, and which part.
    pub(crate) fn input_told(&self) -> (StreamId, SourcePlan) {
        self.committed.recv().unwrap()
    }

    /// The next thing that an input is told beside its plans.
    pub(crate) fn aside(&self) -> Aside {
        self.asides.recv().unwrap()
    }

    /// What inputs were told beside their plans so far.
    pub(crate) fn asides(&self) -> Vec<Aside> {
        self.asides.try_iter().collect()
    }

    /// Every order that is left, once the engine has ended.
    pub(crate) fn orders_left(&self) -> Vec<Order> {
        self.orders.try_iter().collect()
    }

    pub(crate) fn plan(&self, place: usize) -> BatchPlan {
        BatchPlan::clone(&self.plans.lock().unwrap()[place])
    }

    /// How the newest epoch was started.
    pub(crate) fn start_of_epoch(&self) -> Start {
        self.starts.lock().unwrap().last().unwrap().clone()
    }

    /// Moves the clock by `batches`.
    pub(crate) fn advance(&self, batches: u32) {
        self.clock.advance(INTERVAL * batches);
    }

    /// Reports as the runtime of `epoch`.
    pub(crate) fn report(&self, epoch: usize, event: RuntimeEvent) {
        let report = self.reports.lock().unwrap()[epoch - 1].clone();
        report(event);
    }

    pub(crate) fn processed(&self, epoch: usize, batch: u64) {
        let report =
            BatchReport { batch: BatchId(batch), records: 1, ages: RecordAges::default(), skipped: 0 };
        self.report(epoch, RuntimeEvent::Processed(report));
    }

    pub(crate) fn prepared(&self, epoch: usize, batch: u64) {
        self.report(epoch, RuntimeEvent::Prepared(BatchId(batch)));
    }

    pub(crate) fn committed(&self, epoch: usize, batch: u64) {
        self.report(epoch, RuntimeEvent::Committed(BatchId(batch), Vec::new()));
    }

    pub(crate) fn snapshot_taken(&self, epoch: usize, batch: u64, states: Vec<StateCheckpoint>) {
        self.report(epoch, RuntimeEvent::Snapshot(BatchId(batch), states));
    }

    pub(crate) fn failed(&self, epoch: usize, error: Error) {
        self.report(epoch, RuntimeEvent::Failed(error));
    }

    /// Plays the runtime of `epoch` for `batch`, which was ordered.
    pub(crate) fn through(&self, epoch: usize, batch: u64) {
        self.processed(epoch, batch);
        self.prepared(epoch, batch);
        assert_eq!(self.order(), Order::Commit(batch));
        self.committed(epoch, batch);
    }

    /// How the job ended.
    pub(crate) fn end(&self) -> Result<()> {
        self.engine.await_end(None).unwrap()
    }
}

struct OneByOne {
    stream: StreamId,
    partition: String,
    at: u64,
    tell: Sender<(StreamId, SourcePlan)>,
    aside: Sender<Aside>,
    panics: bool,
    taken: u32,
    report: Sender<ReceiverReport>,
}

impl Planner for OneByOne {
    fn report_to(&mut self, report: ReceiverReport) {
        self.report.send(report).unwrap();
    }

    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        self.at = last.map_or(0, |last| last.ranges[0].until);
        Ok(())
    }

    fn plan(&mut self, _: Duration) -> Result<SourcePlan> {
        assert!(!self.panics, "the input lost its mind");
        let range = SourceRange::new(self.partition.clone(), self.at, self.at + 1);
        Ok(SourcePlan { stream: self.stream.clone(), ranges: vec![range] })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        self.at = plan.ranges[0].until;
    }

    fn limit_rate(&mut self, records_per_second: f64) {
        let _ = self.aside.send(Aside::Rate(records_per_second as u64));
    }

    fn released(&mut self, plan: &SourcePlan) {
        let _ = self.aside.send(Aside::Released(plan.ranges[0].until));
    }

    fn drain(&mut self) -> bool {
        let _ = self.aside.send(Aside::Drain);
        let left = self.taken;
        self.taken = left.saturating_sub(1);
        left == 0
    }

    fn committed(&mut self, _: &BatchPlan, plan: &SourcePlan) {
        let _ = self.tell.send((self.stream.clone(), plan.clone()));
    }
}

struct Played {
    order: Sender<Order>,
    starts: Arc<Mutex<Vec<Start>>>,
    plans: Arc<Mutex<Vec<Arc<BatchPlan>>>>,
    reports: Arc<Mutex<Vec<Report>>>,
}

impl RuntimeFactory for Played {
    fn start(&mut self, start: EpochStart) -> Result<Box<dyn Runtime>> {
        self.starts.lock().unwrap().push(Start {
            committed: start.committed.0,
            restored: start.restore.map(|checkpoint| checkpoint.batch().0),
            careful: start.careful,
        });
        self.reports.lock().unwrap().push(start.events);
        let _ = self.order.send(Order::Epoch(start.epoch, start.first.0));
        Ok(Box::new(Playing { epoch: start.epoch, order: self.order.clone(), plans: self.plans.clone() }))
    }
}

struct Playing {
    epoch: u64,
    order: Sender<Order>,
    plans: Arc<Mutex<Vec<Arc<BatchPlan>>>>,
}

impl Runtime for Playing {
    fn run(&mut self, plan: Arc<BatchPlan>) {
        self.plans.lock().unwrap().push(plan.clone());
        let _ = self.order.send(Order::Run(plan.id.0, plan.time.0 / 1000));
    }

    fn commit(&mut self, batch: BatchId) {
        let _ = self.order.send(Order::Commit(batch.0));
    }

    fn snapshot(&mut self, batch: BatchId) {
        let _ = self.order.send(Order::Snapshot(batch.0));
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.order.send(Order::Over(self.epoch));
    }
}

struct Tell(Mutex<Sender<Told>>);

impl Tell {
    fn send(&self, told: Told) {
        let _ = self.0.lock().unwrap().send(told);
    }
}

impl StreamingListener for Tell {
    fn on_batch_completed(&self, batch: &BatchInfo) {
        self.send(Told::Completed(batch.id().0, batch.rerun));
    }

    fn on_retry(&self, error: &str) {
        self.send(Told::Retry(error.to_owned()));
    }

    fn on_checkpoint(&self, checkpoint: &CheckpointInfo) {
        self.send(Told::Checkpoint(checkpoint.clone()));
    }

    fn on_checkpoint_damaged(&self, what: &str) {
        self.send(Told::Damaged(what.to_owned()));
    }

    fn on_receiver_started(&self, receiver: &ReceiverInfo) {
        self.send(Told::Receiver("started", receiver.clone()));
    }

    fn on_receiver_error(&self, receiver: &ReceiverInfo) {
        self.send(Told::Receiver("error", receiver.clone()));
    }

    fn on_receiver_stopped(&self, receiver: &ReceiverInfo) {
        self.send(Told::Receiver("stopped", receiver.clone()));
    }

    fn on_stopped(&self, error: Option<&str>) {
        self.send(Told::Stopped(error.map(str::to_owned)));
    }
}
