//! Operators over windows of batches.
//!
//! A window of length `w` that slides by `s` has a dataset every `s`: at its time `t` the records of the batches in `(t - w, t]`.
//! Slides are counted from the time before the job's first batch, as in Spark, also after a restart. Both must be multiples of
//! the slide of the stream below which the window stands (the batch interval, if that is no window itself); otherwise the job
//! does not start, and says why. A window shorter than its slide leaves records out, as in Spark.
//!
//! In Spark the batches of a window are computed again after a failure. Here they are state, part of every checkpoint, so a
//! window needs a checkpoint directory. Batches that would have been due while no run was there are not made up for: a
//! window over such a time has what was read since.

use crate::{DStream, Data, ExchangeData, Partitioner};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tidegate_dataflow::ops::{self, Moving, WindowSpan};

/// Milliseconds, rounded up: what is no whole number of them is no multiple of a batch interval either, and is refused.
fn span(window: Duration, slide: Duration) -> WindowSpan {
    let ms = |length: Duration| length.as_nanos().div_ceil(1_000_000) as u64;
    WindowSpan { length_ms: ms(window), slide_ms: ms(slide) }
}

impl<T: ExchangeData> DStream<T> {
    /// Every `slide`, the records of the last `window`, oldest batch first.
    ///
    /// The dataset has `tidegate.default.parallelism` partitions: a record of partition p of its batch is in partition p modulo
    /// that number. Needs a checkpoint directory.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run}};
    /// let out = run(|n: DStream<i32>| n.window(BATCH * 2, BATCH), [vec![1], vec![2], vec![], vec![4]]);
    /// assert_eq!(out, [vec![1], vec![1, 2], vec![2], vec![4]]);
    /// // Between two slides there is no dataset at all.
    /// let out = run(|n: DStream<i32>| n.window(BATCH * 3, BATCH * 2).count(), [vec![1], vec![2], vec![], vec![4]]);
    /// assert_eq!(out, [vec![2], vec![2]]);
    /// ```
    ///
    /// Source: Spark's Streaming Programming Guide, "Window Operations".
    pub fn window(&self, window: Duration, slide: Duration) -> DStream<T> {
        self.window_in(window, slide, self.context().default_partitions())
    }

    fn window_in(&self, window: Duration, slide: Duration, partitions: u32) -> DStream<T> {
        self.below(ops::window(self.node(), span(window, slide), partitions))
    }

    /// Every `slide`, the number of records in the last `window`.
    ///
    /// It is moved on by what enters and what leaves. In Spark nothing is given until the first record has come, and 0 once the
    /// last has left; here an empty window is 0 from the first on, as with `count`.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run}};
    /// let out = run(|n: DStream<i32>| n.count_by_window(BATCH * 2, BATCH), [vec![], vec![1], vec![2, 3], vec![], vec![]]);
    /// assert_eq!(out, [vec![0], vec![1], vec![3], vec![2], vec![0]]);
    /// ```
    pub fn count_by_window(&self, window: Duration, slide: Duration) -> DStream<u64> {
        self.count().reduce_by_window_with_inverse(|a, b| a + b, |a, b| a - b, window, slide)
    }

