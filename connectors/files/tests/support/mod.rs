//! Jobs that collect what a file stream gives, and files for them.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidegate::testkit::{MemoryOutput, TestJob};
use tidegate::{Conf, Data, ExchangeData, Result, Stop};
use tidegate_core::Storage;
use tidegate_files::{FileOptions, FileStreams};

/// How long a test waits for something that does not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A job that writes what it reads of a folder to an output in memory.
pub(crate) struct Job<T: ExchangeData + Sync> {
    pub(crate) test: TestJob,
    pub(crate) output: MemoryOutput<T>,
}

impl<T: ExchangeData + Sync> Job<T> {
    pub(crate) fn start(
        url: &str,
        options: FileOptions<T>,
        storage: Option<Arc<dyn Storage>>,
        output: &MemoryOutput<T>,
    ) -> Result<Job<T>> {
        let conf = Conf::new().set_master("local[2]");
        let keeps = storage.is_some();
        let test = TestJob::start_on(conf, storage, |ssc| {
            let stream = ssc.file_stream(url, options)?;
            // What an output remembers is by partition, of which there are as many as files in a batch.
            if keeps { stream.repartition(2) } else { (*stream).clone() }
                .output_in_place("memory", output.clone())
        })?;
        Ok(Job { test, output: output.clone() })
    }

    /// Makes batches until the output has `count` records.
    pub(crate) fn until(&mut self, count: usize) -> Result<()> {
        self.until_it(|output| output.rows().len() >= count)
    }

    pub(crate) fn until_it(&mut self, done: impl Fn(&MemoryOutput<T>) -> bool) -> Result<()> {
        let begun = Instant::now();
        while !done(&self.output) {
            assert!(begun.elapsed() < PATIENCE, "{} records came, and no more", self.output.rows().len());
            // Listings go on in real time.
            std::thread::yield_now();
            self.test.next_batch()?;
        }
        Ok(())
    }

    pub(crate) fn stop(self) {
        self.test.ssc.stop(Stop::Gracefully).expect("the job stops");
    }
}

/// How often each record came.
pub(crate) fn counted<T: Ord + Data + Sync>(output: &MemoryOutput<T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    output.rows().into_iter().for_each(|row| *counts.entry(row).or_insert(0) += 1);
    counts
}

/// Puts a whole file into a folder, as one should.
pub(crate) fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    let aside = folder.with_file_name(format!("aside-{}", name.replace('/', "-")));
    fs::write(&aside, bytes).expect("a file can be written aside");
    fs::rename(&aside, &path).expect("a file can be moved in");
}
