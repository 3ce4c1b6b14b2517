//! The driver's side: what a batch takes, from what the lister has found. Never waits for a listing once the job runs.

use crate::ledger::{self, Keeper, Ledger};
use crate::lister::{List, Lister, Shared};
use crate::options::FileOptions;
use crate::pool::{Pool, Rules};
use crate::source::Counts;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Error, InputContext, Planner, Result, SourcePlan, StreamId, UserFile};

/// How long a plan waits for the files of the one before to be durable, before the batch is planned later.
const DURABLE_LIMIT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// As short as possible, and not at once: two listings.
const TWO_LISTINGS: Duration = Duration::from_nanos(1);

/// The options that the planner needs.
pub(crate) struct Planning {
    new_files_only: bool,
    files_per_batch: usize,
    settle: Option<Duration>,
    poll_interval: Option<Duration>,
    forget_after: Duration,
}

impl<T> FileOptions<T> {
    pub(crate) fn planning(&self) -> Planning {
        Planning {
            new_files_only: self.new_files_only,
            files_per_batch: self.files_per_batch,
            settle: self.settle,
            poll_interval: self.poll_interval,
            forget_after: self.forget_after,
        }
    }
}

pub(crate) struct FilePlanner {
    stream: StreamId,
    shared: Arc<Shared>,
    counts: Arc<Counts>,
    files_per_batch: usize,
    rate: Option<f64>,
    ledger: Option<Ledger>,
    keeper: Option<Arc<Keeper>>,
    /// Until the job runs.
    beginning: Option<Beginning>,
}

struct Beginning {
    list: List,
    /// The first listing.
    files: Vec<UserFile>,
    new_files_only: bool,
    interval: Duration,
}

impl FilePlanner {
    /// Lists the folder for the first time.
    pub(crate) fn open(
        context: &InputContext,
        list: List,
        planning: &Planning,
        counts: Arc<Counts>,
    ) -> Result<FilePlanner> {
        let files = list.now()?;
        let usual = if list.files.appears_whole() { Duration::ZERO } else { TWO_LISTINGS };
        let rules = Rules { settle: planning.settle.unwrap_or(usual), forget_after: planning.forget_after };
        let (least, most) = POLL_INTERVAL;
        let interval = planning.poll_interval.unwrap_or(context.batch_interval.clamp(least, most));
        let ledger = Ledger::of(context);
        if ledger.is_none() {
            log::warn!(
                "input {}: without a checkpoint directory it is forgotten at a stop which files of {} were taken, and \
                 a start takes those again that are still there",
                context.stream,
                list.files.describe()
            );
        }
        Ok(FilePlanner {
            stream: context.stream.clone(),
            shared: Arc::new(Shared::new(Pool::new(rules))),
            counts,
            files_per_batch: planning.files_per_batch,
            rate: None,
            ledger,
            keeper: None,
            beginning: Some(Beginning { list, files, new_files_only: planning.new_files_only, interval }),
        })
    }

    /// Brings the pool to where the last run left it. The newest plan counts whether or not the ledger has it: it is written
    /// after the plan.
    fn remember(&mut self, begin: &Beginning, last: Option<&SourcePlan>) -> Result<()> {
        let mut pool = self.shared.pool();
        let ranges = last.map_or(&[][..], |last| &last.ranges);
        let Some(ledger) = self.ledger.take() else {
            if begin.new_files_only {
                leave_out(&mut pool, begin);
            }
            pool.take_ranges(ranges);
            return Ok(());
        };
        let held = ledger.read()?;
        let folder = begin.list.files.describe();
        if let Some(before) = held.folder.as_ref().filter(|before| **before != folder) {
            log::warn!("input {}: read {before} before, and reads {folder} now", self.stream);
        }
        for (path, taken) in &held.taken {
            pool.take(&UserFile {
                path: path.clone(),
                bytes: taken.bytes,
                modified_ms: taken.modified_ms,
                identity: taken.identity.to_string(),
            });
        }
        let missing: Vec<_> = ranges
            .iter()
            .filter(|range| crate::mark::file_of(range).is_some_and(|file| !pool.is_taken(&file)))
            .cloned()
            .collect();
        if let Some(torn) = held.torn.as_ref().filter(|_| missing.is_empty()) {
            return Err(ledger.lost(torn));
        }
        let missing = pool.take_ranges(&missing);
        if held.is_new && last.is_none() && begin.new_files_only {
            leave_out(&mut pool, begin);
            // Durable before anything is planned, or the next start would take it for the first again.
            ledger.write_snapshot(0, 0, folder, ledger::files(pool.taken()))?;
        }
        log::info!("input {}: {} files were taken before", self.stream, pool.taken().len());
        let keeper = Keeper::start(ledger, &held)?;
        keeper.add(missing);
        self.keeper = Some(keeper);
        Ok(())
    }

    /// Bytes that a batch of length `interval` takes at most.
    fn bytes_limit(&self, interval: Duration) -> u64 {
        let records = self.rate.map(|rate| rate * interval.as_secs_f64());
        let bytes = records.zip(self.counts.bytes_per_record()).map(|(records, each)| records * each);
        bytes.map_or(u64::MAX, |bytes| bytes as u64)
    }

    fn stop(&mut self) {
        self.shared.stop();
        if let Some(keeper) = self.keeper.take() {
            keeper.close(DURABLE_LIMIT);
        }
    }
}

/// What is there at the first start counts as taken.
fn leave_out(pool: &mut Pool, begin: &Beginning) {
    begin.files.iter().for_each(|file| pool.take(file));
    log::info!(
        "{}: {} files are there already and are left out, as new_files_only says",
        begin.list.files.describe(),
        begin.files.len()
    );
}

impl Planner for FilePlanner {
    fn resume(&mut self, last: Option<&SourcePlan>) -> Result<()> {
        let mut begin = self.beginning.take().ok_or_else(|| Error::bug("a planner is resumed once"))?;
        self.remember(&begin, last)?;
        let files = std::mem::take(&mut begin.files);
        let lister = Lister {
            list: begin.list,
            shared: self.shared.clone(),
            keeper: self.keeper.clone(),
            interval: begin.interval,
        };
        lister.take_in(files);
        let thread = std::thread::Builder::new().name(format!("list-{}", self.stream));
        thread
            .spawn(move || lister.run())
            .map_err(|e| Error::reconfigure("can't start a thread").because(e))?;
        Ok(())
    }

    fn plan(&mut self, interval: Duration) -> Result<SourcePlan> {
        if let Some(keeper) = &self.keeper {
            keeper.await_durable(DURABLE_LIMIT)?;
        }
        let ranges = self.shared.pool().next(self.files_per_batch, self.bytes_limit(interval));
        Ok(SourcePlan { stream: self.stream.clone(), ranges })
    }

    fn planned(&mut self, plan: &SourcePlan) {
        let files = self.shared.pool().take_ranges(&plan.ranges);
        if let Some(keeper) = &self.keeper {
            keeper.add(files);
        }
    }

    /// In bytes, by how long records were so far; a batch takes one file in any case.
    fn limit_rate(&mut self, records_per_second: f64) {
        self.rate = Some(records_per_second.max(0.0));
    }

    fn close(&mut self) {
        self.stop();
    }
}

impl Drop for FilePlanner {
    fn drop(&mut self) {
        // A process that dies has no time to write either, so nobody is kept waiting.
        self.shared.stop();
        if let Some(keeper) = self.keeper.take() {
            keeper.close(Duration::ZERO);
        }
    }
}