    /// Every `slide`, the records of the last `window` reduced to one by `f`, which must be associative and commutative; nothing
    /// when there are none.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run}};
    /// let out = run(|n: DStream<i32>| n.reduce_by_window(|a, b| a.max(b), BATCH * 2, BATCH), [vec![3, 1], vec![2], vec![], vec![]]);
    /// assert_eq!(out, [vec![3], vec![3], vec![2], vec![]]);
    /// ```
    pub fn reduce_by_window(
        &self,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<T> {
        self.map(|record| ((), record))
            .reduce_by_key_and_window_in(f, window, slide, 1.into())
            .map(|(_, reduced)| reduced)
    }

    /// As [`reduce_by_window`](DStream::reduce_by_window), moved on by what enters and what leaves: `inverse(f(a, b), b)` must be
    /// `a`. The cost follows the slide, not the window.
    ///
    /// As in Spark, once a record has been there a window without any gives what is left: `inverse(a, a)`.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run}};
    /// let sums = |n: DStream<i32>| n.reduce_by_window_with_inverse(|a, b| a + b, |a, b| a - b, BATCH * 2, BATCH);
    /// assert_eq!(run(sums, [vec![3, 1], vec![2], vec![], vec![]]), [vec![4], vec![6], vec![2], vec![0]]);
    /// ```
    pub fn reduce_by_window_with_inverse(
        &self,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
        inverse: impl Fn(T, T) -> T + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<T> {
        let moving = Moving { reduce: Arc::new(f), inverse: Arc::new(inverse), keep: None };
        self.map(|record| ((), record))
            .moving_window(moving, window, slide, 1.into())
            .map(|(_, reduced)| reduced)
    }

    /// Every `slide`, how often each value occurs in the last `window`. A value that is not there any more is not given.
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run_sorted}};
    /// let counts = |n: DStream<char>| n.count_by_value_and_window(BATCH * 2, BATCH);
    /// assert_eq!(
    ///     run_sorted(counts, [vec!['a', 'b'], vec!['a'], vec![], vec![]]),
    ///     [vec![('a', 1), ('b', 1)], vec![('a', 2), ('b', 1)], vec![('a', 1)], vec![]]
    /// );
    /// ```
    pub fn count_by_value_and_window(&self, window: Duration, slide: Duration) -> DStream<(T, u64)>
    where
        T: Hash + Eq,
    {
        self.count_by_value_and_window_with_partitions(window, slide, self.context().default_partitions())
    }

    /// As [`count_by_value_and_window`](DStream::count_by_value_and_window), with a number of partitions or a partitioner.
    pub fn count_by_value_and_window_with_partitions(
        &self,
        window: Duration,
        slide: Duration,
        partitions: impl Into<Partitioner<T>>,
    ) -> DStream<(T, u64)>
    where
        T: Hash + Eq,
    {
        let ones = self.map(|value| (value, 1u64));
        ones.reduce_by_key_and_window_with_filter(
            |a, b| a + b,
            |a, b| a - b,
            window,
            slide,
            partitions,
            |_, count| *count != 0,
        )
    }
}

