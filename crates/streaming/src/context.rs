//! The entry: settings, inputs, start, stop, await.

use crate::input::{ConstantSource, QueueInput, QueueSource, RateSource, RateTimes};
use crate::promise::{PathGuarantee, guarantees};
use crate::remember::Remembering;
use crate::{
    Batch, Conf, DESCRIBE_ENV, Data, Error, ExchangeData, InputDStream, JobDescription, Master, Result,
};
use crate::{settings, signals};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidegate_core::{OutputId, Source, Storage, StreamId};
use tidegate_dataflow::{Graph, TimelyRuntimes, ops};
use tidegate_engine::{
    Clock, Engine, EngineHandle, EngineParts, OutputPart, Settings, Stop, StreamingListener, SystemClock,
};
use tidegate_receivers::{Marks, Receiver, ReceiverSettings, ReceiverSource};
use tidegate_storage::LocalStorage;

/// The entry to a streaming job: makes input streams, runs the batches, stops them. Copies are the same context.
///
/// Everything is lazy: streams and operators only describe, nothing runs before [`start`](StreamingContext::start). After
/// it the graph can't change. Dropping the last copy stops the job at once; nothing that was committed is lost.
#[derive(Clone)]
pub struct StreamingContext {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    conf: Conf,
    interval: Duration,
    partitions: u32,
    graph: Graph,
    clock: Arc<dyn Clock>,
    build: Mutex<Build>,
    remembering: Arc<Remembering>,
    lifecycle: Mutex<Lifecycle>,
}

/// What is set up before the start.
#[derive(Default)]
struct Build {
    checkpoint: Option<CheckpointPlace>,
    listeners: Vec<Arc<dyn StreamingListener>>,
    inputs: usize,
    /// A storage for write-ahead logs, where it is not that of the checkpoint.
    write_ahead_log: Option<Arc<dyn Storage>>,
    /// What receivers have stored.
    marks: Marks,
    /// The shortest time from checkpoint to checkpoint that a stream asked for.
    checkpoint_interval: Option<Duration>,
}

/// Where journal and checkpoints are.
enum CheckpointPlace {
    /// Made at the start if it is missing.
    Directory(PathBuf),
    Storage(Arc<dyn Storage>),
}

impl CheckpointPlace {
    fn open(&self) -> Result<Arc<dyn Storage>> {
        match self {
            CheckpointPlace::Directory(directory) => Ok(Arc::new(LocalStorage::open(directory)?)),
            CheckpointPlace::Storage(storage) => Ok(storage.clone()),
        }
    }
}

#[derive(Clone)]
enum Lifecycle {
    Initialized,
    Active(Arc<EngineHandle>),
}

impl StreamingContext {
    /// A context that makes a batch each `batch_interval`, at multiples of it on the clock.
    ///
    /// # Errors
    /// `Reconfigure` when a setting makes no sense, or the interval is under a millisecond.
    pub fn new(conf: Conf, batch_interval: Duration) -> Result<StreamingContext> {
        StreamingContext::with_clock(conf, batch_interval, Arc::new(SystemClock::default()))
    }

