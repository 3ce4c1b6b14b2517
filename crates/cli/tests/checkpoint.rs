//! `tidegate checkpoint`, run as its user runs it, on the checkpoints of a real job and its changed versions.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The example that `cargo test` builds beside the program.
fn job() -> PathBuf {
    let job = Path::new(env!("CARGO_BIN_EXE_tidegate")).with_file_name("examples").join("upgrade_job");
    assert!(job.exists(), "{} is not built; `cargo test -p tidegate-cli` builds it", job.display());
    job
}

struct World(tempfile::TempDir);

impl World {
    /// Nothing but an empty directory.
    fn empty() -> World {
        World(tempfile::tempdir().unwrap())
    }

    /// Where the first version of the job has run.
    fn new() -> World {
        let world = World::empty();
        let ran = world.run("first", &[]);
        assert!(ran.status.success(), "{ran:?}");
        world
    }

    fn place(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// How the job is started.
    fn command(&self, version: &str, more: &[&str]) -> Vec<String> {
        let job = job();
        let start = [job.to_str().unwrap(), "--checkpoint", self.place(), "--version", version];
        start.iter().chain(more).map(|word| (*word).to_owned()).collect()
    }

    /// Runs the job.
    fn run(&self, version: &str, more: &[&str]) -> Output {
        let command = self.command(version, more);
        Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output().unwrap()
    }

    fn inspect(&self) -> Output {
        tidegate(&["checkpoint", "inspect", self.place()])
    }

    fn check(&self, command: &[String]) -> Output {
        let before = ["checkpoint", "check-upgrade", self.place(), "--"];
        let all: Vec<&str> = before.into_iter().chain(command.iter().map(String::as_str)).collect();
        tidegate(&all)
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.path().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

fn batch_of(manifest: &Path) -> u64 {
    manifest.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_is_in_a_checkpoint_is_shown() {
    let world = World::new();
    let output = world.inspect();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for told in [
        "application  sales",
        "batches of   20 ms",
        "setting      tidegate.master = local[1]",
        "input        constant-1",
        "state        totals\n    operator   map_with_state\n    partitions 4 (",
        "state        count\n    operator   update_state_by_key\n",
        "    columns    key: Utf8, value: Int64",
    ] {
        assert!(text.contains(told), "{told:?} in\n{text}");
    }
    assert!(!text.contains("damaged"), "{text}");
    let last = text.lines().take_while(|line| !line.is_empty()).last().unwrap();
    let batch = last.split_whitespace().next().unwrap();
    assert_eq!(batch.parse::<u64>().unwrap(), batch_of(world.files("checkpoints").last().unwrap()));
    assert!(text.contains(&format!("The newest, batch {batch}:")), "{text}");
}

#[test]
fn damaged_checkpoints_are_named_and_the_newest_that_can_be_read_is_shown() {
    let world = World::new();
    let second = world.run("first", &[]);
    assert!(second.status.success(), "{second:?}");
    let manifests = world.files("checkpoints");
    let [.., before, last] = &manifests[..] else { panic!("two runs leave two checkpoints: {manifests:?}") };
    std::fs::write(last, "torn").unwrap();
    let batch = batch_of(before);
    let output = world.inspect();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let name = last.file_name().unwrap().to_str().unwrap();
    assert!(text.contains(&format!("damaged: checkpoints/{name} in {}: not whole", world.place())), "{text}");
    assert!(text.contains(&format!("The newest, batch {batch}:")), "{text}");

    let state = world.files("state");
    state.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let text = stdout(&world.inspect());
    assert!(text.contains(&format!("damaged: that of batch {batch}: state/")), "{text}");
    assert!(text.contains(" is not there"), "{text}");

    manifests.iter().for_each(|file| std::fs::write(file, "torn").unwrap());
    let output = world.inspect();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("no checkpoint can be read"), "{output:?}");
}

#[test]
fn a_place_without_checkpoints_is_told_and_left_as_it_is() {
    let world = World::empty();
    let missing = format!("{}/missing", world.place());
    let table = [
        (world.place().to_owned(), "no checkpoint is there"),
        (missing.clone(), "no such directory"),
        (format!("file://{missing}"), "no such directory"),
        ("gopher://host/x".to_owned(), "gopher: is no kind of place"),
    ];
    for (place, told) in table {
        for arguments in [&["inspect", &place][..], &["check-upgrade", &place, "--", "true"]] {
            let output = tidegate(&[&["checkpoint"], arguments].concat());
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(stderr(&output).contains(told), "{output:?}");
        }
    }
    assert_eq!(std::fs::read_dir(world.place()).unwrap().count(), 0);
}

/// What a change is about, the flags of the program before and after it, and what can't be gone on from.
type Change<'a> = (&'a str, &'a [&'a str], &'a [&'a str], Option<&'a str>);

/// What is said of each state; whether the program can go on; and, if not, what is said of the way out.
#[test]
fn what_becomes_of_each_state_is_told_and_a_start_then_does_what_was_told() {
    let changed = "totals: changed from key: Utf8, value: Int64 to ";
    let table: [Change<'_>; 10] = [
        ("first", &[], &["count: kept\n", "totals: kept\n"], None),
        ("kept", &[], &["count: kept\n", "totals: kept\n"], None),
        ("new", &[], &["count: kept\n", "largest: new, starts empty\n", "totals: kept\n"], None),
        ("migrated", &[], &["totals: migrated from (key: Utf8, value: Int64) to (key: Utf8, "], None),
        ("partitions", &[], &["totals: kept, moved from 4 partitions to 8\n"], None),
        ("dropped", &["--drop", "count"], &["count: dropped, as told\n", "totals: kept\n"], None),
        ("dropped", &[], &["count: dropped: needs a flag\n"], Some("tidegate.state.drop=count")),
        ("changed", &[], &[changed], Some("give a function with migrate_from")),
        ("first", &["--app", "else"], &["totals: kept\n"], Some("of the application \"sales\"")),
        ("other-input", &[], &["totals: kept\n"], Some("an input stream \"constant-1\"")),
    ];
    for (version, more, told, refused) in table {
        let world = World::new();
        let files = (world.files("checkpoints"), world.files("state"));
        let checked = world.check(&world.command(version, more));
        let text = stdout(&checked);
        told.iter().for_each(|told| assert!(text.contains(told), "{version}: {told:?} in\n{text}"));
        assert_eq!(files, (world.files("checkpoints"), world.files("state")), "{version}: nothing is run");
        let started = world.run(version, more);
        let expected = if refused.is_none() { Some(0) } else { Some(1) };
        assert_eq!(checked.status.code(), expected, "{version}: {checked:?}");
        assert_eq!(started.status.code(), expected, "{version}: {started:?}");
        if let Some(refused) = refused {
            assert!(stderr(&checked).contains(refused), "{version}: {checked:?}");
        }
    }
}

#[test]
fn a_command_that_does_not_describe_its_job_is_told() {
    let world = World::new();
    let table: [(&[&str], &str); 3] = [
        (&["true"], "`true` did not say what its job is"),
        (&["sh", "-c", "echo no such broker; exit 3"], "exit status: 3"),
        (&["/nowhere/job"], "`/nowhere/job` can't be started"),
    ];
    for (command, told) in table {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let output = world.check(&command);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains(told), "{told:?} in {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let output = tidegate(&["checkpoint", "check-upgrade", world.place()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
