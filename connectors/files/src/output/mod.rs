//! Files of rows that a job writes, each batch once: to a local disk, HDFS, S3 and its kind, or Alluxio.
//!
//! [`FilesOutput`] is what a user builds. `memory` opens it (who has it, what it holds), `packer` packs rows where they are, `writer`
//! writes batches of them, `rows` makes bytes of rows, `record` and `layout` are what lies where. How a store is talked to must not be here.

mod layout;
mod memory;
mod packer;
mod record;
mod rows;
mod save;
mod writer;

pub use rows::FileCompression;
pub use save::SaveAsFiles;

use memory::{Expected, Opened};
use packer::FilesPacker;
#[cfg(feature = "parquet")]
use rows::ParquetFiles;
use rows::{CsvFiles, JsonFiles, RowFormat, TextFiles};
use serde::Serialize;
#[cfg(feature = "parquet")]
use serde::de::DeserializeOwned;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_core::{
    Delivery, Error, Held, Output, OutputContext, Packing, Placement, Result, Seat, StableHash, Storage,
    Writer, Writers,
};
use writer::{FilesWriter, Settings};

/// Bytes that a file has at most, about, unless set.
const TARGET_BYTES: u64 = 128 * 1024 * 1024;
/// More would make more small objects than rows.
const PARTITIONS_MAX: u32 = 10_000;

/// Rows into files of a folder, each batch once: files are staged unseen, a record of the batch makes them count, and then they get
/// their names.
///
/// The folder is the output's own: the root of a [`Storage`], which `tidegate_object_store::storage` opens by URL. Without more, each
/// batch with rows makes a file; [`roll_every`](FilesOutput::roll_every) puts many batches into one.
///
/// ```
/// # use tidegate::testkit::{MemoryInput, TestJob};
/// # use tidegate::{Conf, Stop};
/// use serde::{Deserialize, Serialize};
/// use tidegate_files::FilesOutput;
///
/// #[derive(Clone, Debug, Serialize, Deserialize)]
/// struct Reading { day: String, level: f64 }
///
/// # fn main() -> tidegate::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let url = folder.path().to_str().unwrap();
/// # let input = MemoryInput::new(1);
/// # let mut job = TestJob::start(Conf::new().set_master("local[1]"), None, |ssc| {
/// # let readings = ssc.input_stream("readings", input.clone())?.map(|reading: Reading| reading);
/// let storage = tidegate_object_store::storage(url)?;
/// let files = FilesOutput::json(storage).partition_by(|reading: &Reading| [("day", reading.day.clone())]);
/// readings.output("readings", files)
/// # })?;
/// # input.push(0, [Reading { day: "2026-11-26".into(), level: 1.5 }]);
/// # job.next_batch()?;
/// # job.ssc.stop(Stop::Gracefully)?;
/// # let file = folder.path().join("day=2026-11-26/part-00000-0000000001-0000000001-0.jsonl");
/// # assert_eq!(std::fs::read_to_string(file).unwrap(), "{\"day\":\"2026-11-26\",\"level\":1.5}\n");
/// # Ok(()) }
/// ```
pub struct FilesOutput<T> {
    storage: Arc<dyn Storage>,
    settings: Settings<T>,
    partitions: u32,
    opened: Mutex<Option<Opened>>,
}

#[cfg(feature = "parquet")]
impl<T: Serialize + DeserializeOwned + 'static> FilesOutput<T> {
    /// Files of Parquet, with a column for each field of the rows, packed by Snappy unless told otherwise. Columns follow from the type:
    /// a type that has no place in Parquet is refused when the job starts.
    pub fn parquet(storage: Arc<dyn Storage>) -> FilesOutput<T> {
        FilesOutput::of(storage, ParquetFiles::default(), FileCompression::Snappy)
    }
}

impl<T: Serialize + 'static> FilesOutput<T> {
    /// Files with a JSON value a line.
    pub fn json(storage: Arc<dyn Storage>) -> FilesOutput<T> {
        FilesOutput::of(storage, JsonFiles, FileCompression::None)
    }

    /// Files of CSV: fields with commas between, below a line with their names where the rows are structs. A row that holds a map or
    /// another struct is refused.
    pub fn csv(storage: Arc<dyn Storage>) -> FilesOutput<T> {
        FilesOutput::of(storage, CsvFiles, FileCompression::None)
    }
}

impl<T: Display + 'static> FilesOutput<T> {
    /// Files with a line of text for each row. A text with a line break in it is refused.
    pub fn text(storage: Arc<dyn Storage>) -> FilesOutput<T> {
        FilesOutput::text_by(storage, T::to_string)
    }
}

