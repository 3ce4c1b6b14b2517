//! More in a topic than the output takes: batches obey back-pressure, and what stands still stops the input.
//!
//! Against librdkafka's own cluster in this process. The output is slow because the test lets it go on by hand, on a clock that the test
//! moves: a minute of the stream takes no time.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use rdkafka::mocking::MockCluster;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::receiving::Group;
use support::{PATIENCE, Writer as Lines, earliest, numbers};
use tidegate::core::{Delivery, Held, Output, OutputContext, Seat, Writer, Writers};
use tidegate::testkit::{BATCH, TestJob};
use tidegate::{Batch, BatchInfo, Clock, Conf, PartitionId, Result, Stop, StreamingContext};
use tidegate_kafka::{LocationStrategy, Params, create_direct_stream, create_stream};

/// Records a second that the output takes.
const RATE: u64 = 200;
/// What the job is told to begin with: five times as much.
const FIRST: u64 = 5 * RATE;
const MINUTE: Duration = Duration::from_secs(60);
/// More than the output takes in a minute, five times over.
const LINES: u32 = 60_000;

/// An output that has a batch once the test lets it.
#[derive(Clone)]
struct Gate {
    /// Batches whose rows are all there: how many rows.
    came: Sender<usize>,
    /// One for each batch that may go on; all may when nobody is left to say so.
    go_on: Arc<Mutex<Receiver<()>>>,
    rows: Arc<Mutex<Vec<String>>>,
}

impl Gate {
    fn new() -> (Gate, Receiver<usize>, Sender<()>) {
        let ((came, told), (let_go, go_on)) = (channel(), channel());
        (Gate { came, go_on: Arc::new(Mutex::new(go_on)), rows: Arc::default() }, told, let_go)
    }
}

impl Output<String> for Gate {
    fn describe(&self) -> String {
        "a gate".to_owned()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }

    fn writers(&self) -> Writers {
        Writers::One
    }

    fn open(&self, _: &OutputContext) -> Result<Held> {
        Ok(Held::default())
    }

    fn writer(&self, _: &Seat) -> Result<Box<dyn Writer<String>>> {
        Ok(Box::new(Passing { gate: self.clone(), rows: 0 }))
    }
}

struct Passing {
    gate: Gate,
    rows: usize,
}

impl Writer<String> for Passing {
    fn write(&mut self, _: &Batch, _: PartitionId, rows: Vec<String>) -> Result<()> {
        self.rows += rows.len();
        self.gate.rows.lock().unwrap().extend(rows);
        Ok(())
    }

    fn prepare(&mut self, _: &Batch, _: &[PartitionId]) -> Result<()> {
        let _ = self.gate.came.send(std::mem::take(&mut self.rows));
        let _ = self.gate.go_on.lock().unwrap().recv();
        Ok(())
    }

    fn commit(&mut self, _: &Batch) -> Result<()> {
        Ok(())
    }
}

fn direct(at: &str, gate: &Gate, conf: Conf) -> TestJob {
    let build = |ssc: &StreamingContext| {
        let lines =
            create_direct_stream(ssc, LocationStrategy::PreferConsistent, earliest(at, "lines", &[]))?;
        lines.map(|line| line.text().unwrap().to_owned()).output("gate", gate.clone())
    };
    TestJob::start(conf.set_master("local[2]"), None, build).unwrap()
}

/// What the estimator makes of batches, by Spark's formula with its usual weights.
struct Estimated {
    /// After each batch, with what was allowed at the start in front.
    allowed: Vec<f64>,
    measured: bool,
}

impl Estimated {
    fn after(&mut self, batch: &BatchInfo) {
        let before = self.allowed[self.allowed.len() - 1];
        let seconds = batch.processing_time.as_secs_f64();
        let processed = batch.records as f64 / seconds;
        let waiting = batch.scheduling_delay.as_secs_f64() * processed / BATCH.as_secs_f64();
        let next = if batch.records == 0 || seconds <= 0.0 || !self.measured {
            before
        } else {
            (processed - 0.2 * waiting).max(100.0)
        };
        self.measured |= batch.records > 0 && seconds > 0.0;
        self.allowed.push(next);
    }

    /// What a batch may take: it was planned after the one two before it was committed, and perhaps after the one before.
    fn of_next(&self) -> f64 {
        self.allowed.iter().rev().take(2).copied().fold(0.0, f64::max)
    }
}

#[test]
fn with_back_pressure_no_batch_takes_more_than_the_output_and_the_delay_stays_bounded() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("lines", 4, 1).unwrap();
    let at = mock.bootstrap_servers();
    let lines = Lines::open(&at);
    (0..4u32).for_each(|it| lines.write("lines", it as i32, numbers(it * LINES / 4..(it + 1) * LINES / 4)));
    let (gate, came, let_go) = Gate::new();
    let conf = Conf::new()
        .set("tidegate.backpressure.enable", "true")
        .set("tidegate.backpressure.initial_rate", &FIRST.to_string());
    let mut job = direct(&at, &gate, conf);
    // Goes before the job, which would wait for it if the test failed.
    let let_go = let_go;
    let begun = job.clock.elapsed();
    let mut estimated = Estimated { allowed: vec![FIRST as f64], measured: false };
    let (mut delays, mut taken, mut due) = (Vec::new(), 0, begun);
    while job.clock.elapsed() < begun + MINUTE {
        due += BATCH;
        job.clock.advance(due.saturating_sub(job.clock.elapsed()));
        let rows = came.recv_timeout(PATIENCE).unwrap();
        // That is how long the output takes for them.
        job.clock.advance(Duration::from_secs(1) * rows as u32 / RATE as u32);
        let allowed = estimated.of_next();
        let_go.send(()).unwrap();
        let batch = job.completed().unwrap();
        assert!(
            batch.records as f64 <= allowed + 4.0,
            "batch {} took {} records, {allowed} were allowed",
            batch.id(),
            batch.records
        );
        estimated.after(&batch);
        delays.push(batch.scheduling_delay);
        taken += batch.records;
    }
    let most = delays.iter().max().copied().unwrap_or_default();
    let last = delays[delays.len() - 1];
    // Three batches are planned before the first one was measured, each of five seconds' work.
    assert!(most < Duration::from_secs(20), "a batch waited {most:?}");
    assert!(last <= 2 * BATCH, "in the end a batch waits {last:?}");
    let whole = RATE * job.clock.elapsed().saturating_sub(begun).as_secs();
    assert!(taken * 10 >= whole * 8, "{taken} of {whole} that the output could take");
    drop(let_go);
    job.ssc.stop(Stop::Now).unwrap();
}

