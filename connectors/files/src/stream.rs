//! Spark's file streams as methods of a context.

use crate::options::FileOptions;
use crate::source::FileSource;
use tidegate::{Data, InputDStream, StreamingContext};
use tidegate_core::Result;

/// Streams of the files that come into a folder: of a local disk (`/path`, `file:///path`), HDFS (`hdfs://host:port/path`), S3 and
/// its kind (`s3://bucket/prefix`) or Alluxio (`alluxio://host:port/path`).
///
/// Each file is taken once, and is one partition of its batch. Local folders need nothing; the others a feature of this crate
/// (`hdfs`, `s3`, `alluxio`, or `remote` for all), and settings as `tidegate_object_store` describes them.
///
/// ```
/// # use tidegate::{Conf, StreamingContext, Stop};
/// # use std::{fs, time::Duration};
/// use tidegate_files::FileStreams;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let incoming = folder.path().join("incoming");
/// # fs::create_dir(&incoming)?;
/// let ssc = StreamingContext::new(Conf::new().set_master("local[2]"), Duration::from_millis(20))?;
/// let lines = ssc.text_file_stream(incoming.to_str().unwrap())?;
/// # let (tell, told) = std::sync::mpsc::channel();
/// lines.foreach_rdd(move |rdd| {
///     rdd.collect(move |_, lines: Vec<String>| lines.into_iter().for_each(|line| { tell.send(line).ok(); }))
/// })?;
/// ssc.start()?;
/// fs::write(incoming.join("a.txt.tmp"), "the tide\ncomes\n")?;
/// fs::rename(incoming.join("a.txt.tmp"), incoming.join("a.txt"))?;
/// assert_eq!([told.recv()?, told.recv()?], ["the tide", "comes"]);
/// ssc.stop(Stop::Gracefully)?;
/// # Ok(()) }
/// ```
pub trait FileStreams {
    /// The lines of text of the files that come into a folder.
    ///
    /// Unlike Spark's, it takes the files that are there at the first start too (`file_stream` with
    /// [`new_files_only`](FileOptions::new_files_only) leaves them out), and a file whenever it appears, whatever its time.
    ///
    /// # Errors
    /// `Reconfigure`: the URL names no folder, its store is not built in, or the context has a stream of the name
    /// already (then [`FileOptions::name`] gives another). Whether the folder is there is seen when the context starts.
    fn text_file_stream(&self, url: &str) -> Result<InputDStream<String>>;

    /// The records of `length` bytes of the files that come into a folder.
    ///
    /// # Errors
    /// As [`text_file_stream`](FileStreams::text_file_stream), and for a length of 0.
    fn binary_records_stream(&self, url: &str, length: usize) -> Result<InputDStream<Vec<u8>>>;

    /// The records of the files that come into a folder, as `options` say.
    ///
    /// ```no_run
    /// # use tidegate::{Conf, StreamingContext};
    /// use serde::Deserialize;
    /// use tidegate_files::{FileOptions, FileStreams};
    ///
    /// #[derive(Clone, Debug, Deserialize)]
    /// struct Reading { station: String, level: f64 }
    ///
    /// # fn main() -> tidegate::Result<()> {
    /// # let ssc = StreamingContext::new(Conf::new(), std::time::Duration::from_secs(1))?;
    /// let readings =
    ///     ssc.file_stream("hdfs://name-node:8020/readings", FileOptions::<Reading>::json_lines().glob("*.json.gz")?)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`text_file_stream`](FileStreams::text_file_stream).
    fn file_stream<T: Data>(&self, url: &str, options: FileOptions<T>) -> Result<InputDStream<T>>;
}

impl FileStreams for StreamingContext {
    fn text_file_stream(&self, url: &str) -> Result<InputDStream<String>> {
        self.file_stream(url, FileOptions::text())
    }

    fn binary_records_stream(&self, url: &str, length: usize) -> Result<InputDStream<Vec<u8>>> {
        self.file_stream(url, FileOptions::binary_records(length)?)
    }

    fn file_stream<T: Data>(&self, url: &str, options: FileOptions<T>) -> Result<InputDStream<T>> {
        let source = FileSource::new(url, options)?;
        let name = source.name().to_owned();
        self.input_stream(&name, source).map_err(|error| {
            error.context(format!(
                "file stream {name} (a second one needs a name of its own: FileOptions::name)"
            ))
        })
    }
}
