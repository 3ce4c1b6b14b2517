//! SequenceFiles as the parts of a batch.

use super::{Compression, Header, SequenceWriter};
use crate::sync_marker;
use crate::writable::Writable;
use std::collections::BTreeMap;
use tidegate::{Batch, Part, PartFormat, PartitionId};
use tidegate_core::Result;

/// Pairs of [`Writable`] types in SequenceFiles, not compressed unless told. For
/// [`save_as_files`](tidegate::DStream::save_as_files); [`save_as_hadoop_files`](crate::SaveAsHadoopFiles::save_as_hadoop_files) is short
/// for it without compression.
///
/// ```no_run
/// use tidegate::{BatchDirectories, DStream};
/// use tidegate_hadoop::{Codec, Compression, SequenceFormat};
///
/// # fn job(counts: DStream<(String, i64)>) -> tidegate::Result<()> {
/// let format = SequenceFormat::compressed(Compression::Block(Codec::Default));
/// counts.save_as_files(BatchDirectories::local("counts/words", "seq")?, format)?;
/// # Ok(()) }
/// ```
///
/// With the feature `streams` it is a format of `tidegate_files` too: `FileOptions::of(SequenceFormat::default())` reads such files,
/// compressed or not, as they come into a folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequenceFormat {
    compression: Compression,
}

impl SequenceFormat {
    /// Files that are compressed so.
    pub fn compressed(compression: Compression) -> SequenceFormat {
        SequenceFormat { compression }
    }
}

impl<K: Writable + 'static, V: Writable + 'static> PartFormat<(K, V)> for SequenceFormat {
    fn describe(&self) -> String {
        "Hadoop sequence".to_owned()
    }

    fn part(&self, batch: &Batch, partition: PartitionId) -> Result<Box<dyn Part<(K, V)>>> {
        let header = Header {
            key_class: K::CLASS.to_owned(),
            value_class: V::CLASS.to_owned(),
            compression: self.compression,
            metadata: BTreeMap::new(),
        };
        Ok(Box::new(SequencePart(SequenceWriter::new(&header, sync_marker(batch, partition)))))
    }
}

struct SequencePart(SequenceWriter);

impl<K: Writable, V: Writable> Part<(K, V)> for SequencePart {
    fn write(&mut self, (key, value): (K, V)) -> Result<()> {
        self.0.append(&key, &value)
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn take(&mut self) -> Result<Vec<u8>> {
        Ok(self.0.take())
    }

    fn finish(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(self.0.finish())
    }
}
