//! A source as the top of a segment: reads the planned ranges of this worker and pushes them down, in bounded turns.

use crate::graph::{Cadence, Graph, Input, Node, PartitionCount, Used};
use crate::lower::Lowering;
use crate::push::{Data, Next};
use std::sync::Arc;
use tidegate_core::{
    Batch, BatchPlan, Emit, InputContext, PartitionId, Progress, Reader, RecordAges, Result, Source,
    SourceRange, StreamId, crash_point,
};

/// Records a source hands on before other operators get their turn.
const TURN_RECORDS: usize = 16 * 1024;

impl Graph {
    /// An input stream named `stream` that reads `source`.
    ///
    /// # Errors
    /// `Reconfigure` when the name is taken or the graph is running.
    pub fn input<T: Data>(&self, stream: StreamId, source: Arc<dyn Source<T>>) -> Result<Node<T>> {
        self.shared().refuse_if_frozen("an input")?;
        let counted = stream.clone();
        let partitions: PartitionCount =
            Arc::new(move |plan| plan.source(&counted).map_or(0, |source| source.ranges.len() as u32));
        let planned = stream.clone();
        let present = Arc::new(move |plan: &BatchPlan| plan.source(&planned).is_some());
        let cadence = Cadence::new(self.shared().interval_ms(), present);
        let node = Node::with_cadence(self.shared(), "input", &[], cadence, partitions);
        let used: Arc<Used> = node.used().clone();
        let (opened, lowered, named) = (source.clone(), node.clone(), stream.clone());
        self.add_input(Input {
            describe: source.describe(),
            guarantee: source.guarantee(),
            used,
            planner: Arc::new(move |context: &InputContext| opened.planner(context)),
            root: Arc::new(move |lowering: &mut Lowering<'_>| lower(lowering, &lowered, &named, &source)),
            stream,
        })?;
        Ok(node)
    }
}

fn lower<T: Data>(
    lowering: &mut Lowering<'_>,
    node: &Node<T>,
    stream: &StreamId,
    source: &Arc<dyn Source<T>>,
) {
    let cx = lowering.cx().clone();
    let mut segment = lowering.segment(node.name());
    let mut next = segment.stages(node);
    let activator = lowering.activator(&segment);
    let mut reader = match source.reader(stream, cx.worker, cx.workers) {
        Ok(reader) => reader,
        Err(error) => return cx.fail(error),
    };
    let (source, stream) = (source.clone(), stream.clone());
    let mut reading: Option<Vec<PartitionId>> = None;
    segment.finish(lowering, move |batch, _, _| {
        let Some(batch) = batch else { return false };
        let result = match &reading {
            Some(_) => Ok(()),
            None => {
                let mine = ranges_of_worker(&*source, batch.ranges(&stream), cx.worker, cx.workers);
                reading = Some(mine.iter().map(|(partition, _)| *partition).collect());
                reader.start(&mine)
            }
        };
        match result.and_then(|()| turn(&mut *reader, &mut next, &batch, &cx)) {
            Ok(Progress::Done) => {
                for partition in reading.take().unwrap_or_default() {
                    next.open(&batch, partition);
                }
                next.flush(&batch);
                true
            }
            Ok(Progress::More | Progress::Waiting) => {
                activator.activate();
                false
            }
            Err(error) => {
                cx.fail(error.context(format!("batch {}, input {stream}", batch.id())));
                false
            }
        }
    });
}

/// One turn of reading.
fn turn<T: Data>(
    reader: &mut dyn Reader<T>,
    next: &mut Next<T>,
    batch: &Batch,
    cx: &crate::context::WorkerContext,
) -> Result<Progress> {
    let mut emitter =
        Emitter { batch, next, records: 0, time_ms: None, since: 0, ages: RecordAges::default() };
    let progress = reader.read(TURN_RECORDS, &mut emitter);
    emitter.end_run();
    if emitter.records > 0 {
        crash_point("reading");
    }
    cx.counts().read(emitter.records, &emitter.ages);
    progress
}

/// The ranges that fall to one worker, with their partitions.
fn ranges_of_worker<T: 'static>(
    source: &dyn Source<T>,
    ranges: &[SourceRange],
    worker: usize,
    workers: usize,
) -> Vec<(PartitionId, SourceRange)> {
    let numbered = ranges.iter().enumerate();
    numbered
        .filter(|(index, range)| source.worker_of(*index, range, workers) == worker)
        .map(|(index, range)| (PartitionId(index as u32), range.clone()))
        .collect()
}

/// Takes what a reader emits and counts it; records of one time come in runs.
struct Emitter<'a, T> {
    batch: &'a Batch,
    next: &'a mut Next<T>,
    records: u64,
    time_ms: Option<i64>,
    since: u64,
    ages: RecordAges,
}

impl<T> Emitter<'_, T> {
    fn end_run(&mut self) {
        if let Some(time_ms) = self.time_ms
            && self.records > self.since
        {
            self.ages.add(self.batch.time().0 as i64 - time_ms, self.records - self.since);
        }
        self.since = self.records;
    }
}

impl<T> Emit<T> for Emitter<'_, T> {
    fn partition(&mut self, partition: PartitionId) {
        self.next.open(self.batch, partition);
    }

    fn record(&mut self, record: T) {
        self.records += 1;
        self.next.push(record);
    }

    fn made_at(&mut self, time_ms: i64) {
        self.end_run();
        self.time_ms = Some(time_ms);
    }
}
