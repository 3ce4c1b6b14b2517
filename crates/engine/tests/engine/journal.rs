//! The journal on the disk: what it keeps, what it refuses, and its bytes.

use crate::fake::{checkpoint_with, directory, first_segment};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tidegate_core::{
    BatchId, BatchPlan, BatchTime, ErrorKind, OutputId, Result, SourcePlan, SourceRange, Storage, StreamId,
};
use tidegate_engine::{Journal, Journaled};
use tidegate_storage::{LocalStorage, Log, LogLimits};

/// Written by the first version. A later version must read it as long as it reads format 1.
const FORMAT_1: &[u8] = include_bytes!("../fixtures/journal-format-1.log");

/// Written by the first version that keeps plans for state: a segment that begins with two of them.
const FORMAT_2: &[u8] = include_bytes!("../fixtures/journal-format-2.log");

fn plan(id: u64) -> BatchPlan {
    let ranges = vec![
        SourceRange::new("lines-0", (id - 1) * 10, id * 10),
        SourceRange::new("lines-1", u64::MAX - 1, u64::MAX - 1),
    ];
    let words = SourcePlan { stream: "lines".into(), ranges };
    let none = SourcePlan { stream: "späte Zeilen".into(), ranges: vec![] };
    BatchPlan {
        id: BatchId(id),
        time: BatchTime(1_700_000_000_000 + id * 1000),
        zero: BatchTime(0),
        sources: vec![words, none],
    }
}

fn local(directory: &Path) -> Arc<dyn Storage> {
    Arc::new(LocalStorage::open(directory).unwrap())
}

fn open(directory: &Path) -> Result<Journal> {
    Journal::open(&local(directory), "word count", &"5a9e".into(), "process 42 (word count)")
}

/// Two batches committed, a third and a fourth planned.
fn written(directory: &Path) {
    let mut journal = open(directory).unwrap();
    let streams: [StreamId; 2] = ["lines".into(), "späte Zeilen".into()];
    let outputs: [OutputId; 2] = ["counts".into(), "print-4".into()];
    journal.started(&"5a9e".into(), &streams, &outputs).unwrap();
    for id in [1, 2] {
        journal.planned(&plan(id)).unwrap();
        journal.sync().unwrap();
        journal.committed(BatchId(id)).unwrap();
    }
    journal.planned(&plan(3)).unwrap();
    journal.planned(&plan(4)).unwrap();
    journal.sync().unwrap();
}

fn assert_written(journaled: &Journaled) {
    assert_eq!(journaled.job, "5a9e".into());
    assert_eq!(journaled.last, Some(plan(4)));
    assert_eq!(journaled.pending, [plan(3), plan(4)]);
    let newest = Some(BatchId(2));
    assert_eq!(journaled.outputs, [("counts".into(), newest), ("print-4".into(), newest)].into());
}

fn refusal(result: Result<Journal>, kind: ErrorKind) -> String {
    let error = result.err().unwrap();
    assert_eq!(error.kind(), kind, "{error}");
    error.to_string()
}

#[test]
fn what_was_recorded_is_known_to_the_next_process() {
    let dir = directory();
    written(dir.path());
    assert_written(&open(dir.path()).unwrap().journaled());
}

#[test]
fn a_journal_of_format_1_is_read_and_gone_on_with() {
    let dir = checkpoint_with(FORMAT_1);
    let mut journal = open(dir.path()).unwrap();
    assert_written(&journal.journaled());
    journal.planned(&plan(5)).unwrap();
    journal.sync().unwrap();
    drop(journal);
    assert_eq!(open(dir.path()).unwrap().journaled().last, Some(plan(5)));
}

/// Three more batches than in [`written`]; the second is the oldest that is kept when the segment is begun, the last is
/// committed in it.
fn kept(directory: &Path) {
    written(directory);
    let mut journal = open(directory).unwrap();
    journal.keep_after(Some(BatchId(1))).unwrap();
    journal.committed(BatchId(3)).unwrap();
    journal.state_begins(BatchId(1)).unwrap();
    journal.planned(&plan(5)).unwrap();
    journal.committed(BatchId(4)).unwrap();
    journal.sync().unwrap();
}

fn assert_kept(journaled: &Journaled) {
    assert_eq!(journaled.kept, [plan(2), plan(3), plan(4)]);
    assert_eq!((&journaled.pending[..], &journaled.last), (&[plan(5)][..], &Some(plan(5))));
    assert_eq!((journaled.committed, journaled.state_from), (Some(BatchId(4)), Some(BatchId(1))));
}

#[test]
fn plans_that_state_needs_outlive_the_segment_they_were_written_in() {
    let dir = directory();
    kept(dir.path());
    let mut journal = open(dir.path()).unwrap();
    assert_kept(&journal.journaled());
    journal.keep_after(Some(BatchId(3))).unwrap();
    assert_eq!(journal.journaled().kept, [plan(4)]);
    journal.keep_after(None).unwrap();
    journal.committed(BatchId(5)).unwrap();
    assert_eq!(journal.journaled().kept, [], "a job without state keeps nothing");
}

#[test]
fn a_journal_of_format_2_is_read_and_its_bytes_are_those_of_the_fixture() {
    let dir = checkpoint_with(FORMAT_2);
    assert_kept(&open(dir.path()).unwrap().journaled());
    let dir = directory();
    kept(dir.path());
    let bytes = fs::read(dir.path().join("journal/000000000002.log")).unwrap();
    assert!(
        bytes == FORMAT_2,
        "the bytes of the journal have changed: that is a new format, with a fixture of its own, and docs/formats.md says so:\n{}",
        String::from_utf8_lossy(&bytes)
    );
}

