//! A job with outputs of all kinds in one store.

use crate::stores::Store;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tidegate::testkit::outputs::{Phase, Phased};
use tidegate::testkit::{BATCH, MemoryInput, TestJob};
use tidegate::{BatchDirectories, BatchFiles, Conf, Result, Stop, StreamingContext};
use tidegate_core::{Batch, Storage};
use tidegate_files::FilesOutput;
use tidegate_hadoop::{SaveAsObjectFiles, SequenceFormat};
use tidegate_storage::MemoryStorage;

/// The numbers of a batch, with the partition of the input that they come by: one, so that their order is the same in each run.
pub(crate) fn rows(batch: u64) -> (usize, Vec<u64>) {
    ((batch % 2) as usize, (0..30).map(|place| batch * 100 + place).collect())
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    number: u64,
    word: String,
}

/// Told of each phase of the outputs `files` and `pairs`.
pub(crate) type Tell = Arc<dyn Fn(&str, Phase) + Send + Sync>;

/// Where a job writes.
pub(crate) struct Outputs {
    files: Arc<dyn Storage>,
    saved: Arc<dyn Storage>,
    checkpoint: Arc<dyn Storage>,
    tell: Tell,
}

impl Outputs {
    /// By the store, or a wire to it at `address`.
    pub(crate) fn told(store: &dyn Store, address: &str, folder: &str, tell: Tell) -> Outputs {
        let open = |name: &str| store.open(address, &format!("{folder}/{name}"));
        Outputs { files: open("files"), saved: open("saved"), checkpoint: open("checkpoint"), tell }
    }

    /// With the checkpoint in memory, and nobody who is told.
    pub(crate) fn untold(store: &dyn Store, address: &str, folder: &str) -> Outputs {
        let open = |name: &str| store.open(address, &format!("{folder}/{name}"));
        let (files, saved, checkpoint) = (open("files"), open("saved"), Arc::new(MemoryStorage::new()));
        Outputs { files, saved, checkpoint, tell: Arc::new(|_, _| ()) }
    }

    fn build(&self, ssc: &StreamingContext, input: &MemoryInput<u64>) -> Result<()> {
        let numbers = ssc.input_stream("numbers", input.clone())?;
        let tell = |output: &'static str| {
            let tell = self.tell.clone();
            move |phase, _: &Batch| tell(output, phase)
        };
        let files =
            FilesOutput::parquet(self.files.clone()).partition_by(|row: &Row| [("third", row.number % 3)]);
        let rows = numbers.map(|number: u64| Row { number, word: format!("word {number}") });
        rows.output("files", Phased::new(files, tell("files")))?;
        let pairs = BatchFiles::new(
            BatchDirectories::on(self.saved.clone(), "pairs", "seq")?,
            SequenceFormat::default(),
        );
        let words = numbers.map(|number: u64| (format!("word {number}"), number as i64));
        words.output("pairs", Phased::new(pairs, tell("pairs")))?;
        numbers.save_as_text_files_on(self.saved.clone(), "text", "txt")?;
        numbers.save_as_object_files_on(self.saved.clone(), "objects", "")?;
        Ok(())
    }
}

pub(crate) struct Job(TestJob);

impl Job {
    pub(crate) fn start(outputs: &Outputs, input: &MemoryInput<u64>) -> Job {
        let conf = Conf::new().set_master("local[2]").set("tidegate.retry.pause_max_ms", "1000");
        let build = |ssc: &StreamingContext| outputs.build(ssc, input);
        Job(TestJob::start_on(conf, Some(outputs.checkpoint.clone()), build).unwrap())
    }

    pub(crate) fn begin_batch(&self) {
        self.0.clock.advance(BATCH);
    }

    /// What went wrong; nothing once the batch is in all outputs.
    pub(crate) fn until_it_retries_or_completes(&mut self) -> Option<String> {
        self.0.retried().unwrap()
    }

    pub(crate) fn end(self) {
        self.0.ssc.stop(Stop::Gracefully).unwrap();
    }

    /// Ends it as soon as it can be, whatever becomes of the batch at hand.
    pub(crate) fn kill(self) {
        // It may say what it was just failing with.
        let _ = self.0.ssc.stop(Stop::Now);
    }
}
