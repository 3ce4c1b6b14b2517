//! The demo, run as its user runs it: the real program, real kills, and its own judgement.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The figures of the report by their names: `difference` -> `0`.
fn figures(output: &Output) -> BTreeMap<String, String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let report = text.split_once("\n\n").expect("an empty line comes before the report").1;
    let figure = |line: &str| {
        let (name, rest) = line.trim().split_once("  ")?;
        let value = rest.trim().split("   ").next()?;
        Some((name.to_owned(), value.replace(',', "")))
    };
    report.lines().filter_map(figure).collect()
}

#[test]
fn every_word_is_counted_once_though_the_job_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let output = tidegate(&["demo", "--seconds", "4", "--rate", "3000", "--kills", "2"])
        .env("TMPDIR", directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let figures = figures(&output);
    let number = |name: &str| -> u64 { figures[name].parse().unwrap() };
    assert_eq!(number("difference"), 0);
    assert_eq!(number("kills survived"), 2);
    assert_eq!(number("words found"), number("words expected"));
    assert!(number("lines") > 0 && number("batches") > 0, "{figures:?}");
    assert_eq!(figures["recovery ms"].split_whitespace().count(), 2);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the demo cleans up");
}

#[test]
fn what_can_not_be_asked_for_is_wrong_usage() {
    let table: [(&[&str], &str); 6] = [
        (&["demo", "--seconds", "0"], "--seconds"),
        (&["demo", "--rate", "0"], "--rate"),
        (&["demo", "--rate", "many"], "--rate"),
        (&["demo", "--master", "yarn"], "must be local"),
        (&["demo", "--seconds", "2", "--kills", "3"], "--seconds must be 3 or more"),
        (&["dmeo"], "demo"),
    ];
    for (arguments, told) in table {
        let output = tidegate(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(told), "{arguments:?}: {error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(tidegate(&["demo", "--help"]).output().unwrap().status.code(), Some(0));
}

/// A demo that runs and has shown its first status.
fn running(directory: &tempfile::TempDir) -> (Child, BufReader<impl Read>) {
    let mut demo = tidegate(&["demo", "--seconds", "600", "--rate", "500", "--kills", "0"])
        .env("TMPDIR", directory.path())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("  delay ") || line.contains("starting") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the demo ended early");
    }
    (demo, lines)
}

fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn ctrl_c_ends_the_demo_and_cleans_up() {
    let directory = tempfile::tempdir().unwrap();
    let (mut demo, _lines) = running(&directory);
    send("INT", demo.id());
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the demo cleans up");
}

#[test]
#[cfg(target_os = "linux")]
fn the_job_does_not_outlive_a_demo_that_is_killed() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let directory = tempfile::tempdir().unwrap();
    let (mut demo, _lines) = running(&directory);
    let demo_id = demo.id();
    let parent = |id: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let job =
        processes.into_iter().find(|id| parent(*id) == Some(demo_id)).expect("the demo has a job process");
    let job = Pid::from_raw(job.try_into().unwrap()).unwrap();
    let job = pidfd_open(job, PidfdFlags::empty()).unwrap();
    send("KILL", demo_id);
    demo.wait().unwrap();
    let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&job, PollFlags::IN)], Some(&patience)).unwrap();
    assert_eq!(ended, 1, "the job goes on without its demo");
}
