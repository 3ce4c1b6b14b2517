//! Hadoop's SequenceFiles: batches of a stream saved as such, one directory each, and read back.
//!
//! ```
//! use tidegate::testkit::{MemoryInput, TestJob};
//! use tidegate::{Conf, Stop};
//! use tidegate_hadoop::{SaveAsHadoopFiles, SaveAsObjectFiles, read_hadoop_files, read_object_files};
//!
//! # fn main() -> tidegate::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let prefix = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
//! # let (counts, words) = (prefix("counts"), prefix("words"));
//! let input = MemoryInput::new(1);
//! let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
//!     let lines = ssc.input_stream("lines", input.clone())?;
//!     lines.save_as_object_files(&words, "")?;
//!     lines.map(|word: String| (word, 1i64)).reduce_by_key(|a, b| a + b).save_as_hadoop_files(&counts, "seq")
//! })?;
//! input.push(0, ["ebb".to_owned(), "flow".to_owned(), "ebb".to_owned()]);
//! let time = job.next_batch()?.time().0;
//! job.ssc.stop(Stop::Gracefully)?;
//!
//! let mut read = read_hadoop_files::<String, i64>(format!("{counts}-{time}.seq"))?.collect::<tidegate::Result<Vec<_>>>()?;
//! read.sort();
//! assert_eq!(read, [("ebb".to_owned(), 2), ("flow".to_owned(), 1)]);
//!
//! let read = read_object_files::<String>(format!("{words}-{time}"))?.collect::<tidegate::Result<Vec<_>>>()?;
//! assert_eq!(read, ["ebb", "flow", "ebb"]);
//! # Ok(()) }
//! ```
//!
//! - [`SaveAsHadoopFiles`] saves pairs of [`Writable`] types, for any program of Hadoop's world to read.
//! - [`SaveAsObjectFiles`] saves records of any type that is `serde`, for Tidegate to read ([`ObjectFormat`]).
//! - [`SequenceReader`] and [`SequenceWriter`] are the files themselves.
//!
//! May know Hadoop's bytes; must never talk to a store itself. Every byte is in the repository's `docs/formats.md`.

mod directory;
mod object;
mod save;
mod sequence;
#[cfg(feature = "streams")]
mod streams;
pub mod wire;
mod writable;

pub use directory::{read_hadoop_files, read_hadoop_files_on, read_object_files, read_object_files_on};
pub use object::{ObjectFormat, ObjectReader};
pub use save::{SaveAsHadoopFiles, SaveAsObjectFiles};
pub use sequence::{
    Codec, Compression, Header, SequenceFormat, SequenceReader, SequenceRecords, SequenceWriter,
};
pub use writable::Writable;

use tidegate::{Batch, PartitionId};

/// The sync marker of a part. The same when the batch is run again, so that its files are the same; another one in each file,
/// so that it is not to be found in the records of a job that reads such files.
fn sync_marker(batch: &Batch, partition: PartitionId) -> [u8; 16] {
    let mut marker = [0; 16];
    for (half, bytes) in marker.chunks_mut(8).enumerate() {
        // The finaliser of splitmix64, as in `Batch::seed`.
        let number = (u64::from(partition.0) << 1 | half as u64).wrapping_add(1);
        let mut z = batch.seed() ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
    marker
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tidegate::testkit::batch_at;

    #[test]
    fn a_part_has_the_same_marker_each_time_and_no_other_part_has_it() {
        let marker = |time, partition| sync_marker(&batch_at(time), PartitionId(partition));
        assert_eq!(marker(1000, 3), marker(1000, 3));
        let all: BTreeSet<_> =
            (0..100).flat_map(|time| (0..100).map(move |partition| marker(time * 1000, partition))).collect();
        assert_eq!(all.len(), 10_000);
    }
}
