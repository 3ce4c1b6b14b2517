//! `save_as_hadoop_files` and `save_as_object_files` on a stream.

use crate::object::ObjectFormat;
use crate::sequence::SequenceFormat;
use crate::writable::Writable;
use std::sync::Arc;
use tidegate::{BatchDirectories, DStream, ExchangeData, Rdd};
use tidegate_core::{OutputId, Result, Storage};

/// Output operations that save each batch of pairs as Hadoop's SequenceFiles, in a directory of its own.
///
/// [`DStream::save_as_text_files`] says what directories and files are called, and what becomes of a batch that is run again.
/// `counts/words` and `seq` give `counts/words-TIME_IN_MS.seq/part-00000`. For files that are compressed there is [`SequenceFormat`].
///
/// ```no_run
/// # use std::sync::Arc;
/// # use tidegate::{DStream, core::Storage};
/// use tidegate_hadoop::SaveAsHadoopFiles;
///
/// # fn job(counts: DStream<(String, i64)>, storage: Arc<dyn Storage>) -> tidegate::Result<()> {
/// // Files of Text and LongWritable.
/// counts.save_as_hadoop_files("counts/words", "seq")?;
/// // storage: tidegate_object_store::storage("hdfs://name-node:8020/counts")?
/// counts.save_as_hadoop_files_on(storage, "words", "seq")?;
/// # Ok(()) }
/// ```
pub trait SaveAsHadoopFiles {
    /// Output: saves each batch on this machine.
    ///
    /// # Errors
    /// As [`DStream::save_as_text_files`].
    fn save_as_hadoop_files(&self, prefix: &str, suffix: &str) -> Result<OutputId>;

    /// Output: saves each batch in `storage`: HDFS, S3 and Alluxio by `tidegate_object_store::storage(url)`.
    ///
    /// # Errors
    /// As [`DStream::save_as_text_files`].
    fn save_as_hadoop_files_on(
        &self,
        storage: Arc<dyn Storage>,
        prefix: &str,
        suffix: &str,
    ) -> Result<OutputId>;
}

/// Output operations that save each batch of records of any type as object files, in a directory of its own, for
/// [`read_object_files`](crate::read_object_files). What is in the files is said at [`ObjectFormat`].
///
/// ```no_run
/// # use tidegate::DStream;
/// use tidegate_hadoop::SaveAsObjectFiles;
///
/// # fn job(readings: DStream<(String, Option<f64>)>) -> tidegate::Result<()> {
/// readings.save_as_object_files("readings/objects", "")?;
/// # Ok(()) }
/// ```
pub trait SaveAsObjectFiles {
    /// Output: saves each batch on this machine.
    ///
    /// # Errors
    /// As [`DStream::save_as_text_files`].
    fn save_as_object_files(&self, prefix: &str, suffix: &str) -> Result<OutputId>;

    /// Output: saves each batch in `storage`: HDFS, S3 and Alluxio by `tidegate_object_store::storage(url)`.
    ///
    /// # Errors
    /// As [`DStream::save_as_text_files`].
    fn save_as_object_files_on(
        &self,
        storage: Arc<dyn Storage>,
        prefix: &str,
        suffix: &str,
    ) -> Result<OutputId>;
}

macro_rules! saves {
    ($($stream:ident),*) => {$(
        impl<K: ExchangeData + Writable, V: ExchangeData + Writable> SaveAsHadoopFiles for $stream<(K, V)> {
            fn save_as_hadoop_files(&self, prefix: &str, suffix: &str) -> Result<OutputId> {
                self.save_as_files(BatchDirectories::local(prefix, suffix)?, SequenceFormat::default())
            }

            fn save_as_hadoop_files_on(
                &self,
                storage: Arc<dyn Storage>,
                prefix: &str,
                suffix: &str,
            ) -> Result<OutputId> {
                self.save_as_files(BatchDirectories::on(storage, prefix, suffix)?, SequenceFormat::default())
            }
        }

        impl<T: ExchangeData> SaveAsObjectFiles for $stream<T> {
            fn save_as_object_files(&self, prefix: &str, suffix: &str) -> Result<OutputId> {
                self.save_as_files(BatchDirectories::local(prefix, suffix)?, ObjectFormat::default())
            }

            fn save_as_object_files_on(
                &self,
                storage: Arc<dyn Storage>,
                prefix: &str,
                suffix: &str,
            ) -> Result<OutputId> {
                self.save_as_files(BatchDirectories::on(storage, prefix, suffix)?, ObjectFormat::default())
            }
        }
    )*};
}

saves!(DStream, Rdd);
