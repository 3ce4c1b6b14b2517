//! Streams joined with tables that do not change.

use crate::{DStream, Data, StaticPairs, StreamingContext};
use std::hash::Hash;
use tidegate_dataflow::ops;

impl StreamingContext {
    /// A table of `pairs` to join streams with: read once, before the job starts, and kept once for all workers of the process.
    ///
    /// What a batch was joined with is not part of its plan. If the table is another one when the job starts again, a batch that
    /// is run again is joined with that one.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let job = |calls: DStream<(u32, String)>| {
    ///     let places = calls.context().static_pairs([(31, "Rotterdam"), (32, "Antwerp")]);
    ///     calls.join_static(&places).map(|(_, (call, place))| format!("{call} from {place}"))
    /// };
    /// let calls = run(job, [vec![(32, "ring".to_owned()), (99, "ring".to_owned())]]);
    /// assert_eq!(calls, [["ring from Antwerp"]]);
    /// ```
    pub fn static_pairs<K: Hash + Eq, W>(
        &self,
        pairs: impl IntoIterator<Item = (K, W)>,
    ) -> StaticPairs<K, W> {
        StaticPairs::new(pairs)
    }
}

impl<K: Data + Sync + Hash + Eq, V: Data> DStream<(K, V)> {
    /// Each pair with each value that `table` has for its key, in the order of the table; pairs whose key it does not have are left
    /// out.
    ///
    /// Nothing is shuffled: partitions and order stay. (Spark's join with a static `RDD` shuffles both.)
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let job = |n: DStream<(char, u32)>| n.join_static(&n.context().static_pairs([('a', 7), ('a', 8), ('b', 9)]));
    /// let joined = run(job, [vec![('b', 1), ('c', 2), ('a', 3)]]);
    /// assert_eq!(joined, [[('b', (1, 9)), ('a', (3, 7)), ('a', (3, 8))]]);
    /// ```
    pub fn join_static<W: Data + Sync>(&self, table: &StaticPairs<K, W>) -> DStream<(K, (V, W))> {
        self.below(ops::join_static(self.node(), table))
    }

    /// As [`join_static`](DStream::join_static), with `None` for the value where `table` does not have the key.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let job = |n: DStream<(char, u32)>| n.left_outer_join_static(&n.context().static_pairs([('a', 7)]));
    /// let joined = run(job, [vec![('b', 1), ('a', 3)]]);
    /// assert_eq!(joined, [[('b', (1, None)), ('a', (3, Some(7)))]]);
    /// ```
    pub fn left_outer_join_static<W: Data + Sync>(
        &self,
        table: &StaticPairs<K, W>,
    ) -> DStream<(K, (V, Option<W>))> {
        self.below(ops::left_outer_join_static(self.node(), table))
    }

    /// The pairs whose key `table` does not have: a block list.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let job = |n: DStream<(char, u32)>| n.subtract_static(&n.context().static_pairs([('a', ())]));
    /// assert_eq!(run(job, [vec![('b', 1), ('a', 3)]]), [[('b', 1)]]);
    /// ```
    pub fn subtract_static<W: Data + Sync>(&self, table: &StaticPairs<K, W>) -> DStream<(K, V)> {
        self.below(ops::subtract_static(self.node(), table))
    }
}