#[test]
fn the_checkpoint_of_another_application_is_refused() {
    let dir = directory();
    written(dir.path());
    let other = Journal::open(&local(dir.path()), "page views", &"new".into(), "process 43");
    assert_eq!(
        refusal(other, ErrorKind::Reconfigure),
        format!(
            "{} is the checkpoint of the job \"word count\", not of \"page views\"; give this job a directory of its own, or its \
             old name back",
            dir.path().display()
        )
    );
}

#[test]
fn a_job_that_lost_an_input_stream_is_refused() {
    let dir = directory();
    written(dir.path());
    let error = open(dir.path()).unwrap().started(&"5a9e".into(), &["lines".into()], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: the job had an input stream \"späte Zeilen\" and has none of that name now; give the stream its name back, or \
             start with a new checkpoint directory",
            dir.path().display()
        )
    );
}

#[test]
fn a_job_may_have_new_inputs_and_other_outputs() {
    let dir = directory();
    written(dir.path());
    let mut journal = open(dir.path()).unwrap();
    let streams = ["new".into(), "lines".into(), "späte Zeilen".into()];
    journal.started(&"5a9e".into(), &streams, &["counts".into(), "totals".into()]).unwrap();
    let outputs = journal.journaled().outputs;
    assert_eq!(outputs, [("counts".into(), Some(BatchId(2))), ("totals".into(), None)].into());
}

#[test]
fn a_journal_of_a_later_format_is_refused() {
    let dir = directory();
    let head = r#"{"head":{"format":3,"job":"5a9e","app":"word count","last":null,"pending":[],"committed":null,"streams":[],"outputs":{}}}"#;
    Log::create(&dir.path().join("journal"), LogLimits::default(), head.as_bytes()).unwrap();
    assert_eq!(
        refusal(open(dir.path()), ErrorKind::Reconfigure),
        format!(
            "{}: written in format 3, this version reads formats 1 to 2; use the version that wrote it",
            first_segment(dir.path()).display()
        )
    );
}

#[test]
fn a_journal_with_a_damaged_middle_is_refused_with_file_and_offset() {
    let mut bytes = FORMAT_1.to_vec();
    let middle = bytes.windows(9).position(|bytes| bytes == b"\"planned\"").unwrap();
    bytes[middle] ^= 1;
    let dir = checkpoint_with(&bytes);
    let frame = bytes[..middle].windows(4).rposition(|bytes| bytes == b"TGf1").unwrap();
    assert_eq!(
        refusal(open(dir.path()), ErrorKind::DataLost),
        format!(
            "{}: corrupt at byte {frame}, with whole records after it; this was no crash but damage to the file. Restore the \
             file from a copy, or move the directory away and start from what the outputs hold",
            first_segment(dir.path()).display()
        )
    );
}

#[test]
fn a_record_that_can_not_follow_is_refused_with_its_number() {
    let dir = directory();
    let files = dir.path().join("journal");
    written(dir.path());
    let (mut log, _) = Log::open(&files, LogLimits::default()).unwrap().unwrap();
    log.append(br#"{"planned":{"id":9,"time":1,"sources":[]}}"#).unwrap();
    drop(log);
    assert_eq!(
        refusal(open(dir.path()), ErrorKind::DataLost),
        format!(
            "{}: record 8: plan of batch 9: follows batch 4; restore the file from a copy",
            first_segment(dir.path()).display()
        )
    );
}

#[test]
fn a_directory_that_is_in_use_is_refused_with_who_holds_it() {
    let dir = directory();
    let _held = open(dir.path()).unwrap();
    assert_eq!(
        refusal(open(dir.path()), ErrorKind::Reconfigure),
        format!(
            "{} is in use by process 42 (word count); stop that job first, or give this one a directory of its own",
            dir.path().display()
        )
    );
}

#[test]
fn a_plan_that_does_not_follow_is_never_recorded() {
    let dir = directory();
    written(dir.path());
    let mut journal = open(dir.path()).unwrap();
    let mut overlaps = plan(5);
    overlaps.sources[0].ranges[0].from -= 1;
    let error = journal.planned(&overlaps).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug);
    assert_eq!(
        error.to_string(),
        "plan of batch 5: lines-0 [39, 50) begins before the end of the batch before, lines-0 [30, 40)"
    );
    assert_written(&journal.journaled());
}

fn any_ranges() -> impl Strategy<Value = Vec<SourceRange>> {
    let range = ("\\PC{0,8}", any::<u64>(), any::<u64>());
    let range = range.prop_map(|(name, a, b)| SourceRange::new(name, a.min(b), a.max(b)));
    prop::collection::vec(range, 0..4)
}

proptest! {
    #[test]
    fn any_plan_reads_back_as_it_was_written(
        id: u64,
        time: u64,
        sources in prop::collection::vec(("\\PC{0,8}", any_ranges()), 0..4),
    ) {
        let source = |(name, ranges): (String, _)| SourcePlan { stream: StreamId(name), ranges };
        let sources = sources.into_iter().map(source).collect();
        let plan = BatchPlan { id: BatchId(id), time: BatchTime(time), zero: BatchTime(0), sources };
        let dir = directory();
        let mut journal = open(dir.path()).unwrap();
        journal.planned(&plan).unwrap();
        drop(journal);
        let journaled = open(dir.path()).unwrap().journaled();
        prop_assert_eq!(journaled.last.as_ref(), Some(&plan));
        prop_assert_eq!(journaled.pending, [plan]);
    }
}
