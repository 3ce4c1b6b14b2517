//! One directory of files for each batch, as Spark's `saveAs...Files` make them: where they lie, what is in them, and the output
//! that publishes them. The formats of other systems are in connectors.

mod directories;
mod output;
mod staging;
mod text;

pub use directories::BatchDirectories;
pub use output::BatchFiles;
pub use text::{TextFormat, TextRow};

use crate::{Batch, DStream, ExchangeData, OutputId, PartitionId, Rdd, Result};
use std::sync::Arc;
use tidegate_core::Storage;

/// What is in the files of a batch: one file, a *part*, for each partition of its dataset.
///
/// A batch may be run again, so the same rows must give the same bytes: no time, no random number, no address.
/// [`Batch::seed`] is there for what must differ from file to file.
///
/// ```
/// use tidegate::{Batch, Part, PartFormat, PartitionId};
///
/// /// Numbers as eight bytes each.
/// struct Numbers;
///
/// impl PartFormat<u64> for Numbers {
///     fn describe(&self) -> String {
///         "numbers".to_owned()
///     }
///
///     fn part(&self, _: &Batch, _: PartitionId) -> tidegate::Result<Box<dyn Part<u64>>> {
///         Ok(Box::new(NumbersPart(Vec::new())))
///     }
/// }
///
/// struct NumbersPart(Vec<u8>);
///
/// impl Part<u64> for NumbersPart {
///     fn write(&mut self, number: u64) -> tidegate::Result<()> {
///         self.0.extend(number.to_be_bytes());
///         Ok(())
///     }
///
///     fn bytes(&self) -> usize {
///         self.0.len()
///     }
///
///     fn take(&mut self) -> tidegate::Result<Vec<u8>> {
///         Ok(std::mem::take(&mut self.0))
///     }
///
///     fn finish(self: Box<Self>) -> tidegate::Result<Vec<u8>> {
///         Ok(self.0)
///     }
/// }
///
/// # use tidegate::{Conf, BatchDirectories, testkit::{MemoryInput, TestJob}};
/// # fn main() -> tidegate::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let prefix = folder.path().join("numbers");
/// # let (prefix, input) = (prefix.to_str().unwrap(), MemoryInput::new(1));
/// # input.push(0, [1u64]);
/// # let mut job = TestJob::start(Conf::new().set_master("local[1]"), None, |ssc| {
/// # let numbers = ssc.input_stream("numbers", input.clone())?;
/// numbers.save_as_files(BatchDirectories::local(prefix, "bin")?, Numbers)
/// # })?;
/// # let batch = job.next_batch()?;
/// # let file = format!("{prefix}-{}.bin/part-00000", batch.time().0);
/// # assert_eq!(std::fs::read(file).unwrap(), [0, 0, 0, 0, 0, 0, 0, 1]);
/// # Ok(()) }
/// ```
pub trait PartFormat<T>: Send + Sync + 'static {
    /// What the files are, for messages: `text`.
    fn describe(&self) -> String;

    /// What the name of a part ends with, such as `.gz`.
    fn ending(&self) -> &str {
        ""
    }

    /// Begins the part of `partition`, which may come to have no row at all.
    ///
    /// # Errors
    /// What keeps the format from being written.
    fn part(&self, batch: &Batch, partition: PartitionId) -> Result<Box<dyn Part<T>>>;
}

/// A part that is being made: in memory, as far as it was not [taken](Part::take).
pub trait Part<T> {
    /// Adds a row. They come in the order of the partition.
    ///
    /// # Errors
    /// `UserCode` or `Reconfigure` for a row that the format can't hold: the job stops, and nothing of the batch is seen.
    fn write(&mut self, row: T) -> Result<()>;

    /// About how many bytes it holds.
    fn bytes(&self) -> usize;

