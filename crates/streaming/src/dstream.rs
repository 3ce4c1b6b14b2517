//! The stream of datasets: operators and output operations. Describes; holds no data.

use crate::output::{Foreach, Outcome, Print};
use crate::{Batch, Data, ExchangeData, OutputId, Rdd, Result, StreamId, StreamingContext};
use std::ops::Deref;
use std::sync::Arc;
use tidegate_core::Output;
use tidegate_dataflow::{Node, ops, raise};

/// A discretized stream: one dataset of records of type `T` for each batch.
///
/// Operators describe new streams; an output operation (`print`, `foreach_rdd`, a `save_to_...` of a connector) makes
/// them run. A stream that leads to no output is never computed. Functions given to operators run on worker threads;
/// they must give the same for the same record, because a batch may be run again.
///
/// # No dataset
///
/// A batch without records has a dataset that is empty: `count` of it is 0. A stream may also have *no* dataset in a batch (a
/// window that slides by three batches has one in every third): then nothing happens below it. No function is called, `count`
/// gives nothing rather than 0, outputs write nothing. An operator on several streams has a dataset where any of them has one;
/// the others count as empty. (In Spark such a batch fails; it can't come about there as long as all slides are the same, and
/// they must be the same here too: [`StreamingContext::start`] refuses the job otherwise.)
///
/// # Order
///
/// A batch gives the same records in the same order each time it is run, on any number of workers. Operators without a shuffle
/// keep the order of records in their partition. What leaves a shuffle by key is in the order of the keys' hashes, a fixed but
/// meaningless one; the values of a key are in the order of the partitions they come from and of their places there.
/// Spark promises less: there the order after a shuffle is that in which blocks arrive.
///
/// Source of the semantics: Spark's Streaming Programming Guide, "Transformations on DStreams".
pub struct DStream<T> {
    ssc: StreamingContext,
    node: Node<T>,
}

impl<T> Clone for DStream<T> {
    fn clone(&self) -> Self {
        DStream { ssc: self.ssc.clone(), node: self.node.clone() }
    }
}

impl<T: Data> DStream<T> {
    pub(crate) fn new(ssc: StreamingContext, node: Node<T>) -> Self {
        DStream { ssc, node }
    }

    pub(crate) fn below<U: Data>(&self, node: Node<U>) -> DStream<U> {
        DStream { ssc: self.ssc.clone(), node }
    }

    pub(crate) fn node(&self) -> &Node<T> {
        &self.node
    }

    /// # Panics
    /// When `other` belongs to another context: one job can't read what another computes.
    pub(crate) fn assert_same_job<U: Data>(&self, other: &DStream<U>, operator: &str) {
        assert!(
            self.ssc.is_same(&other.ssc),
            "{operator} of streams of two contexts; build both from one StreamingContext"
        );
    }

    /// The context of the stream.
    pub fn context(&self) -> &StreamingContext {
        &self.ssc
    }

    /// Applies `f` to each record.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let lengths = run(|words: DStream<String>| words.map(|word| word.len()), [vec!["tide", "gate"], vec![], vec!["a"]]);
    /// assert_eq!(lengths, [vec![4, 4], vec![], vec![1]]);
    /// ```
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> DStream<U> {
        self.below(ops::map(&self.node, f))
    }

