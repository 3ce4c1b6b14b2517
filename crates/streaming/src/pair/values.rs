//! Functions of the values: keys and partitions stay.

use crate::{DStream, Data};
use tidegate_dataflow::ops;

impl<K, V> DStream<(K, V)> {
    /// Applies `f` to the value of each pair. Keys stay, and every pair stays in its partition.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let lengths = run(
    ///     |pairs: DStream<(char, &'static str)>| pairs.map_values(|word| word.len()),
    ///     [vec![('t', "tide"), ('e', "ebb")], vec![]],
    /// );
    /// assert_eq!(lengths, [vec![('t', 4), ('e', 3)], vec![]]);
    /// ```
    pub fn map_values<W: Data>(&self, f: impl Fn(V) -> W + Send + Sync + 'static) -> DStream<(K, W)>
    where
        K: Data,
        V: Data,
    {
        self.below(ops::map_values(self.node(), f))
    }

    /// Applies `f` to the value of each pair and puts each value that it gives under the pair's key. Every pair stays in its
    /// partition.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::run};
    /// let up_to = run(|pairs: DStream<(char, u32)>| pairs.flat_map_values(|n| 0..n), [vec![('a', 2), ('b', 0), ('c', 1)]]);
    /// assert_eq!(up_to, [vec![('a', 0), ('a', 1), ('c', 0)]]);
    /// ```
    pub fn flat_map_values<W: Data, I>(&self, f: impl Fn(V) -> I + Send + Sync + 'static) -> DStream<(K, W)>
    where
        K: Data,
        V: Data,
        I: IntoIterator<Item = W>,
    {
        self.below(ops::flat_map_values(self.node(), f))
    }
}
