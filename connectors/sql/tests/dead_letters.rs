//! Records that can't be decoded, in a table beside the good ones: each is there once, wherever the process was killed.
//!
//! The job runs in a process of its own, this test binary started again, which kills itself at a crash point; the next
//! process goes on from what it left.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use rusqlite::Connection;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use tempfile::TempDir;
use tidegate::core::CRASH_POINTS;
use tidegate::testkit::{MemoryInput, TestJob};
use tidegate::{Conf, CsvDecoder, Origin, Payload, Stop, StreamingContext};
use tidegate_sql::{SaveToSql, Table};

/// Names the directory of a job to the process that is to run it.
const DIRECTORY: &str = "TIDEGATE_TEST_DEAD_LETTERS";
/// Set for a process that goes on where another was killed.
const GOES_ON: &str = "TIDEGATE_TEST_DEAD_LETTERS_GOES_ON";

#[derive(Clone, Debug)]
struct Line {
    partition: u32,
    offset: u64,
    text: &'static str,
}

impl Payload for Line {
    fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    fn origin(&self) -> Origin {
        Origin {
            source: Some("lines".to_owned()),
            partition: Some(self.partition),
            offset: Some(self.offset),
        }
    }
}

/// What comes before each batch, by partition.
const BATCHES: [[&[&str]; 2]; 3] =
    [[&["ebb,1", "ebb"], &["flow,2"]], [&["flow,x", "ebb,3"], &[",", "ebb,4"]], [&["flow,5"], &["\"ebb,6"]]];

fn push(input: &MemoryInput<Line>, offsets: &mut [u64; 2], batch: [&[&'static str]; 2]) {
    for (partition, texts) in batch.into_iter().enumerate() {
        for text in texts {
            input.push(partition, [Line { partition: partition as u32, offset: offsets[partition], text }]);
            offsets[partition] += 1;
        }
    }
}

fn start(input: &MemoryInput<Line>, directory: &Path) -> TestJob {
    let build = |ssc: &StreamingContext| {
        let lines = ssc.input_stream("lines", input.clone())?;
        let (tides, dead) = lines.decode_or_dead_letter(CsvDecoder::<(String, i64)>::positional());
        tides.save_to_sqlite(directory.join("tides.db"), Table::insert("tides", ["name", "height"]))?;
        // Another file, so that the two outputs are two transactions.
        dead.save_to_sqlite(directory.join("dead.db"), Table::dead_letters("dead"))
    };
    TestJob::start(Conf::new().set_master("local[2]"), Some(&directory.join("checkpoint")), build).unwrap()
}

/// Not a test by itself: what a process does that [`run`] started.
#[test]
fn a_process_of_the_job() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let (directory, input, mut offsets) = (Path::new(&directory), MemoryInput::new(2), [0; 2]);
    if std::env::var_os(GOES_ON).is_none() {
        let mut job = start(&input, directory);
        for batch in BATCHES {
            push(&input, &mut offsets, batch);
            job.next_batch().unwrap();
        }
        return;
    }
    BATCHES.into_iter().for_each(|batch| push(&input, &mut offsets, batch));
    let mut job = start(&input, directory);
    loop {
        let batch = job.next_batch().unwrap();
        let ends: Vec<u64> = batch.plan.sources[0].ranges.iter().map(|range| range.until).collect();
        if ends == offsets {
            break;
        }
    }
    job.ssc.stop(Stop::Gracefully).unwrap();
}

fn run(directory: &Path, crash_at: Option<&str>) -> ExitStatus {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["a_process_of_the_job", "--exact"])
        .env(DIRECTORY, directory)
        .env_remove("TIDEGATE_CRASH_AT");
    match crash_at {
        Some(point) => command.env("TIDEGATE_CRASH_AT", point),
        None => command.env(GOES_ON, "yes"),
    };
    command.stdout(Stdio::null()).status().unwrap()
}

fn texts(file: &Path, query: &str) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare(query).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn good_records_and_dead_letters_are_each_there_once_wherever_the_job_was_killed() {
    let cases = CRASH_POINTS.iter().flat_map(|point| [1, 2].map(|time| format!("{point}:{time}")));
    for case in cases {
        let directory = TempDir::new().unwrap();
        let killed = run(directory.path(), Some(&case));
        assert_eq!(killed.signal(), Some(9), "{case}: {killed}");
        let went_on = run(directory.path(), None);
        assert!(went_on.success(), "{case}: {went_on}");
        let tides = texts(
            &directory.path().join("tides.db"),
            "SELECT name || ' ' || height FROM tides ORDER BY name, height",
        );
        assert_eq!(tides, ["ebb 1", "ebb 3", "ebb 4", "flow 2", "flow 5"], "{case}");
        let dead = texts(
            &directory.path().join("dead.db"),
            "SELECT \"source\" || '-' || \"partition\" || '@' || \"offset\" || ' ' || CAST(\"bytes\" AS TEXT) || ': ' || \"error\" \
             FROM dead ORDER BY \"partition\", \"offset\"",
        );
        let expected = [
            "lines-0@1 ebb: invalid length 1, expected a tuple of size 2",
            "lines-0@2 flow,x: field 2: invalid digit found in string, at byte 5",
            "lines-1@1 ,: field 2: cannot parse integer from empty string, at byte 1",
            "lines-1@3 \"ebb,6: field 1 does not end: its quote at byte 0",
        ];
        assert_eq!(dead, expected, "{case}");
    }
}
