//! The operators on pairs, for datasets inside `transform` and `foreach_rdd`.

#![expect(clippy::type_complexity, reason = "a name would hide what a record of a join is")]

use crate::{Data, ExchangeData, Partitioner, Rdd};
use std::hash::Hash;

impl<K, V> Rdd<(K, V)> {
    /// As [`DStream::map_values`](crate::DStream::map_values).
    #[must_use]
    pub fn map_values<W: Data>(&self, f: impl Fn(V) -> W + Send + Sync + 'static) -> Rdd<(K, W)>
    where
        K: Data,
        V: Data,
    {
        Rdd::new(self.stream().map_values(f))
    }

    /// As [`DStream::flat_map_values`](crate::DStream::flat_map_values).
    #[must_use]
    pub fn flat_map_values<W: Data, I>(&self, f: impl Fn(V) -> I + Send + Sync + 'static) -> Rdd<(K, W)>
    where
        K: Data,
        V: Data,
        I: IntoIterator<Item = W>,
    {
        Rdd::new(self.stream().flat_map_values(f))
    }

    /// As [`DStream::reduce_by_key`](crate::DStream::reduce_by_key).
    #[must_use]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Rdd<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        Rdd::new(self.stream().reduce_by_key(f))
    }

    /// As [`DStream::reduce_by_key_with_partitions`](crate::DStream::reduce_by_key_with_partitions).
    #[must_use]
    pub fn reduce_by_key_with_partitions(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
    ) -> Rdd<(K, V)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        Rdd::new(self.stream().reduce_by_key_with_partitions(f, partitions))
    }

    /// As [`DStream::group_by_key`](crate::DStream::group_by_key).
    #[must_use]
    pub fn group_by_key(&self) -> Rdd<(K, Vec<V>)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        Rdd::new(self.stream().group_by_key())
    }

    /// As [`DStream::group_by_key_with_partitions`](crate::DStream::group_by_key_with_partitions).
    #[must_use]
    pub fn group_by_key_with_partitions(&self, partitions: impl Into<Partitioner<K>>) -> Rdd<(K, Vec<V>)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
    {
        Rdd::new(self.stream().group_by_key_with_partitions(partitions))
    }

    /// As [`DStream::combine_by_key`](crate::DStream::combine_by_key).
    #[must_use]
    pub fn combine_by_key<C>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
        partitions: impl Into<Partitioner<K>>,
        map_side_combine: bool,
    ) -> Rdd<(K, C)>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        C: ExchangeData,
    {
        let stream = self.stream();
        Rdd::new(stream.combine_by_key(create, merge_value, merge_combiners, partitions, map_side_combine))
    }

    /// As [`DStream::cogroup`](crate::DStream::cogroup).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn cogroup<W>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (Vec<V>, Vec<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().cogroup(other.stream()))
    }

    /// As [`DStream::cogroup_with_partitions`](crate::DStream::cogroup_with_partitions).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn cogroup_with_partitions<W>(
        &self,
        other: &Rdd<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> Rdd<(K, (Vec<V>, Vec<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().cogroup_with_partitions(other.stream(), partitions))
    }

    /// As [`DStream::join`](crate::DStream::join).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn join<W>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (V, W))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().join(other.stream()))
    }

    /// As [`DStream::join_with_partitions`](crate::DStream::join_with_partitions).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn join_with_partitions<W>(
        &self,
        other: &Rdd<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> Rdd<(K, (V, W))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().join_with_partitions(other.stream(), partitions))
    }

    /// As [`DStream::left_outer_join`](crate::DStream::left_outer_join).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn left_outer_join<W>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (V, Option<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().left_outer_join(other.stream()))
    }

    /// As [`DStream::left_outer_join_with_partitions`](crate::DStream::left_outer_join_with_partitions).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn left_outer_join_with_partitions<W>(
        &self,
        other: &Rdd<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> Rdd<(K, (V, Option<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().left_outer_join_with_partitions(other.stream(), partitions))
    }

    /// As [`DStream::right_outer_join`](crate::DStream::right_outer_join).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn right_outer_join<W>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (Option<V>, W))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().right_outer_join(other.stream()))
    }

    /// As [`DStream::right_outer_join_with_partitions`](crate::DStream::right_outer_join_with_partitions).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn right_outer_join_with_partitions<W>(
        &self,
        other: &Rdd<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> Rdd<(K, (Option<V>, W))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().right_outer_join_with_partitions(other.stream(), partitions))
    }

    /// As [`DStream::full_outer_join`](crate::DStream::full_outer_join).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn full_outer_join<W>(&self, other: &Rdd<(K, W)>) -> Rdd<(K, (Option<V>, Option<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().full_outer_join(other.stream()))
    }

    /// As [`DStream::full_outer_join_with_partitions`](crate::DStream::full_outer_join_with_partitions).
    ///
    /// # Panics
    /// When `other` belongs to another context.
    #[must_use]
    pub fn full_outer_join_with_partitions<W>(
        &self,
        other: &Rdd<(K, W)>,
        partitions: impl Into<Partitioner<K>>,
    ) -> Rdd<(K, (Option<V>, Option<W>))>
    where
        K: ExchangeData + Hash + Eq,
        V: ExchangeData,
        W: ExchangeData,
    {
        Rdd::new(self.stream().full_outer_join_with_partitions(other.stream(), partitions))
    }
}