    /// As [`new`](StreamingContext::new), on another clock than the machine's: for tests.
    ///
    /// # Errors
    /// As [`new`](StreamingContext::new).
    pub fn with_clock(
        conf: Conf,
        batch_interval: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<StreamingContext> {
        if batch_interval < Duration::from_millis(1)
            || !batch_interval.subsec_nanos().is_multiple_of(1_000_000)
        {
            return Err(Error::reconfigure(format!(
                "a batch interval of {batch_interval:?}: must be a whole number of milliseconds, at least 1"
            )));
        }
        conf.master()?;
        let partitions = conf.default_parallelism()?;
        Ok(StreamingContext {
            shared: Arc::new(Shared {
                conf,
                interval: batch_interval,
                partitions,
                graph: Graph::new(batch_interval.as_millis() as u64),
                clock,
                build: Mutex::default(),
                remembering: Arc::default(),
                lifecycle: Mutex::new(Lifecycle::Initialized),
            }),
        })
    }

    /// The context that `create` builds, with its checkpoint in `directory`: goes on with the batches found there, or
    /// begins anew where there are none.
    ///
    /// Unlike Spark's, `create` is called each time: the program is not part of a checkpoint, so it may change.
    ///
    /// # Errors
    /// Those of `create`; what is wrong with a checkpoint is said by [`start`](StreamingContext::start).
    pub fn get_or_create<F>(directory: impl AsRef<Path>, create: F) -> Result<StreamingContext>
    where
        F: FnOnce() -> Result<StreamingContext>,
    {
        let ssc = create()?;
        ssc.checkpoint(directory)?;
        Ok(ssc)
    }

    /// Keeps the journal of batches, and checkpoints of the state of a job that has any, in `directory` (on a local disk), which
    /// is made at the start if it is missing.
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn checkpoint(&self, directory: impl AsRef<Path>) -> Result<()> {
        self.refuse_if_started("checkpoint()")?;
        let directory = directory.as_ref().to_owned();
        lock(&self.shared.build).checkpoint = Some(CheckpointPlace::Directory(directory));
        Ok(())
    }

    /// As [`checkpoint`](StreamingContext::checkpoint), in any storage. On one that is no local directory each batch's plan is
    /// an object of its own, so a batch takes at least as long as a write there.
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn checkpoint_on(&self, storage: Arc<dyn Storage>) -> Result<()> {
        self.refuse_if_started("checkpoint_on()")?;
        lock(&self.shared.build).checkpoint = Some(CheckpointPlace::Storage(storage));
        Ok(())
    }

    /// Keeps the write-ahead logs of receivers on `storage` instead of with the checkpoint, and switches them on
    /// (`tidegate.receiver.write_ahead_log.enable`). Holds for receivers that are made after it.
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn write_ahead_log_on(&self, storage: Arc<dyn Storage>) -> Result<()> {
        self.refuse_if_started("write_ahead_log_on()")?;
        lock(&self.shared.build).write_ahead_log = Some(storage);
        Ok(())
    }

    /// Adds a listener, which is told of each batch on a thread of its own.
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn add_streaming_listener(&self, listener: Arc<dyn StreamingListener>) -> Result<()> {
        self.refuse_if_started("add_streaming_listener()")?;
        lock(&self.shared.build).listeners.push(listener);
        Ok(())
    }

    /// The settings.
    pub fn conf(&self) -> &Conf {
        &self.shared.conf
    }

    pub(crate) fn is_same(&self, other: &StreamingContext) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn remembering(&self) -> &Arc<Remembering> {
        &self.shared.remembering
    }

    /// Names of the outputs so far.
    pub(crate) fn outputs(&self) -> Vec<OutputId> {
        self.shared.graph.outputs().into_iter().map(|output| output.id).collect()
    }

    /// Length of a batch.
    pub fn batch_interval(&self) -> Duration {
        self.shared.interval
    }

    /// A stream wants a checkpoint at least so often.
    pub(crate) fn ask_for_checkpoints(&self, stream: &str, interval: Duration, slide: Duration) {
        if interval.is_zero() || !interval.as_nanos().is_multiple_of(slide.as_nanos().max(1)) {
            self.shared.graph.flaw(Error::reconfigure(format!(
                "checkpoint({interval:?}) of {stream}, which has a dataset every {slide:?}; it must be a multiple of that"
            )));
        }
        let mut build = lock(&self.shared.build);
        build.checkpoint_interval =
            Some(build.checkpoint_interval.map_or(interval, |asked| asked.min(interval)));
    }

    pub(crate) fn default_partitions(&self) -> u32 {
        self.shared.partitions
    }

    /// An input stream that reads `source`, named `name`: by its name it is found again after a restart.
    ///
    /// # Errors
    /// `Reconfigure` when the name is taken or the context was started.
    pub fn input_stream<T: Data>(&self, name: &str, source: impl Source<T>) -> Result<InputDStream<T>> {
        let stream = StreamId::from(name);
        let node = self.shared.graph.input(stream.clone(), Arc::new(source))?;
        Ok(InputDStream::new(self.clone(), node, stream))
    }

    /// A stream whose every batch has the same `records`.
    ///
    /// # Errors
    /// As [`input_stream`](StreamingContext::input_stream).
    pub fn constant_stream<T: Data + Sync>(&self, records: Vec<T>) -> Result<InputDStream<T>> {
        self.input_stream(&self.next_name("constant"), ConstantSource::new(records))
    }

    /// A stream of the datasets pushed to `queue`: one for each batch, or, with `one_at_a_time` false, all that wait. A batch
    /// for which none waits is empty.
    ///
    /// As in Spark, such a stream can't go on after the process ends: what was in the queue is gone with it, and a
    /// start from a checkpoint that had taken from it is refused.
    ///
    /// # Errors
    /// As [`input_stream`](StreamingContext::input_stream).
    pub fn queue_stream<T: Data + Sync>(
        &self,
        queue: &QueueInput<T>,
        one_at_a_time: bool,
    ) -> Result<InputDStream<T>> {
        self.input_stream(&self.next_name("queue"), QueueSource::new(queue.clone(), one_at_a_time, None))
    }

    /// As [`queue_stream`](StreamingContext::queue_stream), with `default` as the dataset of a batch for which none waits: Spark's
    /// third argument.
    ///
    /// ```
    /// # use tidegate::{Conf, QueueInput, StreamingContext, Stop};
    /// # use std::time::Duration;
    /// # fn main() -> tidegate::Result<()> {
    /// let queue = QueueInput::new();
    /// queue.push(vec![1, 2]);
    /// let ssc = StreamingContext::new(Conf::new().set_master("local[2]"), Duration::from_millis(10))?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let numbers = ssc.queue_stream_or(&queue, true, vec![0])?;
    /// numbers.foreach_rdd(|rdd| rdd.collect(move |_, rows: Vec<i32>| { tell.send(rows).ok(); }))?;
    /// ssc.start()?;
    /// assert_eq!([told.recv().unwrap(), told.recv().unwrap()], [vec![1, 2], vec![0]]);
    /// ssc.stop(Stop::Gracefully)
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`input_stream`](StreamingContext::input_stream).
    pub fn queue_stream_or<T: Data + Sync>(
        &self,
        queue: &QueueInput<T>,
        one_at_a_time: bool,
        default: Vec<T>,
    ) -> Result<InputDStream<T>> {
        let source = QueueSource::new(queue.clone(), one_at_a_time, Some(default));
        self.input_stream(&self.next_name("queue"), source)
    }

