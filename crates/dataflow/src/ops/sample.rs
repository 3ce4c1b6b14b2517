//! A random part of a dataset, the same one each time a batch is run.

use crate::graph::Node;
use crate::partitioner::hash_of;
use crate::push::{Data, Next, Push};
use fastrand::Rng;
use std::collections::BTreeMap;
use tidegate_core::{Batch, Error, PartitionId};

/// Each record with probability `fraction`; `with_replacement`, each any number of times, `fraction` on average.
///
/// What is taken depends on `seed`, the batch, the partition and the position of a record there, on nothing else.
pub fn sample<T: Data>(parent: &Node<T>, with_replacement: bool, fraction: f64, seed: u64) -> Node<T> {
    let node = parent.narrow("sample");
    if let Some(wanted) = flaw(with_replacement, fraction) {
        let flaw = format!("{}: a fraction of {fraction}; it must be {wanted}", node.name());
        node.graph().flaw(Error::reconfigure(flaw));
    }
    let below = node.clone();
    parent.feed(node.used(), move |segment| {
        Box::new(Sample {
            with_replacement,
            fraction,
            seed,
            at: PartitionId(0),
            rngs: BTreeMap::new(),
            next: segment.stages(&below),
        })
    });
    node
}

/// What a fraction must be, if it is not.
fn flaw(with_replacement: bool, fraction: f64) -> Option<&'static str> {
    match with_replacement {
        true if !(fraction.is_finite() && fraction >= 0.0) => Some("0 or more"),
        false if !(0.0..=1.0).contains(&fraction) => Some("from 0 to 1 where no record is taken twice"),
        _ => None,
    }
}

struct Sample<T> {
    with_replacement: bool,
    fraction: f64,
    seed: u64,
    at: PartitionId,
    rngs: BTreeMap<PartitionId, Rng>,
    next: Next<T>,
}

impl<T> Sample<T> {
    /// How often the next record of the partition is taken.
    fn times(&mut self) -> u64 {
        let rng = self.rngs.get_mut(&self.at).expect("a partition is opened before its records");
        if self.with_replacement { poisson(rng, self.fraction) } else { u64::from(rng.f64() < self.fraction) }
    }
}

/// How many events of a Poisson process fall in a time of `mean`: the gaps between them are distributed exponentially.
fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    let mut gap = || -(1.0 - rng.f64()).ln();
    let (mut events, mut time) = (0, gap());
    while time < mean {
        events += 1;
        time += gap();
    }
    events
}

impl<T: Data> Push<T> for Sample<T> {
    fn open(&mut self, batch: &Batch, partition: PartitionId) {
        self.at = partition;
        let seed = || hash_of(&(self.seed, batch.seed(), partition.0));
        self.rngs.entry(partition).or_insert_with(|| Rng::with_seed(seed()));
        self.next.open(batch, partition);
    }

    fn push(&mut self, record: T) {
        let times = self.times();
        for _ in 1..times {
            self.next.push_ref(&record);
        }
        if times > 0 {
            self.next.push(record);
        }
    }

    /// A record that is not taken is never copied.
    fn push_ref(&mut self, record: &T) {
        for _ in 0..self.times() {
            self.next.push_ref(record);
        }
    }

    fn flush(&mut self, batch: &Batch) {
        self.rngs.clear();
        self.next.flush(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poisson_distribution_has_its_mean_and_its_variance() {
        let mut rng = Rng::with_seed(7);
        for mean in [0.0, 0.3, 2.0, 50.0] {
            let times: Vec<f64> = (0..20_000).map(|_| poisson(&mut rng, mean) as f64).collect();
            let found = times.iter().sum::<f64>() / times.len() as f64;
            let variance = times.iter().map(|n| (n - found).powi(2)).sum::<f64>() / times.len() as f64;
            assert!((found - mean).abs() <= mean * 0.03, "a mean of {found} for {mean}");
            assert!((variance - mean).abs() <= mean * 0.06, "a variance of {variance} for {mean}");
        }
    }
}