#[test]
fn without_back_pressure_the_first_batch_takes_all_there_is() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("lines", 1, 1).unwrap();
    let at = mock.bootstrap_servers();
    Lines::open(&at).write("lines", 0, numbers(0..LINES / 10));
    let (gate, came, let_go) = Gate::new();
    let job = direct(&at, &gate, Conf::new());
    // Goes before the job, which would wait for it if the test failed.
    let let_go = let_go;
    job.clock.advance(BATCH);
    assert_eq!(came.recv_timeout(PATIENCE).unwrap(), LINES as usize / 10);
    drop(let_go);
    job.ssc.stop(Stop::Now).unwrap();
}

#[test]
fn an_output_that_stands_still_stops_planning_after_two_batches() {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("lines", 1, 1).unwrap();
    let at = mock.bootstrap_servers();
    let lines = Lines::open(&at);
    lines.write("lines", 0, numbers(0..10));
    let (gate, came, let_go) = Gate::new();
    let mut job = direct(&at, &gate, Conf::new().set("tidegate.kafka.max_rate_per_partition", "10"));
    // Goes before the job, which would wait for it if the test failed.
    let let_go = let_go;
    lines.write("lines", 0, numbers(10..1000));
    // Ten batches are due; the output holds on to the first.
    job.clock.advance(10 * BATCH);
    assert_eq!(came.recv_timeout(PATIENCE).unwrap(), 10);
    job.clock.advance(10 * BATCH);
    let_go.send(()).unwrap();
    let first = job.completed().unwrap();
    assert_eq!(came.recv_timeout(PATIENCE).unwrap(), 10);
    let_go.send(()).unwrap();
    let second = job.completed().unwrap();
    assert_eq!(came.recv_timeout(PATIENCE).unwrap(), 10);
    assert_eq!(gate.rows.lock().unwrap().len(), 30, "and nothing of what is due behind it");
    let_go.send(()).unwrap();
    let third = job.completed().unwrap();
    assert!(
        third.scheduling_delay >= 10 * BATCH,
        "it was planned after the first was in the output: {third:?}"
    );
    assert!(first.scheduling_delay < 20 * BATCH && second.records == 10);
    drop(let_go);
    job.ssc.stop(Stop::Now).unwrap();
}

#[test]
fn an_output_that_stands_still_stops_a_receiver_at_what_it_may_hold() {
    const HELD_MAX: u64 = 20_000;
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("lines", 1, 1).unwrap();
    let at = mock.bootstrap_servers();
    Lines::open(&at).write("lines", 0, numbers(0..LINES));
    let (gate, came, let_go) = Gate::new();
    let params: Params = [
        ("bootstrap.servers", at.as_str()),
        ("group.id", "lines"),
        ("auto.offset.reset", "earliest"),
        ("session.timeout.ms", "6000"),
    ]
    .into_iter()
    .collect();
    let conf = Conf::new()
        .set_master("local[2]")
        .set("tidegate.receiver.held_bytes_max", &HELD_MAX.to_string())
        // What is taken before it is stored.
        .set("tidegate.receiver.block_bytes_max", "4000");
    let build = |ssc: &StreamingContext| {
        let lines = create_stream(ssc, params, ["lines"])?;
        lines.map(|line| line.text().unwrap().to_owned()).output("gate", gate.clone())
    };
    let job = TestJob::start(conf, None, build).unwrap();
    // Goes before the job, which would wait for it if the test failed.
    let let_go = let_go;
    let group = Group::new(&at, "lines", None);
    // A record takes this many bytes at least, so that no more of them can be held; and a block may be taken beside it.
    let record = numbers(0..1)[0].len() as u64;
    let bound = (HELD_MAX + 2 * 4000) / record;
    let mut stored = 0;
    let mut same = 0;
    // Without a log, what is stored is committed first: the group tells how much there is.
    while same < 100 {
        let now = group.committed(1)[0];
        assert!(now <= bound, "{now} records were stored, {bound} may be held");
        same = if now == stored && now > 0 { same + 1 } else { 0 };
        stored = now;
        job.clock.advance(BATCH);
    }
    assert!(stored * record * 4 > HELD_MAX, "it had stopped long before: {stored} records");
    // It goes on with the output.
    drop(let_go);
    while (gate.rows.lock().unwrap().len() as u64) < LINES.into() {
        job.clock.advance(BATCH);
        came.recv_timeout(PATIENCE).unwrap();
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
    let mut rows = std::mem::take(&mut *gate.rows.lock().unwrap());
    rows.sort();
    assert!(rows == numbers(0..LINES), "each record once");
}
