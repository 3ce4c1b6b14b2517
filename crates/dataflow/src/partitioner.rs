//! How keys are hashed, and which partition of a shuffle a key goes to. The same on every worker, in every process and run.

use crate::blame::{Blame, raise};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use tidegate_core::{Error, PartitionId};

#[derive(Clone, Copy, Default)]
struct Hasher;

impl BuildHasher for Hasher {
    type Hasher = rapidhash::fast::RapidHasher<'static>;

    fn build_hasher(&self) -> Self::Hasher {
        rapidhash::fast::RapidHasher::default()
    }
}

/// The hash of a key, and of whatever it borrows as.
#[inline]
pub(crate) fn hash_of<Q: Hash + ?Sized>(key: &Q) -> u64 {
    Hasher.hash_one(key)
}

/// Which partition of a shuffle each key goes to. Copies are the same partitioner.
///
/// Where a number of partitions is enough, give the number: it becomes [`Partitioner::hash`].
///
/// ```
/// # use tidegate_dataflow::Partitioner;
/// let by_hash: Partitioner<String> = 8.into();
/// assert_eq!(by_hash.num_partitions(), 8);
/// let by_length = Partitioner::by("length of the word, up to 3", 4, |word: &String| word.len().min(3) as u32);
/// assert_eq!(by_length.partition(&"ebb".to_owned()), 3);
/// ```
pub struct Partitioner<K> {
    partitions: u32,
    how: How<K>,
}

enum How<K> {
    Hash(fn(&K) -> u64),
    By(Arc<By<K>>),
}

struct By<K> {
    name: String,
    partition: Box<dyn Fn(&K) -> u32 + Send + Sync>,
}

impl<K> Partitioner<K> {
    /// By the key's hash into `partitions` partitions: Spark's `HashPartitioner`, though keys fall elsewhere than there.
    pub fn hash(partitions: u32) -> Partitioner<K>
    where
        K: Hash,
    {
        Partitioner { partitions, how: How::Hash(hash_of::<K>) }
    }

    /// By a function of the key, which gives a number below `partitions` and always the same for equal keys. `name` stands
    /// for the function wherever two partitioners are compared: give another name when the function changes, because state
    /// that was written under a name is found again under it.
    ///
    /// A number that is too large stops the job with an error that names the operator.
    pub fn by(
        name: impl Into<String>,
        partitions: u32,
        partition: impl Fn(&K) -> u32 + Send + Sync + 'static,
    ) -> Partitioner<K> {
        let by = By { name: name.into(), partition: Box::new(partition) };
        Partitioner { partitions, how: How::By(Arc::new(by)) }
    }

    /// Number of partitions.
    pub fn num_partitions(&self) -> u32 {
        self.partitions
    }

    /// The partition of `key`: 0 where there is no partition at all.
    pub fn partition(&self, key: &K) -> u32 {
        match &self.how {
            How::Hash(hash) => of_hash(hash(key), self.partitions),
            How::By(by) => (by.partition)(key),
        }
    }

    /// How keys find their partition, for comparing what two programs do: `hash-rapidhash-4/…`, or `by NAME`. The number of
    /// partitions is no part of it; what the hash function gives for a known key is, so that another one is noticed.
    pub fn placement(&self) -> String {
        match &self.how {
            How::Hash(_) => format!("hash-rapidhash-4/{:016x}", hash_of(&("tidegate", 7u64, 'g'))),
            How::By(by) => format!("by {}", by.name),
        }
    }
}

/// The high bits: tables use the low ones of the same hash.
#[inline]
fn of_hash(hash: u64, partitions: u32) -> u32 {
    ((hash >> 32) % u64::from(partitions.max(1))) as u32
}

impl<K> Clone for Partitioner<K> {
    fn clone(&self) -> Self {
        let how = match &self.how {
            How::Hash(hash) => How::Hash(*hash),
            How::By(by) => How::By(by.clone()),
        };
        Partitioner { partitions: self.partitions, how }
    }
}

impl<K: Hash> From<u32> for Partitioner<K> {
    fn from(partitions: u32) -> Self {
        Partitioner::hash(partitions)
    }
}

impl<K> fmt::Debug for Partitioner<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} into {} partitions", self.placement(), self.partitions)
    }
}

/// The partitioner of one operator on one worker.
pub(crate) struct Placing<K> {
    partitioner: Partitioner<K>,
    blame: Blame,
}

impl<K: Hash + fmt::Debug> Placing<K> {
    pub(crate) fn new(partitioner: Partitioner<K>, blame: Blame) -> Placing<K> {
        Placing { partitioner, blame }
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.partitioner.partitions
    }

    pub(crate) fn of(&self, key: &K) -> PartitionId {
        match &self.partitioner.how {
            How::Hash(_) => PartitionId(of_hash(hash_of(key), self.partitioner.partitions)),
            How::By(by) => self.checked(by, key),
        }
    }

    fn checked(&self, by: &By<K>, key: &K) -> PartitionId {
        let (partitions, operator) = (self.partitioner.partitions, self.blame.operator());
        self.blame.call(key, |key| {
            let partition = (by.partition)(key);
            if partition >= partitions {
                raise(Error::user_code(format!(
                    "the partitioner \"{}\" of {operator} gave partition {partition} of {partitions} for the key with hash \
                     {:016x}; it must give a number below {partitions}",
                    by.name,
                    hash_of(key)
                )));
            }
            PartitionId(partition)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stays_in_its_partition_for_as_long_as_the_hash_function_is_the_same() {
        // Where these numbers change, state written before is spread over other partitions: it is moved when it is read.
        assert_eq!(Partitioner::<u64>::hash(4).placement(), "hash-rapidhash-4/517bc77a9a69ecde");
        assert_eq!(Partitioner::<u64>::hash(9).placement(), Partitioner::<String>::hash(4).placement());
        assert_eq!(Partitioner::by("length", 4, |word: &String| word.len() as u32).placement(), "by length");
    }

    #[test]
    fn keys_are_spread_over_all_partitions() {
        let partitioner = Partitioner::<u64>::from(7);
        let mut found = [0; 7];
        (0..7_000u64).for_each(|key| found[partitioner.partition(&key) as usize] += 1);
        assert!(found.iter().all(|count| (800..1200).contains(count)), "{found:?}");
    }
}
