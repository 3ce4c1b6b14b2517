//! A batch: a named, replayable, deterministic unit of work, and the plan that decides it.

use crate::{BatchId, BatchTime, StreamId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What one batch takes of one partition of a source: positions `from` (in) to `until` (out).
///
/// Reading a range twice gives the same records. `partition` is the source's own name for it (`lines-3`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceRange {
    /// The source's name for the partition.
    pub partition: String,
    /// First position that is read.
    pub from: u64,
    /// First position that is not read.
    pub until: u64,
    /// The source has begun anew (a topic was deleted and made again): `from` may lie before what was read already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub begins_anew: bool,
    /// What the source needs beside the positions to read the same again, or to see that it can't: the modification time and
    /// identity of a file, the id of a topic, the length of the batch that numbers at a rate are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

impl SourceRange {
    /// A range of `partition`.
    pub fn new(partition: impl Into<String>, from: u64, until: u64) -> Self {
        SourceRange { partition: partition.into(), from, until, begins_anew: false, mark: None }
    }

    /// Number of positions in the range. A source with gaps (a compacted topic) may hold fewer records.
    pub fn len(&self) -> u64 {
        self.until.saturating_sub(self.from)
    }

    /// Whether the range takes nothing.
    pub fn is_empty(&self) -> bool {
        self.until <= self.from
    }
}

impl fmt::Display for SourceRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {})", self.partition, self.from, self.until)
    }
}

/// What one batch takes of one input stream. The place of a range in `ranges` is its partition of the dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePlan {
    /// The input stream.
    pub stream: StreamId,
    /// One range for each partition known when the batch was planned, empty ones too: the positions are complete.
    pub ranges: Vec<SourceRange>,
}

impl SourcePlan {
    /// Positions taken, over all partitions.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(SourceRange::len).sum()
    }

    /// Whether nothing is taken.
    pub fn is_empty(&self) -> bool {
        self.ranges.iter().all(SourceRange::is_empty)
    }
}

/// The exact work of one batch. Once it is durable it never changes, and everything after is a function of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPlan {
    /// Number of the batch.
    pub id: BatchId,
    /// Time of the batch.
    pub time: BatchTime,
    /// The time before the job's first batch, from which slides are counted (Spark's zero time); the same in all its plans.
    #[serde(default)]
    pub zero: BatchTime,
    /// What it takes of each input stream, in the order of the graph.
    pub sources: Vec<SourcePlan>,
}

impl BatchPlan {
    /// Whether no input gives anything. The batch is run all the same: `count` of it is 0.
    pub fn is_empty(&self) -> bool {
        self.sources.iter().all(SourcePlan::is_empty)
    }

    /// What the batch takes of `stream`, if the stream was part of the job when it was planned.
    pub fn source(&self, stream: &StreamId) -> Option<&SourcePlan> {
        self.sources.iter().find(|source| source.stream == *stream)
    }

    /// Checks what must hold of a plan on both sides of the disk: no range backwards, and each range going on
    /// where `before` ended.
    ///
    /// # Errors
    /// The first flaw found, in words that name the batch and the partition.
    pub fn follows(&self, before: Option<&BatchPlan>) -> Result<(), PlanFlaw> {
        let flaw = |text: String| Err(PlanFlaw(format!("plan of batch {}: {text}", self.id)));
        for source in &self.sources {
            for range in &source.ranges {
                if range.until < range.from {
                    return flaw(format!("{} ends before it begins: {range}", source.stream));
                }
            }
        }
        let Some(before) = before else { return Ok(()) };
        if self.id != before.id.next() {
            return flaw(format!("follows batch {}", before.id));
        }
        for source in &self.sources {
            let Some(earlier) = before.source(&source.stream) else { continue };
            for was in &earlier.ranges {
                let Some(is) = source.ranges.iter().find(|range| range.partition == was.partition) else {
                    continue;
                };
                // A later start is a gap the source has declared (data lost to retention); an earlier one
                // would read records twice.
                if is.from < was.until && !is.begins_anew {
                    return flaw(format!("{is} begins before the end of the batch before, {was}"));
                }
            }
        }
        Ok(())
    }
}

/// Why a plan can't be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanFlaw(pub String);

impl fmt::Display for PlanFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A batch as user functions see it.
///
/// Everything here is the same when the batch is run again; so must be what a function makes of it.
#[derive(Clone, Debug)]
pub struct Batch {
    plan: std::sync::Arc<BatchPlan>,
}

impl Batch {
    /// The batch decided by `plan`.
    pub fn new(plan: std::sync::Arc<BatchPlan>) -> Self {
        Batch { plan }
    }

    /// Number of the batch.
    pub fn id(&self) -> BatchId {
        self.plan.id
    }

    /// Time of the batch.
    pub fn time(&self) -> BatchTime {
        self.plan.time
    }

    /// The ranges the batch takes of `stream`.
    pub fn ranges(&self, stream: &StreamId) -> &[SourceRange] {
        self.plan.source(stream).map_or(&[], |source| &source.ranges)
    }

    /// The whole plan.
    pub fn plan(&self) -> &std::sync::Arc<BatchPlan> {
        &self.plan
    }

    /// A number that is the same each time this batch is run, to seed what user functions do at random.
    pub fn seed(&self) -> u64 {
        // The finaliser of splitmix64: neighbouring ids must not give neighbouring seeds.
        let mut z = self.plan.id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.plan.time.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(id: u64, ranges: &[(&str, u64, u64)]) -> BatchPlan {
        let ranges = ranges.iter().map(|(p, from, until)| SourceRange::new(*p, *from, *until)).collect();
        BatchPlan {
            id: BatchId(id),
            time: BatchTime(id * 100),
            zero: BatchTime(0),
            sources: vec![SourcePlan { stream: "lines".into(), ranges }],
        }
    }

    #[test]
    fn a_plan_goes_on_where_the_one_before_ended() {
        let before = plan(1, &[("a", 0, 10), ("b", 0, 0)]);
        assert_eq!(plan(2, &[("a", 10, 12), ("b", 0, 5), ("new", 0, 3)]).follows(Some(&before)), Ok(()));
        let overlap = plan(2, &[("a", 9, 12)]).follows(Some(&before)).unwrap_err();
        assert_eq!(
            overlap.0,
            "plan of batch 2: a [9, 12) begins before the end of the batch before, a [0, 10)"
        );
        let gap = plan(3, &[("a", 10, 12)]).follows(Some(&before)).unwrap_err();
        assert_eq!(gap.0, "plan of batch 3: follows batch 1");
    }

    #[test]
    fn a_partition_that_was_made_again_may_begin_before_what_was_read() {
        let mut again = plan(2, &[("a", 0, 3)]);
        assert!(again.follows(Some(&plan(1, &[("a", 0, 10)]))).is_err());
        again.sources[0].ranges[0].begins_anew = true;
        assert_eq!(again.follows(Some(&plan(1, &[("a", 0, 10)]))), Ok(()));
    }

    #[test]
    fn a_range_never_runs_backwards() {
        let flaw = plan(1, &[("a", 7, 3)]).follows(None).unwrap_err();
        assert_eq!(flaw.0, "plan of batch 1: lines ends before it begins: a [7, 3)");
    }

    #[test]
    fn a_batch_has_the_same_seed_each_time() {
        let seed = |id| Batch::new(std::sync::Arc::new(plan(id, &[]))).seed();
        assert_eq!(seed(4), seed(4));
        assert_ne!(seed(4), seed(5));
    }
}