    /// A stream of the numbers 0, 1, 2 and so on, `records_per_second` of them a second, each with the time at which it came:
    /// `(milliseconds since 1970 UTC, number)`. For measuring and for examples; Spark has it as Structured Streaming's `rate` source.
    ///
    /// The numbers have no gap and none comes twice, over restarts too, because a range of numbers is all that is needed to make it
    /// again. A batch has as many as its interval is long, or fewer where back-pressure limits it; their times are spread evenly
    /// over the interval before the batch's time. Time without a run gives none.
    ///
    /// ```
    /// use tidegate::Conf;
    /// use tidegate::testkit::{MemoryOutput, TestJob};
    ///
    /// # fn main() -> tidegate::Result<()> {
    /// let all = MemoryOutput::new();
    /// let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
    ///     ssc.rate_stream(4)?.output("all", all.clone())
    /// })?;
    /// let batch = job.next_batch()?;
    /// let begin = batch.time().0 - 1000;
    /// assert_eq!(all.rows(), [(begin, 0), (begin + 250, 1), (begin + 500, 2), (begin + 750, 3)]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`input_stream`](StreamingContext::input_stream); `Reconfigure` when `records_per_second` is 0.
    pub fn rate_stream(&self, records_per_second: u64) -> Result<InputDStream<(u64, u64)>> {
        let numbers = self.input_stream(&self.next_name("rate"), RateSource::new(records_per_second)?)?;
        let stream = numbers.stream_id().clone();
        let of_batch = stream.clone();
        let times = move |batch: &Batch| Arc::new(RateTimes::of(batch, &of_batch));
        let node =
            ops::map_with(numbers.node(), times, |times: &RateTimes, number| (times.at(number), number));
        Ok(InputDStream::new(self.clone(), node, stream))
    }

    /// A stream of what `receiver` stores: Spark's `receiverStream`. A second one of the same kind gets another name by its
    /// place in the program; [`named_receiver_stream`](StreamingContext::named_receiver_stream) gives one that stays.
    ///
    /// # Errors
    /// `Reconfigure` when a setting of receivers makes no sense, or the context was started.
    pub fn receiver_stream<T: ExchangeData>(&self, receiver: impl Receiver<T>) -> Result<InputDStream<T>> {
        self.named_receiver_stream(&self.next_name("receiver"), receiver)
    }

