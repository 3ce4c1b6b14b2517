//! How far the job is, from what its processes tell. Pure: times are given, since the start of the demo.

use super::PARTITIONS;
use super::job::Batch;
use std::collections::VecDeque;
use std::time::Duration;

/// Batches of this last stretch make the rate.
const RATE_OVER: Duration = Duration::from_secs(2);

/// What the job process is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Started for the first time; no batch yet.
    Starting,
    /// Commits batches.
    Running,
    /// Killed then; the process started after it has no batch yet.
    Recovering { killed_at: Duration },
}

/// How far the job is.
pub(super) struct Progress {
    pub(super) job: Job,
    /// The number of the newest batch: they are counted from 1, over all processes.
    pub(super) batches: u64,
    pub(super) delay_ms: u64,
    /// Where the newest batch ends in each partition.
    pub(super) ends: [u64; PARTITIONS],
    /// From each SIGKILL to the first batch that the next process committed.
    pub(super) recoveries: Vec<Duration>,
    /// When something was last heard of the job.
    pub(super) heard_at: Duration,
    recent: VecDeque<(Duration, u64)>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            job: Job::Starting,
            batches: 0,
            delay_ms: 0,
            ends: [0; PARTITIONS],
            recoveries: Vec::new(),
            heard_at: Duration::ZERO,
            recent: VecDeque::from([(Duration::ZERO, 0)]),
        }
    }

    /// The running process committed `batch`. Gives the length of the recovery that ends with it.
    pub(super) fn committed(&mut self, batch: &Batch, at: Duration) -> Option<Duration> {
        self.told(batch, at);
        self.heard_at = at;
        match std::mem::replace(&mut self.job, Job::Running) {
            Job::Recovering { killed_at } => {
                let recovery = at.saturating_sub(killed_at);
                self.recoveries.push(recovery);
                Some(recovery)
            }
            Job::Starting | Job::Running => None,
        }
    }

    /// The process was killed at `killed_at`. `left` is what it had told before, looked at only now.
    pub(super) fn killed(&mut self, killed_at: Duration, left: &[Batch]) {
        left.iter().for_each(|batch| self.told(batch, killed_at));
        self.heard_at = killed_at;
        self.job = Job::Recovering { killed_at };
    }

    fn told(&mut self, batch: &Batch, at: Duration) {
        self.batches = self.batches.max(batch.batch);
        self.delay_ms = batch.delay_ms;
        for (partition, end) in &batch.ends {
            if let Some(known) = usize::try_from(*partition).ok().and_then(|place| self.ends.get_mut(place)) {
                *known = (*known).max(*end);
            }
        }
        self.recent.push_back((at, self.ends.iter().sum()));
    }

    /// Records committed per second, lately.
    pub(super) fn records_per_second(&mut self, now: Duration) -> u64 {
        while self.recent.get(1).is_some_and(|(at, _)| *at + RATE_OVER <= now) {
            self.recent.pop_front();
        }
        let (Some((since, before)), Some((_, newest))) = (self.recent.front(), self.recent.back()) else {
            return 0;
        };
        let seconds = now.saturating_sub(*since).as_secs_f64();
        if seconds > 0.0 { ((newest - before) as f64 / seconds) as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn batch(number: u64, end: u64) -> Batch {
        Batch { batch: number, delay_ms: 12, ends: (0..PARTITIONS as i32).map(|it| (it, end)).collect() }
    }

    #[test]
    fn a_recovery_ends_with_the_first_batch_of_the_next_process() {
        let mut progress = Progress::new();
        assert_eq!(progress.committed(&batch(1, 10), ms(100)), None);
        progress.killed(ms(150), &[batch(2, 20)]);
        assert_eq!((progress.batches, progress.ends), (2, [20; PARTITIONS]), "what was told last counts");
        assert_eq!(progress.job, Job::Recovering { killed_at: ms(150) });
        assert_eq!(progress.committed(&batch(3, 30), ms(450)), Some(ms(300)));
        assert_eq!(progress.committed(&batch(4, 40), ms(550)), None);
        assert_eq!(progress.recoveries, [ms(300)]);
    }

    #[test]
    fn the_rate_is_that_of_the_last_two_seconds() {
        let mut progress = Progress::new();
        for n in 1..=100 {
            progress.committed(&batch(n, n * 100), ms(n * 100));
        }
        assert_eq!(progress.records_per_second(ms(10_000)), 4000);
        assert_eq!(progress.records_per_second(ms(11_000)), 2000, "one of two seconds without a batch");
        assert_eq!(progress.records_per_second(ms(60_000)), 0);
    }
}
