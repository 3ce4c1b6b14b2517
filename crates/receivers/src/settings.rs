//! How receivers are run.

use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Error, Result, Storage};

/// How receivers are run.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    /// Where the write-ahead log is.
    pub log: LogPlace,
    /// After this time a block of buffered records ends, if it is not full before.
    pub block_interval: Duration,
    /// Bytes of records in a block at most, as they are stored. No single call stores more.
    pub block_bytes_max: usize,
    /// Bytes of records that are in no committed batch at most; beyond it, storing waits.
    pub held_bytes_max: usize,
    /// Ranges that a batch takes of one stream at most: its partitions.
    pub partitions_max: usize,
    /// Records a second that a stream takes at most; `None`: no limit of its own.
    pub max_rate: Option<f64>,
    /// From a failure of a receiver to its next start.
    pub restart_delay: Duration,
    /// A segment of the log that has grown by this much is followed by a new one.
    pub segment_bytes: usize,
}

/// Where the write-ahead log is.
#[derive(Clone, Debug, Default)]
pub enum LogPlace {
    /// There is none: what is stored is in memory only.
    #[default]
    Nowhere,
    /// With the job's journal and checkpoints.
    WithCheckpoint,
    /// On a storage of its own.
    On(Arc<dyn Storage>),
}

impl ReceiverSettings {
    /// Whether there is a write-ahead log.
    pub fn is_logged(&self) -> bool {
        !matches!(self.log, LogPlace::Nowhere)
    }

    /// The storage of the log of a job whose checkpoint is on `checkpoint`; `None`: there is no log.
    pub(crate) fn log_storage(
        &self,
        checkpoint: Option<&Arc<dyn Storage>>,
    ) -> Result<Option<Arc<dyn Storage>>> {
        match (&self.log, checkpoint) {
            (LogPlace::Nowhere, _) => Ok(None),
            (LogPlace::On(storage), _) => Ok(Some(storage.clone())),
            (LogPlace::WithCheckpoint, Some(storage)) => Ok(Some(storage.clone())),
            (LogPlace::WithCheckpoint, None) => Err(Error::reconfigure(
                "tidegate.receiver.write_ahead_log.enable is true, and there is no place for the log; set a checkpoint directory \
                 with checkpoint(\"DIR\"), or a storage with write_ahead_log_on()",
            )),
        }
    }

    /// Largest value of `block_bytes_max`: what fits into a frame of the log.
    pub const BLOCK_BYTES_LIMIT: usize = tidegate_storage::PAYLOAD_BYTES_MAX / 2;
}

impl Default for ReceiverSettings {
    /// No log, blocks of 200 ms and 4 MiB, 64 MiB held, 4 partitions, no limit, a new start after 2 s, segments of 8 MiB.
    fn default() -> Self {
        ReceiverSettings {
            log: LogPlace::Nowhere,
            block_interval: Duration::from_millis(200),
            block_bytes_max: 4 * 1024 * 1024,
            held_bytes_max: 64 * 1024 * 1024,
            partitions_max: 4,
            max_rate: None,
            restart_delay: Duration::from_secs(2),
            segment_bytes: 8 * 1024 * 1024,
        }
    }
}