    /// Applies `f` to each record and puts what it gives one after the other.
    ///
    /// An iterator can't borrow from the record; see [`flat_map_with`](DStream::flat_map_with) for that.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let twice = run(|n: DStream<i32>| n.flat_map(|n| vec![n; n as usize]), [vec![1, 2], vec![0]]);
    /// assert_eq!(twice, [vec![1, 2, 2], vec![]]);
    /// ```
    pub fn flat_map<U: Data, I>(&self, f: impl Fn(T) -> I + Send + Sync + 'static) -> DStream<U>
    where
        I: IntoIterator<Item = U>,
    {
        self.below(ops::flat_map(&self.node, f))
    }

    /// Lets `f` emit any number of records for each one, made from a borrow of it if need be: no vector for a line.
    ///
    /// `f` may return nothing or a `Result`; an error fails the batch and stops the job. Not in Spark, whose collector of
    /// garbage makes it needless.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let split = |line: String, out: &mut dyn FnMut(usize)| line.split(' ').for_each(|word| out(word.len()));
    /// let lengths = run(|lines: DStream<String>| lines.flat_map_with(split), [vec!["the tide", "comes"]]);
    /// assert_eq!(lengths, [vec![3, 4, 5]]);
    /// ```
    pub fn flat_map_with<U: Data, R: Outcome>(
        &self,
        f: impl Fn(T, &mut dyn FnMut(U)) -> R + Send + Sync + 'static,
    ) -> DStream<U> {
        let f =
            move |record, out: &mut dyn FnMut(U)| f(record, out).into_result().unwrap_or_else(|e| raise(e));
        self.below(ops::flat_map_with(&self.node, f))
    }

    /// Keeps the records for which `keep` holds.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let even = run(|n: DStream<i32>| n.filter(|n| n % 2 == 0), [vec![1, 2, 3, 4], vec![5]]);
    /// assert_eq!(even, [vec![2, 4], vec![]]);
    /// ```
    pub fn filter(&self, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> DStream<T> {
        self.below(ops::filter(&self.node, keep))
    }

    /// Applies `f` to each whole partition, empty ones included: for what is set up once a partition.
    ///
    /// A partition is in memory while its batch is read.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let sums = run(|n: DStream<i32>| n.map_partitions(|part| [part.sum::<i32>()]), [vec![1, 2, 3], vec![]]);
    /// assert_eq!(sums, [vec![6], vec![0]]);
    /// ```
    pub fn map_partitions<U: Data, I>(
        &self,
        f: impl Fn(std::vec::IntoIter<T>) -> I + Send + Sync + 'static,
    ) -> DStream<U>
    where
        I: IntoIterator<Item = U>,
    {
        self.below(ops::map_partitions(&self.node, move |_, _, records| f(records)))
    }

    /// Output: declares, once, what is done with each batch's dataset ([`Rdd::collect`], [`Rdd::foreach_partition`]).
    ///
    /// It is done when every output of the batch has prepared, and done again if the process dies before the batch is known
    /// to be committed: at least once, as in Spark. The batch's id tells the function what it has seen.
    ///
    /// ```
    /// # use tidegate::{Conf, StreamingContext, Stop};
    /// # use std::time::Duration;
    /// # fn main() -> tidegate::Result<()> {
    /// let ssc = StreamingContext::new(Conf::new().set_master("local[2]"), Duration::from_millis(10))?;
    /// let numbers = ssc.constant_stream(vec![1i32, 2, 3])?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// numbers.foreach_rdd(|rdd| rdd.collect(move |batch, rows| { tell.send((batch.id(), rows)).ok(); }))?;
    /// ssc.start()?;
    /// assert_eq!(told.recv().unwrap().1, [1, 2, 3]);
    /// ssc.stop(Stop::Gracefully)
    /// # }
    /// ```
    ///
    /// # Errors
    /// As `declare`; `Reconfigure` when the context was started.
    pub fn foreach_rdd<R>(&self, declare: impl FnOnce(Rdd<T>) -> Result<R>) -> Result<()> {
        declare(Rdd::new(self.clone())).map(|_| ())
    }

    /// Output: prints the first ten records of each batch to standard output, under its time.
    ///
    /// ```no_run
    /// # fn show(words: tidegate::DStream<String>) -> tidegate::Result<()> {
    /// words.print()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn print(&self) -> Result<()>
    where
        T: ExchangeData,
    {
        self.print_first(10)
    }

    /// Output: prints the first `records` records of each batch to standard output, under its time, and `...` where there are more:
    /// Spark's `print(num)`. So many of each partition, and one, are in memory.
    ///
    /// ```no_run
    /// # fn show(words: tidegate::DStream<String>) -> tidegate::Result<()> {
    /// words.print_first(3)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when the context was started.
    pub fn print_first(&self, records: usize) -> Result<()>
    where
        T: ExchangeData,
    {
        self.output(&self.free_name("print"), Print { records }).map(|_| ())
    }

    /// Output: writes each batch to `output`, named `name`: by its name it is found again after a restart. For whoever writes
    /// a connector.
    ///
    /// # Errors
    /// `Reconfigure` when the name is taken or the context was started.
    pub fn output(&self, name: &str, output: impl Output<T>) -> Result<OutputId>
    where
        T: ExchangeData,
    {
        let id = OutputId::from(name);
        ops::output(&self.node, id.clone(), Arc::new(output))?;
        Ok(id)
    }

    /// As [`output`](DStream::output), for an output whose rows stay on the worker where they are, so that they need not be
    /// serialisable.
    ///
    /// # Errors
    /// As [`output`](DStream::output).
    pub fn output_in_place(&self, name: &str, output: impl Output<T>) -> Result<OutputId> {
        let id = OutputId::from(name);
        ops::output_in_place(&self.node, id.clone(), Arc::new(output))?;
        Ok(id)
    }

    /// A name for an output that its user does not name: by its place in the graph, and numbered from the second on.
    pub(crate) fn free_name(&self, kind: &str) -> String {
        let taken: Vec<_> = self.ssc.outputs();
        let first = format!("{kind}-{}", self.node.id().0);
        let later = (2..).map(|number| format!("{first}-{number}"));
        let free = |name: &String| !taken.contains(&OutputId(name.clone()));
        std::iter::once(first.clone()).chain(later).find(free).expect("there is always a later one")
    }

    pub(crate) fn foreach_partition<R: Outcome>(
        &self,
        f: impl Fn(&Batch, crate::PartitionId, std::vec::IntoIter<T>) -> R + Send + Sync + 'static,
    ) -> Result<OutputId> {
        self.output_in_place(&self.free_name("foreach"), Foreach::partitions(f))
    }

    pub(crate) fn foreach_record<R: Outcome>(
        &self,
        f: impl Fn(&Batch, T) -> R + Send + Sync + 'static,
    ) -> Result<OutputId> {
        self.output_in_place(&self.free_name("foreach"), Foreach::records(f))
    }

    pub(crate) fn collect<R: Outcome>(
        &self,
        f: impl Fn(&Batch, Vec<T>) -> R + Send + Sync + 'static,
    ) -> Result<OutputId>
    where
        T: ExchangeData,
    {
        self.output(&self.free_name("collect"), Foreach::collected(f))
    }
}

/// A stream at the top of the graph. Everything a [`DStream`] can do; and it has a name.
pub struct InputDStream<T> {
    stream: DStream<T>,
    id: StreamId,
}

impl<T: Data> InputDStream<T> {
    pub(crate) fn new(ssc: StreamingContext, node: Node<T>, id: StreamId) -> Self {
        InputDStream { stream: DStream::new(ssc, node), id }
    }

    /// The stream's name, under which [`Batch::ranges`] gives what a batch takes of it.
    pub fn stream_id(&self) -> &StreamId {
        &self.id
    }
}

impl<T> Deref for InputDStream<T> {
    type Target = DStream<T>;

    fn deref(&self) -> &DStream<T> {
        &self.stream
    }
}
