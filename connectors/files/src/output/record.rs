//! What an output remembers of itself, as objects: what `docs/formats.md` says of claims, bases and commit records.

use crate::sealed::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tidegate_core::{BatchPlan, JobId, OutputId};

/// An opening is under way, or was: whose.
#[derive(Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) job: JobId,
    pub(super) output: OutputId,
}

impl Record for Claim {
    const NAME: &str = "claim";
}

/// What an output held when it was opened, and what it is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Base {
    pub(super) job: JobId,
    pub(super) output: OutputId,
    /// `parquet`, `json`, `csv`, `text`.
    pub(super) rows: String,
    /// How many there are, for the life of the output.
    pub(super) partitions: u32,
    /// The plan of the newest batch of all.
    pub(super) plan: Option<BatchPlan>,
    /// What each partition holds that holds anything.
    pub(super) held: BTreeMap<u32, Part>,
}

impl Record for Base {
    const NAME: &str = "base";
}

/// A batch is in a partition: the point of no return.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) job: JobId,
    pub(super) output: OutputId,
    pub(super) partition: u32,
    pub(super) plan: BatchPlan,
    pub(super) part: Part,
}

impl Record for Commit {
    const NAME: &str = "commit";
}

/// What a partition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The newest batch.
    pub(super) batch: u64,
    /// The files that this batch makes visible.
    pub(super) publish: Vec<Publish>,
    /// The files that are not complete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) open: Vec<OpenFile>,
}

/// A file on its way to be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Publish {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// A file of which batches are durable, and which is not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenFile {
    /// Where it will be, below the output's folder.
    pub(super) folder: String,
    /// The first batch with rows in it, and the newest.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Which file it is of those that partition and first batch began.
    pub(super) number: u32,
    /// The interval of `roll_every` that its batches are of.
    pub(super) interval: u64,
    /// What its rows are; others can't come into it.
    pub(super) kind: String,
    /// Of its name.
    pub(super) ending: String,
    pub(super) rows: u64,
    pub(super) segments: Vec<Segment>,
}

impl OpenFile {
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// Rows of an open file, of one batch or of several in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) path: String,
    pub(super) bytes: u64,
    /// How often it was put together of others.
    pub(super) level: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::{read, write};
    use tidegate_core::{BatchId, BatchTime};

    fn commit() -> Commit {
        let segment = Segment { path: "_tidegate/staged/x/00000/7-1".to_owned(), bytes: 9, level: 0 };
        let open = OpenFile {
            folder: "day=1".to_owned(),
            first: 6,
            last: 7,
            number: 0,
            interval: 3,
            kind: "jsonl".to_owned(),
            ending: "jsonl".to_owned(),
            rows: 2,
            segments: vec![segment],
        };
        let publish = Publish { from: "a".to_owned(), to: "b".to_owned(), rows: 1, bytes: 5 };
        Commit {
            job: "job".into(),
            output: "out".into(),
            partition: 2,
            plan: BatchPlan { id: BatchId(7), time: BatchTime(700), zero: BatchTime(0), sources: vec![] },
            part: Part { batch: 7, publish: vec![publish], open: vec![open] },
        }
    }

    #[test]
    fn a_commit_record_is_these_bytes() {
        let text = String::from_utf8(write(&commit())).unwrap();
        let expected = concat!(
            r#","commit":{"job":"job","output":"out","partition":2,"plan":{"id":7,"time":700,"zero":0,"sources":[]},"#,
            r#""part":{"batch":7,"publish":[{"from":"a","to":"b","rows":1,"bytes":5}],"open":[{"folder":"day=1","first":6,"#,
            r#""last":7,"number":0,"interval":3,"kind":"jsonl","ending":"jsonl","rows":2,"#,
            r#""segments":[{"path":"_tidegate/staged/x/00000/7-1","bytes":9,"level":0}]}]}}}"#
        );
        let (head, rest) = text.split_at(text.find(",\"commit\"").unwrap());
        assert!(head.starts_with(r#"{"format":1,"crc32c":""#), "{head}");
        assert_eq!(rest, expected);
        assert_eq!(read::<Commit>(text.as_bytes()).unwrap().part, commit().part);
    }
}
