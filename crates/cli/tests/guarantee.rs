//! `tidegate guarantee`, run as its user runs it, on a real job.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the command on a version of the example that `cargo test` builds beside the program, with the directory it is given.
fn guarantee(before: &[&str], version: &str) -> (Output, tempfile::TempDir) {
    let job = Path::new(env!("CARGO_BIN_EXE_tidegate")).with_file_name("examples").join("upgrade_job");
    assert!(job.exists(), "{} is not built; `cargo test -p tidegate-cli` builds it", job.display());
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("checkpoint");
    let job = [job.to_str().unwrap(), "--checkpoint", place.to_str().unwrap(), "--version", version];
    let arguments = [&["guarantee"], before, &["--"], &job].concat();
    (tidegate(&arguments), directory)
}

fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn each_path_is_told_with_the_reasons_of_its_links_and_the_job_is_not_run() {
    let (output, directory) = guarantee(&[], "first");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = stdout(&output);
    let lines: Vec<_> = text.lines().collect();
    let paths: Vec<_> = lines.iter().filter(|line| !line.starts_with(' ')).collect();
    assert!(
        paths.iter().all(|line| line.starts_with("constant-1 -> ") && line.ends_with(": at least once")),
        "{text}"
    );
    for told in [
        "\n  input constant-1 (2 constant records): exactly once: the records are part of the program",
        "\n  plans of batches: exactly once: they are in the journal",
        "\n  state totals: exactly once: each record is in it once",
        "\n  state count: exactly once: each record is in it once",
        ": at least once: it does not remember batches",
    ] {
        assert!(text.contains(told), "{told:?} in\n{text}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is run");
}

#[test]
fn an_input_that_loses_and_an_output_that_repeats_promise_neither() {
    let (output, _directory) = guarantee(&[], "other-input");
    let text = stdout(&output);
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("queue-1 -> ") && first.ends_with("it may be lost, or seen twice"), "{text}");
    assert!(text.contains("\n  input queue-1 (a queue in memory): at most once: "), "{text}");
}

#[test]
fn a_program_can_read_it_as_json() {
    let (output, _directory) = guarantee(&["--json"], "other-input");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["app"], "sales");
    let path = &report["paths"][0];
    assert_eq!((&path["input"], &path["promise"]), (&"queue-1".into(), &"neither".into()));
    let promises: Vec<_> =
        path["links"].as_array().unwrap().iter().map(|link| link["promise"].as_str().unwrap()).collect();
    assert_eq!((promises[0], promises[1]), ("at-most-once", "exactly-once"));
    assert_eq!(promises.last(), Some(&"at-least-once"));
}

#[test]
fn a_command_that_is_no_job_is_told() {
    let output = tidegate(&["guarantee", "--", "true"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("`true` did not say what its job is"), "{told}");
    assert_eq!(tidegate(&["guarantee"]).status.code(), Some(2));
}