impl<K, V> DStream<(K, V)> {
    /// Every `slide`, all values of each key in the last `window`: oldest batch first, within a batch in the order of
    /// [`group_by_key`](DStream::group_by_key).
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run_sorted}};
    /// let out = run_sorted(
    ///     |pairs: DStream<(char, i32)>| pairs.group_by_key_and_window(BATCH * 2, BATCH),
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 3)], vec![]],
    /// );
    /// assert_eq!(out, [vec![('a', vec![1]), ('b', vec![2])], vec![('a', vec![1, 3]), ('b', vec![2])], vec![('a', vec![3])]]);
    /// ```
    pub fn group_by_key_and_window(&self, window: Duration, slide: Duration) -> DStream<(K, Vec<V>)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        self.group_by_key_and_window_with_partitions(window, slide, self.context().default_partitions())
    }

    /// As [`group_by_key_and_window`](DStream::group_by_key_and_window), with a number of partitions or a partitioner.
    pub fn group_by_key_and_window_with_partitions(
        &self,
        window: Duration,
        slide: Duration,
        partitions: impl Into<Partitioner<K>>,
    ) -> DStream<(K, Vec<V>)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        let partitioner = partitions.into();
        let batches: DStream<(K, Vec<V>)> = self.below(ops::group_by_key(self.node(), partitioner.clone()));
        let window = batches.window_in(window, slide, partitioner.num_partitions());
        window
            .below(ops::group_by_key(window.node(), partitioner))
            .map(|(key, batches)| (key, batches.concat()))
    }

    /// Every `slide`, one value for each key in the last `window`: its values reduced by `f`, which must be associative and
    /// commutative.
    ///
    /// Each batch is reduced once, when it comes; every slide the reduced batches of the window are reduced again. For long
    /// windows see [`reduce_by_key_and_window_with_inverse`](DStream::reduce_by_key_and_window_with_inverse).
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run_sorted}};
    /// let out = run_sorted(
    ///     |pairs: DStream<(char, i32)>| pairs.reduce_by_key_and_window(|a, b| a + b, BATCH * 2, BATCH),
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 3)], vec![]],
    /// );
    /// assert_eq!(out, [vec![('a', 1), ('b', 2)], vec![('a', 4), ('b', 2)], vec![('a', 3)]]);
    /// ```
    pub fn reduce_by_key_and_window(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        self.reduce_by_key_and_window_with_partitions(f, window, slide, self.context().default_partitions())
    }

    /// As [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window), with a number of partitions or a partitioner.
    pub fn reduce_by_key_and_window_with_partitions(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitions: impl Into<Partitioner<K>>,
    ) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        self.reduce_by_key_and_window_in(f, window, slide, partitions.into())
    }

    fn reduce_by_key_and_window_in(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitioner: Partitioner<K>,
    ) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        let f = Arc::new(f);
        let again = f.clone();
        self.reduce_by_key_with_partitions(move |a, b| f(a, b), partitioner.clone())
            .window_in(window, slide, partitioner.num_partitions())
            .reduce_by_key_with_partitions(move |a, b| again(a, b), partitioner)
    }

    /// As [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window), moved on by what enters and what leaves the window:
    /// `inverse(f(a, b), b)` must be `a`. The cost follows the slide, not the window.
    ///
    /// As in Spark, a key that has left the window stays with what is left of it (0, for a sum) and is given in every dataset
    /// from then on; see [`reduce_by_key_and_window_with_filter`](DStream::reduce_by_key_and_window_with_filter).
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run_sorted}};
    /// let sums = |pairs: DStream<(char, i32)>| {
    ///     pairs.reduce_by_key_and_window_with_inverse(|a, b| a + b, |a, b| a - b, BATCH * 2, BATCH)
    /// };
    /// assert_eq!(
    ///     run_sorted(sums, [vec![('a', 1), ('b', 2)], vec![('a', 3)], vec![]]),
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 4), ('b', 2)], vec![('a', 3), ('b', 0)]]
    /// );
    /// ```
    pub fn reduce_by_key_and_window_with_inverse(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        let moving = Moving { reduce: Arc::new(f), inverse: Arc::new(inverse), keep: None };
        self.moving_window(moving, window, slide, self.context().default_partitions().into())
    }

    /// As [`reduce_by_key_and_window_with_inverse`](DStream::reduce_by_key_and_window_with_inverse), with a number of partitions
    /// or a partitioner, and forgetting at each slide the keys for which `keep` does not hold.
    ///
    /// A forgotten key begins anew with its next value: what it had in the window before is not taken out of that later. (In
    /// Spark the job fails there, with "Neither previous window has value for key, nor new values found".)
    ///
    /// ```
    /// # use tidegate::{DStream, testkit::{BATCH, run_sorted}};
    /// let sums = |pairs: DStream<(char, i32)>| {
    ///     pairs.reduce_by_key_and_window_with_filter(|a, b| a + b, |a, b| a - b, BATCH * 2, BATCH, 2, |_, sum| *sum != 0)
    /// };
    /// assert_eq!(
    ///     run_sorted(sums, [vec![('a', 1), ('b', 2)], vec![('a', 3)], vec![]]),
    ///     [vec![('a', 1), ('b', 2)], vec![('a', 4), ('b', 2)], vec![('a', 3)]]
    /// );
    /// ```
    pub fn reduce_by_key_and_window_with_filter(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitions: impl Into<Partitioner<K>>,
        keep: impl Fn(&K, &V) -> bool + Send + Sync + 'static,
    ) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        let moving = Moving { reduce: Arc::new(f), inverse: Arc::new(inverse), keep: Some(Arc::new(keep)) };
        self.moving_window(moving, window, slide, partitions.into())
    }

    fn moving_window(
        &self,
        moving: Moving<K, V>,
        window: Duration,
        slide: Duration,
        partitioner: Partitioner<K>,
    ) -> DStream<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        let reduce = moving.reduce.clone();
        let reduced = self.reduce_by_key_with_partitions(move |a, b| reduce(a, b), partitioner.clone());
        self.below(ops::reduce_by_key_and_window(reduced.node(), span(window, slide), partitioner, moving))
    }
}

impl<T: Data> DStream<T> {
    /// Time from one dataset of the stream to the next: the batch interval, or the slide of a window above.
    pub fn slide_duration(&self) -> Duration {
        Duration::from_millis(self.node().cadence().slide_ms())
    }
}