    /// As [`receiver_stream`](StreamingContext::receiver_stream), named `name`: by its name its write-ahead log is found again
    /// after a restart.
    ///
    /// # Errors
    /// As [`input_stream`](StreamingContext::input_stream), and when a setting of receivers makes no sense.
    pub fn named_receiver_stream<T: ExchangeData>(
        &self,
        name: &str,
        receiver: impl Receiver<T>,
    ) -> Result<InputDStream<T>> {
        let marks = lock(&self.shared.build).marks.clone();
        self.input_stream(name, ReceiverSource::new(receiver, self.receiver_settings()?, &marks))
    }

    /// How receivers that are made now are run.
    pub(crate) fn receiver_settings(&self) -> Result<ReceiverSettings> {
        let log = lock(&self.shared.build).write_ahead_log.clone();
        settings::receiver_settings(&self.shared.conf, log)
    }

    pub(crate) fn next_name(&self, kind: &str) -> String {
        let mut build = lock(&self.shared.build);
        build.inputs += 1;
        format!("{kind}-{}", build.inputs)
    }

    /// Starts the job: takes the checkpoint directory, reaches the outer systems, recovers, and runs batches in the
    /// background from then on.
    ///
    /// # Errors
    /// Whatever keeps the job from starting, in words that name the thing and the way out: no output, started before,
    /// a graph that makes no sense, an outer system away, a checkpoint or an output that does not fit.
    pub fn start(&self) -> Result<()> {
        let mut lifecycle = lock(&self.shared.lifecycle);
        if let Lifecycle::Active(_) = *lifecycle {
            return Err(Error::reconfigure("the context was started before; make a new one to run again"));
        }
        self.shared.graph.check()?;
        if let Some(file) = std::env::var_os(DESCRIBE_ENV) {
            self.describe()?.write(Path::new(&file))?;
            log::info!("the job is described in {}, and not run", Path::new(&file).display());
            std::process::exit(0);
        }
        if !self.shared.graph.has_output() {
            return Err(Error::reconfigure(
                "the job has no output operation, so nothing would be done; add print(), foreach_rdd() or a save",
            ));
        }
        let parts = self.parts()?;
        self.shared.graph.freeze();
        self.tell_guarantees();
        let checkpoint = parts.settings.storage.clone();
        let engine = Engine::start(parts)?;
        *lifecycle = Lifecycle::Active(Arc::new(engine));
        drop(lifecycle);
        if self.shared.conf.flag("tidegate.signals", true)? {
            signals::stop_on_signals(&self.shared)?;
        }
        log::info!(
            "\"{}\" started: batches of {:?}, checkpoint {}",
            self.shared.conf.app_name(),
            self.shared.interval,
            checkpoint.map_or_else(|| "none".to_owned(), |storage| storage.describe())
        );
        Ok(())
    }

    fn parts(&self) -> Result<EngineParts> {
        let Shared { conf, interval, graph, clock, build, .. } = &*self.shared;
        let Master::Local { workers } = conf.master()?;
        let build = lock(build);
        let mut settings = Settings::new(conf.app_name(), *interval);
        settings.storage = build.checkpoint.as_ref().map(CheckpointPlace::open).transpose()?;
        settings.states = graph.states().into_iter().map(|state| state.shape).collect();
        settings.graph = graph.operators();
        let asked = build.checkpoint_interval.unwrap_or(settings.checkpoint_interval);
        settings.checkpoint_interval = conf.duration_ms("tidegate.checkpoint.interval_ms", asked)?;
        settings.checkpoints_retained =
            conf.number("tidegate.checkpoint.retained", 3)?.clamp(1, 1000) as usize;
        settings.state_loss_accepted = conf.flag("tidegate.state.accept_loss", false)?;
        settings.settings_shown = conf.shown();
        settings.batches_in_flight_max =
            conf.number("tidegate.batches_in_flight_max", 2)?.clamp(1, 2) as usize;
        settings.backpressure = settings::backpressure(conf)?;
        settings.retry_pause = conf.duration_ms("tidegate.retry.pause_ms", settings.retry_pause)?;
        settings.retry_pause_max =
            conf.duration_ms("tidegate.retry.pause_max_ms", settings.retry_pause_max)?;
        settings.retry_attempts_max = settings::retry_attempts_max(conf)?;
        let mut runtimes = TimelyRuntimes::local(graph.clone(), workers);
        if let Some(state) = settings::state_settings(conf, settings.storage.as_ref(), &settings.states)? {
            runtimes = runtimes.with_state(state);
        }
        let door = |door: tidegate_dataflow::OutputDoor| OutputPart {
            id: door.id,
            describe: door.describe,
            delivery: door.delivery,
            open: door.open,
        };
        let planners = graph.planners(settings.storage.as_ref())?;
        Ok(EngineParts {
            settings,
            planners,
            outputs: graph.outputs().into_iter().map(door).collect(),
            runtimes: Box::new(runtimes),
            clock: clock.clone(),
            listeners: build.listeners.clone(),
        })
    }