    /// Gives away the beginning of what it holds, as far as no later row changes it: a large part goes to its place piece by piece, and
    /// only what is left is in memory. Without this function it stays in memory as a whole until it is finished.
    ///
    /// # Errors
    /// As [`write`](Part::write).
    fn take(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// The rest of the file: all that was not taken.
    ///
    /// # Errors
    /// As [`write`](Part::write).
    fn finish(self: Box<Self>) -> Result<Vec<u8>>;
}

impl<T: ExchangeData> DStream<T> {
    /// Output: saves each batch as lines of text in a directory of its own on this machine, `PREFIX-TIME_IN_MS.SUFFIX`, or
    /// `PREFIX-TIME_IN_MS` where the suffix is empty.
    ///
    /// In it is a file `part-00000` and so on for each partition of the dataset, also for an empty one, and `_SUCCESS` once
    /// all of them are there. A batch that is run again writes the same files in the place of the old ones: seen is each once.
    /// A pair is `(key,value)`, as Spark writes it; [`TextRow`] says what other types are, and is for types of one's own.
    ///
    /// ```
    /// # use tidegate::{Conf, testkit::{MemoryInput, TestJob}};
    /// # fn main() -> tidegate::Result<()> {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let prefix = folder.path().join("counts/words");
    /// # let prefix = prefix.to_str().unwrap();
    /// # let input = MemoryInput::new(1);
    /// # input.push(0, ["ebb".to_owned(), "flow".to_owned(), "ebb".to_owned()]);
    /// # let mut job = TestJob::start(Conf::new().set_master("local[2]"), None, |ssc| {
    /// # let words = ssc.input_stream("words", input.clone())?;
    /// // prefix: "counts/words"
    /// words.map(|word| (word, 1)).save_as_text_files(prefix, "txt")
    /// # })?;
    /// # let batch = job.next_batch()?;
    /// # let directory = format!("{prefix}-{}.txt", batch.time().0);
    /// # let read = |name: &str| std::fs::read_to_string(format!("{directory}/{name}")).unwrap();
    /// # assert_eq!((read("part-00000").as_str(), read("_SUCCESS").as_str()), ("(ebb,1)\n(flow,1)\n(ebb,1)\n", ""));
    /// # Ok(()) }
    /// ```
    ///
    /// The output's name is `PREFIX.SUFFIX`; two outputs to the same place are refused by it.
    ///
    /// # Errors
    /// `Reconfigure`: a URL or a name that a file can't have as prefix or suffix, an output of this name is there, or the context
    /// was started. Whether the directory can be written is seen when the job starts.
    pub fn save_as_text_files(&self, prefix: &str, suffix: &str) -> Result<OutputId>
    where
        T: TextRow,
    {
        self.save_as_files(BatchDirectories::local(prefix, suffix)?, TextFormat)
    }

    /// As [`save_as_text_files`](DStream::save_as_text_files), in any storage: HDFS, S3 and Alluxio by
    /// `tidegate_object_store::storage(url)`.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use tidegate::{DStream, core::Storage};
    /// # fn job(counts: DStream<(String, i64)>, storage: Arc<dyn Storage>) -> tidegate::Result<()> {
    /// // storage: tidegate_object_store::storage("hdfs://name-node:8020/counts")?
    /// counts.save_as_text_files_on(storage, "words", "txt")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`save_as_text_files`](DStream::save_as_text_files).
    pub fn save_as_text_files_on(
        &self,
        storage: Arc<dyn Storage>,
        prefix: &str,
        suffix: &str,
    ) -> Result<OutputId>
    where
        T: TextRow,
    {
        self.save_as_files(BatchDirectories::on(storage, prefix, suffix)?, TextFormat)
    }

    /// Output: saves each batch in a directory of its own, in a format of one's own or of a connector. All other `save_as_..._files` are
    /// short for this. See [`PartFormat`] for an example.
    ///
    /// # Errors
    /// `Reconfigure` when an output of this name is there, or the context was started.
    pub fn save_as_files(
        &self,
        directories: BatchDirectories,
        format: impl PartFormat<T>,
    ) -> Result<OutputId> {
        self.output(&directories.to_string(), BatchFiles::new(directories, format))
    }
}

impl<T: ExchangeData> Rdd<T> {
    /// As [`DStream::save_as_text_files`]. The directory has the batch's time in its name, as the closure runs once.
    ///
    /// # Errors
    /// As [`DStream::save_as_text_files`].
    pub fn save_as_text_files(&self, prefix: &str, suffix: &str) -> Result<OutputId>
    where
        T: TextRow,
    {
        self.stream().save_as_text_files(prefix, suffix)
    }

    /// As [`DStream::save_as_text_files_on`].
    ///
    /// # Errors
    /// As [`DStream::save_as_text_files`].
    pub fn save_as_text_files_on(
        &self,
        storage: Arc<dyn Storage>,
        prefix: &str,
        suffix: &str,
    ) -> Result<OutputId>
    where
        T: TextRow,
    {
        self.stream().save_as_text_files_on(storage, prefix, suffix)
    }

    /// As [`DStream::save_as_files`].
    ///
    /// # Errors
    /// As [`DStream::save_as_files`].
    pub fn save_as_files(
        &self,
        directories: BatchDirectories,
        format: impl PartFormat<T>,
    ) -> Result<OutputId> {
        self.stream().save_as_files(directories, format)
    }
}