impl<T: 'static> FilesOutput<T> {
    /// As [`text`](FilesOutput::text), of rows that `text` makes text of.
    pub fn text_by(
        storage: Arc<dyn Storage>,
        text: impl Fn(&T) -> String + Send + Sync + 'static,
    ) -> FilesOutput<T> {
        FilesOutput::of(storage, TextFiles::by(text), FileCompression::None)
    }

    fn of(
        storage: Arc<dyn Storage>,
        format: impl RowFormat<T> + 'static,
        packed: FileCompression,
    ) -> FilesOutput<T> {
        let settings = Settings {
            format: Arc::new(format),
            folder_of: None,
            packed,
            target_bytes: TARGET_BYTES,
            roll_every: None,
        };
        FilesOutput { storage, settings, partitions: 1, opened: Mutex::new(None) }
    }

    /// How the files are packed.
    #[must_use]
    pub fn compression(mut self, compression: FileCompression) -> Self {
        self.settings.packed = compression;
        self
    }

    /// Bytes after which a file is complete, about: 128 MiB unless set. Where the store does not take a file piece by piece, a writer has up to
    /// twice as much of a batch in memory, and, to put a file together that several batches are in, three times as much.
    #[must_use]
    pub fn target_bytes(mut self, bytes: u64) -> Self {
        self.settings.target_bytes = bytes.max(1);
        self
    }

    /// Has batches share a file: it is complete when an interval of this length ends, by the times of batches, or at
    /// [`target_bytes`](FilesOutput::target_bytes). Until then its batches are durable, and not to be seen. Counted from 1970, so an hour is
    /// that of the clock.
    #[must_use]
    pub fn roll_every(mut self, interval: Duration) -> Self {
        let length = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        self.settings.roll_every = Some(length);
        self
    }

    /// Puts rows into folders by the values of columns, as Hive does: `day=2026-11-26/hour=07`. The function must give the same each
    /// time. The rows in the files stay as they are. Characters that can't stand in a name are escaped (`07:30` is `07%3A30`), and an empty
    /// value is `__HIVE_DEFAULT_PARTITION__`.
    #[must_use]
    pub fn partition_by<I, K, V>(mut self, columns: impl Fn(&T) -> I + Send + Sync + 'static) -> Self
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<str>,
        V: Display,
    {
        self.settings.folder_of = Some(Arc::new(move |row| layout::folder(columns(row))));
        self
    }

    /// The number of partitions of the output, each of which is written by one worker: 1 unless set. A row goes to one by its folder if it
    /// has one, else by its bytes. It must stay the same; the output remembers it.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for FilesOutput<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilesOutput")
            .field("storage", &self.storage)
            .field("rows", &self.settings.format.name())
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Output<T> for FilesOutput<T> {
    fn describe(&self) -> String {
        format!("files of {} in {}", self.settings.format.name(), self.storage.describe())
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn writers(&self) -> Writers {
        if self.partitions == 1 { Writers::One } else { Writers::EachWorker }
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        let place = || format!("output {}, {}", context.output, self.storage.describe());
        self.settings.format.kind().map_err(|e| e.context(place()))?;
        self.settings.format.ending(self.settings.packed).map_err(|e| e.context(place()))?;
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            let text = format!("{} partitions: there must be 1 to {PARTITIONS_MAX}", self.partitions);
            return Err(Error::reconfigure(text).context(place()));
        }
        let expected = Expected { rows: self.settings.format.name(), partitions: self.partitions };
        match Opened::open(&self.storage, context, &expected)? {
            Ok((opened, held)) => {
                *self.opened() = Some(opened);
                Ok(held)
            }
            Err(theirs) => Ok(Held { job: Some(theirs), ..Held::default() }),
        }
    }

    fn placement(&self) -> Placement<T> {
        if self.partitions == 1 {
            return Placement::Hash { partitions: 1, hash: Arc::new(|_| 0) };
        }
        let Settings { format, folder_of, .. } = self.settings.clone();
        // A row without a folder is refused when it is written, wherever that is.
        let by_folder = |folder: Result<String>| folder.map_or(0, |folder| StableHash::of(folder.as_bytes()));
        Placement::Hash {
            partitions: self.partitions,
            hash: Arc::new(move |row| match &folder_of {
                Some(folder_of) => by_folder(folder_of(row)),
                None => format.hash(row),
            }),
        }
    }

    fn packing(&self) -> Option<Packing<T>> {
        let settings = self.settings.clone();
        Some(Arc::new(move || Ok(Box::new(FilesPacker::new(settings.clone())))))
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<T>>> {
        let opened = self.opened().clone().ok_or_else(|| {
            Error::bug(format!("output {}: a writer was asked for before it was opened", seat.output))
        })?;
        Ok(Box::new(FilesWriter::new(opened, self.settings.clone())?))
    }
}