    /// What the job is, without running it.
    ///
    /// # Errors
    /// `Reconfigure` when a setting makes no sense.
    pub fn describe(&self) -> Result<JobDescription> {
        let Shared { conf, interval, graph, .. } = &*self.shared;
        Ok(JobDescription {
            app: conf.app_name().to_owned(),
            interval_ms: interval.as_millis() as u64,
            operators: graph.operators(),
            inputs: graph.inputs(),
            outputs: graph.outputs().into_iter().map(|output| (output.id, output.describe)).collect(),
            states: graph.states(),
            dropped: settings::dropped_states(conf),
            paths: self.guarantees(),
        })
    }

    /// What the job promises of a record, from each input to each output that it leads to, and why. The same is logged at the
    /// start, and shown by `tidegate guarantee -- JOB`.
    ///
    /// ```
    /// use tidegate::{Conf, PathPromise, StreamingContext};
    /// use std::time::Duration;
    ///
    /// # fn main() -> tidegate::Result<()> {
    /// let ssc = StreamingContext::new(Conf::new(), Duration::from_secs(1))?;
    /// ssc.checkpoint("checkpoint")?;
    /// ssc.rate_stream(10)?.count().print()?;
    /// let paths = ssc.guarantees();
    /// assert_eq!((paths[0].input.0.as_str(), paths[0].promise), ("rate-1", PathPromise::AtLeastOnce));
    /// # Ok(()) }
    /// ```
    pub fn guarantees(&self) -> Vec<PathGuarantee> {
        guarantees(&self.shared.graph, lock(&self.shared.build).checkpoint.is_some())
    }

    /// What a job promises is said once, at its start.
    fn tell_guarantees(&self) {
        for path in self.guarantees() {
            path.to_string().lines().for_each(|line| log::info!("{line}"));
        }
    }

    /// Waits until the job stops.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn await_termination(&self) -> Result<()> {
        self.engine()?.await_end(None).unwrap_or(Ok(()))
    }

    /// Waits until the job stops, for at most `timeout`; says whether it has.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn await_termination_or_timeout(&self, timeout: Duration) -> Result<bool> {
        self.engine()?.await_end(Some(timeout)).transpose().map(|ended| ended.is_some())
    }

    /// Stops the job and waits until it has stopped. Stopping a job that never started, or that has ended, is no error.
    ///
    /// # Errors
    /// What the job failed with.
    pub fn stop(&self, how: Stop) -> Result<()> {
        self.request_stop(how);
        match self.engine() {
            Ok(engine) => engine.await_end(None).unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }

    /// Asks the job to stop and returns at once: from a listener, which must not wait for the job that waits for it.
    pub fn request_stop(&self, how: Stop) {
        request_stop(&self.shared, how);
    }

    pub(crate) fn engine(&self) -> Result<Arc<EngineHandle>> {
        match &*lock(&self.shared.lifecycle) {
            Lifecycle::Active(engine) => Ok(engine.clone()),
            Lifecycle::Initialized => {
                Err(Error::reconfigure("the context was not started; call start() first"))
            }
        }
    }

    pub(crate) fn refuse_if_started(&self, what: &str) -> Result<()> {
        match *lock(&self.shared.lifecycle) {
            Lifecycle::Initialized => Ok(()),
            Lifecycle::Active(_) => Err(Error::reconfigure(format!("{what} after start(); call it before"))),
        }
    }
}

pub(crate) fn request_stop(shared: &Shared, how: Stop) {
    if let Lifecycle::Active(engine) = &*lock(&shared.lifecycle) {
        engine.stop(how);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
