//! A disk that is full: `/dev/full` refuses every write, as a full disk does.
#![cfg(target_os = "linux")]

use crate::fake::directory;
use crate::scripted::{Opening, Order, Script, Told};
use std::os::unix::fs::symlink;
use tidegate_core::ErrorKind;

#[test]
fn a_job_whose_journal_can_not_be_begun_does_not_start() {
    let dir = directory();
    let files = dir.path().join("journal");
    std::fs::create_dir(&files).unwrap();
    symlink("/dev/full", files.join("000000000001.new")).unwrap();
    let error = Script::start(&Opening { checkpoint: Some(dir.path()), ..Opening::default() }).err().unwrap();
    let expected = format!(
        "{}: can't be written, nothing after the last durable record counts; free some space and start again: No space left on \
         device (os error 28)",
        files.join("000000000001.log").display()
    );
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Reconfigure, expected));
}

#[test]
fn a_job_whose_journal_can_not_grow_stops_and_goes_on_when_there_is_room() {
    let dir = directory();
    let next = dir.path().join("journal/000000000002.new");
    // A few batches fill a segment.
    let suffix = "x".repeat(1 << 20);
    let opening = Opening { checkpoint: Some(dir.path()), suffix, ..Opening::default() };
    let script = Script::start(&opening).unwrap();
    symlink("/dev/full", &next).unwrap();
    assert_eq!(script.order(), Order::Epoch(1, 1));
    script.advance(10);
    let mut last = 0;
    while let Order::Run(batch, _) = script.order() {
        script.through(1, batch);
        last = batch;
    }
    let error = script.end().unwrap_err();
    let expected = format!("{}: can't be written", next.with_extension("log").display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(
        error.to_string().ends_with("free some space and start again: No space left on device (os error 28)")
    );
    drop(script);

    std::fs::remove_file(&next).unwrap();
    let script = Script::start(&Opening { second: 900, ..opening }).unwrap();
    // What was committed when the disk was found full counts as committed, and is not run again.
    assert_eq!(script.order(), Order::Epoch(1, last + 1));
    script.advance(1);
    assert_eq!(script.order(), Order::Run(last + 1, 901));
    script.through(1, last + 1);
    assert_eq!(script.told(), Told::Completed(last + 1, false));
}
